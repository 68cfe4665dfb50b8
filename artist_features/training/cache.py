"""Audio cache: decode each track once, then read crops from a memory map.

A cache folder holds `samples.int16`, all tracks one after another, and
`tracks.jsonl`, one line a track, written after its samples. Both only grow: a build that
was killed goes on, and another manifest adds its tracks to the same folder. Decoded one after
another in this process, without segments: crops start anywhere.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import filelock
import numpy as np

from artist_features.audio.stream import open_file
from artist_features.errors import AUDIO_CODES, AudioError
from artist_features.progress import progress_bar

FULL_SCALE = 32767  # int16 sample of 1.0
_Key: TypeAlias = tuple[str, int, int]  # absolute path, size in bytes, time of change


@dataclass(eq=False)
class AudioCache:
    """Memory-mapped mono int16 samples of a list of tracks.

    Attributes:
        samples: int16 `(n_samples,)`, everything in the folder.
        starts, lengths: int64 `(n_tracks,)`, in samples, in the order of the list.
        sample_rate: in Hz.
        failures: list of (path, `AudioError`) of tracks of length 0.
    """

    samples: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    sample_rate: int
    failures: list[tuple[str | Path, AudioError]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.starts = np.asarray(self.starts, np.int64)
        self.lengths = np.asarray(self.lengths, np.int64)

    @classmethod
    def build(
        cls, paths: Sequence[str | Path], folder: str | Path, sample_rate: int
    ) -> "AudioCache":
        """Decode tracks that the cache lacks, then memory-map it.

        A file whose size or time of change differs from what the folder holds is decoded
        again. A file that cannot be decoded costs itself alone, see `failures`.

        Args:
            paths: audio files, in the order of the tracks.
            folder: created if missing; one process writes at a time, others wait.
            sample_rate: in Hz.
        """
        folder = Path(folder) / f"{sample_rate}hz"
        folder.mkdir(parents=True, exist_ok=True)
        listing, data = folder / "tracks.jsonl", folder / "samples.int16"
        with filelock.FileLock(folder / "lock"):
            entries = _read_entries(listing, data)
            keys = [_key(path) for path in paths]
            # what failed may succeed now: more memory, a decoder that was installed
            missing = {
                key: path
                for key, path in zip(keys, paths, strict=True)
                if key not in entries or entries[key]["error"]
            }
            if missing:
                _append(missing, entries, listing, data, sample_rate)
            n_samples = os.path.getsize(data) // 2 if data.exists() else 0
        samples = np.memmap(data, "<i2", mode="r") if n_samples else np.zeros(0, "<i2")
        found = [entries[key] for key in keys]
        failures = [
            (path, AudioError(entry["code"], entry["error"], path))
            for path, entry in zip(paths, found, strict=True)
            if entry["error"]
        ]
        starts, lengths = (np.array([e[name] for e in found]) for name in ("start", "length"))
        return cls(samples, starts, lengths, sample_rate, failures)

    def track(self, track: int) -> np.ndarray:
        """Return all samples of a track, int16 `(n_samples,)`, not copied."""
        start = self.starts[track]
        return self.samples[start : start + self.lengths[track]]

    def crop_positions(self, track: int, n_samples: int, most: int) -> list[tuple[int, float]]:
        """Return (track, position) of crops at equal distances, for `read`.

        Args:
            track: index.
            n_samples: of a crop; there are as many as fit one after another.
            most: and not more than this.
        """
        count = min(most, int(self.lengths[track]) // n_samples)
        return [(track, (n + 0.5) / count) for n in range(count)]

    def read(self, track: int, position: float, n_samples: int) -> np.ndarray:
        """Read a crop of a track.

        Args:
            track: index.
            position: in [0, 1), of all the places where the crop can begin.
            n_samples: of the crop.

        Returns:
            int16 `(n_samples,)`, zeros after the end of a track that is shorter.
        """
        length = int(self.lengths[track])
        start = int(self.starts[track]) + int(position * max(1, length - n_samples + 1))
        crop = self.samples[start : start + min(n_samples, length)]
        return np.pad(crop, (0, n_samples - len(crop))) if len(crop) < n_samples else crop

    def waveforms(self, positions: Iterable[tuple[int, float]], n_samples: int) -> np.ndarray:
        """Read crops at `crop_positions`, float32 `(n, n_samples, 1)` in [-1, 1]."""
        crops = np.stack([self.read(track, at, n_samples) for track, at in positions])
        return crops.astype(np.float32)[..., None] / FULL_SCALE


def _key(path: str | Path) -> _Key:
    path = os.path.abspath(path)
    try:
        state = os.stat(path)
    except OSError:  # the decoder says what is wrong
        return path, -1, -1
    return path, state.st_size, state.st_mtime_ns


def _read_entries(listing: Path, data: Path) -> dict[_Key, dict[str, Any]]:
    """Read the cache's list of entries; incomplete ones are left out."""
    entries: dict[_Key, dict[str, Any]] = {}
    end = whole = 0
    n_samples = os.path.getsize(data) // 2 if data.exists() else 0
    text = listing.read_bytes() if listing.exists() else b""
    for line in text.splitlines(keepends=True):
        try:
            entry = json.loads(line)
            key = (os.fsdecode(entry["path"].encode("latin-1")), *entry["state"])
            end_of_track = entry["start"] + entry["length"]
        except (ValueError, KeyError):
            break
        if end_of_track > n_samples or not line.endswith(b"\n"):
            break
        entries[key] = entry
        end, whole = max(end, end_of_track), whole + len(line)
    # what a killed build left after the last whole track goes
    if whole < len(text):
        os.truncate(listing, whole)
    if end < n_samples or (data.exists() and os.path.getsize(data) % 2):
        os.truncate(data, 2 * end)
    return entries


def _append(
    missing: dict[_Key, str | Path],
    entries: dict[_Key, dict[str, Any]],
    listing: Path,
    data: Path,
    sample_rate: int,
) -> None:
    with open(data, "ab") as samples, open(listing, "a", encoding="ascii") as lines:
        for key, path in progress_bar(missing.items(), "decode", len(missing), unit="track"):
            start, length, error = samples.tell() // 2, 0, None
            try:
                with open_file(path, target_rate=sample_rate) as stream:
                    blocks = list(stream)
            except AudioError as failure:
                error = failure
            else:
                length = sum(len(block) for block in blocks)
                for block in blocks:
                    samples.write(
                        np.rint(np.clip(block, -1, 1) * FULL_SCALE).astype("<i2").tobytes()
                    )
                samples.flush()
            name, *state = key
            entry = {
                # any byte that a file system allows in a name
                "path": os.fsencode(name).decode("latin-1"),
                "state": state,
                "start": start,
                "length": length,
                "code": error.code if error else AUDIO_CODES[0],
                "error": error.message if error else "",
            }
            lines.write(json.dumps(entry) + "\n")
            lines.flush()
            entries[key] = entry
