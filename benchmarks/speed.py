"""Whole jobs against decoding alone, on one core and on two, and from a cold start."""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from jobs import job_elsewhere, run_job
from measure import Figure, at_least, at_most, interleaved, n_cores, run_command
from throughput import decode_only, decode_pool

from artist_features.extraction.extractor import Extractor

_LIMIT_OVER_DECODING = 1.4
_LIMIT_SCALING = 1.8


def over_decoding(paths, model, repeats):
    """Measure a whole job against decoding, mixing and resampling alone, on all cores.

    The job walks the files, starts its isolated decode processes, and writes shards. The
    pools that decode alone run already.

    Args:
        paths: list of files.
        model: name or folder.
        repeats: rounds.

    Returns:
        list of `Figure`; the target belongs to the faster pool.
    """
    n_workers = n_cores()
    extractor = Extractor(model, n_workers=n_workers, isolated=True)
    rates = [extractor.front_end.sample_rate] * len(paths)
    variants = {"job": lambda: run_job(paths, extractor)}
    with ExitStack() as stack:
        for kind in ("processes", "threads"):
            pool = stack.enter_context(decode_pool(kind, n_workers))
            variants[f"decode, {kind}"] = lambda pool=pool: list(
                pool.map(decode_only, paths, rates)
            )
        rounds = interleaved(variants, repeats)
    alone = [name for name in variants if name != "job"]
    fastest = min(alone, key=rounds.median_s)
    figures = []
    for name in alone:
        row = (
            f"whole job / decode, mix and resample alone in {n_workers} {name.split(', ')[1]}",
            rounds.ratio("job", name),
            "x",
        )
        detail = _compared(rounds, "job", name, paths)
        if name == fastest:
            figures.append(at_most(*row, _LIMIT_OVER_DECODING, f"the faster pool; {detail}"))
        else:
            figures.append(Figure(*row, detail=detail))
    return figures


def cold_start(paths, model, repeats):
    """Measure the command line as a fresh process: start, loading and compiling included.

    Returns:
        list of `Figure`.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "files.txt"
        listed.write_text("\n".join(paths), encoding="utf-8")
        command = [sys.executable, "-m", "artist_features.cli.main", "extract", f"@{listed}"]
        numbers = iter(range(10**6))

        def extract():
            out = Path(folder) / f"rows{next(numbers)}"
            run_command([*command, "--model", str(model), "-o", str(out)])()

        rounds = interleaved({"command": extract}, repeats)
    wall_s = rounds.median_s("command")
    detail = f"{len(paths)} files, {len(paths) / wall_s:.1f} files/s; {rounds.remark()}"
    return [Figure("the command line as a fresh process, everything", wall_s, "s", detail=detail)]


def scaling(paths, model, repeats):
    """Measure jobs with 1 decoder, all bound to 1 core, against 2 on 2 cores.

    Processes of their own, as TensorFlow counts the cores when it starts; model and decoders
    share the cores. Decoding alone says what the machine itself gives for the second core.

    Returns:
        list of `Figure`.
    """
    variants = {}
    with ExitStack() as stack:
        for n in (1, 2):
            helper = stack.enter_context(job_elsewhere(model, n_cores=n, n_workers=n))
            for what in ("job", "decode"):
                request = {"paths": paths, "what": what}
                variants[f"{what}, {n}"] = lambda helper=helper, request=request: helper.ask(
                    request
                )
        rounds = interleaved(variants, repeats)
    both = "1 worker bound to 1 core / 2 workers on 2 cores"
    return [
        at_least(
            f"whole job, {both}",
            rounds.ratio("job, 1", "job, 2"),
            "x",
            _LIMIT_SCALING,
            _compared(rounds, "job, 1", "job, 2", paths),
        ),
        Figure(
            f"decode, mix and resample alone, {both}",
            rounds.ratio("decode, 1", "decode, 2"),
            "x",
            detail=_compared(rounds, "decode, 1", "decode, 2", paths),
        ),
    ]


def _compared(rounds, name, base, paths):
    """Return the times behind a ratio, in words."""
    first, second = (1000 * rounds.median_s(key) / len(paths) for key in (name, base))
    cpu = [1000 * rounds.median_cpu_s(key) / len(paths) for key in (name, base)]
    return (
        f"{first:.1f} / {second:.1f} ms a file, {len(paths)} files, {1000 / first:.1f} and "
        f"{1000 / second:.1f} files/s; CPU {cpu[0]:.1f} / {cpu[1]:.1f} ms a file; {rounds.remark()}"
    )
