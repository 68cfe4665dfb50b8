"""Decode many sources at once, in threads or in processes that may die.

One supervising thread holds one source at a time, and in isolated mode one process.
What it gets it puts into one bounded queue, so that a slow model slows the decoding
and memory stays flat. A process that crashes or hangs costs the file it was reading:
the file gets one more try in a fresh process, then an `AudioError`.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np

from artist_features.errors import AudioError
from artist_features.extraction.decode import Facts, decode_segments
from artist_features.extraction.remote import fetched
from artist_features.extraction.worker import HEADER, encode_request

ATTEMPTS = 2
_SILENCE_LIMIT_S = 60.0  # a worker that sends nothing for so long hangs
_QUEUE_SEGMENTS = 96  # blocks between the decoders and the batches
_PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class Event:
    """Something that happened to source number `index`.

    Attributes:
        index: position of the source in the input.
        attempt: counted from 0; segments of an earlier attempt no longer count.
        segments: float32 `(k, segment_samples)`, or None.
        facts: `Facts` if the source is finished, else None.
        error: `AudioError` if the source has failed, else None.
    """

    index: int
    attempt: int = 0
    segments: object = None
    facts: object = None
    error: object = None


class DecodePool:
    """Iterate over the `Event`s of all sources; a context manager that cleans up.

    Args:
        sources: iterable of `Source`, taken one by one as decoders become free.
        front_end: `FrontEnd`.
        n_workers: decoders at once, >= 1.
        isolated: decode files in processes; arrays are always handled in the thread.
    """

    def __init__(self, sources, front_end, n_workers, isolated):
        self._sources = enumerate(sources)
        self._front_end = front_end
        self._isolated = isolated
        self._events = queue.Queue(_QUEUE_SEGMENTS)
        self._next_source = threading.Lock()
        self._stopping = threading.Event()
        self._children = []
        self._running = n_workers
        self._threads = [
            threading.Thread(target=self._supervise, name=f"decode-{n}", daemon=True)
            for n in range(n_workers)
        ]
        if isolated:
            watch = threading.Thread(target=self._watch, name="decode-watch", daemon=True)
            self._threads.append(watch)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        alive = True
        while alive:
            time.sleep(0.002)
            alive = any(thread.is_alive() for thread in self._threads)
            for child in self._children:  # each time: one may only now have been started
                child.kill()
            with contextlib.suppress(queue.Empty):
                while True:  # make room for a thread that waits to put its last event
                    self._events.get_nowait()
        self._events.put(None)  # wakes a reader that still waits

    def __iter__(self):
        while self._running and not self._stopping.is_set():
            event = self._events.get()
            if event is None:
                self._running -= 1
            elif isinstance(event, Exception):
                raise event
            else:
                yield event

    def _put(self, event):
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                return self._events.put(event, timeout=0.1)

    def _supervise(self):
        child = None
        try:
            if self._isolated:
                child = _Child()
                self._children.append(child)
            while not self._stopping.is_set():
                with self._next_source:
                    index, source = next(self._sources, (None, None))
                if source is None:
                    break
                self._decode(index, source, child)
        except Exception as error:  # noqa: BLE001 - raised again where the events are read
            self._put(error)
        finally:
            if child:
                child.close()
            self._put(None)

    def _decode(self, index, source, child):
        try:
            with fetched(source, self._stopping.is_set) as source:
                if child is None or source.path is None:
                    self._decode_here(index, source)
                else:
                    self._decode_there(index, source, child)
        except AudioError as error:  # it could not be fetched
            self._put(Event(index, error=error))

    def _decode_here(self, index, source):
        try:
            for item in decode_segments(source, self._front_end):
                if self._stopping.is_set():
                    return
                is_facts = isinstance(item, Facts)
                self._put(Event(index, facts=item) if is_facts else Event(index, segments=item))
        except AudioError as error:
            self._put(Event(index, error=error))

    def _decode_there(self, index, source, child):
        for attempt in range(ATTEMPTS):
            try:
                for item in child.decode(source, self._front_end):
                    kind = "facts" if isinstance(item, Facts) else "segments"
                    self._put(Event(index, attempt, **{kind: item}))
                return
            except AudioError as error:
                last = attempt + 1 == ATTEMPTS or error.code not in ("crashed", "timeout")
                if self._stopping.is_set():
                    return
                if last:
                    self._put(Event(index, attempt, error=error))
                    return

    def _watch(self):
        """Kill children that have been silent for too long."""
        while not self._stopping.wait(0.25):
            if not any(thread.is_alive() for thread in self._threads[:-1]):
                return
            for child in self._children:
                child.kill_if_silent()


class _Child:
    """One decode process, started when needed and again after it died."""

    def __init__(self):
        self._process = None
        self._waiting_since = None
        self._timed_out = False
        self._start()

    def _start(self):
        # the child finds this package where the parent found it, and nothing in the
        # working directory can take a module's place
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            "from artist_features.extraction.worker import main; main()"
        )
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **threads},
            start_new_session=True,  # Ctrl-C reaches the parent alone
        )
        _enlarge_pipe(self._process.stdout)

    def decode(self, source, front_end):
        """Yield what `decode_segments` yields, from the process."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        self._timed_out = False
        try:
            self._process.stdin.write(encode_request(source, front_end))
            while True:
                kind, size = HEADER.unpack(self._read(bytearray(HEADER.size)))
                if kind == b"S":
                    segment = np.empty((1, front_end.segment_samples), np.float32)
                    yield self._read(segment, segment.nbytes)
                elif kind == b"D":
                    yield Facts.from_record(json.loads(bytes(self._read(bytearray(size)))))
                    return
                else:
                    record = json.loads(bytes(self._read(bytearray(size))))
                    raise AudioError(record["code"], record["message"], source.path)
        except (EOFError, BrokenPipeError):
            raise self._death(source) from None

    def _read(self, buffer, size=None):
        view = memoryview(buffer).cast("B")[:size]
        self._waiting_since = time.monotonic()
        while view:
            count = self._process.stdout.readinto(view)
            if not count:
                raise EOFError
            view = view[count:]
        self._waiting_since = None
        return buffer

    def _death(self, source):
        code = self._process.wait()
        self._waiting_since = None
        self.close()
        if self._timed_out:
            text = f"the decoder sent nothing for {_SILENCE_LIMIT_S:g} s and was stopped."
            return AudioError("timeout", text, source.path)
        if code < 0:
            text = (
                f"the decoder process died of signal {-code} ({_signal_name(-code)}), twice. "
                "The file is damaged or hostile."
            )
        else:
            text = (
                f"the decoder process ended with status {code}, twice: a fault of this package. "
                "Please report it with the file."
            )
        return AudioError("crashed", text, source.path)

    def kill_if_silent(self):
        """Stop the process if it has sent nothing for too long while it was asked to."""
        since = self._waiting_since
        if since is not None and time.monotonic() - since > _SILENCE_LIMIT_S:
            self._timed_out = True
            self.kill()

    def kill(self):
        """Stop the process at once."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self):
        """Let the process end, then free it."""
        if self._process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _enlarge_pipe(stream):
    """Let a whole segment fit into the pipe, where the system allows it (Linux)."""
    try:
        import fcntl

        fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return  # the default size works too, with more switches
