"""Batch size, XLA, batches read ahead, threads, and int16 samples: what each brings."""

import contextlib
import time

import numpy as np
import soundfile
from decode_paths import Paths
from jobs import job_elsewhere
from measure import Figure, interleaved, n_cores

from artist_features.extraction import batching

BATCH_SIZES = (16, 64, 256)
AHEAD = (1, 2, 4)
_DEFAULT = "batch 64, XLA, 2 batches ahead"  # the package's choice for many files
_BLOCK_FRAMES = 65536  # as the package reads


def batches(paths, model, repeats):
    """Measure batch sizes with and without XLA, and batches that tf.data reads ahead.

    Through the package's decode processes. XLA is compiled before the rounds. The number
    of batches ahead is a constant of the package; it is replaced here for the time of a call.

    Returns:
        list of `Figure`.
    """
    ways, n_workers = Paths(paths, model), n_cores()

    def through(batch_size=64, xla=True, n_ahead=2):
        with _reading_ahead(n_ahead):
            ways.through_pool(True, n_workers, batch_size, xla)

    variants = {}
    for size in BATCH_SIZES:
        for xla in (True, False):
            name = f"batch {size}, {'XLA' if xla else 'no XLA'}, 2 batches ahead"
            variants[name] = lambda size=size, xla=xla: through(size, xla)
    for n_ahead in AHEAD:
        name = f"batch 64, XLA, {n_ahead} batches ahead"
        variants.setdefault(name, lambda n_ahead=n_ahead: through(n_ahead=n_ahead))
    rounds = interleaved(variants, repeats)
    return [_row(name, rounds, _DEFAULT, len(paths)) for name in variants]


def threads(paths, model, repeats):
    """Measure how the cores are shared out: decoders, and calls or operations of TensorFlow.

    Jobs in processes of their own, as TensorFlow fixes its threads when it starts.

    Returns:
        list of `Figure`.
    """
    n = n_cores()
    variants, request = {}, {"paths": paths, "what": "job"}
    default = f"decoders: {n}, TensorFlow: calls side by side"
    with contextlib.ExitStack() as stack:
        for n_decoders, n_threads in ((n, None), (n, n), (1, None), (n + 1, None)):
            chosen = f"{n_threads} threads in an operation" if n_threads else "calls side by side"
            helper = stack.enter_context(
                job_elsewhere(model, n_cores=n, n_workers=n_decoders, n_threads=n_threads)
            )
            name = f"decoders: {n_decoders}, TensorFlow: {chosen}"
            variants[name] = lambda helper=helper: helper.ask(request)
        rounds = interleaved(variants, repeats)
    return [_row(name, rounds, default, len(paths)) for name in variants]


def int16(groups, repeats):
    """Measure decoding to int16 against float32 in soundfile, CPU time of one core.

    Args:
        groups: {encoding: paths}.
        repeats: rounds.

    Returns:
        list of `Figure`, one for each encoding.
    """
    figures = []
    for encoding, paths in groups.items():
        variants = {
            "int16": lambda paths=paths: _read(paths, "int16"),
            "int16 to float32": lambda paths=paths: _read(paths, "int16", convert=True),
            "float32": lambda paths=paths: _read(paths, "float32"),
        }
        rounds = interleaved(variants, repeats, time.process_time)
        each_ms = [1000 * rounds.median_s(name) / len(paths) for name in variants]
        figures.append(
            Figure(
                f"{encoding}, decoding to int16 / to float32",
                rounds.ratio("int16", "float32"),
                "x",
                detail=f"CPU {each_ms[0]:.1f} (turned to float32 afterwards {each_ms[1]:.1f}) / "
                f"{each_ms[2]:.1f} ms a file, {len(paths)} files",
            )
        )
    return figures


def _row(name, rounds, default, n_files):
    cpu_ms = 1000 * rounds.median_cpu_s(name) / n_files
    return Figure(
        name,
        1000 * rounds.median_s(name) / n_files,
        "ms a file",
        detail=f"{rounds.ratio(name, default):.2f} x the package's choice; CPU {cpu_ms:.1f} ms a "
        f"file; {n_files} files; {rounds.remark()}",
    )


@contextlib.contextmanager
def _reading_ahead(n_batches):
    kept = batching._PREFETCH_BATCHES
    batching._PREFETCH_BATCHES = n_batches
    try:
        yield
    finally:
        batching._PREFETCH_BATCHES = kept


def _read(paths, dtype, convert=False):
    for path in paths:
        with soundfile.SoundFile(path) as file:
            buffer = np.empty((_BLOCK_FRAMES, file.channels), dtype)
            while len(block := file.read(out=buffer)):
                if convert:
                    block.astype(np.float32)  # the scale can wait for the mono signal
