"""Blocks of one clip to fixed-length segments."""

import numpy as np


class Segmenter:
    """Cut a clip, given in blocks, into the model's overlapping waveform segments.

    The clip is padded by reflection with half an STFT window at both ends (a centred
    STFT), once, and then cut; an incomplete last segment is dropped. A clip shorter
    than one segment is looped to one. Memory is bounded by the block size.

    Source: authors' `encoding_cnn.py` (cut); librosa 0.6 `stft` (reflection).

    Args:
        front_end: `FrontEnd`, for segment length, hop and padding in samples.
    """

    def __init__(self, front_end):
        self._segment = front_end.segment_samples
        self._hop = front_end.segment_hop_samples
        self._pad = front_end.pad_samples
        self._blocks = []  # of the padded clip, from the next segment on
        self._n_pending = 0  # samples in them
        self._started = False
        self.n_segments = 0
        self.n_samples = 0

    @property
    def short(self):
        """True if the clip gave no whole segment and was looped to one."""
        return self.n_samples + 2 * self._pad < self._segment

    def push(self, block):
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

    def finish(self):
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

    def _cut(self, pending, available):
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
