"""`artist-features evaluate`: models and baselines side by side on labelled tracks."""

import datetime
import hashlib
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import artist_features
from artist_features.errors import ManifestError, OutputError, display_path

_PACKAGES = ("tensorflow", "keras", "kapre", "numpy")


def add_parser(commands):
    """Add the command and its protocols to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="score models and baselines on labelled tracks",
        description="Score models and baselines on labelled tracks.",
    )
    protocols = parser.add_subparsers(title="protocols", required=True, metavar="PROTOCOL")
    artists = protocols.add_parser(
        "artists",
        help="artist retrieval: does a track find the other tracks of its artist?",
        description="Artist retrieval on the manifest's artists with two or more tracks. Prints "
        "MAP and precision at 1 with 95 % bootstrap intervals over artists, and the difference "
        "to the first model. A track that one model cannot use is named and left out for all; "
        "the exit code is then 1.",
    )
    artists.add_argument("manifest", metavar="MANIFEST", help="CSV: file, artist, title, ...")
    artists.add_argument(
        "--split",
        choices=("train", "valid", "test"),
        help="only this part: of the manifest's split column, else of the split by artist that "
        "training makes",
    )
    artists.add_argument("--split-seed", type=int, default=0, metavar="N", help="default: 0")
    artists.add_argument(
        "--model",
        action="append",
        default=[],
        help="name, folder or hf://owner/name[@revision]; may be repeated, the first is what the "
        "others are compared with (default: siamese)",
    )
    artists.add_argument(
        "--baseline",
        action="append",
        default=[],
        choices=("mfcc", "chance"),
        help="mfcc (extra [evaluate]): mean and deviation of 20 MFCCs, standardised; chance: "
        "random vectors; may be repeated",
    )
    artists.add_argument(
        "--standardise",
        action="store_true",
        help="give every dimension mean 0 and deviation 1 over the tracks, for all models",
    )
    artists.add_argument(
        "--exclude-album",
        action="store_true",
        help="tracks of the query's own album (column album) are no candidates",
    )
    artists.add_argument(
        "--limit-artists", type=int, metavar="N", help="only the first N artists of the manifest"
    )
    artists.add_argument("--json", metavar="OUT", help="write everything measured to this file")
    artists.add_argument("--force", action="store_true", help="replace an existing OUT")
    artists.set_defaults(command=run_artists)


def run_artists(args):
    """Evaluate, print the table, write the record, and return the exit code."""
    from artist_features.evaluation import artists, report
    from artist_features.files import write_atomically
    from artist_features.training.manifest import read_manifest

    names = _names(args)
    _check_output(args.json, args.force)
    manifest = read_manifest(args.manifest)
    sha256 = hashlib.sha256(Path(args.manifest).read_bytes()).hexdigest()
    tracks = artists.select_tracks(
        manifest,
        args.manifest,
        split=args.split,
        split_seed=args.split_seed,
        limit_artists=args.limit_artists,
    )
    _check_enough(tracks, args.manifest, "to start with")
    if args.exclude_album and not all("album" in track.extra for track in tracks):
        text = "column 'album' is missing; --exclude-album needs it."
        raise ManifestError(text, args.manifest, line=1)
    extractors = {name: _extractor(name) for name in names if name not in args.baseline}
    _warn_of_other_splits(args, extractors)
    found = artists.extract_tracks(tracks, extractors, args.baseline)
    _tell_remarks(found)
    _check_enough(found.tracks, args.manifest, f"after {len(found.left_out)} were left out")
    scores = artists.evaluate_artists(
        found.vectors,
        [track.artist for track in found.tracks],
        [_album(track) for track in found.tracks] if args.exclude_album else None,
        standardise=args.standardise,
    )
    record = _record(args, sha256, extractors, found, scores)
    print(report.artists_table(scores, record))
    if args.json:
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        write_atomically(Path(args.json), text.encode())
        _say(f"written to {display_path(args.json)}")
    return int(bool(found.left_out))


def _names(args):
    """Return models, then baselines; each once."""
    if not args.model and not args.baseline:
        args.model = ["siamese"]
    names = [*args.model, *args.baseline]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} is given twice; name each model and baseline once.")
    return names


def _check_output(path, force):
    """Refuse before anything is extracted what could not be written afterwards."""
    if path is None:
        return
    if os.path.exists(path) and not (force and os.path.isfile(path)):
        text = "exists; --force replaces a file, else choose another name."
        raise OutputError("not_writable", text, path)
    if not os.access(os.path.dirname(path) or ".", os.W_OK):
        text = "its folder cannot be written to; make it or choose another."
        raise OutputError("not_writable", text, path)


def _check_enough(tracks, manifest, when):
    n_artists = len({track.artist for track in tracks})
    if n_artists < 2:
        raise ManifestError(
            f"{len(tracks)} tracks of {n_artists} artists with two or more tracks {when}; needed "
            "are two such artists. Label more tracks or evaluate another part.",
            manifest,
        )


def _extractor(name):
    from artist_features.extraction.extractor import Extractor

    return Extractor(
        name, isolated=True, on_loaded=lambda device: _say(f"model {name} on {device}")
    )


def _warn_of_other_splits(args, extractors):
    """Say so where a model may have been trained on what it is asked to find."""
    for name, extractor in extractors.items():
        seed = extractor.card.training.get("split_seed") if extractor.card else None
        if args.split and seed is not None and seed != args.split_seed:
            _say(
                f"warning: {name} was trained with --split-seed {seed}, this is the split of "
                f"{args.split_seed}: its training may have heard these artists"
            )


def _album(track):
    album = track.extra["album"].strip()
    return (track.artist, album) if album else None


def _tell_remarks(found):
    for path, text in [*found.left_out, *found.flaws]:
        _say(f"{display_path(path)}: {text}")
    _say(f"{len(found.tracks)} tracks evaluated, {len(found.left_out)} left out")


def _say(text):
    from tqdm import tqdm

    tqdm.write(display_path(text), file=sys.stderr)


def _record(args, sha256, extractors, found, scores):
    """Return all that was measured, on what, and with what."""
    from artist_features.evaluation.artists import LEVEL, N_RESAMPLES
    from artist_features.evaluation.report import scores_record
    from artist_features.zoo.devices import usable_cores

    devices = [extractor.device for extractor in extractors.values()]
    packages = [*_PACKAGES, *(["librosa"] if "mfcc" in args.baseline else [])]
    return {
        "protocol": "artists",
        "manifest": display_path(args.manifest),
        "manifest_sha256": sha256,
        "split": args.split,
        "split_seed": args.split_seed,
        "limit_artists": args.limit_artists,
        "standardise": args.standardise,
        "exclude_album": args.exclude_album,
        "n_tracks": len(found.tracks),
        "n_artists": len({track.artist for track in found.tracks}),
        "n_without_positives": scores[0].retrieval.n_without_positives,
        "n_left_out": len(found.left_out),
        "left_out": [[display_path(path), reason] for path, reason in found.left_out],
        "flaws": [[display_path(path), text] for path, text in found.flaws],
        "bootstrap": {"over": "artists", "n_resamples": N_RESAMPLES, "level": LEVEL, "seed": 0},
        "models": [
            scores_record(row, getattr(extractors.get(row.name), "card", None)) for row in scores
        ],
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": devices[0] if devices else f"CPU ({usable_cores()} cores)",
        "versions": {
            "artist-features": artist_features.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
    }
