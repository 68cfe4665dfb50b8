"""`artist-features evaluate genre`: cross-validated classifiers on any labelled tracks."""

import dataclasses
import hashlib
import os
from pathlib import Path

from artist_features.cli import add_root_option, scoring
from artist_features.errors import ManifestError, display_path


def add_parser(protocols):
    """Add the protocol to the parser."""
    parser = protocols.add_parser(
        "genre",
        help="any classes, such as genres: cross-validated logistic regression and SVM",
        description="Cross-validated logistic regression and support vector machine on the "
        "classes of a manifest's column or of a folder's sub-folders. Folds are stratified by "
        "class and keep artists whole, C is chosen inside each. A track that is missing, or that "
        "one model cannot use, is named and left out for all; the exit code is then 1.",
    )
    parser.add_argument(
        "manifest",
        metavar="MANIFEST",
        help="CSV: file, artist, title, ..., or a folder with one sub-folder a class",
    )
    add_root_option(parser)
    parser.add_argument(
        "--label", default="genre", metavar="COLUMN", help="of the CSV (default: genre)"
    )
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument(
        "--drop-rare",
        action="store_true",
        help="leave out classes with tracks of fewer artists than there are folds",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the folds (default: 0)"
    )
    scoring.add_options(parser)
    parser.set_defaults(command=run)


def run(args):
    """Evaluate, print the table, write the record, and return the exit code."""
    from artist_features.evaluation import crossvalidation, report
    from artist_features.evaluation.datasets import read_labelled

    scoring.names_of(args)
    scoring.check_output(args.json, args.force)
    if args.folds < 3 or args.seed < 0:
        raise ValueError(
            f"--folds is {args.folds}, --seed {args.seed}; allowed are 3 or more folds and a "
            "seed of 0 or more."
        )
    collection = _enough(args, read_labelled(args.manifest, args.label, args.root))
    found, extractors = scoring.extract_collection(args, collection)
    labels = [collection.labels[track.path] for track in found.tracks]
    artists = [track.artist for track in found.tracks]
    if n_unknown := artists.count(""):
        scoring.say(
            f"warning: the artist of {n_unknown} tracks is not known, each counts as one of its "
            "own: a classifier may gain by recognising an artist or a record"
        )
    try:
        scores = crossvalidation.cross_validate(
            found.vectors,
            labels,
            artists,
            n_folds=args.folds,
            seed=args.seed,
            progress=lambda name, classifier: scoring.say(f"{name}: {classifier} done"),
        )
    except ValueError as error:
        raise ManifestError(str(error), args.manifest) from None
    record = _record(args, extractors, found, collection, labels, artists)
    record["models"] = [
        report.classifier_record(row, getattr(extractors.get(row.name), "card", None))
        for row in scores
    ]
    return scoring.finish(args, report.classifiers_table(scores, record), record)


def _enough(args, collection):
    """Refuse, or leave out, classes of too few artists before anything is extracted."""
    from artist_features.evaluation.crossvalidation import artists_by_label

    labels = [collection.labels[track.path] for track in collection.tracks]
    counts = artists_by_label(labels, [track.artist for track in collection.tracks])
    rare = {label: n for label, n in counts.items() if n < args.folds}
    if rare and not args.drop_rare:
        label = next(iter(rare))
        raise ManifestError(
            f"class {label!r} has tracks of {rare[label]} artists, {args.folds} folds need "
            f"{args.folds} ({len(rare)} of {len(counts)} classes have too few). Use --drop-rare, "
            "or fewer --folds.",
            args.manifest,
        )
    if len(counts) - len(rare) < 2:
        raise ManifestError(
            f"{len(counts) - len(rare)} classes with tracks of {args.folds} artists or more; two "
            "or more are needed.",
            args.manifest,
        )
    tracks = [track for track in collection.tracks if collection.labels[track.path] not in rare]
    ignored = list(collection.ignored)
    if rare:
        n_tracks = len(collection.tracks) - len(tracks)
        names = ", ".join(f"{label} ({n})" for label, n in rare.items())
        ignored.append(f"{n_tracks} tracks of classes with few artists: {names}")
    return dataclasses.replace(collection, tracks=tracks, ignored=ignored)


def _record(args, extractors, found, collection, labels, artists):
    from artist_features.evaluation import crossvalidation
    from artist_features.evaluation.comparison import BOOTSTRAP

    path = Path(args.manifest)
    sha256 = None if os.path.isdir(path) else hashlib.sha256(path.read_bytes()).hexdigest()
    return scoring.record_of(
        args,
        extractors,
        found,
        protocol="genre",
        manifest=display_path(args.manifest),
        manifest_sha256=sha256,
        label=args.label if sha256 else None,
        n_folds=args.folds,
        seed=args.seed,
        c_grid=list(crossvalidation.C_GRID),
        classes={label: labels.count(label) for label in sorted(set(labels))},
        n_classes=len(set(labels)),
        n_artists=len(set(crossvalidation.group_numbers(artists).tolist())),
        n_unknown_artists=artists.count(""),
        ignored=collection.ignored,
        bootstrap={"over": "artists" if any(artists) else "tracks", **BOOTSTRAP},
    )
