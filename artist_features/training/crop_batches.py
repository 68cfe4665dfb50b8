"""From plans to tensors: the tf.data pipeline of stored crops."""

from collections import defaultdict
from typing import Any

import numpy as np

from artist_features.training.batches import steps_dataset
from artist_features.training.crop_set import CropSet
from artist_features.training.names import name_key
from artist_features.training.sampling import Sampler

# a crop with a louder other track in it says less of who made it; source: own choice
_MAX_MIX_DB = -3.0


class CropBatches:
    """Stored crops of each step: labelled ones by artist, and others drawn from all.

    Args:
        crops: `CropSet`.
        n_anchors: labelled crops a step; 0 for none.
        n_free: further crops a step.
        positives: whether each anchor gets a crop of another track of its artist.
        seed: of the run.

    Attributes:
        artists: names of the artists with two tracks or more, in the order of their index.
    """

    def __init__(
        self, crops: CropSet, *, n_anchors: int, n_free: int, positives: bool, seed: int
    ) -> None:
        self._crops, self._seed = crops, seed
        labelled = np.flatnonzero(np.asarray(crops.mix_db) < _MAX_MIX_DB)
        order = labelled[np.argsort(crops.track[labelled], kind="stable")]
        tracks, starts = np.unique(crops.track[order], return_index=True)
        self._of_track = dict(zip(tracks.tolist(), np.split(order, starts[1:]), strict=True))
        by_artist = defaultdict(list)
        for track in tracks.tolist():
            if artist := crops.facts["tracks"][track]["artist"]:
                by_artist[name_key(artist)].append(track)
        kept = {name: rows for name, rows in sorted(by_artist.items()) if len(rows) > 1}
        self.artists = list(kept)
        self._sampler = Sampler(
            list(kept.values()),
            np.arange(crops.n),
            n_anchors=n_anchors,
            n_free=n_free,
            positives=positives,
            seed=seed,
        )

    def read(self, step: int, index: int = 0, n_parts: int = 1) -> tuple[np.ndarray, ...]:
        """Read one replica's part of a step.

        Returns:
            log_mel float16 `(n, n_frames, n_mels)`, labels int32 `(n_anchors,)`, and each
            teacher's vectors float16 `(n, dim)`. Rows: anchors, positives, others.
        """
        plan = self._sampler.plan(step).part(index, n_parts)
        rng = np.random.default_rng([self._seed, 3, step, index])
        labelled = [rng.choice(self._of_track[t]) for t in (*plan.anchors, *plan.positives)]
        rows = np.concatenate([np.array(labelled, np.int64), plan.free])
        vectors = [teacher[rows] for teacher in self._crops.teachers.values()]
        return self._crops.log_mel[rows], plan.labels, *vectors

    def dataset(self, start: int, stop: int, context: Any = None) -> Any:
        """Build the `tf.data.Dataset` of some steps; see `batches.steps_dataset`."""
        return steps_dataset(self.read, start, stop, context)
