"""Signals that end a job: the first one in order, the second one at once."""

import os
import signal
import sys
import threading

_ORDERLY = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Stopped(BaseException):  # no error, as KeyboardInterrupt is none
    """A signal asked for the end.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for a request to end.
    """

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.exit_code = _exit_code(number)


class OrderlyStop:
    """Context in which the first signal raises `Stopped` in the main thread.

    Never inside `whole()`: there it waits until the block is done. A second signal ends
    the process without another word.
    """

    def __init__(self):
        self._number = None
        self._busy = False
        self._before = {}
        self._hook = None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in _ORDERLY:
                if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
                    self._before[number] = signal.signal(number, self._handle)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, kind, error, _):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook
        # an extension module that a signal stops at its start says "initialization failed"
        if self._number is not None and kind is not None and issubclass(kind, ImportError):
            raise Stopped(self._number) from error

    def _unraisable(self, unraisable):
        """Tell of an exception that got lost, unless it is ours, which `whole` raises again."""
        if unraisable.exc_type is not Stopped:
            self._hook(unraisable)

    def _handle(self, number, _):
        if self._number is not None:
            os._exit(_exit_code(number))
        self._number = number
        if not self._busy:
            raise Stopped(number)

    def check(self) -> None:
        """Raise `Stopped` if there was a signal: where Python frees an object, one is lost."""
        if self._number is not None:
            raise Stopped(self._number)

    def whole(self, function, *, at_the_end=False):
        """Return the function, not to be broken off by the first signal.

        Afterwards `Stopped` is raised if there was one, be it before: where Python frees an
        object, an exception is lost.

        Args:
            at_the_end: the function cleans up after a stop; only a new signal counts.
        """

        def run(*args, **options):
            before, self._busy = self._number, True
            try:
                return function(*args, **options)
            finally:
                self._busy = False
                if self._number is not None and not (at_the_end and self._number == before):
                    raise Stopped(self._number)

        return run


def _exit_code(number):
    """As shells have it: 128 and the number of SIGINT, or of SIGTERM for any other."""
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
