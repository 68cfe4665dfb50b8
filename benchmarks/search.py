"""Which search: recall@10, time and memory of exact and approximate indices, side by side.

    python benchmarks/search.py                          # 1,000,000 x 256; slow, needs GBs of disk
    python benchmarks/search.py --rows 20000             # minutes
    python benchmarks/search.py --only exact ours --rows 100000

Each row builds in one fresh process and is queried in another, one query at a time. `ours`
is what the package builds from 100,000 rows on (faiss clusters, NumPy reads a share of the
lists); `exact` what it builds below. The others are the libraries as their manuals have
them. A library that is not installed is left out and named (faiss-cpu, usearch, hnswlib).
"""

import argparse
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from measure import device, progress
from search_libraries import BUILDERS, OPENERS

DIM, K = 256, 10  # as in search_libraries
N_CLUSTERS_OF = 20  # tracks per artist, in the synthetic library
N_GENRES = 100
NEEDS = {
    "exact": None,
    "ours": "faiss",
    "faiss IVF": "faiss",
    "faiss HNSW": "faiss",
    "usearch HNSW": "usearch",
    "hnswlib HNSW": "hnswlib",
}


def main():
    args = parse_args()
    if args.step:
        print(json.dumps(STEPS[args.step](args.only[0], Path(args.folder))))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rows = compare(args, Path(folder))
    packages = [name for name in ("faiss-cpu", "usearch", "hnswlib") if installed(name)]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"{device()}; {versions}; {args.rows} x {DIM}, {args.queries} queries\n")
    print(
        "| index | recall@10 | build s | build peak MB | file MB | open s | first query ms | "
        "query ms (median) | query peak MB |\n|---|---|---|---|---|---|---|---|---|"
    )
    for row in rows:
        print(row)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=tuple(NEEDS), default=list(NEEDS))
    parser.add_argument("--folder", help="where temporary files go")
    parser.add_argument("--step", choices=("build", "query"), help=argparse.SUPPRESS)
    return parser.parse_args()


def installed(package):
    module = {"faiss-cpu": "faiss"}.get(package, package)
    return importlib.util.find_spec(module) is not None


def compare(args, folder):
    """Return the table's rows as text."""
    write_vectors(folder, args.rows, args.queries)
    right = nearest(folder)
    rows = []
    for name in args.only:
        if NEEDS[name] and not installed(NEEDS[name]):
            rows.append(f"| {name} | not installed |" + " |" * 7)
            continue
        progress(name)
        built, asked = step("build", name, folder), step("query", name, folder)
        pairs = zip(asked["found"], right, strict=True)
        recall = statistics.mean(len(set(got) & set(best)) / K for got, best in pairs)
        rows.append(
            f"| {name} | {recall:.3f} | {built['seconds']:.1f} | {built['peak_mb']:.0f} | "
            f"{built['file_mb']:.0f} | {asked['open_s']:.2f} | {asked['ms'][0]:.1f} | "
            f"{statistics.median(asked['ms']):.2f} | {asked['peak_mb']:.0f} |"
        )
        progress(rows[-1])  # a run that is ended early has said this much
    return rows


def step(kind, name, folder):
    """Run one step in a fresh process; return what it measured."""
    command = [sys.executable, __file__, "--step", kind, "--only", name, "--folder", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def write_vectors(folder, n_rows, n_queries):
    """Write tracks around artists around genres, cut off at zero as embeddings are."""
    rng = np.random.default_rng(0)
    n_artists = max(1, n_rows // N_CLUSTERS_OF)
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


def read(folder, name):
    return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)


def nearest(folder):
    """Return the true ten rows of each query, block by block."""
    rows, queries = read(folder, "rows"), np.array(read(folder, "queries"))
    best = [[] for _ in queries]
    for start in range(0, len(rows), 50_000):
        products = queries @ rows[start : start + 50_000].T
        top = np.argsort(-products, axis=1)[:, :K]
        for query, places in enumerate(top):
            pairs = [(-products[query, place], start + int(place)) for place in places]
            best[query] = sorted(best[query] + pairs)[:K]
    return [[row for _, row in pairs] for pairs in best]


def build(name, folder):
    """Build an index and write it; return seconds, peak of memory and size."""
    rows = np.array(read(folder, "rows"))
    load_library(name)
    started = time.perf_counter()
    BUILDERS[name](rows, str(folder / "index"))
    return {
        "seconds": time.perf_counter() - started,
        "peak_mb": peak_mb(),
        "file_mb": (folder / "index").stat().st_size / 1e6,
    }


def query(name, folder):
    """Open an index and ask it; return what was found, and how fast."""
    queries = np.array(read(folder, "queries"))
    load_library(name)
    started = time.perf_counter()
    ask = OPENERS[name](str(folder / "index"))
    open_s = time.perf_counter() - started
    found, times = [], []
    for vector in queries:
        started = time.perf_counter()
        found.append([int(row) for row in ask(vector)])
        times.append(1000 * (time.perf_counter() - started))
    return {"found": found, "ms": times, "open_s": open_s, "peak_mb": peak_mb()}


def load_library(name):
    """Import what a row needs, so that it is not counted."""
    importlib.import_module(NEEDS[name] or "artist_features.search")
    importlib.import_module("artist_features.search")


STEPS = {"build": build, "query": query}


def peak_mb():
    """Return the most memory that this process has had since it began, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
