"""Command line: one module a group of commands, and what several commands have in common."""

import argparse
import os
from collections.abc import Sequence
from typing import TypeAlias

from artist_features.audio.formats import AUDIO_ENDINGS
from artist_features.errors import OutputError
from artist_features.files import check_new_file

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_root_option(parser: argparse.ArgumentParser) -> None:
    """Add `--root` to a command that reads a manifest."""
    text = "folder from which a manifest's relative paths are taken (default: its own)"
    parser.add_argument("--root", metavar="DIR", help=text)


def check_output(path: str, force: bool, inputs: Sequence[str | os.PathLike[str]] = ()) -> None:
    """Check that a new file can be written; audio is not replaced, even by `--force` or a link.

    Args:
        path: of the file to be.
        force: it may replace a file.
        inputs: files that are read for it, which are not replaced either.
    """
    check_new_file(path, force, inputs)
    if os.path.exists(path) and os.path.realpath(path).lower().endswith(AUDIO_ENDINGS):
        text = "has the ending of audio, which --force does not replace; choose another name."
        raise OutputError("not_writable", text, path)
