"""Knowledge-distillation data set: augmented crops with stored teacher embeddings.

`DistillationSet` holds the crops' log-mel and the teachers' embeddings, which
weights/make_crops.py makes; `CropBatches` feeds them to training.

The folder of a set has `crops.json` (what it is and how it was made), `log_mel.npy` float16 `(n,
frames, bands)`, `TEACHER.npy` float16 `(n, dim)` of each teacher, `track.npy` int32 `(n,)`,
`low_pass_hz.npy` and `mix_db.npy` float32 `(n,)`, and `done.txt`, a line for each block of
crops that is written. A build that was killed goes on with the blocks that are missing.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from artist_features.datasets.names import name_key
from artist_features.errors import ManifestError, OutputError
from artist_features.files import write_atomically
from artist_features.training.sampling import Batches, Sampler

SET_FILE = "crops.json"
BLOCK = 128  # crops that are written together
_DONE = "done.txt"
_FACTS = {"track": "<i4", "low_pass_hz": "<f4", "mix_db": "<f4"}
# a crop with a louder other track in it says less of who made it; source: own choice
_MAX_MIX_DB = -3.0


class DistillationSet:
    """Distillation set on disk, memory-mapped to read or to write.

    Attributes:
        facts: the parsed `crops.json`, all that decides the crops.
        sha256: of `crops.json`.
        n: number of crops.
        log_mel: float16 `(n, n_frames, n_mels)`, before standardisation.
        teachers: {name: float16 `(n, dim)`}.
        track: int32 `(n,)`, the row of `facts["tracks"]` that each crop is taken from.
        low_pass_hz: float32 `(n,)`, highest frequency kept; infinity if not band-limited.
        mix_db: float32 `(n,)`, level of the loudest other track relative to the main one;
            -infinity if none.
    """

    def __init__(self, path: str | Path, mode: Literal["r", "r+"] = "r") -> None:
        self.path = Path(path)
        try:
            text = (self.path / SET_FILE).read_bytes()
            self.sha256 = hashlib.sha256(text).hexdigest()
            self.facts = json.loads(text)
            self.n = int(self.facts["n_crops"])
            self.log_mel = self._open("log_mel", mode)
            self.teachers = {name: self._open(name, mode) for name in self.facts["teachers"]}
            self.track, self.low_pass_hz, self.mix_db = (self._open(n, mode) for n in _FACTS)
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"is no distillation set ({error}); make one with weights/make_crops.py."
            raise ManifestError(why, path) from None
        if mode == "r" and (missing := self.missing()):
            n_missing = sum(len(self.rows(block)) for block in missing)
            why = f"{n_missing} of {self.n} crops are missing; repeat the command that makes it."
            raise ManifestError(why, path)

    def _open(self, name: str, mode: Literal["r", "r+"]) -> np.ndarray:
        array = np.load(self.path / f"{name}.npy", mmap_mode=mode, allow_pickle=False)
        if len(array) != self.n:
            raise ValueError(f"{name}.npy has {len(array)} rows, not {self.n}")
        return array

    def require_level(self, level_db: float | None) -> None:
        """Require crops of a recipe's level in dB.

        Raises:
            ManifestError: the crops have another level.
        """
        if (found := self.facts["level_db"]) != level_db:
            text = (
                f"its crops have a level of {found} dB, the recipe says {level_db}; add --set "
                f"level_db={found}."
            )
            raise ManifestError(text, self.path)

    @classmethod
    def create(
        cls,
        path: str | Path,
        facts: Mapping[str, Any],
        mel_shape: tuple[int, int],
        teachers: Mapping[str, int],
    ) -> "DistillationSet":
        """Make an empty set, or open the one that is there if it is made of the same.

        Args:
            facts: plain data that decides the crops: `n_crops`, `tracks`, `seed`, ...
            mel_shape: (frames, bands).
            teachers: {name: dim}.

        Raises:
            OutputError: `mismatch`: the folder holds a set that was made of something else.
        """
        path = Path(path)
        facts = {**facts, "teachers": dict(teachers)}
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        if (path / SET_FILE).exists():
            if (path / SET_FILE).read_text(encoding="utf-8") != text:
                words = "holds crops of other music, teachers or seed; choose another folder."
                raise OutputError("mismatch", words, path)
            return cls(path, "r+")
        path.mkdir(parents=True, exist_ok=True)
        n = int(facts["n_crops"])
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {"log_mel": ("<f2", (n, *mel_shape))}
        shapes |= {name: ("<f2", (n, dim)) for name, dim in teachers.items()}
        shapes |= {name: (kind, (n,)) for name, kind in _FACTS.items()}
        for name, (kind, shape) in shapes.items():
            np.lib.format.open_memmap(path / f"{name}.npy", "w+", kind, shape)
        write_atomically(path / SET_FILE, text.encode())
        return cls(path, "r+")

    def missing(self) -> list[int]:
        """Return the numbers of the blocks that are not written yet."""
        try:
            lines = (self.path / _DONE).read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            lines = []
        done = {int(line) for line in lines if line.isdigit()}
        return [block for block in range(-(-self.n // BLOCK)) if block not in done]

    def rows(self, block: int) -> range:
        """Return the row numbers of a block's crops as a range."""
        return range(block * BLOCK, min(self.n, (block + 1) * BLOCK))

    def write(self, block: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a block whole, then note that it is there.

        Args:
            arrays: {"log_mel", each teacher's name, "track", "low_pass_hz", "mix_db": rows}.
        """
        rows = self.rows(block)
        own = {"log_mel": self.log_mel, "track": self.track, **self.teachers}
        own |= {"low_pass_hz": self.low_pass_hz, "mix_db": self.mix_db}
        for name, array in own.items():
            array[rows.start : rows.stop] = arrays[name]
        # one short line in one call: lines of two writers do not mix
        with open(self.path / _DONE, "a", encoding="ascii") as file:
            file.write(f"{block}\n")


class CropBatches(Batches):
    """Stored crops of each step, some labelled by artist, others drawn from all.

    Args:
        n_anchors: labelled crops a step; 0 for none.
        n_unlabelled: further crops a step.
        positives: whether each anchor gets a crop of another track of its artist.

    Attributes:
        artists: names of the artists with two tracks or more, in the order of their index.
    """

    def __init__(
        self,
        crops: DistillationSet,
        *,
        n_anchors: int,
        n_unlabelled: int,
        positives: bool,
        seed: int,
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
            [np.array(rows) for rows in kept.values()],
            np.arange(crops.n),
            n_anchors=n_anchors,
            n_unlabelled=n_unlabelled,
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
        rows = np.concatenate([np.array(labelled, np.int64), plan.unlabelled])
        vectors = [teacher[rows] for teacher in self._crops.teachers.values()]
        return self._crops.log_mel[rows], plan.labels, *vectors
