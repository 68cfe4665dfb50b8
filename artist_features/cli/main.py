"""`artist-features`: parse the command line, run one command, return its exit code.

Exit codes: 0 done, 1 some input failed or the model could not be loaded or published, 2 wrong
usage or output, 130 interrupted, 143 asked to end. Data goes to standard output or a file, all
else to standard error. Nothing here imports NumPy or TensorFlow before it is needed.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, cast

import artist_features
from artist_features.cli import (
    compare,
    duplicates,
    evaluate,
    export,
    extract,
    index,
    manifest,
    models,
    pictures,
    playlists,
    search,
    serve,
    train,
)
from artist_features.cli.progress import LogHandler
from artist_features.cli.stopping import Stopped
from artist_features.devices import explained
from artist_features.errors import (
    ArtistFeaturesError,
    ClusterError,
    DecoderError,
    ManifestError,
    ModelError,
    OutputError,
    SearchIndexError,
    WeightsError,
)

_COMMANDS = (
    *(extract, evaluate, models, manifest, train),
    *(index, search, playlists, compare, duplicates, serve, pictures, export),
)


class _Version(argparse.Action):
    """Print the version, and which weights are bundled: the same name may have had others."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from artist_features.zoo.registry import list_models

        print(artist_features.__version__)
        for name, card in list_models().items():
            print(f"{name} {card.weights_sha256[:12]}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser with all commands."""
    parser = argparse.ArgumentParser(
        prog="artist-features",
        description="Music embeddings from CNNs trained to recognise artists (ISMIR 2018).",
    )
    text = "the version, and the sha256 of the bundled weights"
    parser.add_argument("--version", nargs=0, action=_Version, help=text)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in _COMMANDS:
        module.add_parser(commands)
    return parser


# what concerns the whole job, not some recordings
_OF_THE_JOB = (
    *(ClusterError, DecoderError, ManifestError, ModelError, OutputError, SearchIndexError),
    WeightsError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    _prepare_streams()
    # TensorFlow's own start-up messages; set the variable to 0 to see them
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logger = logging.getLogger("artist_features")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, LogHandler) for handler in logger.handlers):
        logger.addHandler(LogHandler())
    try:
        args = build_parser().parse_args(argv)
        return cast(int, args.command(args))
    except ArtistFeaturesError as error:
        print(f"artist-features: {error}", file=sys.stderr)
        return 2 if isinstance(error, _OF_THE_JOB) else 1
    except (ValueError, ImportError) as error:
        print(f"artist-features: {explained(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("artist-features: interrupted", file=sys.stderr)
        return 130
    except Stopped as stopped:
        print(f"artist-features: stopped by {stopped}", file=sys.stderr)
        return stopped.exit_code
    except BrokenPipeError:
        # the reader of our output has gone: nothing more to say, also not at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def run() -> NoReturn:
    """Entry point of the console script."""
    code = main()
    if code in (130, 143):  # stopped by a signal
        # everything is written and told; TensorFlow cannot be taken down safely in the middle
        # of its work: about every second time the process died of SIGABRT instead
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _prepare_streams() -> None:
    """Let any path be printed in any locale; keep going without a standard error."""
    for descriptor in range(3):  # a closed one would be the next file that is opened
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    run()
