"""Measure large jobs on real recordings; print one Markdown table.

python benchmarks/bulk.py MANIFEST_OR_FOLDER             # a manifest with artists, or a folder
python benchmarks/bulk.py ... --quick                    # a small set, to see that it works
python benchmarks/bulk.py ... --only speed scaling       # some of the parts
python benchmarks/bulk.py ... --work FOLDER              # keep the files that are cut and encoded
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import memory
import recordings
import speed
import steadiness
import throughput
from measure import print_figures, progress
from run import default_model


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        n_clips, n_tracks, n_short: files that are cut; see `recordings.prepare`.
        repeats: rounds that count.
        n_short_names: names of each short file.
        n_few: clips for the loop by hand, which is slow.
        long_s: lengths of the two long files for memory, in seconds.
    """

    n_clips: int
    n_tracks: int
    n_short: int
    repeats: int
    n_short_names: int
    n_few: int
    long_s: tuple[float, float]


FULL = Size(308, 30, 4000, 3, 5, 70, (3600, 10_800))
QUICK = Size(14, 2, 200, 1, 10, 7, (60, 180))


def main(argv=None):
    """Prepare, measure, print the table, and return 0 if every target was met, else 1."""
    args = _parse(argv)
    size = QUICK if args.quick else FULL
    with contextlib.ExitStack() as stack:
        work = args.work or stack.enter_context(tempfile.TemporaryDirectory())
        progress("prepare ...")
        library = recordings.Library.open(args.recordings)
        needed = {kind for part in args.only for kind in PARTS[part].needs}
        files = recordings.prepare(
            library,
            Path(work),
            **{kind: getattr(size, kind) if kind in needed else 0 for kind in KINDS},
        )
        figures = []
        for part in args.only:
            progress(f"{part} ...")
            figures += PARTS[part].measure(files, size, args)
    print_figures(figures, f"model {args.model}; files: {args.recordings}")
    print("; ".join(files.notes) + ".")
    return int(any(figure.met is False for figure in figures))


def _speed(files, size, args):
    figures = speed.over_decoding(files.mixed, args.model, size.repeats)
    return figures + speed.cold_start(files.mixed, args.model, size.repeats)


def _scaling(files, size, args):
    return speed.scaling(files.mixed, args.model, size.repeats)


def _memory(files, size, args):
    return memory.peaks(files.mixed, args.model, size.long_s)


def _by_hand(files, size, args):
    few = {"mixed": files.clips[: size.n_few]}
    return throughput.against_by_hand(few, args.model, size.repeats)


def _steadiness(files, size, args):
    return steadiness.fall(files.short, args.model, min(size.repeats, 3), size.n_short_names)


@dataclass(frozen=True)
class Part:
    """One part of the benchmark.

    Attributes:
        measure: function of the prepared files, the size and the arguments.
        needs: which files it uses, of `KINDS`.
    """

    measure: Callable
    needs: tuple


KINDS = ("n_clips", "n_tracks", "n_short")
_MIXED = ("n_clips", "n_tracks")
PARTS = {
    "speed": Part(_speed, _MIXED),
    "scaling": Part(_scaling, _MIXED),
    "memory": Part(_memory, _MIXED),
    "by_hand": Part(_by_hand, ("n_clips",)),
    "steadiness": Part(_steadiness, ("n_short",)),
}


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recordings", help="manifest CSV, or folder, of real recordings")
    parser.add_argument("--quick", action="store_true", help="a small set")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=tuple(PARTS), metavar="PART")
    parser.add_argument("--work", metavar="FOLDER", help="keep the prepared files there")
    parser.add_argument("--model", help="name or folder (default: siamese, or the first bundled)")
    args = parser.parse_args(argv)
    args.model = args.model or default_model(parser)
    return args


if __name__ == "__main__":
    sys.exit(main())
