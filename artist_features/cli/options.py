"""Options that several commands have."""

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # add_subparsers()


def add_root_option(parser: argparse.ArgumentParser) -> None:
    """Add `--root` to a command that reads a manifest."""
    text = "folder from which a manifest's relative paths are taken (default: its own)"
    parser.add_argument("--root", metavar="DIR", help=text)
