"""What the protocols of `artist-features evaluate` share: options, checks, records."""

import datetime
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import artist_features
from artist_features.errors import display_path
from artist_features.files import check_new_file

_PACKAGES = ("tensorflow", "keras", "kapre", "numpy", "scikit-learn")


def add_options(parser, baselines=("mfcc", "chance")):
    """Add what is scored and where the record goes."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="name, folder or hf://owner/name[@revision]; may be repeated, the first is what the "
        "others are compared with (default: siamese)",
    )
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        choices=baselines,
        help="mfcc (extra [evaluate]): mean and deviation of 20 MFCCs, standardised; mfcc-raw "
        "(artists): the same as they are; chance: random vectors; may be repeated",
    )
    parser.add_argument("--json", metavar="OUT", help="write everything measured to this file")
    parser.add_argument("--force", action="store_true", help="replace an existing OUT")


def names_of(args):
    """Return models, then baselines; each once."""
    if not args.model and not args.baseline:
        args.model = ["siamese"]
    names = [*args.model, *args.baseline]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} is given twice; name each model and baseline once.")
    return names


def check_output(path, force):
    """Refuse before anything is extracted what could not be written afterwards."""
    if path is not None:
        check_new_file(path, force)


def extractors_of(args):
    """Return {name: `Extractor`} of the models; each is read and verified here."""
    from artist_features.extraction.extractor import Extractor

    def one(name):
        return Extractor(
            name, isolated=True, on_loaded=lambda device: say(f"model {name} on {device}")
        )

    return {name: one(name) for name in names_of(args) if name not in args.baseline}


def extract_collection(args, collection):
    """Extract the vectors of a `Collection`, and say what takes no part.

    Returns:
        (`TrackVectors`, {name: `Extractor`}).
    """
    from artist_features.evaluation.vectors import extract_vectors

    extractors = extractors_of(args)
    found = extract_vectors(collection.tracks, extractors, args.baseline)
    found.left_out = [*collection.unreadable, *found.left_out]
    for text in collection.ignored:
        say(f"not used: {text}")
    tell_remarks(found)
    return found, extractors


def tell_remarks(found):
    """Say which tracks were left out or have a flaw, and how many remain."""
    for path, text in [*found.left_out, *found.flaws]:
        say(f"{display_path(path)}: {text}")
    say(f"{len(found.tracks)} tracks evaluated, {len(found.left_out)} left out")


def say(text):
    """Print a line to standard error, clear of progress bars."""
    from tqdm import tqdm

    tqdm.write(display_path(text), file=sys.stderr)


def record_of(args, extractors, found, **fields):
    """Return all that was measured, on what, and with what."""
    from artist_features.zoo.devices import usable_cores

    devices = [extractor.device for extractor in extractors.values()]
    packages = [*_PACKAGES, *(["librosa"] if any("mfcc" in name for name in args.baseline) else [])]
    return {
        **fields,
        "n_tracks": len(found.tracks),
        "n_left_out": len(found.left_out),
        "left_out": [[display_path(path), reason] for path, reason in found.left_out],
        "flaws": [[display_path(path), text] for path, text in found.flaws],
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": devices[0] if devices else f"CPU ({usable_cores()} cores)",
        "versions": {
            "artist-features": artist_features.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
    }


def finish(args, table, record):
    """Print the table, write the record, and return the exit code."""
    from artist_features.files import write_atomically

    print(table)
    if args.json:
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        write_atomically(Path(args.json), text.encode())
        say(f"written to {display_path(args.json)}")
    return int(bool(record["n_left_out"]))
