"""Graceful shutdown: the first signal stops a command cleanly, a second one at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
_ORDERLY = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Stopped(BaseException):  # no error, as KeyboardInterrupt is none
    """A signal asked for the end.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for a request to end.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = _exit_code(number)


class OrderlyStop:
    """Context in which the first signal raises `Stopped` in the main thread.

    At once, where nothing is written; from the first of the `steps` on, between two of them.
    A second signal ends the process without another word.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._deferred = False
        self._before: dict[int, Any] = {}
        self._hook: Callable[[Any], Any] = sys.unraisablehook

    def __enter__(self) -> "OrderlyStop":
        if threading.current_thread() is threading.main_thread():
            for number in _ORDERLY:
                if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
                    self._before[number] = signal.signal(number, self._handle)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook
        # an extension module that a signal stops at its start says "initialization failed"
        if self._number is not None and (kind is None or _is_of_an_import(error)):
            raise Stopped(self._number) from error

    def steps(self, items: Iterator[T]) -> Iterator[T]:
        """Yield items; a signal interrupts the wait for the next item, never its processing.

        Once it has begun, what comes after the last item is not broken off either.
        """
        while True:
            self._deferred = False
            try:
                self.check()  # a signal came during a step, or its exception got lost
                item = next(items)
            except StopIteration:
                return
            finally:
                self._deferred = True
            yield item

    def check(self) -> None:
        """Raise `Stopped` if there was a signal: where Python frees an object, one is lost."""
        if self._number is not None:
            raise Stopped(self._number)

    def _unraisable(self, lost: Any) -> None:
        """Report an exception that got lost, unless it is ours, which is raised again later."""
        if lost.exc_type is not Stopped:
            self._hook(lost)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._number is not None:
            os._exit(_exit_code(number))
        self._number = number
        if not self._deferred:
            raise Stopped(number)


def _is_of_an_import(error: BaseException | None) -> bool:
    """Return whether an error is an `ImportError`, or was raised while one was handled."""
    while error is not None and not isinstance(error, ImportError):
        error = error.__cause__ or error.__context__
    return error is not None


def _exit_code(number: int) -> int:
    """As shells have it: 128 and the number of SIGINT, or of SIGTERM for any other."""
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
