"""ONNX Runtime beside TensorFlow: the cold one-liner, a job of many files, memory; a table.

python benchmarks/runtimes.py              # two minutes on 2 quiet cores
python benchmarks/runtimes.py --clips 8    # a smaller job
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from clips import synthetic_files
from measure import device, fresh_process, interleaved, peak_memory

from artist_features import Extractor

RUNTIMES = ("onnx", "tensorflow")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=32, help="clips of 30 s, each in 4 encodings")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    args = parser.parse_args()
    paths = [path for group in synthetic_files(args.clips).values() for path in group]
    one = {name: one_liner(paths[0], name) for name in RUNTIMES}
    cold = interleaved({name: fresh_process(one[name]) for name in RUNTIMES}, args.repeats)
    peaks = {name: peak_memory([sys.executable, "-c", one[name]]) for name in RUNTIMES}
    extractors = {name: Extractor(runtime=name, isolated=True, dedicated=True) for name in RUNTIMES}
    jobs = interleaved(
        {name: lambda name=name: extractors[name].extract(paths) for name in RUNTIMES},
        args.repeats,
    )
    print(f"{device()}; {len(paths)} clips of 30 s; {jobs.remark()}\n")
    print(
        "| runtime | cold one-liner s | of CPU | its peak MB | job, files/s | of CPU, ms a file |"
    )
    print("|---|---|---|---|---|---|")
    for name in RUNTIMES:
        print(
            f"| {name} | {cold.median_s(name):.2f} | {cold.median_cpu_s(name):.2f} | "
            f"{peaks[name] / 1e6:.0f} | {len(paths) / jobs.median_s(name):.1f} | "
            f"{1000 * jobs.median_cpu_s(name) / len(paths):.1f} |"
        )
    print(f"\njob, onnx / tensorflow: {jobs.ratio('onnx', 'tensorflow'):.2f} x the time")


def one_liner(path, runtime):
    """Return a program that extracts one file."""
    return f"from artist_features import extract; extract({str(path)!r}, runtime={runtime!r})"


if __name__ == "__main__":
    main()
