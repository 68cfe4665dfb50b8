"""Fixed-length segments of a recording: all of them, or some spread over a file by seeking."""

import math
import time
from collections.abc import Iterator

import numpy as np
import soxr

from artist_features.audio.decoders import Samples
from artist_features.audio.stream import AudioStream
from artist_features.config import FrontEnd
from artist_features.errors import counted

# the resampler hears as much on both sides of a segment; soxr HQ reaches some 3 ms far
_MARGIN_S = 0.05


class Segmenter:
    """Cut a clip, given in blocks, into the model's segments: 3.019 s, one each 2.995 s.

    The clip is padded by reflection with half an STFT window at both ends (a centred
    STFT), once, and then cut; an incomplete last segment is dropped. A clip shorter
    than one segment is looped to one. Memory is bounded by the block size.

    Source: authors' `encoding_cnn.py` (cut); librosa 0.6 `stft` (reflection).

    Args:
        front_end: `FrontEnd`, for segment length, hop and padding in samples.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        self._segment = front_end.segment_samples
        self._hop = front_end.segment_hop_samples
        self._pad = front_end.pad_samples
        self._blocks: list[Samples] = []  # of the padded clip, from the next segment on
        self._n_pending = 0  # samples in them
        self._started = False
        self.n_segments = 0
        self.n_samples = 0

    @property
    def short(self) -> bool:
        """True if the clip gave no whole segment and was looped to one."""
        return self.n_samples + 2 * self._pad < self._segment

    def push(self, block: Samples) -> Samples:
        """Add mono samples float32 `(n,)`; return segments float32 `(k, segment)`, k >= 0.

        The block is kept, not copied.
        """
        self.n_samples += len(block)
        self._n_pending += len(block)
        self._blocks.append(block)
        # the last pad + 1 samples stay until the end of the clip is known
        if self._n_pending <= self._segment + self._pad:  # joining blocks copies them
            return np.empty((0, self._segment), np.float32)
        pending = np.concatenate(self._blocks)
        if not self._started:
            pending = np.concatenate([pending[self._pad : 0 : -1], pending])
            self._started = True
        return self._cut(pending, len(pending) - self._pad - 1)

    def finish(self) -> Samples:
        """Pad the end and return the remaining segments float32 `(k, segment)`."""
        pending = np.concatenate([*self._blocks, np.empty(0, np.float32)])
        if self._started:
            right = pending[-2 : -self._pad - 2 : -1]
            pending = np.concatenate([pending, right])
        elif len(pending):
            if self.short:
                pending = np.resize(pending, self._segment - 2 * self._pad)  # repeats it
            pending = np.pad(pending, self._pad, mode="reflect")
        return self._cut(pending, len(pending))

    def _cut(self, pending: Samples, available: int) -> Samples:
        count = max(0, (available - self._segment) // self._hop + 1)
        segments = np.lib.stride_tricks.as_strided(
            pending,
            (count, self._segment),
            (self._hop * pending.itemsize, pending.itemsize),
            writeable=False,
        )
        self._blocks = [pending[count * self._hop :]]
        self._n_pending = len(self._blocks[0])
        self.n_segments += count
        return segments


def sampled_segments(stream: AudioStream, front_end: FrontEnd, n: int) -> Iterator[Samples]:
    """Read segments spread over a file by seeking, equal to those of the whole file there.

    The file's declared length is cut into `n` equal parts, and the segment in the middle
    of each is read. The stream's duration is then the declared one.

    Args:
        stream: from `open_file` with libsndfile, not iterated.
        front_end: `FrontEnd`.
        n: number of segments, >= 1.

    Yields:
        float32 `(1, segment_samples)`; or nothing where the file cannot be sampled: its
        length is not declared, or it holds hardly more segments than `n`.

    Raises:
        AudioError: as iterating the stream raises it.
    """
    ranges = _frame_ranges(stream, front_end, n)
    if not ranges:
        return
    n_read = 0
    for mono in stream.read_ranges((first, count) for first, count, _ in ranges):
        segment = _resampled(mono, stream, front_end)[ranges[n_read][2] :]
        if len(segment) < front_end.segment_samples:
            break  # after the real end
        n_read += 1
        yield segment[None, : front_end.segment_samples]
    stream.duration_s = stream.declared_s or 0.0
    if n_read < len(ranges):
        text = f"{n_read} of {counted(len(ranges), 'segment')} could be read, the header declares "
        stream.flaws.append(("truncated", f"{text}{stream.duration_s:.2f} s"))
    stream.check_end()


def _frame_ranges(stream: AudioStream, front_end: FrontEnd, n: int) -> list[tuple[int, int, int]]:
    """Return (first frame, number of frames, samples to drop) of each segment."""
    n_samples = int((stream.declared_s or 0.0) * front_end.sample_rate)
    span = n_samples + 2 * front_end.pad_samples - front_end.segment_samples
    total = span // front_end.segment_hop_samples + 1
    if total < n + 2:  # the first and the last segment are padded: they are not taken
        return []
    # frames of the file and samples of the segment coincide every `step_samples`
    common = math.gcd(stream.sample_rate, front_end.sample_rate)
    step_frames, step_samples = stream.sample_rate // common, front_end.sample_rate // common
    margin = math.ceil(_MARGIN_S * front_end.sample_rate)
    needed = front_end.segment_samples + 2 * margin + step_samples
    count = math.ceil(needed / step_samples) * step_frames
    found = []
    for part in range(n):
        number = min(max(1, int((part + 0.5) * total / n)), total - 2)
        begin = number * front_end.segment_hop_samples - front_end.pad_samples
        step = max(0, begin - margin) // step_samples
        found.append((step * step_frames, count, begin - step * step_samples))
    return found


def _resampled(mono: Samples, stream: AudioStream, front_end: FrontEnd) -> Samples:
    if stream.sample_rate == front_end.sample_rate:
        return mono
    started = time.perf_counter()
    resampled: Samples = soxr.resample(
        mono, stream.sample_rate, front_end.sample_rate, quality="HQ"
    )
    stream.resample_s += time.perf_counter() - started
    return resampled
