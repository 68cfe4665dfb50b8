"""`artist-features pull`: a model folder from the Hugging Face Hub to a local one."""

import sys

from artist_features.errors import display_path


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "pull",
        help="a model folder from the Hugging Face Hub",
        description="Fetch a model folder, check its sha256, and copy it to DIR.",
    )
    parser.add_argument("repository", metavar="owner/name[@revision]")
    parser.add_argument("folder", metavar="DIR", help="new, or a model folder to bring up to date")
    parser.add_argument(
        "--force", action="store_true", help="replace files of these names in any folder"
    )
    parser.set_defaults(command=run)


def run(args):
    """Fetch, report, and return the exit code."""
    from artist_features.zoo.hub import pull

    card = pull(f"hf://{args.repository.removeprefix('hf://')}", args.folder, force=args.force)
    print(
        f"{card.name}: {card.kind} model written to {display_path(args.folder)}; "
        f"licence {card.license}",
        file=sys.stderr,
    )
    return 0
