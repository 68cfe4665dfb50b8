"""Measure all figures that this package promises; print them as one Markdown table.

python benchmarks/run.py                    # what `make bench` does
python benchmarks/run.py --quick            # a small set, to see that it works
python benchmarks/run.py --files FOLDER     # your own recordings
python benchmarks/run.py --only startup     # some of the parts
"""

import argparse
import itertools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import memory
import stages
import startup
import throughput
from clips import synthetic_files
from measure import print_figures, progress

from artist_features.library.inputs import find_audio
from artist_features.zoo.registry import bundled_names


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        n_clips: recordings, each in every format.
        n_by_hand: how many of them go through librosa and `predict`.
        n_stages: how many of them go into the table of stages.
        repeats: rounds of what runs in this process.
        processes: fresh processes of each kind.
        short_s, long_s: lengths of the files for memory, in seconds.
    """

    n_clips: int
    n_by_hand: int
    n_stages: int
    repeats: int
    processes: int
    short_s: float
    long_s: float


FULL = Size(16, 16, 8, 9, 9, 180, 10_800)
QUICK = Size(4, 1, 1, 3, 3, 60, 600)
PARTS = ("throughput", "by_hand", "startup", "memory", "stages")


def main(argv=None):
    """Measure, print the tables, and return 0 if every target was met, else 1."""
    args = _parse(argv)
    size = QUICK if args.quick else FULL
    files = _own_files(args.files) if args.files else synthetic_files(size.n_clips)
    figures, stage_table = [], {}
    for part in args.only:
        progress(f"{part} ...")
        if part == "throughput":
            figures += throughput.over_decoding(files, args.model, size.repeats)
        elif part == "by_hand":
            few = _first(files, size.n_by_hand)
            figures += throughput.against_by_hand(few, args.model, size.repeats)
        elif part == "startup":
            path = next(iter(files.values()))[0]
            figures += startup.one_liner(path, args.model, size.processes)
            figures += startup.import_and_help(size.processes)
        elif part == "memory":
            figures += memory.growth(args.model, size.short_s, size.long_s)
        elif part == "stages":
            stage_table = stages.table(_first(files, size.n_stages), args.model, size.repeats)
    print_figures(figures, f"model {args.model}; files: {args.files or 'synthetic'}")
    _print_stages(stage_table)
    return int(any(figure.met is False for figure in figures))


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small set")
    parser.add_argument("--files", metavar="FOLDER", help="own recordings instead of made ones")
    parser.add_argument("--model", help="name or folder (default: siamese, or the first bundled)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    args = parser.parse_args(argv)
    args.model = args.model or default_model(parser)
    return args


def default_model(parser):
    """Return the name of the bundled model to measure; end with usage if there is none."""
    names = bundled_names()
    if not names:
        parser.error("no model is bundled; pass --model FOLDER")
    return "siamese" if "siamese" in names else names[0]


def _own_files(folder):
    """Return the recordings of a folder as {ending: paths}."""
    paths = sorted(map(Path, find_audio([folder])), key=lambda path: path.suffix.lower())
    if not paths:
        raise SystemExit(f"no audio under {folder}")
    return {
        ending.lstrip("."): list(group)
        for ending, group in itertools.groupby(paths, lambda path: path.suffix.lower())
    }


def _first(files, count):
    return {name: paths[:count] for name, paths in files.items()}


def _print_stages(stage_table):
    if not stage_table:
        return
    print("| one file, one core, ms | " + " | ".join(stages.STAGES) + " | sum |")
    print("|---|" + "---|" * (len(stages.STAGES) + 1))
    for name, row in stage_table.items():
        values = [*row.values(), sum(row.values())]
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |")


if __name__ == "__main__":
    sys.exit(main())
