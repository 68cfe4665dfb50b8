"""Segments handed from a decode process to its parent in shared memory, without a copy.

A ring of slots of one segment each. The process fills them in turn and takes one byte from
a pipe for each: a slot is free when the parent, which is done with it, has put a byte in.
Full slots are told of in groups, as every word between two processes costs time.
Neither has a name in the file system, so that nothing is left of them after a kill.
"""

import contextlib
import mmap
import os
import threading

import numpy as np

N_SLOTS = 32  # of 0.27 MB; as many as a parent that computes a batch leaves waiting
GROUP = 4  # slots told of at once


class Ring:
    """Both ends of the ring; each process uses its own.

    Args:
        memory: file descriptor of the shared memory.
        free: file descriptor of the pipe: its reading end in the decode process, its
            writing end in the parent.
        segment_samples: float32 samples of a slot.
    """

    def __init__(self, memory, free, segment_samples):
        self._free = free
        mapped = mmap.mmap(memory, _size(segment_samples))
        os.close(memory)  # the mapping stays
        self._slots = np.frombuffer(mapped, np.float32).reshape(N_SLOTS, segment_samples)
        self._next = 0
        self._n_taken = 0  # slots that the parent uses
        self._changed = threading.Condition()

    def put(self, segment):
        """Copy a segment into the next slot, as soon as it is free (decode process)."""
        if not os.read(self._free, 1):
            raise BrokenPipeError  # the parent is gone
        self._turn()[:] = segment

    def wait(self):
        """Wait until the other end has a group to fill, or the ring is closed (parent)."""
        with self._changed:
            most = N_SLOTS - GROUP
            self._changed.wait_for(lambda: self._n_taken <= most or self._free is None)

    def take(self, n):
        """Return the `n` slots that were filled next, float32 `(segment_samples,)` (parent)."""
        with self._changed:
            self._n_taken += n
        return [self._turn() for _ in range(n)]

    def release(self, n):
        """Say that the `n` slots taken first are not needed any more (parent)."""
        with self._changed:
            if self._free is None:
                return
            self._n_taken -= n
            with contextlib.suppress(BrokenPipeError):  # the process has died
                os.write(self._free, b"+" * n)
            self._changed.notify()

    def close(self):
        """Close the pipe and wake who waits; views of slots stay valid (parent)."""
        with self._changed:
            if self._free is not None:
                os.close(self._free)
            self._free = None
            self._changed.notify()

    def _turn(self):
        slot = self._slots[self._next]
        self._next = (self._next + 1) % N_SLOTS
        return slot


def open_ring(segment_samples):
    """Make a ring.

    Returns:
        (`Ring` for the parent, file descriptors for the decode process to inherit), or
        (None, ()) where the system has no such memory (macOS, Windows) or gives none.
    """
    if not hasattr(os, "memfd_create"):
        return None, ()
    memory = os.memfd_create("artist-features")
    try:
        os.ftruncate(memory, _size(segment_samples))
    except OSError:  # a limit on the size of files holds for this memory, too
        os.close(memory)
        return None, ()
    theirs, ours = os.pipe()
    os.write(ours, b"+" * N_SLOTS)
    return Ring(os.dup(memory), ours, segment_samples), (memory, theirs)


def _size(segment_samples):
    return N_SLOTS * segment_samples * 4
