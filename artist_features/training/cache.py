"""Prepared audio: decode a data set once, read crops from a memory map ever after."""

import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from artist_features.errors import AudioError
from artist_features.signal.audio import Clip, read_file


class AudioCache:
    """Mono int16 samples of many tracks in one memory-mapped array.

    Attributes:
        samples: int16 `(n_samples,)`, all tracks one behind the other.
        starts: int64 `(n_tracks + 1,)`, where each track begins.
        sample_rate: in Hz.
        failures: list of (path, `AudioError`) of tracks that hold no samples here.
    """

    def __init__(self, samples, starts, sample_rate, failures=()):
        self.samples = samples
        self.starts = starts
        self.sample_rate = sample_rate
        self.failures = list(failures)

    @classmethod
    def build(cls, paths, folder, sample_rate):
        """Decode `paths` into `folder` (reused if it holds the same list), then map it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        listing, data = folder / "tracks.txt", folder / "samples.int16"
        wanted = f"{sample_rate}\n" + "\n".join(str(path) for path in paths)
        failures = []
        text = os.fsencode(wanted)
        if not listing.exists() or listing.read_bytes() != text:
            listing.unlink(missing_ok=True)  # written last: it says that the rest is whole
            starts = [0]
            with open(data, "wb") as out:
                for path in tqdm(paths, desc="decode", unit="track"):
                    try:
                        blocks = list(read_file(path, Clip(), target_rate=sample_rate))
                    except AudioError as error:
                        failures.append((path, error))
                        blocks = []
                    for block in blocks:
                        out.write(np.rint(np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
                    starts.append(starts[-1] + sum(len(block) for block in blocks))
                out.flush()
                os.fsync(out.fileno())
            np.save(folder / "starts.npy", np.array(starts, np.int64))
            listing.write_bytes(text)
        starts = np.load(folder / "starts.npy", allow_pickle=False)
        return cls(np.memmap(data, "<i2", mode="r"), starts, sample_rate, failures)

    def length(self, track):
        """Return the number of samples of a track."""
        return int(self.starts[track + 1] - self.starts[track])

    def crop(self, track, n_samples, rng):
        """Return a random crop of a track, float32 `(n_samples,)`, zero-padded if short."""
        length = self.length(track)
        offset = int(rng.integers(0, max(1, length - n_samples + 1)))
        start = int(self.starts[track]) + offset
        crop = self.samples[start : start + min(n_samples, length)].astype(np.float32) / 32767
        return np.pad(crop, (0, n_samples - len(crop)))
