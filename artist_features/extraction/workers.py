"""Decode many sources at once, in threads or in processes that may die.

One supervising thread holds one source at a time, and in isolated mode one process.
What it gets it puts into one bounded queue, so that a slow model slows the decoding
and memory stays flat. A process that crashes or hangs costs the file it was reading:
the file gets one more try in a fresh process, then an `AudioError`.
"""

import contextlib
import queue
import threading
import time
from dataclasses import dataclass

from artist_features.errors import AudioError
from artist_features.extraction.child import ATTEMPTS, Child
from artist_features.extraction.decode import Facts, decode_segments
from artist_features.extraction.remote import fetched

_AGAIN = ("crashed", "timeout", "out_of_memory")  # in a fresh process it may go well
_QUEUE_SEGMENTS = 96  # blocks between the decoders and the batches


@dataclass(frozen=True)
class Event:
    """Something that happened to source number `index`.

    Attributes:
        index: position of the source in the input.
        attempt: counted from 0; segments of an earlier attempt no longer count.
        segments: rows of float32 `(segment_samples,)`, valid until the next event is asked
            for, or None.
        facts: `Facts` if the source is finished, else None.
        error: `AudioError` if the source has failed, else None.
    """

    index: int
    attempt: int = 0
    segments: object = None
    facts: object = None
    error: object = None
    release: object = None  # called once the segments are not needed any more


class DecodePool:
    """Iterate over the `Event`s of all sources; a context manager that cleans up.

    Args:
        sources: iterable of `Source`, taken one by one as decoders become free.
        front_end: `FrontEnd`.
        n_workers: decoders at once, >= 1.
        isolated: decode files in processes; arrays are always handled in the thread.
        idle_s: None in place of an event is yielded whenever none came for so long, so that
            the reader can do something else; None means never.

    Attributes:
        fetch_s: seconds that the decoders together waited for recordings behind URIs.
    """

    def __init__(self, sources, front_end, n_workers, isolated, idle_s=None):
        self._sources = enumerate(sources)
        self._front_end = front_end
        self._isolated = isolated
        self._idle_s = idle_s
        self.fetch_s = 0.0
        self._counting = threading.Lock()
        self._fetching = set()  # threads that wait for a network, and may do so for long
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
            alive = any(t.is_alive() for t in self._threads if t not in self._fetching)
            for child in self._children:  # each time: one may only now have been started
                child.kill()
            with contextlib.suppress(queue.Empty):
                while True:  # make room for a thread that waits to put its last event
                    self._events.get_nowait()
        self._events.put(None)  # wakes a reader that still waits

    def __iter__(self):
        while self._running and not self._stopping.is_set():
            try:
                event = self._events.get(timeout=self._idle_s)
            except queue.Empty:
                yield None
                continue
            if event is None:
                self._running -= 1
            elif isinstance(event, Exception):
                raise event
            else:
                yield event
                if event.release:
                    event.release()

    def _put(self, event):
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                return self._events.put(event, timeout=0.1)

    def _supervise(self):
        child = None
        try:
            if self._isolated:
                child = Child(self._front_end)
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
            with self._fetched(source) as source:
                if child is None or source.path is None:
                    self._decode_here(index, source)
                else:
                    self._decode_there(index, source, child)
        except AudioError as error:  # it could not be fetched
            self._put(Event(index, error=error))

    @contextlib.contextmanager
    def _fetched(self, source):
        thread, started = threading.current_thread(), time.perf_counter()
        self._fetching.add(thread)
        try:
            with fetched(source, self._stopping.is_set) as copy:
                self._end_fetching(thread, started)
                yield copy
        finally:
            if thread in self._fetching:  # it failed
                self._end_fetching(thread, started)

    def _end_fetching(self, thread, started):
        self._fetching.discard(thread)
        with self._counting:
            self.fetch_s += time.perf_counter() - started

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
                for item in child.decode(source):
                    if isinstance(item, Facts):
                        self._put(Event(index, attempt, facts=item))
                    else:
                        self._put(Event(index, attempt, item, release=child.release_of(item)))
                return
            except AudioError as error:
                last = attempt + 1 == ATTEMPTS or error.code not in _AGAIN
                if error.code == "out_of_memory":
                    child.close()  # another file may have left it little
                if self._stopping.is_set():
                    return
                if last:
                    self._put(Event(index, attempt, error=error))
                    return

    def _watch(self):
        """Kill children that were waited for too long."""
        while not self._stopping.wait(0.25):
            if not any(thread.is_alive() for thread in self._threads[:-1]):
                return
            for child in self._children:
                child.kill_if_late()
