"""The job of the command line, run in this process or in one of its own.

python benchmarks/jobs.py --model siamese --cores 1 --workers 1    # requests: see `main`
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from measure import seconds
from throughput import decode_only, decode_pool
from turns import answer, helper

from artist_features.extraction.decode import ReadingOptions, Source
from artist_features.library import job
from artist_features.library.inputs import NamedPaths
from artist_features.library.outputs import open_output


def run_job(paths, extractor, *, n_segments=None, on_row=None):
    """Walk, extract and write a new folder of shards, as `artist-features extract -o` does.

    Args:
        paths: list of files, each named once.
        extractor: `Extractor` with `isolated=True`.
        n_segments: as `--segments`.
        on_row: called with each `Row`.

    Raises:
        RuntimeError: a file failed.
    """
    reading = ReadingOptions(n_segments=n_segments)
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
                    make_source=lambda path: Source(path, reading=reading),
                    on_row=on_row,
                )
            finally:
                output.close()
        if tally.n_failed or tally.made.total() != len(paths):
            raise RuntimeError(f"{tally.n_failed} of {len(paths)} files failed: {tally.made}")
    finally:
        shutil.rmtree(folder)


def job_elsewhere(model, *, n_cores, n_workers, n_threads=None):
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


def main():
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

        def work(request):
            paths = request["paths"]
            if request["what"] == "decode":
                rates = [rate] * len(paths)
                return {"seconds": seconds(lambda: list(pool.map(decode_only, paths, rates)))}
            return {"seconds": seconds(lambda: run_job(paths, extractor))}

        answer(work)


if __name__ == "__main__":
    main()
