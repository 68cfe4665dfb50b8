"""`artist-features push`: a model folder to the Hugging Face Hub."""

import sys

from artist_features.errors import display_path


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "push",
        help="a model folder to the Hugging Face Hub",
        description="Verify a model folder and send its five files in one commit. Prints the "
        "pinned id hf://owner/name@commit. The token is HF_TOKEN, or that of `hf auth login`.",
    )
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("repository", metavar="owner/name", help="made if there is none")
    parser.add_argument("--private", action="store_true", help="only the account may see it")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="made if there is none (default: main)"
    )
    parser.add_argument("--message", help="of the commit")
    parser.set_defaults(command=run)


def run(args):
    """Send, report, and return the exit code."""
    from artist_features.zoo.publish import push

    published = push(
        args.folder,
        args.repository,
        revision=args.revision,
        private=args.private,
        message=args.message,
        say=_say,
    )
    state = "published" if published.changed else "nothing to send: the Hub has these files already"
    _say(f"{state}: {published.url}")
    print(published.handle)
    return 0


def _say(text):
    print(display_path(text), file=sys.stderr)
