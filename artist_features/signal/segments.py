"""Blocks of one clip to fixed-length segments."""

import numpy as np


class Segmenter:
    """Cut a clip, given in blocks, into the model's overlapping waveform segments.

    The clip is padded by reflection with half an STFT window at both ends (a centred
    STFT), once, and then cut; an incomplete last segment is dropped. A clip shorter
    than one segment is zero-padded to one. Memory is bounded by the block size.

    Source: authors' `encoding_cnn.py` (cut); librosa 0.6 `stft` (reflection).

    Args:
        front_end: `FrontEnd`, for segment length, hop and padding in samples.
    """

    def __init__(self, front_end):
        self._segment = front_end.segment_samples
        self._hop = front_end.segment_hop_samples
        self._pad = front_end.pad_samples
        self._pending = np.empty(0, np.float32)  # padded clip, from the next segment on
        self._started = False
        self.n_segments = 0
        self.n_samples = 0

    @property
    def short(self):
        """True if the clip gave no whole segment and was zero-padded to one."""
        return self.n_samples + 2 * self._pad < self._segment

    def push(self, block):
        """Add mono samples float32 `(n,)`; return segments float32 `(k, segment)`, k >= 0."""
        self.n_samples += len(block)
        self._pending = np.concatenate([self._pending, block])
        if not self._started:
            if len(self._pending) <= self._pad:
                return np.empty((0, self._segment), np.float32)
            left = self._pending[self._pad : 0 : -1]
            self._pending = np.concatenate([left, self._pending])
            self._started = True
        # the last pad + 1 samples stay until the end of the clip is known
        return self._cut(len(self._pending) - self._pad - 1)

    def finish(self):
        """Pad the end and return the remaining segments float32 `(k, segment)`."""
        if self._started:
            right = self._pending[-2 : -self._pad - 2 : -1]
            self._pending = np.concatenate([self._pending, right])
        elif len(self._pending):
            self._pending = np.pad(self._pending, self._pad, mode="reflect")
        if self.short:
            missing = self._segment - len(self._pending)
            self._pending = np.pad(self._pending, (0, missing))
        return self._cut(len(self._pending))

    def _cut(self, available):
        count = max(0, (available - self._segment) // self._hop + 1)
        segments = np.lib.stride_tricks.as_strided(
            self._pending,
            (count, self._segment),
            (self._hop * self._pending.itemsize, self._pending.itemsize),
            writeable=False,
        )
        self._pending = self._pending[count * self._hop :]
        self.n_segments += count
        return segments
