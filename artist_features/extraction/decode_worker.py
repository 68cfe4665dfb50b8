"""Program of a decode process, and its protocol with the parent.

Requests come in as JSON lines on standard input. Each message out is one kind byte, a length of
eight bytes, then that many bytes: `R` once, the process is ready; `M` so many segments (in place
of the length) lie in the next slots of the `Ring`; `S` a segment as float32, where there is no
ring; `D` facts as JSON; `E` an error as JSON. The process imports NumPy and the decoders, never
TensorFlow. Native libraries print to file descriptors 1 and 2; both are pointed away from the
protocol.
"""

import contextlib
import json
import mmap
import os
import struct
import sys
import threading
import time
from typing import Any, BinaryIO

import numpy as np

from artist_features.audio.decoders import Samples
from artist_features.config import FrontEnd
from artist_features.errors import AudioError
from artist_features.extraction.decode import Source, decode_segments

HEADER = struct.Struct("<cQ")
N_SLOTS = 32  # of 0.27 MB; as many as a parent that computes a batch leaves waiting
GROUP = 4  # slots reported at once
_MEMORY_LIMIT = 2 << 30  # bytes of address space; the decoders take 0.23 GB of it


def main(ring_arguments: tuple[int, int, int] | None = None) -> None:
    """Serve requests on standard input until it closes.

    Args:
        ring_arguments: of `Ring`, or None: segments go through the pipe.
    """
    requests = sys.stdin.buffer
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _limit_memory()
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    ring = None if ring_arguments is None else Ring(*ring_arguments)
    try:
        _send(out, b"R")
        for line in requests:
            _serve(json.loads(line), out, ring)
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # the parent is gone or is stopping
    # the interpreter would flush and close file descriptors that the parent already closed
    os._exit(0)


def encode_request(source: Source, front_end: FrontEnd) -> bytes:
    """Return the line that asks a decode process for the segments of `source`."""
    record = {"source": source.to_record(), "front_end": vars(front_end)}
    return json.dumps(record).encode("ascii") + b"\n"


def _serve(request: dict[str, Any], out: BinaryIO, ring: "Ring | None") -> None:
    source, front_end = Source.from_record(request["source"]), FrontEnd(**request["front_end"])
    # sampled ones are far apart, and take long to be found
    group = 1 if source.reading.n_segments else GROUP
    sender = _Sender(out, ring, group)
    stream = decode_segments(source, front_end)
    try:
        for segments in stream:
            for segment in segments:
                sender.add(segment)
    except AudioError as error:
        kind, record = b"E", error.to_record()
    else:
        kind, record = b"D", stream.facts.to_record() if stream.facts else {}
    sender.flush()
    _send(out, kind, json.dumps(record).encode())


class _Sender:
    """Sends segments through shared memory, reported in groups; without a ring by the pipe."""

    def __init__(self, out: BinaryIO, ring: "Ring | None", group: int) -> None:
        self._out, self._ring, self._group, self._n_unreported = out, ring, group, 0

    def add(self, segment: Samples) -> None:
        if self._ring is None:
            _send(self._out, b"S", segment.data.cast("B"))  # contiguous, one by one
            return
        self._ring.put(segment)
        self._n_unreported += 1
        if self._n_unreported == self._group:
            self.flush()

    def flush(self) -> None:
        if self._n_unreported:
            self._out.write(HEADER.pack(b"M", self._n_unreported))
        self._n_unreported = 0


def _send(out: BinaryIO, kind: bytes, payload: "bytes | memoryview" = b"") -> None:
    out.write(HEADER.pack(kind, len(payload)))
    view = memoryview(payload)
    while view:
        view = view[out.write(view) :]


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, even in the middle of a decoder."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system: no limit to set
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = _MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(_MEMORY_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


class Ring:
    """Zero-copy shared-memory ring buffer of segments: decode process to parent.

    A ring of slots of one segment each; each process uses its own end. The decode process fills
    the slots in turn and takes one byte from a pipe for each: a slot is free when the parent,
    which is done with it, has put a byte in. Full slots are reported in groups, as every word
    between two processes costs time. Neither memory nor pipe has a name in the file system, so
    that nothing is left of them after a kill.

    Args:
        memory: file descriptor of the shared memory.
        free: file descriptor of the pipe: its reading end in the decode process, its
            writing end in the parent.
        segment_samples: float32 samples of a slot.
    """

    def __init__(self, memory: int, free: int, segment_samples: int) -> None:
        self._free: int | None = free
        mapped = mmap.mmap(memory, _ring_bytes(segment_samples))
        os.close(memory)  # the mapping stays
        self._slots = np.frombuffer(mapped, np.float32).reshape(N_SLOTS, segment_samples)
        self._next = 0
        self._n_taken = 0  # slots that the parent uses
        self._changed = threading.Condition()

    def put(self, segment: Samples) -> None:
        """Copy a segment into the next slot, as soon as it is free (decode process)."""
        if self._free is None or not os.read(self._free, 1):
            raise BrokenPipeError  # the parent is gone
        self._turn()[:] = segment

    def wait(self) -> None:
        """Wait until the other end has a group to fill, or the ring is closed (parent)."""
        with self._changed:
            most = N_SLOTS - GROUP
            self._changed.wait_for(lambda: self._n_taken <= most or self._free is None)

    def take(self, n: int) -> list[Samples]:
        """Return the `n` slots that were filled next, float32 `(segment_samples,)` (parent)."""
        with self._changed:
            self._n_taken += n
        return [self._turn() for _ in range(n)]

    def release(self, n: int) -> None:
        """Release the `n` oldest slots of the ring buffer (parent)."""
        with self._changed:
            if self._free is None:
                return
            self._n_taken -= n
            with contextlib.suppress(BrokenPipeError):  # the process has died
                os.write(self._free, b"+" * n)
            self._changed.notify()

    def close(self) -> None:
        """Close the pipe and wake who waits; views of slots stay valid (parent)."""
        with self._changed:
            if self._free is not None:
                os.close(self._free)
            self._free = None
            self._changed.notify()

    def _turn(self) -> Samples:
        slot: Samples = self._slots[self._next]
        self._next = (self._next + 1) % N_SLOTS
        return slot


def open_ring(segment_samples: int) -> tuple[Ring | None, tuple[int, ...]]:
    """Make a ring for a decode process that is to be started.

    Returns:
        (`Ring` for the parent, file descriptors for the decode process to inherit), or
        (None, ()) where the system has no such memory (macOS, Windows) or gives none.
    """
    if not hasattr(os, "memfd_create"):
        return None, ()
    memory = os.memfd_create("artist-features")
    try:
        os.ftruncate(memory, _ring_bytes(segment_samples))
    except OSError:  # a limit on the size of files holds for this memory, too
        os.close(memory)
        return None, ()
    readable, writable = os.pipe()
    os.write(writable, b"+" * N_SLOTS)
    return Ring(os.dup(memory), writable, segment_samples), (memory, readable)


def _ring_bytes(segment_samples: int) -> int:
    return N_SLOTS * segment_samples * 4
