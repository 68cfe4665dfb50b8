"""The softmax protocol on a collection with an official split, for its two commands."""

from collections import Counter

from artist_features.cli import scoring
from artist_features.errors import ManifestError, display_path


def add_options(parser):
    """Add the options of the protocol."""
    parser.add_argument("--trials", type=int, default=10, metavar="N", help="default: 10")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the first trial (default: 0)"
    )


def check(args):
    """Refuse wrong options before a folder is searched."""
    scoring.names_of(args)
    scoring.check_output(args.json, args.force)
    for name, least in (("trials", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name} is {getattr(args, name)}; allowed is {least} or more.")


def run(args, protocol, data, collection):
    """Score a `Collection` with splits, print the table, and return the exit code."""
    from artist_features.evaluation import report, softmax
    from artist_features.evaluation.comparison import BOOTSTRAP

    found, extractors = scoring.extract_collection(args, collection)
    splits = [collection.splits[track.path] for track in found.tracks]
    labels = [collection.labels[track.path] for track in found.tracks]
    artists = [track.artist for track in found.tracks]
    n_by_split = {split: Counter(splits)[split] for split in ("train", "valid", "test")}
    _check_whole(args.folder, collection, labels, splits)
    scores = softmax.evaluate_softmax(
        found.vectors,
        labels,
        splits,
        artists if all(artists) else None,
        n_trials=args.trials,
        seed=args.seed,
        progress=lambda name, trial: scoring.say(f"{name}: trial {trial + 1} of {args.trials}"),
    )
    record = scoring.record_of(
        args,
        extractors,
        found,
        protocol=protocol,
        data=data,
        folder=display_path(args.folder),
        n_by_split=n_by_split,
        n_expected=len(collection.tracks),
        n_classes=len(set(labels)),
        ignored=collection.ignored,
        n_trials=args.trials,
        seed=args.seed,
        bootstrap={"over": "artists" if all(artists) else "tracks", **BOOTSTRAP},
    )
    record["models"] = [
        report.softmax_record(row, getattr(extractors.get(row.name), "card", None))
        for row in scores
    ]
    return scoring.finish(args, report.softmax_table(scores, record), record)


def _check_whole(folder, collection, labels, splits):
    """Refuse to score where a class or a part of the split is not there at all."""
    left = set(zip(labels, splits, strict=True))
    wanted = {(collection.labels[t.path], collection.splits[t.path]) for t in collection.tracks}
    if missing := sorted(wanted - left):
        label, split = missing[0]
        raise ManifestError(
            f"no track of class {label!r} in split {split!r} could be used ({len(missing)} of "
            f"{len(wanted)} such parts are empty); the protocol needs all. Complete the data set.",
            folder,
        )
