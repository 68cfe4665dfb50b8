"""`artist-features models | pull | push | import-authors`: model folders and the Hub."""

import argparse
import sys

from artist_features.cli import Commands
from artist_features.errors import display_path


def add_parser(commands: Commands) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser(
        "models",
        help="the bundled models, or the card of one",
        description="Print the table of bundled models, or the card of one model.",
    )
    parser.add_argument("name", nargs="?", help="name, folder or hf://owner/name[@revision]")
    parser.set_defaults(command=show)

    parser = commands.add_parser(
        "import-authors",
        help="the authors' released .h5 weights to a model folder",
        description="Convert weights released by the paper's authors (Keras 2 .h5, basic or "
        "siamese) to a model folder. Only arrays are read from the file.",
    )
    parser.add_argument("weights", metavar="WEIGHTS.h5")
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--name", help="of the model (default: the file's name)")
    parser.set_defaults(command=import_authors)

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
    parser.set_defaults(command=pull)

    parser = commands.add_parser(
        "push",
        help="a model folder to the Hugging Face Hub",
        description="Verify a model folder and send its five files in one commit; config.json and "
        "the metadata of README.md are sent as artist_features.json gives them, without edits by "
        "hand. Prints the pinned id hf://owner/name@commit. The token is HF_TOKEN, or that of "
        "`hf auth login`.",
    )
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("repository", metavar="owner/name", help="made if there is none")
    parser.add_argument("--private", action="store_true", help="only the account may see it")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="made if there is none (default: main)"
    )
    parser.add_argument("--message", help="of the commit")
    parser.set_defaults(command=push)


def show(args: argparse.Namespace) -> int:
    """Print the table of bundled models, or a summary of one."""
    from artist_features.zoo import card, registry

    if args.name is None:
        print(card.models_table(registry.list_models().values()))
    else:
        bundled = registry.list_models().get(args.name)
        sys.stdout.write(card.card_summary(bundled or registry.read_model(args.name)[0]))
    return 0


def import_authors(args: argparse.Namespace) -> int:
    """Convert a file of the authors."""
    from artist_features.zoo import authors

    card = authors.import_authors(args.weights, args.folder, name=args.name)
    print(
        f"{card.name}: {card.kind} model written to {display_path(args.folder)}; "
        f"weights by the paper's authors, {card.license} licence",
        file=sys.stderr,
    )
    return 0


def pull(args: argparse.Namespace) -> int:
    """Fetch a model folder."""
    from artist_features.zoo import hub

    handle = f"hf://{args.repository.removeprefix('hf://')}"
    card = hub.pull(handle, args.folder, force=args.force)
    print(
        f"{card.name}: {card.kind} model written to {display_path(args.folder)}; "
        f"licence {card.license}",
        file=sys.stderr,
    )
    return 0


def push(args: argparse.Namespace) -> int:
    """Publish a model folder."""
    from artist_features.zoo import publish

    published = publish.push(
        args.folder,
        args.repository,
        revision=args.revision,
        private=args.private,
        message=args.message,
    )
    state = "published" if published.changed else "nothing to send: the Hub has these files already"
    print(display_path(f"{state}: {published.url}"), file=sys.stderr)
    print(published.handle)
    return 0
