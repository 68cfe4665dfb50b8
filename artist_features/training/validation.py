"""Validation during training: loss, artist retrieval and agreement with teachers.

Bounded: at most 2,000 tracks of 8 crops, whatever the library.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from artist_features import metrics
from artist_features.training.data import TrainingSet
from artist_features.training.distillation_set import DistillationSet
from artist_features.training.losses import hinge
from artist_features.training.recipes import Recipe
from artist_features.training.sampling import Sampler

_BATCH = 128
_MAX_CROPS = 8  # of a track
_MAX_TRACKS = 1000  # of each kind
_N_PLANS = 20
_N_ANCHORS = 64
_SEED = 0  # the same draws at every check of every run

Embed: TypeAlias = Callable[[np.ndarray], np.ndarray]


class Validation:
    """Validation metrics of a run, on the same crops and draws each time.

    Tracks of held-out artists give the Siamese loss and the artist-retrieval MAP; kept
    tracks of trained artists give the classifier's loss. Of each track at most 8 crops, at
    equal distances, are read from the cache at each check.

    Args:
        kind: "basic" or "siamese".
        n_samples: of a crop.
        teacher: function of waveforms like `embed` of `check`, or None.
        crops: `DistillationSet` of other tracks than the training's; agreement with its teachers is
            then what the schedule watches, and the classifier, whose artists are those of the
            stored crops, is not checked.
    """

    def __init__(
        self,
        data: TrainingSet,
        kind: str,
        recipe: Recipe,
        n_samples: int,
        teacher: Embed | None = None,
        crops: DistillationSet | None = None,
    ) -> None:
        self._cache, self._kind, self._recipe = data.cache, kind, recipe
        self._n_samples = n_samples
        self._crops = crops
        rows = _some(data.retrieval_valid_labels)
        self._retrieval_tracks = data.retrieval_valid_tracks[rows]
        self._retrieval_labels = data.retrieval_valid_labels[rows]
        n_kept = len(data.trained_valid_tracks) if crops is None else 0
        rows = _some(np.arange(n_kept))
        self._trained_tracks = data.trained_valid_tracks[rows]
        self._trained_labels = data.trained_valid_labels[rows]
        self._targets = self._embed_all(teacher) if teacher else None
        by_artist = [
            np.flatnonzero(self._retrieval_labels == n) for n in set(self._retrieval_labels)
        ]
        self._sampler = None
        if len(by_artist) > 1:
            self._sampler = Sampler(
                by_artist,
                np.zeros(0, int),
                n_anchors=_N_ANCHORS,
                n_negatives=recipe.n_negatives,
                seed=_SEED,
            )

    @property
    def teachers(self) -> list[str]:
        """Names of the teachers whose stored vectors the checks compare with."""
        return list(self._crops.teachers) if self._crops else []

    @property
    def has_loss(self) -> bool:
        """True if checks give a validation loss for the schedule."""
        if self._crops:
            return True
        if self._recipe.label_weight:
            if self._kind == "basic":
                return len(self._trained_tracks) > 0
            return self._sampler is not None
        n_tracks = len(self._retrieval_tracks) + len(self._trained_tracks)
        return self._targets is not None and n_tracks > 0

    def check(
        self, embed: Embed, logits: Embed | None, embed_stored: Embed | None = None
    ) -> dict[str, float]:
        """Measure a model.

        Args:
            embed: function from waveforms float32 `(n, n_samples, 1)` to embeddings.
            logits: function from embeddings to the classifier's logits.
            embed_stored: function from log-mel float32 `(n, n_frames, n_mels)` to embeddings.

        Returns:
            dict of floats: `map` (held-out artists), `label` (the kind's own loss),
            `accuracy` (classifier, per track), `cosine` (to the teacher); each only
            where the data allow it; of stored crops those of `metrics.agreement`. `loss` is
            what the schedule watches: 1 - agreement with all teachers, the label loss, or
            1 - cosine, whichever there is first.
        """
        by_track = self._embed_all(embed)
        n_retrieval = len(self._retrieval_tracks)
        found: dict[str, float] = {}
        if self._sampler:
            means = np.stack([rows.mean(0) for rows in by_track[:n_retrieval]])
            found["map"] = metrics.retrieval(means, self._retrieval_labels).mean_average_precision
        if self._targets:
            pairs = zip(by_track, self._targets, strict=True)
            found["cosine"] = float(np.mean([metrics.mean_cosine(a, b) for a, b in pairs]))
        if self._recipe.label_weight:
            if self._kind == "basic" and len(self._trained_tracks) and logits:
                found |= self._entropy(by_track[n_retrieval:], logits)
            if self._kind == "siamese" and self._sampler:
                found["label"] = self._hinge(by_track[:n_retrieval], self._sampler)
        if (crops := self._crops) and embed_stored:
            starts = range(0, crops.n, _BATCH)
            rows = [embed_stored(crops.log_mel[n : n + _BATCH].astype(np.float32)) for n in starts]
            found |= metrics.agreement(np.concatenate(rows), crops.teachers)
            found["loss"] = 1 - found["both"]
        elif "label" in found:
            found["loss"] = found["label"]
        elif "cosine" in found:
            found["loss"] = 1 - found["cosine"]
        return found

    def _embed_all(self, embed: Embed) -> list[np.ndarray]:
        """Return one array `(n_crops, dim)` for each track, those for retrieval first."""
        positions: list[tuple[int, float]] = []
        counts = []
        for track in [*self._retrieval_tracks, *self._trained_tracks]:
            own = self._cache.crop_positions(track, self._n_samples, _MAX_CROPS)
            positions += own
            counts.append(len(own))
        out = []
        for start in range(0, len(positions), _BATCH):
            waveforms = self._cache.waveforms(positions[start : start + _BATCH], self._n_samples)
            out.append(np.asarray(embed(waveforms)))
        return np.split(np.concatenate(out), np.cumsum(counts)[:-1]) if out else []

    def _hinge(self, by_track: list[np.ndarray], sampler: Sampler) -> float:
        """Return the paper's loss per anchor, of one segment of each drawn track."""
        rng, total = np.random.default_rng(_SEED), 0.0
        for number in range(_N_PLANS):
            plan = sampler.plan(number)

            def pick(tracks: np.ndarray) -> np.ndarray:
                rows = [by_track[t][rng.integers(len(by_track[t]))] for t in tracks.ravel()]
                return metrics.unit_or_zero(np.stack(rows)).reshape(*tracks.shape, -1)

            anchors = pick(plan.anchors)
            positive = np.sum(anchors * pick(plan.positives), -1, keepdims=True)
            negative = np.einsum("nd,nkd->nk", anchors, pick(plan.negatives))
            total += np.asarray(hinge(positive, negative)).sum()
        return float(total / (_N_PLANS * _N_ANCHORS))

    def _entropy(self, by_track: list[np.ndarray], logits: Embed) -> dict[str, float]:
        """Return cross-entropy and accuracy of the classifier."""
        losses, right = [], []
        for rows, label in zip(by_track, self._trained_labels, strict=True):
            scores = logits(rows)
            scores = scores - scores.max(-1, keepdims=True)
            log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
            losses.append(-log_p[:, label].mean())
            right.append(log_p.mean(0).argmax() == label)
        return {"label": float(np.mean(losses)), "accuracy": float(np.mean(right))}


def _some(groups: np.ndarray) -> np.ndarray:
    """Subsample whole groups (artists) for validation with a fixed seed, up to 1,000 rows."""
    names, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng(_SEED).permutation(len(names))
    enough = order[np.cumsum(sizes[order]) <= _MAX_TRACKS]
    return np.flatnonzero(np.isin(groups, names[enough]))
