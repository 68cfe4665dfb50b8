"""Signals that wait until TensorFlow has returned.

A signal handler of Python runs wherever the main thread is, also where TensorFlow's C++ code
calls Python, and that code does not survive the exception of a handler (`KeyboardInterrupt` for
one): it fails with SystemError, or goes on with a damaged heap and aborts some calls later.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Context in which a Python signal handler is not called; it is called at its end.

    Only in the main thread, the one in which Python calls handlers. A second signal calls the
    handler at once: a call that never returns can be ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    before = {int(number): signal.getsignal(number) for number in signal.valid_signals()}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}

    def receive(number: int, frame: FrameType | None) -> None:
        received.append((number, frame))
        if len(received) > 1:
            handlers[number](number, frame)

    try:
        for number in handlers:
            signal.signal(number, receive)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in received[:1]:
            handlers[number](number, frame)
