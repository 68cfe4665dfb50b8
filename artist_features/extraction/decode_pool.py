"""Decode many sources at once, in threads or in processes that may die.

One supervising task holds one source at a time, and in isolated mode one process.
Segments go into one bounded queue, so that a slow model slows the decoding
and memory stays flat. A process that crashes or hangs costs the file it was reading:
the file gets one more try in a fresh process, then an `AudioError`.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from artist_features.config import FrontEnd
from artist_features.errors import AnyPath, AudioError
from artist_features.extraction.decode import Facts, Source, decode_segments
from artist_features.extraction.decode_process import ATTEMPTS, DecodeProcess
from artist_features.extraction.remote import fetched

_AGAIN = ("crashed", "timeout", "out_of_memory")  # in a fresh process it may go well
_PATIENCE_S = 0.5  # at the end, with a thread that waits for a network or the caller's iterable
_QUEUE_EVENTS = 96  # between the decoders and the batches


@dataclass(frozen=True)
class Event:
    """Progress of source number `index`: some of its segments, its end, or its failure.

    Attributes:
        index: position of the source in the input.
        attempt: counted from 0; segments of an earlier attempt no longer count.
        segments: rows of float32 `(segment_samples,)`, valid until the next event is asked
            for, or None.
        facts: `Facts` if the source is finished, else None.
        error: `AudioError` of the path as the caller named it, if the source has failed.
        path: of the source, as the caller named it.
        release: called once the segments are not needed any more.
    """

    index: int
    attempt: int = 0
    segments: Any = None
    facts: Facts | None = None
    error: AudioError | None = None
    path: AnyPath | None = None
    release: Callable[[], None] | None = None


class ThreadTask:
    """One call of a function in a daemon thread, which is kept for later tasks.

    A new thread for each task would take another arena of memory from glibc: 1,000 calls of
    `extract` ended up to 70 MB larger (benchmarks/loop_of_calls.py).

    Args:
        function: without arguments; it raises nothing.

    Attributes:
        thread: identifier of the thread that runs it, or None before it is started.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self.thread: int | None = None
        self._function: Callable[[], None] | None = function
        self._started, self._ended = False, threading.Event()

    def start(self) -> None:
        """Hand the function to an idle thread, or to a new one."""
        try:
            tasks = _idle.pop()
        except IndexError:
            tasks = queue.SimpleQueue()
            threading.Thread(target=_run_tasks, args=[tasks], name="decode", daemon=True).start()
        self._started = True
        tasks.put(self)

    def is_alive(self) -> bool:
        """Return whether the function was started and has not returned."""
        return self._started and not self._ended.is_set()

    def run(self, tasks: "queue.SimpleQueue[ThreadTask]") -> None:
        """Call the function, and forget it with all that it holds (in the thread)."""
        self.thread = threading.get_ident()
        function, self._function = self._function, None
        try:
            if function:
                function()
            del function
            _idle.append(tasks)  # first: who sees that it has ended finds an idle thread
        finally:
            self._ended.set()


# queues of the threads that wait for a task
_idle: list["queue.SimpleQueue[ThreadTask]"] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a child has none of its parent's threads


