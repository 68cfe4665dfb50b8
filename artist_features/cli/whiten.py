"""`artist-features whiten`: whiten a model's embedding layer."""

import argparse
import logging

from artist_features.cli import train
from artist_features.cli.options import add_root_option
from artist_features.cli.stopping import OrderlyStop
from artist_features.errors import display_path

logger = logging.getLogger(__name__)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "whiten",
        help="compute the last block of a trained model anew, so that its embeddings are whitened",
        description="Write a copy of a model whose last block is not trained but computed: it "
        "whitens what the block before it makes of the manifests' tracks to train on. Cosines "
        "between embeddings then rest on all their directions, not on the few in which music "
        "varies most. No labels are used.",
    )
    parser.add_argument("model", metavar="MODEL", help="name, folder or hf://owner/name")
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST", help="CSV: file,artist,title")
    add_root_option(parser)
    parser.add_argument(
        "-o", "--output", dest="out", required=True, metavar="DIR", help="folder of the new model"
    )
    parser.add_argument("--name", default="", help="of the new model (default: that of the folder)")
    parser.add_argument("--cache", metavar="DIR", help="prepared audio (default: DIR/cache)")
    parser.add_argument(
        "--split-seed", type=int, default=0, metavar="N", help="of the held-out artists"
    )
    parser.add_argument(
        "--force", action="store_true", help="also into a folder that has files: replace a model's"
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Whiten, report, and return the exit code."""
    with OrderlyStop() as stop:
        from artist_features.training.whiten import whiten  # imports TensorFlow

        card = whiten(
            args.model,
            args.manifests,
            args.out,
            name=args.name,
            force=args.force,
            command=train.command_line(),
            cache=args.cache,
            split_seed=args.split_seed,
            root=args.root,
            between_batches=stop.check,
        )
    facts = card.training["whitened"]
    logger.info(
        "%s: last block whitened over %d segments of %d tracks; written to %s",
        *(card.name, facts["n_segments"], facts["n_tracks"], display_path(args.out)),
    )
    return 0
