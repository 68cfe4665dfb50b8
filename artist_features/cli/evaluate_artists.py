"""`artist-features evaluate artists`: does a track find the other tracks of its artist?"""

import hashlib
from pathlib import Path

from artist_features.cli import add_root_option, scoring
from artist_features.errors import ManifestError, display_path


def add_parser(protocols):
    """Add the protocol to the parser."""
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
    scoring.add_options(parser, baselines=("mfcc", "mfcc-raw", "chance"))
    parser.set_defaults(command=run)


def run(args):
    """Evaluate, print the table, write the record, and return the exit code."""
    from artist_features.evaluation import artists, report
    from artist_features.training.manifest import read_manifest

    scoring.names_of(args)
    scoring.check_output(args.json, args.force)
    manifest = read_manifest(args.manifest, args.root)
    sha256 = hashlib.sha256(Path(args.manifest).read_bytes()).hexdigest()
    part = {"split": args.split, "split_seed": args.split_seed}
    for remark in artists.remarks_on_artists(manifest, args.manifest, **part):
        scoring.say(remark)
    tracks = artists.select_tracks(
        manifest, args.manifest, **part, limit_artists=args.limit_artists
    )
    _check_enough(tracks, args.manifest, "to start with")
    if args.exclude_album and not all("album" in track.extra for track in tracks):
        text = "column 'album' is missing; --exclude-album needs it."
        raise ManifestError(text, args.manifest, line=1)
    extractors = scoring.extractors_of(args)
    _warn_of_other_splits(args, extractors)
    found = artists.extract_tracks(tracks, extractors, args.baseline)
    scoring.tell_remarks(found)
    _check_enough(found.tracks, args.manifest, f"after {len(found.left_out)} were left out")
    scores = artists.evaluate_artists(
        found.vectors,
        [track.artist for track in found.tracks],
        [_album(track) for track in found.tracks] if args.exclude_album else None,
        standardise=args.standardise,
    )
    record = _record(args, sha256, extractors, found, scores)
    return scoring.finish(args, report.artists_table(scores, record), record)


def _check_enough(tracks, manifest, when):
    n_artists = len({track.artist for track in tracks})
    if n_artists < 2:
        raise ManifestError(
            f"{len(tracks)} tracks of {n_artists} artists with two or more tracks {when}; needed "
            "are two such artists. Label more tracks or evaluate another part.",
            manifest,
        )


def _warn_of_other_splits(args, extractors):
    """Say so where a model may have been trained on what it is asked to find."""
    for name, extractor in extractors.items():
        seed = extractor.card.training.get("split_seed") if extractor.card else None
        if args.split and seed is not None and seed != args.split_seed:
            scoring.say(
                f"warning: {name} was trained with --split-seed {seed}, this is the split of "
                f"{args.split_seed}: its training may have heard these artists"
            )


def _album(track):
    album = track.extra["album"].strip()
    return (track.artist, album) if album else None


def _record(args, sha256, extractors, found, scores):
    from artist_features.evaluation.comparison import BOOTSTRAP
    from artist_features.evaluation.report import scores_record

    return scoring.record_of(
        args,
        extractors,
        found,
        protocol="artists",
        manifest=display_path(args.manifest),
        manifest_sha256=sha256,
        split=args.split,
        split_seed=args.split_seed,
        limit_artists=args.limit_artists,
        standardise=args.standardise,
        exclude_album=args.exclude_album,
        n_artists=len({track.artist for track in found.tracks}),
        n_without_positives=scores[0].retrieval.n_without_positives,
        bootstrap={"over": "artists", **BOOTSTRAP},
        models=[
            scores_record(row, getattr(extractors.get(row.name), "card", None)) for row in scores
        ],
    )