def _run_tasks(tasks: "queue.SimpleQueue[ThreadTask]") -> None:
    while True:
        tasks.get().run(tasks)


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

    def __init__(
        self,
        sources: Iterable[Source],
        front_end: FrontEnd,
        n_workers: int,
        isolated: bool,
        idle_s: float | None = None,
    ) -> None:
        self._sources = enumerate(sources)
        self._front_end = front_end
        self._isolated = isolated
        self._idle_s = idle_s
        self.fetch_s = 0.0
        self._counting = threading.Lock()
        # threads that wait for a network, or for the caller's iterable, and may do so long
        self._blocked_on_io: set[int] = set()
        # an exception ends the reading; None: a supervising thread has ended
        self._events: queue.Queue[Event | Exception | None] = queue.Queue(_QUEUE_EVENTS)
        self._next_source = threading.Lock()
        self._stopping = threading.Event()
        self._processes: list[DecodeProcess] = []
        self._running = n_workers
        self._decoding = [ThreadTask(self._supervise) for _ in range(n_workers)]
        self._tasks = [*self._decoding, *([ThreadTask(self._watch)] if isolated else [])]

    def __enter__(self) -> "DecodePool":
        try:
            for task in self._tasks:
                task.start()
        except BaseException:  # Ctrl-C: those that run end
            self._stopping.set()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        alive, waited_for = True, time.monotonic() + _PATIENCE_S
        while alive:
            time.sleep(0.002)
            left = set() if time.monotonic() < waited_for else self._blocked_on_io
            alive = any(task.is_alive() and task.thread not in left for task in self._tasks)
            for process in self._processes:  # each time: one may only now have been started
                process.kill()
            with contextlib.suppress(queue.Empty):
                while True:  # make room for a thread that waits to put its last event
                    self._events.get_nowait()
        self._events.put(None)  # wakes a reader that still waits

    def __iter__(self) -> Iterator[Event | None]:
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

    def _put(self, event: Event | Exception | None) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                return self._events.put(event, timeout=0.1)

    def _supervise(self) -> None:
        process = None
        try:
            if self._isolated:
                process = DecodeProcess(self._front_end)
                self._processes.append(process)
            while not self._stopping.is_set():
                index, source = self._take()
                if source is None or self._stopping.is_set():
                    break
                self._decode(index, source, process)
        except Exception as error:  # noqa: BLE001 - raised again where the events are read
            self._put(error)
        finally:
            if process:
                process.close()
            self._put(None)

    def _take(self) -> tuple[int, Source | None]:
        """Return the number of the next source and the source; None after the last."""
        with self._blocking_on_io(), self._next_source:
            return next(self._sources, (0, None))

    @contextlib.contextmanager
    def _blocking_on_io(self) -> Iterator[None]:
        thread = threading.get_ident()
        self._blocked_on_io.add(thread)
        try:
            yield
        finally:
            self._blocked_on_io.discard(thread)

    def _decode(self, index: int, source: Source, process: DecodeProcess | None) -> None:
        try:
            with self._fetched(source) as local:
                if process is None or local.path is None:
                    self._decode_here(index, source, local)
                else:
                    self._decode_in_process(index, source, local, process)
        except AudioError as error:
            self._fail(index, 0, source, error)

    @contextlib.contextmanager
    def _fetched(self, source: Source) -> Iterator[Source]:
        started = time.perf_counter()
        with contextlib.ExitStack() as held:
            try:
                with self._blocking_on_io():
                    copy = held.enter_context(fetched(source, self._stopping.is_set))
            finally:
                with self._counting:
                    self.fetch_s += time.perf_counter() - started
            yield copy

    def _decode_here(self, index: int, source: Source, local: Source) -> None:
        stream = decode_segments(local, self._front_end)
        for segments in stream:
            if self._stopping.is_set():
                return
            self._put(Event(index, segments=segments))
        self._put(Event(index, facts=stream.facts, path=source.path))

    def _decode_in_process(
        self, index: int, source: Source, local: Source, process: DecodeProcess
    ) -> None:
        for attempt in range(ATTEMPTS):
            try:
                for segments, release in process.decode(local):
                    self._put(Event(index, attempt, segments, release=release))
                self._put(Event(index, attempt, facts=process.facts, path=source.path))
                return
            except AudioError as error:
                if error.code == "out_of_memory":
                    process.close()  # another file may have left it little
                if self._stopping.is_set():
                    return
                if attempt + 1 == ATTEMPTS or error.code not in _AGAIN:
                    self._fail(index, attempt, source, error)
                    return

    def _fail(self, index: int, attempt: int, source: Source, error: AudioError) -> None:
        # without the decoder's frames, which a caller that keeps the error would keep in memory
        error = error.renamed(source.path)
        self._put(Event(index, attempt, error=error, path=source.path))

    def _watch(self) -> None:
        """Kill processes that were waited for too long."""
        while not self._stopping.wait(0.25):
            if not any(task.is_alive() for task in self._decoding):
                return
            for process in self._processes:
                process.kill_if_late()
