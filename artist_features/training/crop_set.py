"""Distillation set: log-mel of crops beside the vectors of teachers, mapped into memory.

A folder with `crops.json` (what it is and how it was made), `log_mel.npy` float16 `(n, frames,
bands)`, `TEACHER.npy` float16 `(n, dim)` of each teacher, `track.npy` int32 `(n,)`,
`low_pass_hz.npy` and `mix_db.npy` float32 `(n,)`, and `done.txt`, a line for each block of
crops that is written. A build that was killed goes on with the blocks that are missing.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from artist_features.errors import ManifestError, OutputError
from artist_features.files import write_atomically

SET_FILE = "crops.json"
BLOCK = 128  # crops that are written together
_DONE = "done.txt"
_FACTS = {"track": "<i4", "low_pass_hz": "<f4", "mix_db": "<f4"}


class CropSet:
    """A distillation set on disk, opened to read or to write.

    Attributes:
        path: of the folder.
        facts: the parsed `crops.json`.
        n: number of crops.
        log_mel: float16 `(n, n_frames, n_mels)`, before standardisation.
        teachers: {name: float16 `(n, dim)`}.
        track: int32 `(n,)`, the row of `facts["tracks"]` that each crop is taken from.
        low_pass_hz, mix_db: float32 `(n,)`, see `stress.StressCrop`.
    """

    def __init__(self, path: str | Path, mode: str = "r") -> None:
        self.path = Path(path)
        try:
            self.facts = json.loads((self.path / SET_FILE).read_text(encoding="utf-8"))
            self.n = int(self.facts["n_crops"])
            self.log_mel = self._open("log_mel", mode)
            self.teachers = {name: self._open(name, mode) for name in self.facts["teachers"]}
            self.track, self.low_pass_hz, self.mix_db = (self._open(n, mode) for n in _FACTS)
        except (OSError, ValueError, KeyError, TypeError) as error:
            text = f"is no distillation set ({error}); make one with weights/make_crops.py."
            raise ManifestError(text, path) from None
        if mode == "r" and (missing := self.missing()):
            text = (
                f"{len(missing) * BLOCK} of {self.n} crops are missing; repeat the command that "
                "makes it."
            )
            raise ManifestError(text, path)

    def _open(self, name: str, mode: str) -> np.ndarray:
        array = np.load(self.path / f"{name}.npy", mmap_mode=mode, allow_pickle=False)
        if len(array) != self.n:
            raise ValueError(f"{name}.npy has {len(array)} rows, not {self.n}")
        return array

    @classmethod
    def create(
        cls,
        path: str | Path,
        facts: Mapping[str, Any],
        mel_shape: tuple[int, int],
        teachers: Mapping[str, int],
    ) -> "CropSet":
        """Make an empty set, or open the one that is there if it is made of the same.

        Args:
            path: folder.
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
        shapes = {"log_mel": ("<f2", (n, *mel_shape))}
        shapes |= {name: ("<f2", (n, dim)) for name, dim in teachers.items()}
        shapes |= {name: (kind, (n,)) for name, kind in _FACTS.items()}
        for name, (kind, shape) in shapes.items():
            np.lib.format.open_memmap(path / f"{name}.npy", "w+", kind, shape)
        write_atomically(path / SET_FILE, text.encode())
        return cls(path, "r+")

    @property
    def sha256(self) -> str:
        """Hash of what decides the crops."""
        return hashlib.sha256((self.path / SET_FILE).read_bytes()).hexdigest()

    def missing(self) -> list[int]:
        """Return the numbers of the blocks that are not written yet."""
        try:
            lines = (self.path / _DONE).read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            lines = []
        done = {int(line) for line in lines if line.isdigit()}
        return [block for block in range(-(-self.n // BLOCK)) if block not in done]

    def rows(self, block: int) -> range:
        """Return the crops of a block."""
        return range(block * BLOCK, min(self.n, (block + 1) * BLOCK))

    def write(self, block: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a block whole, then note that it is there.

        Args:
            block: its number.
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
