"""Progress and log messages on standard error: a bar in a terminal, else a line each 30 s."""

import contextlib
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from artist_features.errors import display_path

if TYPE_CHECKING:  # NumPy is imported when a job begins
    from artist_features.extraction.job import Tally
    from artist_features.extraction.tables import Row

LINE_EVERY_S = 30.0  # where standard error is no terminal


def write_line(text: str) -> None:
    """Print a line on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    # a standard error that was closed must not stop the job
    with contextlib.suppress(OSError, ValueError):
        tqdm.write(text, file=sys.stderr)


class LogHandler(logging.Handler):
    """Print the package's log messages on standard error, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        write_line(prefix + record.getMessage())


class Progress:
    """Progress bar of a job, and a line for each file that has a flaw or fails.

    It counts from the first file that is finished, so that loading a model and starting
    decoders are no part of the time left.

    Args:
        tally: `Tally` of the job.
        quiet: only lines of files that fail.
    """

    def __init__(self, tally: "Tally", quiet: bool = False) -> None:
        self._tally, self._quiet = tally, quiet
        self._bar: Any = None
        self._n_done = 0
        self._started = self._audio_s_before = 0.0
        self._ended = threading.Event()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.close()

    def update(self, row: "Row") -> None:
        """Count a row; say what is wrong with it."""
        if row.failed or (row.status != "ok" and not self._quiet):
            write_line(f"{display_path(row.name)}: {row.status}: {row.error}")
        if self._quiet or self._tally.n_missing == 1:
            return
        self._n_done += 1
        if self._bar is None:
            self._start()
        if not self._bar.disable:
            self._bar.set_postfix_str(self._speed(), refresh=False)
            self._bar.update()

    def _start(self) -> None:
        from tqdm import tqdm

        self._started = time.monotonic()
        self._audio_s_before = self._tally.audio_s  # of the first file, which took no time here
        n = self._tally.n_missing
        self._bar = tqdm(total=n, unit="file", disable=None, file=sys.stderr, smoothing=0.05)
        if self._bar.disable:
            threading.Thread(target=self._write_lines, daemon=True).start()

    def _write_lines(self) -> None:
        """Write a line every 30 s, however long a file takes."""
        while not self._ended.wait(LINE_EVERY_S):
            write_line(self._line())

    def _speed(self) -> str:
        passed_s = max(time.monotonic() - self._started, 1e-3)
        speed = (self._tally.audio_s - self._audio_s_before) / passed_s
        return f"{speed:.0f} x real time, {self._tally.n_failed} failed"

    def _line(self) -> str:
        n, done = self._tally.n_missing, self._n_done
        left_s = (time.monotonic() - self._started) / max(1, done - 1) * (n - done)
        left = f"{left_s / 3600:.1f} h" if left_s >= 5400 else f"{left_s / 60:.0f} min"
        return f"  {done} of {n} files, {self._speed()}, {left} left"
