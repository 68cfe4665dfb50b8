"""The comparison by which the path from files to batches was chosen; prints Markdown.

Threads, processes, and tf.data's own parallelism; with and without XLA; batch sizes and
numbers of decoders. All variants take the same files in turn, in one process.

    python benchmarks/decode_paths.py [--model FOLDER] [--clips N] [--repeats N]
"""

import argparse
import os
import sys
from collections import Counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from clips import synthetic_files
from measure import device, interleaved, n_cores, progress, seconds
from run import default_model
from throughput import decode_only, decode_pool, mixed_order

from artist_features.extraction.batching import embed_events, inference_function
from artist_features.extraction.decode import Source, decode_segments
from artist_features.extraction.decode_pool import DecodePool
from artist_features.extraction.extractor import Extractor

_BATCH_SIZES = (16, 64, 160)
_PREFETCH_BATCHES = 2  # as the package
_TOLERANCE = 1e-4  # between paths: batches of another size are summed in another order


class Paths:
    """The ways from the same files to embeddings `(n_files, dim)`, in the files' order."""

    def __init__(self, files, model):
        self._files = [str(path) for path in files]
        self._extractor = Extractor(model)
        self._front_end = self._extractor.front_end
        self._model = self._extractor.model
        self._compiled = {}

    def _embed(self, n_rows=None):
        # kept here: the package's own cache is too small for all variants
        if n_rows not in self._compiled:
            self._compiled[n_rows] = inference_function(self._model, n_rows)
        return self._compiled[n_rows]

    def through_pool(self, isolated, n_workers, batch_size=64, xla=False):
        """The package's own path: decoders, a queue, batches, a compiled function."""
        embed = self._embed(batch_size if xla else None)
        sources = [Source(path) for path in self._files]
        rows = [None] * len(sources)
        with DecodePool(sources, self._front_end, n_workers, isolated) as events:
            for result in embed_events(
                events,
                embed,
                segment_samples=self._front_end.segment_samples,
                n_rows=batch_size,
                timing=Counter(),
            ):
                assert result.error is None
                rows[result.index] = result.embedding
        return np.stack(rows)

    def through_map(self, n_workers=None, batch_size=64):
        """`tf.data`: decode in a `map`, unbatch, batch again; None lets it choose the threads."""
        import tensorflow as tf

        embed = self._embed()
        shape = (None, self._front_end.segment_samples)

        def decode(index):
            segments = tf.numpy_function(self._segments, [index], tf.float32)
            segments.set_shape(shape)
            return segments, tf.repeat(index, tf.shape(segments)[0])

        batches = (
            tf.data.Dataset.range(len(self._files))
            .map(decode, num_parallel_calls=n_workers or tf.data.AUTOTUNE, deterministic=False)
            .unbatch()
            .batch(batch_size)
            .prefetch(_PREFETCH_BATCHES)
        )
        options = tf.data.Options()
        options.autotune.enabled = n_workers is None
        batches = batches.with_options(options)
        sums = np.zeros((len(self._files), self._extractor.embedding_dim))
        counts = np.zeros((len(self._files), 1))
        for segments, owners in batches:
            np.add.at(sums, owners.numpy(), embed(segments).numpy())
            np.add.at(counts, owners.numpy(), 1)
        return sums / counts

    def _segments(self, index):
        return np.concatenate(list(decode_segments(Source(self._files[index]), self._front_end)))

    def decode_alone(self, pool):
        """The yardstick: decode, mix and resample in a pool, keep nothing."""
        rates = [self._front_end.sample_rate] * len(self._files)
        return list(pool.map(decode_only, self._files, rates))


def variants(paths, most_workers):
    """Return {name: function that gives the embeddings}."""
    pool = paths.through_pool
    named = {}
    for n in range(1, most_workers + 1):
        named[f"threads, {n}"] = lambda n=n: pool(False, n)
        named[f"processes, {n}"] = lambda n=n: pool(True, n)
    n = most_workers
    named["tf.data map, AUTOTUNE"] = paths.through_map
    named[f"tf.data map, {n}, no autotuning"] = lambda: paths.through_map(n)
    for size in _BATCH_SIZES:
        named[f"threads, {n}, batch {size}"] = lambda size=size: pool(False, n, size)
        named[f"threads, {n}, batch {size}, XLA"] = lambda size=size: pool(False, n, size, True)
    return named


def main(argv=None):
    """Check that all paths agree, measure them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="name or folder (default: siamese, or the first bundled)")
    parser.add_argument("--clips", type=int, default=16, help="each in every format")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args(argv)
    model = args.model or default_model(parser)
    files = mixed_order(synthetic_files(args.clips))
    paths = Paths(files, model)
    named = variants(paths, n_cores())
    reference, first_s = None, {}
    for name, function in named.items():
        rows = []
        first_s[name] = seconds(lambda rows=rows, function=function: rows.append(function()))
        reference = rows[0] if reference is None else reference
        assert np.allclose(rows[0], reference, atol=_TOLERANCE), name
        progress(f"  first {name}: {first_s[name]:.3f} s")
    with decode_pool("threads", n_cores()) as pool:
        yardstick = {"decode alone": lambda: paths.decode_alone(pool)}
        rounds = interleaved(yardstick | named, args.repeats)
    print(f"{device()}; model {model}; {len(files)} synthetic files\n")
    print("| path | ms a file | CPU ms a file | / decoding alone | first call, s |")
    print("|---|---|---|---|---|")
    for name in rounds.times:
        each_ms = 1000 * rounds.median_s(name) / len(files)
        cpu_ms = 1000 * rounds.median_cpu_s(name) / len(files)
        over = rounds.ratio(name, "decode alone")
        first = f"{first_s[name]:.1f}" if name in first_s else ""
        print(f"| {name} | {each_ms:.1f} | {cpu_ms:.1f} | {over:.2f} | {first} |")
    print(f"\n{rounds.remark()}")


if __name__ == "__main__":
    sys.exit(main())
