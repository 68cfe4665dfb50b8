"""A search index: time, memory and size of building, updating, opening and asking it.

    python benchmarks/search.py                  # 1,000,000 x 256; needs GBs of disk
    python benchmarks/search.py --rows 50000

The index is built in one fresh process and asked in another, one query at a time.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import device

from artist_features.search import Index, IndexedTrack

DIM, K = 256, 10
N_CHANGED = 1000  # tracks added by an update, replaced and dropped
N_TRACKS, N_GENRES = 20, 100  # tracks per artist, and genres, in the synthetic library


def main():
    args = parse_args()
    if args.step:
        print(json.dumps(STEPS[args.step](Path(args.folder))))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write_vectors(Path(folder), args.rows, args.queries)
        built, updated, asked = (step(kind, folder) for kind in ("build", "update", "query"))
    print(f"{device()}; NumPy {np.__version__}; {args.rows} x {DIM}, {args.queries} queries\n")
    print(
        "| build s | build peak MB | update s | its CPU s | update peak MB | file MB | open s | "
        "first query ms | query ms (median) | query peak MB |\n" + 10 * "|---" + "|"
    )
    print(
        f"| {built['seconds']:.1f} | {built['peak_mb']:.0f} | {updated['seconds']:.1f} | "
        f"{updated['cpu_s']:.1f} | {updated['peak_mb']:.0f} | {built['file_mb']:.0f} | "
        f"{asked['open_s']:.2f} | {asked['ms'][0]:.1f} | {statistics.median(asked['ms']):.2f} | "
        f"{asked['peak_mb']:.0f} |"
    )


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", help="where temporary files go")
    parser.add_argument("--step", choices=("build", "update", "query"), help=argparse.SUPPRESS)
    return parser.parse_args()


def step(kind, folder):
    """Run one step in a fresh process; return what it measured."""
    command = [sys.executable, __file__, "--step", kind, "--folder", folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def write_vectors(folder, n_rows, n_queries):
    """Write tracks around artists around genres, cut off at zero as embeddings are."""
    rng = np.random.default_rng(0)
    n_artists = max(1, n_rows // N_TRACKS)
    genres = rng.standard_normal((N_GENRES, DIM), np.float32)
    artists = genres[rng.integers(0, N_GENRES, n_artists)]
    artists += 0.7 * rng.standard_normal(artists.shape, np.float32)
    for name, n in (("rows", n_rows), ("queries", n_queries)):
        shape = (n, DIM)
        file = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape)
        for start in range(0, n, 50_000):
            size = min(50_000, n - start)
            block = artists[rng.integers(0, n_artists, size)]
            block = np.maximum(block + 0.7 * rng.standard_normal((size, DIM), np.float32), 0)
            file[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
        file.flush()


def build(folder):
    """Build an index and write it; return seconds, peak of memory and size."""
    rows = np.load(folder / "rows.npy", allow_pickle=False)
    started = time.perf_counter()
    tracks = [IndexedTrack(f"/{n}", f"artist {n // N_TRACKS}") for n in range(len(rows))]
    made_with = {"model": "synthetic", "weights_sha256": "0" * 64}
    Index.build(rows, tracks, made_with).save(folder / "index")
    return {
        "seconds": time.perf_counter() - started,
        "peak_mb": peak_mb(),
        "file_mb": (folder / "index").stat().st_size / 1e6,
    }


def update(folder):
    """Open the index, add tracks, replace and drop as many, write it; return what that took."""
    started, cpu_started = time.perf_counter(), time.process_time()
    index = Index.load(folder / "index")
    names = [*range(N_CHANGED), *(f"new{n}" for n in range(N_CHANGED))]
    vectors = np.random.default_rng(1).random((len(names), DIM), np.float32)
    tracks = [IndexedTrack(f"/{name}", "artist 0") for name in names]
    dropped = range(N_CHANGED, 2 * N_CHANGED)
    index.updated(vectors, tracks, dropped).save(folder / "index")
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    return {"seconds": seconds, "cpu_s": cpu_s, "peak_mb": peak_mb()}


def query(folder):
    """Open an index and ask it; return how fast that was."""
    queries = np.load(folder / "queries.npy", allow_pickle=False)
    started = time.perf_counter()
    index = Index.load(folder / "index")
    open_s = time.perf_counter() - started
    times = []
    for vector in queries:
        started = time.perf_counter()
        index.query(vector, K)
        times.append(1000 * (time.perf_counter() - started))
    return {"ms": times, "open_s": open_s, "peak_mb": peak_mb()}


STEPS = {"build": build, "update": update, "query": query}


def peak_mb():
    """Return the most memory that this process has had since it began, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
