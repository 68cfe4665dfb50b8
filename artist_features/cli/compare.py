"""`artist-features compare`: how similar recordings are to each other."""

import argparse
import json

from artist_features.cli import Commands
from artist_features.cli.progress import write_line
from artist_features.errors import display_path


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare",
        help="how similar recordings are to each other",
        description="Print the cosine of the embeddings of each two recordings, as a table parted "
        "by tabs. A recording that cannot be read has blanks, and the exit code is 1.",
    )
    parser.add_argument("first", metavar="A", help="file or URI")
    parser.add_argument("others", nargs="+", metavar="B", help="file or URI")
    parser.add_argument(
        "--model", default="siamese", help="name, folder or hf://owner/name[@revision]"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Extract, compare, print, and return the exit code."""
    import numpy as np

    from artist_features.extraction.extractor import Extractor
    from artist_features.extraction.recordings import to_source
    from artist_features.metrics import unit_or_zero

    paths = [args.first, *args.others]
    extractor = Extractor(args.model, isolated=True, dedicated=True)
    units = np.full((len(paths), extractor.embedding_dim), np.nan)
    sources = (to_source(path, None) for path in paths)
    for result in extractor.results(sources, n_sources=len(paths)):
        if result.error is not None:
            write_line(str(result.error))
        elif not result.embedding.any():
            text = "its vector is all zeros, which has no direction"
            write_line(f"{display_path(paths[result.index])}: {text}")
        else:
            units[result.index] = result.embedding
    units = unit_or_zero(units)
    cosines = (units @ units.T).round(6)
    failed = np.isnan(units).any(axis=1)
    if args.json:
        values = [[None if np.isnan(value) else value for value in row] for row in cosines.tolist()]
        names = [display_path(path) for path in paths]
        print(json.dumps({"model": args.model, "paths": names, "similarity": values}, indent=2))
        return int(failed.any())
    print("", *map(display_path, paths), sep="\t")
    for path, row in zip(paths, cosines.tolist(), strict=True):
        fields = ("" if np.isnan(value) else f"{value:.4f}" for value in row)
        print(display_path(path), *fields, sep="\t")
    return int(failed.any())
