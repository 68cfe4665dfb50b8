"""Report of a job: lines on standard error at its end, and a JSON file."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from artist_features.cli.progress import write_line
from artist_features.errors import OutputError, display_path
from artist_features.files import write_atomically

if TYPE_CHECKING:  # NumPy is imported when a job begins
    from artist_features.extraction.job import Tally

_TABLE_FROM = 20  # files
_REPORT_BEGIN = '{\n  "report_of": "artist-features extract"'


def check_place(path: str, output: str | None) -> None:
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
    """Report what was done and where the time went; write it to a file if asked to.

    A line for one file; what was passed over and the statuses for several; times and formats
    from 20 files on.

    Args:
        tally: `Tally` of the job.
        output: where the rows went, to be named.
        report: path of a JSON file to write, checked by `check_place` before.
        verbose: times and formats for fewer files, too.
        quiet: nothing on standard error.
    """
    if not quiet:
        _write_lines(tally, output, verbose)
    if report:
        text = json.dumps({"report_of": "artist-features extract", **tally.record()}, indent=2)
        write_atomically(Path(report), f"{text}\n".encode())


def _write_lines(tally: "Tally", output: str | None, verbose: bool) -> None:
    from artist_features.extraction.tables import WITH_VECTOR

    failed = sum(n for status, n in tally.made.items() if status not in WITH_VECTOR)
    line = f"{tally.made.total() - failed} embedded, {failed} failed"
    if tally.kept:
        failed_before = tally.n_failed - failed
        line += f", {tally.kept.total()} already there"
        line += f" ({failed_before} of them failed)" if failed_before else ""
    line += f", {tally.n_changed} changed since" if tally.n_changed else ""
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
