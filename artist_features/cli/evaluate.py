"""`artist-features evaluate`: score models and baselines on labelled tracks, by four protocols."""

import argparse
import dataclasses
import functools
import hashlib
import json
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from artist_features.cli import Commands, add_root_option, check_output
from artist_features.errors import ManifestError, display_path
from artist_features.files import write_atomically

if TYPE_CHECKING:
    from artist_features.datasets.tracks import Collection, Track
    from artist_features.evaluation.vectors import TrackVectors
    from artist_features.extraction.extractor import Extractor

    Extractors: TypeAlias = dict[str, Extractor]

logger = logging.getLogger(__name__)


def add_parser(commands: Commands) -> None:
    """Add the command and its protocols to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="score models and baselines on labelled tracks",
        description="Score models and baselines on labelled tracks.",
    )
    protocols = parser.add_subparsers(title="protocols", required=True, metavar="PROTOCOL")
    _add_artists(protocols)
    _add_genre(protocols)
    _add_gtzan(protocols)
    _add_fma(protocols)


def _add_options(
    parser: argparse.ArgumentParser, baselines: tuple[str, ...] = ("mfcc", "chance")
) -> None:
    """Add the options of all protocols: models, baselines, record file."""
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


def _add_artists(protocols: Commands) -> None:
    parser = protocols.add_parser(
        "artists",
        help="artist retrieval: does a track find the other tracks of its artist?",
        description="Artist retrieval on the manifest's artists with two or more tracks. Prints "
        "MAP and precision at 1 with 95 % bootstrap intervals over artists, and the difference "
        "to the first model. A track that one model cannot use is named and left out for all; "
        "the exit code is then 1.",
    )
    parser.add_argument("manifest", metavar="MANIFEST", help="CSV: file, artist, title, ...")
    add_root_option(parser)
    parser.add_argument(
        "--split",
        choices=("train", "valid", "test"),
        help="only this part: of the manifest's split column, else of the split by artist that "
        "training makes",
    )
    parser.add_argument("--split-seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--standardise",
        action="store_true",
        help="give every dimension mean 0 and deviation 1 over the tracks, for all models",
    )
    parser.add_argument(
        "--exclude-album",
        action="store_true",
        help="tracks of the query's own album (column album) are no candidates",
    )
    parser.add_argument(
        "--limit-artists", type=int, metavar="N", help="only the first N artists of the manifest"
    )
    # in the classifiers of the other protocols every dimension is standardised anyway
    _add_options(parser, baselines=("mfcc", "mfcc-raw", "chance"))
    parser.set_defaults(command=_run_artists)


def _add_genre(protocols: Commands) -> None:
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
    _add_options(parser)
    parser.set_defaults(command=_run_genre)


def _add_gtzan(protocols: Commands) -> None:
    parser = protocols.add_parser(
        "gtzan",
        help="genres of GTZAN, the paper's protocol: fault-filtered split, one softmax layer",
        description="Genre classification on GTZAN as Park et al. (ISMIR 2018) did it: the "
        "fault-filtered split of 443, 197 and 290 clips, one softmax layer on the vectors, mean "
        "accuracy of 10 trials. Clips outside the split are not used. A clip of it that is "
        "missing, or that one model cannot use, is named and left out for all; the exit code is "
        "then 1.",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", help="GTZAN: genres/blues/blues.00000.wav or .au"
    )
    _add_softmax_options(parser, "gtzan", "GTZAN, fault-filtered")


def _add_fma(protocols: Commands) -> None:
    parser = protocols.add_parser(
        "fma",
        help="genres of FMA-small, its official split, one softmax layer",
        description="Genre classification on FMA-small with its official split, by one softmax "
        "layer as on GTZAN, mean accuracy of 10 trials; intervals over artists. A clip that is "
        "missing, or that one model cannot use (the data set has some that are damaged or almost "
        "empty), is named and left out for all; the exit code is then 1.",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", help="FMA-small: fma_small/000/000002.mp3, fma_metadata"
    )
    parser.add_argument(
        "--metadata",
        metavar="CSV",
        help="tracks.csv of fma_metadata.zip (default: in fma_metadata, in FOLDER or beside it)",
    )
    _add_softmax_options(parser, "fma", "FMA-small, official split")


def _add_softmax_options(parser: argparse.ArgumentParser, protocol: str, data: str) -> None:
    _add_options(parser)
    parser.add_argument("--trials", type=int, default=10, metavar="N", help="default: 10")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the first trial (default: 0)"
    )
    parser.set_defaults(command=_run_softmax, protocol=protocol, data=data)


def _run_artists(args: argparse.Namespace) -> int:
    from artist_features.datasets.manifest import parse_manifest, read_bytes
    from artist_features.evaluation import artists, report

    _check_usage(args)
    data = read_bytes(args.manifest)
    tracks = artists.select_tracks(
        parse_manifest(data, args.manifest, args.root),
        args.manifest,
        split=args.split,
        split_seed=args.split_seed,
        limit_artists=args.limit_artists,
    )
    _check_enough(tracks, args.manifest, "to start with")
    if args.exclude_album and not all("album" in track.extra for track in tracks):
        text = "column 'album' is missing; --exclude-album needs it."
        raise ManifestError(text, args.manifest, line=1)
    extractors = _extractors(args)
    _warn_of_other_splits(args, extractors)
    found = artists.extract_tracks(tracks, extractors, args.baseline)
    _log_left_out(found)
    _check_enough(found.tracks, args.manifest, f"after {len(found.left_out)} were left out")
    scores = artists.evaluate_artists(
        found.vectors,
        [track.artist for track in found.tracks],
        [_album(track) for track in found.tracks] if args.exclude_album else None,
        standardise=args.standardise,
    )
    record = report.run_record(
        found,
        extractors,
        scores,
        protocol="artists",
        manifest=display_path(args.manifest),
        manifest_sha256=hashlib.sha256(data).hexdigest(),
        split=args.split,
        split_seed=args.split_seed,
        limit_artists=args.limit_artists,
        standardise=args.standardise,
        exclude_album=args.exclude_album,
        n_artists=len({track.artist for track in found.tracks}),
        n_without_positives=scores[0].retrieval.n_without_positives,
        bootstrap={"over": "artists", **report.BOOTSTRAP},
    )
    return _finish(args, artists.table(scores, record), record)


def _run_genre(args: argparse.Namespace) -> int:
    from artist_features.datasets.manifest import read_labelled
    from artist_features.evaluation import crossvalidation, report

    _check_usage(args)
    if args.folds < 3 or args.seed < 0:
        raise ValueError(
            f"--folds is {args.folds}, --seed {args.seed}; allowed are 3 or more folds and a "
            "seed of 0 or more."
        )
    collection = _without_rare(args, read_labelled(args.manifest, args.label, args.root))
    extractors = _extractors(args)
    found = _extract(args, collection, extractors)
    labels = [collection.labels[track.path] for track in found.tracks]
    artists = [track.artist for track in found.tracks]
    if n_unknown := artists.count(""):
        logger.warning(
            "the artist of %d tracks is not known, each counts as one of its own: a classifier "
            "may gain by recognising an artist or a record",
            n_unknown,
        )
    try:
        scores = crossvalidation.cross_validate(
            found.vectors, labels, artists, n_folds=args.folds, seed=args.seed
        )
    except ValueError as error:
        raise ManifestError(str(error), args.manifest) from None
    record = report.run_record(
        found,
        extractors,
        scores,
        protocol="genre",
        manifest=display_path(args.manifest),
        manifest_sha256=collection.sha256,
        label=args.label if collection.sha256 else None,
        n_folds=args.folds,
        seed=args.seed,
        c_grid=list(crossvalidation.C_GRID),
        classes={label: labels.count(label) for label in sorted(set(labels))},
        n_classes=len(set(labels)),
        n_artists=len(set(crossvalidation.group_numbers(artists).tolist())),
        n_unknown_artists=n_unknown,
        ignored=collection.ignored,
        bootstrap={"over": "artists" if any(artists) else "tracks", **report.BOOTSTRAP},
    )
    return _finish(args, crossvalidation.table(scores, record), record)


def _run_softmax(args: argparse.Namespace) -> int:
    from artist_features.datasets import genres
    from artist_features.evaluation import report, softmax

    _check_usage(args)
    for name, least in (("trials", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name} is {getattr(args, name)}; allowed is {least} or more.")
    if args.protocol == "gtzan":
        collection = genres.find_gtzan(args.folder)
    else:
        collection = genres.find_fma(args.folder, args.metadata)
    extractors = _extractors(args)
    found = _extract(args, collection, extractors)
    splits = [collection.splits[track.path] for track in found.tracks]
    labels = [collection.labels[track.path] for track in found.tracks]
    artists = [track.artist for track in found.tracks]
    _check_whole(args.folder, collection, set(zip(labels, splits, strict=True)))
    scores = softmax.evaluate_softmax(
        found.vectors,
        labels,
        splits,
        artists if all(artists) else None,
        n_trials=args.trials,
        seed=args.seed,
    )
    record = report.run_record(
        found,
        extractors,
        scores,
        protocol=args.protocol,
        data=args.data,
        folder=display_path(args.folder),
        n_by_split={split: Counter(splits)[split] for split in ("train", "valid", "test")},
        n_expected=len(collection.tracks),
        n_classes=len(set(labels)),
        ignored=collection.ignored,
        n_trials=args.trials,
        seed=args.seed,
        bootstrap={"over": "artists" if all(artists) else "tracks", **report.BOOTSTRAP},
    )
    return _finish(args, softmax.table(scores, record), record)


def _check_usage(args: argparse.Namespace) -> None:
    """Validate the common options before any file is read; the default model is siamese."""
    if not args.model and not args.baseline:
        args.model = ["siamese"]
    names = [*args.model, *args.baseline]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} is given twice; name each model and baseline once.")
    if args.json is not None:
        inputs = [vars(args).get(name) for name in ("manifest", "metadata")]
        check_output(args.json, args.force, [path for path in inputs if path])


def _extractors(args: argparse.Namespace) -> "Extractors":
    """Return {name: `Extractor`} of the models; each is read and verified here."""
    from artist_features.extraction.extractor import Extractor

    return {
        name: Extractor(
            name,
            isolated=True,
            on_loaded=functools.partial(logger.info, "model %s on %s", display_path(name)),
        )
        for name in args.model
    }


def _extract(
    args: argparse.Namespace, collection: "Collection", extractors: "Extractors"
) -> "TrackVectors":
    """Extract the vectors of a `Collection`, and log which tracks take no part."""
    from artist_features.evaluation.vectors import extract_vectors

    found = extract_vectors(collection.tracks, extractors, args.baseline)
    found.left_out = [*collection.unreadable, *found.left_out]
    for text in collection.ignored:
        logger.info("not used: %s", display_path(text))
    _log_left_out(found)
    return found


def _log_left_out(found: "TrackVectors") -> None:
    for path, text in [*found.left_out, *found.flaws]:
        logger.info("%s: %s", display_path(path), display_path(text))
    logger.info("%d tracks evaluated, %d left out", len(found.tracks), len(found.left_out))


def _check_enough(tracks: list["Track"], manifest: str, when: str) -> None:
    n_artists = len({track.artist for track in tracks})
    if n_artists < 2:
        raise ManifestError(
            f"{len(tracks)} tracks of {n_artists} artists with two or more tracks {when}; needed "
            "are two such artists. Label more tracks or evaluate another part.",
            manifest,
        )


def _warn_of_other_splits(args: argparse.Namespace, extractors: "Extractors") -> None:
    """Warn of train/test leakage: a model's own training tracks among the queries."""
    for name, extractor in extractors.items():
        seed = extractor.card.training.get("split_seed") if extractor.card else None
        if args.split and seed is not None and seed != args.split_seed:
            logger.warning(
                "%s was trained with --split-seed %s, this is the split of %s: its training may "
                "have heard these artists",
                *(display_path(name), seed, args.split_seed),
            )


def _album(track: "Track") -> tuple[str, str] | None:
    album = track.extra["album"].strip()
    return (track.artist, album) if album else None


def _without_rare(args: argparse.Namespace, collection: "Collection") -> "Collection":
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


def _check_whole(folder: str, collection: "Collection", left: set[tuple[str, str]]) -> None:
    """Refuse to score where a class or a part of the split is not there at all."""
    wanted = {(collection.labels[t.path], collection.splits[t.path]) for t in collection.tracks}
    if missing := sorted(wanted - left):
        label, split = missing[0]
        raise ManifestError(
            f"no track of class {label!r} in split {split!r} could be used ({len(missing)} of "
            f"{len(wanted)} such parts are empty); the protocol needs all. Complete the data set.",
            folder,
        )


def _finish(args: argparse.Namespace, table: str, record: dict[str, Any]) -> int:
    """Print the table, write the record, and return the exit code."""
    print(table)
    if args.json:
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        write_atomically(Path(args.json), text.encode())
        logger.info("written to %s", display_path(args.json))
    return int(bool(record["n_left_out"]))
