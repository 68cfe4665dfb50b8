"""`artist-features import-authors`: the authors' released `.h5` to a model folder."""

import sys

from artist_features.errors import display_path


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "import-authors",
        help="the authors' released .h5 weights to a model folder",
        description="Convert weights released by the paper's authors (Keras 2 .h5, basic or "
        "siamese) to a model folder. Only arrays are read from the file.",
    )
    parser.add_argument("weights", metavar="WEIGHTS.h5")
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--name", help="of the model (default: the file's name)")
    parser.set_defaults(command=run)


def run(args):
    """Convert, report, and return the exit code."""
    from artist_features.zoo.authors import import_authors

    card = import_authors(args.weights, args.folder, name=args.name)
    print(
        f"{card.name}: {card.kind} model written to {display_path(args.folder)}; "
        f"weights by the paper's authors, {card.license} licence",
        file=sys.stderr,
    )
    return 0
