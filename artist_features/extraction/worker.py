"""The program of one decode process: requests in as JSON lines, segments out as bytes.

Each message out is one kind byte, a length of eight bytes, then that many bytes: `R` once,
the process is ready; `M` so many segments (in place of the length) lie in the next slots of
the `Ring`; `S` a segment as float32, where there is no ring; `D` facts as JSON; `E` an error
as JSON. The process imports NumPy and the decoders, never TensorFlow. Native libraries print
to file descriptors 1 and 2; both are pointed away from the protocol.
"""

import json
import os
import struct
import sys
import threading
import time

from artist_features.config import FrontEnd
from artist_features.errors import AudioError
from artist_features.extraction.decode import Source, decode_segments
from artist_features.extraction.ring import GROUP, Ring
from artist_features.signal.decoders import Span

HEADER = struct.Struct("<cQ")
_MEMORY_LIMIT = 2 << 30  # bytes of address space; the decoders take 0.23 GB of it


def main(ring=None):
    """Serve requests on standard input until it closes.

    Args:
        ring: arguments of `Ring`, or None: segments go through the pipe.
    """
    requests = sys.stdin.buffer
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _limit_memory()
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    ring = ring and Ring(*ring)
    try:
        _send(out, b"R")
        for line in requests:
            _serve(json.loads(line), out, ring)
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # the parent is gone or is stopping: nobody is left to tell
    # the interpreter would flush and close file descriptors that the parent already closed
    os._exit(0)


def encode_request(source, front_end):
    """Return the line that asks a worker for `source`; any file name survives."""
    record = {
        "path": os.fsdecode(source.audio),
        "span": [source.span.offset_s, source.span.duration_s],
        "decoder": source.decoder,
        "hashed": source.hashed,
        "n_sampled": source.n_sampled,
        "front_end": vars(front_end),
    }
    return json.dumps(record).encode("ascii") + b"\n"


def _serve(record, out, ring):
    source = Source(
        record["path"],
        span=Span(*record["span"]),
        decoder=record["decoder"],
        hashed=record["hashed"],
        n_sampled=record["n_sampled"],
    )
    # sampled ones are far apart, and take long to be found
    group = 1 if source.n_sampled else GROUP
    segments = _InRing(out, ring, group) if ring else _InPipe(out)
    try:
        for item in decode_segments(source, FrontEnd(**record["front_end"])):
            if hasattr(item, "to_record"):
                segments.flush()
                _send(out, b"D", json.dumps(item.to_record()).encode())
            else:
                for segment in item:
                    segments.add(segment)
    except AudioError as error:
        segments.flush()
        record = {"code": error.code, "message": error.message}
        _send(out, b"E", json.dumps(record).encode())


class _InRing:
    """Segments through shared memory; told of in groups."""

    def __init__(self, out, ring, group):
        self._out, self._ring, self._group, self._n_untold = out, ring, group, 0

    def add(self, segment):
        self._ring.put(segment)
        self._n_untold += 1
        if self._n_untold == self._group:
            self.flush()

    def flush(self):
        if self._n_untold:
            self._out.write(HEADER.pack(b"M", self._n_untold))
        self._n_untold = 0


class _InPipe:
    """Segments through the pipe, each at once."""

    def __init__(self, out):
        self._out = out

    def add(self, segment):
        _send(self._out, b"S", memoryview(segment).cast("B"))  # contiguous, one by one

    def flush(self):
        """Nothing is held back."""


def _send(out, kind, payload=b""):
    out.write(HEADER.pack(kind, len(payload)))
    view = memoryview(payload)
    while view:
        view = view[out.write(view) :]


def _end_with(parent):
    """End this process when its parent is gone, even in the middle of a decoder."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


def _limit_memory():
    try:
        import resource
    except ImportError:  # not a POSIX system: no limit to set
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = _MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(_MEMORY_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
