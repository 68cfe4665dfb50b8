"""`artist-features evaluate gtzan`: the paper's protocol on GTZAN."""

from artist_features.cli import scoring, softmax


def add_parser(protocols):
    """Add the protocol to the parser."""
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
    scoring.add_options(parser)
    softmax.add_options(parser)
    parser.set_defaults(command=run)


def run(args):
    """Evaluate, print the table, write the record, and return the exit code."""
    from artist_features.evaluation.gtzan import find_gtzan

    softmax.check(args)
    return softmax.run(args, "gtzan", "GTZAN, fault-filtered", find_gtzan(args.folder))
