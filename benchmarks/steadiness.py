"""Does a long job slow down? Throughput of its first tenth against that of its last."""

import os
import statistics
import tempfile
import time
from pathlib import Path

from jobs import run_job
from measure import at_most, interleaved

from artist_features.extraction.extractor import Extractor

_LIMIT_PERCENT = 5.0
_EDGE = 0.02  # share of the job left out at both ends: the pipeline fills and runs empty


def fall(paths, model, repeats, n_names):
    """Measure a job over many short files.

    Rows arrive in bursts, a batch at a time; so the clock is read once per batch, and
    throughput is segments (one for each short file) between batches. A job before them warms
    up.

    Args:
        paths: files of one segment each.
        model: name or folder.
        repeats: jobs.
        n_names: each file takes part under so many names (hard links).

    Returns:
        list of `Figure`.
    """
    extractor = Extractor(model, isolated=True)
    falls = []
    with tempfile.TemporaryDirectory(dir=Path(paths[0]).parent) as folder:  # for hard links
        names = linked(paths, Path(folder), n_names)
        rounds = interleaved({"job": lambda: falls.append(_fall(names, extractor))}, repeats)
    falls = falls[1:]  # the first one warmed up
    shown = ", ".join(f"{value:.1f}" for value in falls)
    wall_s = rounds.median_s("job")
    return [
        at_most(
            "throughput of the last tenth of a job, less than that of the first by",
            statistics.median(falls),
            "%",
            _LIMIT_PERCENT,
            f"{len(names)} files of 1 to 3 s ({len(paths)}, each under {n_names} names), "
            f"{len(names) / wall_s:.0f} files/s; each job: {shown} %; {rounds.remark()}",
        )
    ]


def linked(paths, folder, n_names):
    """Return names of the files in mixed folders."""
    names = []
    for number in range(n_names):
        (folder / str(number)).mkdir()
        for path in paths:
            names.append(str(folder / str(number) / os.path.basename(path)))
            os.link(path, names[-1])
    return names


def _fall(names, extractor):
    """Run a job; return by how many per cent its last tenth was slower than its first."""
    done_before = extractor.timing["segments"]
    marks = {}  # segments done -> when

    def note(_):
        marks.setdefault(extractor.timing["segments"] - done_before, time.perf_counter())

    run_job(names, extractor, on_row=note)
    n = len(names)
    first = _rate(marks, _EDGE * n, (_EDGE + 0.1) * n)
    last = _rate(marks, (0.9 - _EDGE) * n, (1 - _EDGE) * n)
    return 100 * (1 - last / first)


def _rate(marks, begin, end):
    """Return segments per second between the batches next to two places of the job."""
    first, last = (min(marks, key=lambda done: abs(done - place)) for place in (begin, end))
    if first == last:
        raise RuntimeError("a tenth of the job is less than a batch; take more files")
    return (last - first) / (marks[last] - marks[first])
