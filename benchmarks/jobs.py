"""The job of the command line, run in this process or in one of its own.

A process of its own has other cores or other settings of TensorFlow, and works only when it is its
turn: one line of JSON in, one out.

python benchmarks/jobs.py --model siamese --cores 1 --workers 1    # requests: see `main`
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from measure import seconds
from throughput import decode_only, decode_pool

from artist_features.extraction.decode import Source
from artist_features.library import job
from artist_features.library.inputs import NamedPaths
from artist_features.library.outputs import open_output

if TYPE_CHECKING:  # TensorFlow counts its cores when it is imported
    from artist_features.extraction.extractor import Extractor
    from artist_features.library.tables import Row


def run_job(
    paths: list[str], extractor: "Extractor", *, on_row: "Callable[[Row], object] | None" = None
) -> None:
    """Walk, extract and write a new folder of shards, as `artist-features extract -o` does.

    Args:
        paths: list of files, each named once.
        extractor: `Extractor` with `isolated=True`.
        on_row: called with each `Row`.

    Raises:
        RuntimeError: a file failed.
    """
    folder = Path(tempfile.mkdtemp(prefix="artist_features_bulk_"))
    try:
        with NamedPaths() as named:
            options = {"dim": extractor.embedding_dim, "made_with": {}}
            output = open_output(folder / "rows", named, **options)
            try:
                tally = job.Tally()
                job.find_missing(paths, output, named, tally)
                job.run(
                    named,
                    output,
                    extractor,
                    tally,
                    make_source=Source,
                    on_row=on_row,
                )
            finally:
                output.close()
        if tally.n_failed or tally.made.total() != len(paths):
            raise RuntimeError(f"{tally.n_failed} of {len(paths)} files failed: {tally.made}")
    finally:
        shutil.rmtree(folder)


def job_elsewhere(
    model: str, *, n_cores: int, n_workers: int, n_threads: int | None = None
) -> contextlib.AbstractContextManager["Helper"]:
    """Return a context manager: a `Helper` that runs jobs on cores and threads of its own.

    Args:
        model: name or folder.
        n_cores: it is bound to so many of the cores of this process, decoders included.
        n_workers: decoders at once.
        n_threads: of TensorFlow within one operation; None is its default.
    """
    command = [sys.executable, __file__, "--model", str(model)]
    command += ["--cores", str(n_cores), "--workers", str(n_workers)]
    if n_threads:
        command += ["--threads", str(n_threads)]
    return helper(command)


@contextlib.contextmanager
def helper(command: list[str]) -> Iterator["Helper"]:
    """Start a program that answers one request after another; end it at the end.

    Args:
        command: list; the program reads requests on standard input and answers on standard
            output.

    Yields:
        `Helper`.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            env=environment,
            text=True,
        ) as process,
    ):
        yield Helper(process, messages)


class Helper:
    """A running program, and the file that holds what it says on standard error."""

    def __init__(self, process: subprocess.Popen[str], messages: IO[bytes]) -> None:
        self._process, self._messages = process, messages

    def ask(self, request: dict[str, Any]) -> dict[str, float]:
        """Send a request; return the answer.

        Raises:
            RuntimeError: the program ended instead; with the end of what it said.
        """
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self._process.wait()
            self._messages.seek(0)
            said = self._messages.read().decode(errors="replace")
            raise RuntimeError(f"{self._process.args} ended: {said[-2000:]}") from None


def answer(work: Callable[[dict[str, Any]], dict[str, float]]) -> None:
    """Serve: call `work(request)` for each line of standard input; print what it returns."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not spoil the answers
    for line in sys.stdin:
        out.write(json.dumps(work(json.loads(line))) + "\n")
        out.flush()


def main() -> None:
    """Answer {"paths": [...], "what": "job" or "decode"} with {"seconds": s}."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # before TensorFlow counts its cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    if args.threads:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    from artist_features.extraction.extractor import Extractor

    extractor = Extractor(
        args.model, n_workers=args.workers, isolated=True, dedicated=not args.threads
    )
    rate = extractor.front_end.sample_rate
    with decode_pool("processes", args.workers) as pool:

        def work(request: dict[str, Any]) -> dict[str, float]:
            paths = request["paths"]
            if request["what"] == "decode":
                rates = [rate] * len(paths)
                return {"seconds": seconds(lambda: list(pool.map(decode_only, paths, rates)))}
            return {"seconds": seconds(lambda: run_job(paths, extractor))}

        answer(work)


if __name__ == "__main__":
    main()
