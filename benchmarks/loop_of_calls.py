"""Memory and file descriptors after many calls of `extract`, against those after 50.

python benchmarks/loop_of_calls.py                       # 1,000 calls of each kind
python benchmarks/loop_of_calls.py --runtime onnx
python benchmarks/loop_of_calls.py --calls 200 --only file list

Each kind runs in a process of its own, on a recording of 30 s.
"""

import argparse
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from clips import synthetic_files

import artist_features as af
from artist_features.extraction.decode import Source

WARM_UP = 50  # calls
Runtime = Literal["tensorflow", "onnx"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000, metavar="N", help="of each kind")
    parser.add_argument("--only", nargs="+", choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument("--runtime", choices=("tensorflow", "onnx"), default="tensorflow")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(*grown(KINDS[args.one[0]](args.one[1], args.runtime), args.calls))
        return
    print(f"| {args.calls} calls of | MB more than after {WARM_UP} | descriptors more |")
    print("|---|---|---|")
    (path,) = synthetic_files(1, ("mp3 CBR",))["mp3 CBR"]
    for kind in args.only:
        words = [sys.executable, __file__, "--calls", str(args.calls), "--runtime", args.runtime]
        words += ["--one", kind, str(path)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        megabytes, descriptors = done.stdout.split()
        print(f"| {kind} | {float(megabytes):.1f} | {descriptors} |", flush=True)


def grown(call: Callable[[], object], n: int) -> tuple[float, int]:
    """Return how many MB and descriptors the process has more after `n` calls than after 50."""
    before = (0.0, 0)
    for number in range(1, n + 1):
        call()
        if number == WARM_UP:
            before = state()
    after = state()
    return after[0] - before[0], after[1] - before[1]


def state() -> tuple[float, int]:
    """Return (resident memory in MB, open descriptors) of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd"))


def _method(path: str, runtime: Runtime) -> Callable[[], object]:
    extractor = af.Extractor(runtime=runtime)
    return lambda: extractor.extract(path)


def _memory(path: str, runtime: Runtime) -> Callable[[], object]:
    data = Path(path).read_bytes()
    return lambda: af.extract(data, runtime=runtime)


def _array(path: str, runtime: Runtime) -> Callable[[], object]:
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 22050 * 30).astype(np.float32)
    return lambda: af.extract(samples, sample_rate=22050, runtime=runtime)


def _error(path: str, runtime: Runtime) -> Callable[[], object]:
    def call() -> None:
        try:
            af.extract(f"{path}.gone", runtime=runtime)
        except af.AudioError:
            return
        raise RuntimeError("no error")

    return call


def _given_up(path: str, runtime: Runtime) -> Callable[[], object]:
    extractor = af.Extractor(runtime=runtime)

    def call() -> None:
        for _ in extractor.results([Source(path)] * 3, n_sources=3):
            return

    return call


KINDS: dict[str, Callable[[str, Runtime], Callable[[], object]]] = {
    "file": lambda path, runtime: lambda: af.extract(path, runtime=runtime),
    "list": lambda path, runtime: lambda: af.extract([path] * 8, runtime=runtime),
    "array": _array,
    "method": _method,
    "segments": lambda path, runtime: lambda: af.extract(path, pool=None, runtime=runtime),
    "memory": _memory,
    "error": _error,
    "given up": _given_up,
}


if __name__ == "__main__":
    main()
