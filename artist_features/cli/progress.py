"""Progress, log messages and report of a job on standard error; its report as a JSON file."""

import contextlib
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artist_features.errors import OutputError, display_path
from artist_features.files import write_atomically
from artist_features.progress import LINE_EVERY_S

if TYPE_CHECKING:  # NumPy is imported when a job begins
    from artist_features.library.job import Tally
    from artist_features.library.tables import Row

_TABLE_FROM = 20  # files
_REPORT_BEGIN = '{\n  "report_of": "artist-features extract"'


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
        """Advance the bar by a row; print its error or flaws."""
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


def check_report_path(path: str, output: str | None) -> None:
    """Refuse a path for a report that holds anything but an earlier report."""
    text = None
    folder = os.path.dirname(os.path.abspath(path))
    if not os.access(folder, os.W_OK):
        text = "report cannot be written there; name a file in a folder that can be written to."
    elif output and os.path.abspath(output) in (os.path.abspath(path), folder):
        text = "report cannot be the output or lie in it; choose another place."
    elif os.path.lexists(path) and not _is_report(path):
        text = "is there and is no report of an earlier run; choose another name."
    if text:
        raise OutputError("not_writable", text, path)


def _is_report(path: str) -> bool:
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(len(_REPORT_BEGIN)) == _REPORT_BEGIN
    except (OSError, ValueError):
        return False


def write_report(
    tally: "Tally",
    output: str | None = None,
    report: str | None = None,
    *,
    verbose: bool = False,
    quiet: bool = False,
) -> None:
    """Print a job's summary with its bottleneck; write it as JSON if asked to.

    A line for one file; what was passed over and the statuses for several; times and formats
    from 20 files on.

    Args:
        tally: `Tally` of the job.
        output: where the rows went, to be named.
        report: path of a JSON file to write, checked by `check_report_path` before.
        verbose: times and formats for fewer files, too.
        quiet: nothing on standard error.
    """
    if not quiet:
        _write_lines(tally, output, verbose)
    if report:
        text = json.dumps({"report_of": "artist-features extract", **tally.record()}, indent=2)
        write_atomically(Path(report), f"{text}\n".encode())


def _write_lines(tally: "Tally", output: str | None, verbose: bool) -> None:
    from artist_features.library.tables import WITH_VECTOR

    failed = sum(n for status, n in tally.made.items() if status not in WITH_VECTOR)
    line = f"{tally.made.total() - failed} embedded, {failed} failed"
    if tally.kept:
        failed_before = tally.n_failed - failed
        line += f", {tally.kept.total()} already there"
        line += f" ({failed_before} of them failed)" if failed_before else ""
    line += f", {tally.n_changed} changed since" if tally.n_changed else ""
    line += f", {tally.n_gone} gone, removed" if tally.n_gone else ""
    line += f", {tally.n_repeated} named twice" if tally.n_repeated else ""
    write_line(line + (f"; written to {display_path(output)}" if output else ""))
    statuses = {name: n for name, n in sorted(tally.made.items()) if name != "ok"}
    if statuses and tally.n_listed > 1:
        write_line("  " + ", ".join(f"{name}: {n}" for name, n in statuses.items()))
    if tally.passed:
        write_line(
            "  passed over: " + ", ".join(f"{n} {w}" for w, n in sorted(tally.passed.items()))
        )
    wall_s = tally.seconds["wall"]
    if wall_s and (verbose or tally.made.total() >= _TABLE_FROM):
        _write_times(tally, wall_s)


def _write_times(tally: "Tally", wall_s: float) -> None:
    seconds = tally.seconds
    # of all decoders together, as the columns of decoding below
    fetching = f"fetching {seconds['fetch']:.1f} s, " if seconds["fetch"] >= 0.05 else ""
    write_line(
        f"  {tally.audio_s / 3600:.2f} h of audio in {wall_s:.1f} s "
        f"({tally.audio_s / wall_s:.0f} x real time): loading {seconds['load']:.1f} s, "
        f"{fetching}waiting for decoders {seconds['wait']:.1f} s, model {seconds['model']:.1f} s, "
        f"writing {seconds['write']:.1f} s; limit: {tally.bottleneck}"
    )
    write_line(f"  {'format':<10}{'files':>8}{'audio h':>10}{'decode s':>10}{'resample s':>12}")
    for name, sums in sorted(tally.formats.items()):
        write_line(
            f"  {name:<10}{sums['files']:>8}{sums['audio_s'] / 3600:>10.2f}"
            f"{sums['decode_s']:>10.1f}{sums['resample_s']:>12.1f}"
        )
