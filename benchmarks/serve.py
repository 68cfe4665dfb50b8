"""`artist-features serve`: latency and memory with many clients on loopback.

    python benchmarks/serve.py VECTORS.npz        # 100,000 tracks, 50 clients, 2 minutes
    python benchmarks/serve.py --rows 10000 --requests 500

The tracks are drawn with mean and covariance of the embeddings of VECTORS, which `extract` wrote,
or else as in `search.py`, with no few directions that matter more than others. Each client asks
`getSonicSimilarTracks` for a random track over a connection of its own. In the first row it then
waits 0.5 to 1.5 s, in the second it asks again at once.
"""

import argparse
import asyncio
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import measure
import numpy as np
from search import build, write_vectors

from artist_features.search.embedding_tables import read_embeddings

COUNT = 50  # tracks of an answer
MOST_S = 60  # for the requests of one row
GOALS = "goals: 20 ms at the 99th percentile, 300 MB"


def main():
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.vectors:
            draw_vectors(Path(folder), args.rows, args.vectors)
        else:
            write_vectors(Path(folder), args.rows, 0)
        build(Path(folder))
        with Server(Path(folder) / "index") as server:
            rows = [asyncio.run(load(server, args, pause_s)) for pause_s in (1.0, 0.0)]
            memory_mb = measure._high_water(server.process.pid) / 1e6
    print(f"{measure.device()}; {args.rows} tracks, {args.clients} clients, {GOALS}\n")
    print(
        "| pause s | requests/s | median ms | 99th percentile ms | longest ms | "
        "CPU ms a request | others' CPU |\n|---|---|---|---|---|---|---|"
    )
    print(*rows, sep="\n")
    print(f"\nmost memory, the mapped index included: {memory_mb:.0f} MB")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", nargs="?", metavar="VECTORS")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=3000, help=f"a row, in {MOST_S} s at most")
    return parser.parse_args()


def draw_vectors(folder, n_rows, table):
    """Write tracks with mean and covariance of a table's embeddings."""
    real = read_embeddings([table]).vectors.astype(np.float64)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    variances, axes = np.linalg.eigh(np.cov(real.T))
    drawn = np.random.default_rng(0).standard_normal((n_rows, real.shape[1]))
    rows = real.mean(axis=0) + drawn @ (axes * np.sqrt(np.maximum(variances, 0))).T
    np.save(folder / "rows.npy", rows.astype(np.float32), allow_pickle=False)


class Server:
    """Context with `artist-features serve` in a process of its own."""

    def __init__(self, index):
        command = [sys.executable, "-m", "artist_features", "serve", str(index), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.address = re.search(r"http://[\d.:]+", self.process.stderr.readline())[0]
        # its log is read, as a log collector would, or the pipe would be full
        self.reader = subprocess.Popen(
            ["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL
        )

    def cpu_s(self):
        fields = measure._status_fields(self.process.pid)
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.reader.wait()


async def load(server, args, pause_s):
    """Let all clients ask; return a row of the table."""
    times_ms, rng = [], random.Random(0)
    started, busy_s, own_s = time.perf_counter(), measure._busy_s(), measure._own_cpu_s()
    cpu_s = server.cpu_s()

    async def client(session):
        await asyncio.sleep(rng.uniform(0, pause_s))
        while len(times_ms) < args.requests and time.perf_counter() < started + MOST_S:
            params = {"id": f"/{rng.randrange(args.rows)}", "count": COUNT, "f": "json"}
            asked = time.perf_counter()
            async with session.get("/rest/getSonicSimilarTracks", params=params) as answer:
                found = (await answer.json())["subsonic-response"]["sonicMatch"]
            times_ms.append(1000 * (time.perf_counter() - asked))
            assert len(found) == COUNT
            await asyncio.sleep(rng.uniform(0.5, 1.5) * pause_s)

    connector = aiohttp.TCPConnector(limit=args.clients)
    async with aiohttp.ClientSession(server.address, connector=connector) as session:
        await asyncio.gather(*(client(session) for _ in range(args.clients)))
    wall_s = time.perf_counter() - started
    others_s = measure._busy_s() - busy_s - (measure._own_cpu_s() - own_s)
    median, late = np.percentile(times_ms, (50, 99))
    return (
        f"| {pause_s:g} | {len(times_ms) / wall_s:.0f} | {median:.1f} | {late:.1f} | "
        f"{max(times_ms):.1f} | {1000 * (server.cpu_s() - cpu_s) / len(times_ms):.1f} | "
        f"{max(0, others_s) / wall_s / os.cpu_count():.0%} |"
    )


if __name__ == "__main__":
    main()
