"""`artist-features evaluate fma`: genres of FMA-small with its official split."""

from artist_features.cli import scoring, softmax


def add_parser(protocols):
    """Add the protocol to the parser."""
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
    scoring.add_options(parser)
    softmax.add_options(parser)
    parser.set_defaults(command=run)


def run(args):
    """Evaluate, print the table, write the record, and return the exit code."""
    from artist_features.evaluation.fma import find_fma

    softmax.check(args)
    collection = find_fma(args.folder, args.metadata)
    return softmax.run(args, "fma", "FMA-small, official split", collection)
