"""How a batch is best computed on the cores: calls at once, segments in each, threads.

    python benchmarks/model_calls.py                  # the table, some minutes
    python benchmarks/model_calls.py --model basic

The model alone, compiled with XLA, on noise; each row in a process of its own, as TensorFlow
fixes its threads when it starts, and twice, in turn.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

N_SEGMENTS = 1024
REPEATS = 5
TURNS = 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="siamese", help="name or folder")
    parser.add_argument("--one", type=int, nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.model, *args.one)))
        return
    from measure import device, n_cores

    n = n_cores()
    ways = [(1, 64, n), (1, 32, n), (n, 64, 1), (n, 32, 1), (n, 16, 1), (n, 32, n), (1, 64, 1)]
    found = {way: [] for way in ways}
    for _ in range(TURNS):
        for way in ways:
            words = [sys.executable, __file__, "--model", args.model, "--one", *map(str, way)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    print(device(), end="\n\n")
    print("| calls, segments in each, threads of an operation | ms a segment | CPU ms | peak MB |")
    print("|---|---|---|---|")
    for way, rows in found.items():
        wall, cpu, peak = (statistics.mean(values) for values in zip(*rows, strict=True))
        print(f"| {', '.join(map(str, way))} | {wall:.2f} | {cpu:.2f} | {peak:,.0f} |")


def measure(model, n_calls, n_rows, n_threads):
    """Return (ms a segment, CPU ms a segment, peak MB of this process)."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(n_threads)
    from artist_features import load_model
    from artist_features.extraction.batching import inference_function

    embed = inference_function(load_model(model), n_rows)
    rng = np.random.default_rng(0)
    shape = (n_rows, embed.input_signature[0].shape[1])
    batches = [rng.normal(0, 0.1, shape).astype(np.float32) for _ in range(4)]
    walls, cpus = [], []
    with ThreadPoolExecutor(n_calls) as threads:

        def compute(number):
            return embed(batches[number % len(batches)]).numpy()

        list(threads.map(compute, range(n_calls)))  # XLA compiles
        for _ in range(REPEATS):
            wall, cpu = time.perf_counter(), time.process_time()
            list(threads.map(compute, range(N_SEGMENTS // n_rows)))
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    times = (1000 * statistics.median(values) / N_SEGMENTS for values in (walls, cpus))
    return *times, peak_mb


if __name__ == "__main__":
    main()
