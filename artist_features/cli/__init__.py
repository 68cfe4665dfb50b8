"""Command line: one module a group of commands, and the option that several commands have."""

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_root_option(parser: argparse.ArgumentParser) -> None:
    """Add `--root` to a command that reads a manifest."""
    text = "folder from which a manifest's relative paths are taken (default: its own)"
    parser.add_argument("--root", metavar="DIR", help=text)
