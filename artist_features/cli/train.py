"""`artist-features train`: a manifest to a trained model."""

import argparse
import ast
import contextlib
import dataclasses
import re
import shlex
import sys
from typing import Any

from artist_features.cli import Commands, add_root_option
from artist_features.cli.stopping import OrderlyStop
from artist_features.datasets.manifest import read_manifest, require_files
from artist_features.training.options import (
    DEVICES,
    KINDS,
    PRECISIONS,
    STRATEGIES,
    TrainingOptions,
)
from artist_features.training.recipes import CHANGEABLE, RECIPES


def add_parser(commands: Commands) -> None:
    """Add the command to the parser; destinations are the fields of `TrainingOptions`."""
    parser = commands.add_parser(
        "train",
        help="train a model on tracks with artist names",
        description="Train a model on the tracks of one or more manifests (see `artist-features "
        "manifest`). RUN becomes a model folder. Killed at any moment, the same command goes on "
        "from the last checkpoint and ends with the same weights.",
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST", help="CSV: file,artist,title")
    add_root_option(parser)
    parser.add_argument(
        "-o", "--output", dest="out", required=True, metavar="RUN", help="run folder"
    )
    parser.add_argument("--recipe", dest="recipe_name", default="default", choices=tuple(RECIPES))
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe, e.g. n_steps=500 or label_weight=0",
    )
    parser.add_argument(
        "--teacher", metavar="MODEL", help="model whose embeddings are to be matched, too"
    )
    parser.add_argument(
        "--crops",
        metavar="SET",
        help="train on the stored crops of a distillation set and their teachers' vectors",
    )
    parser.add_argument(
        "--check-crops", metavar="SET", help="crops of other tracks, to choose the best step by"
    )
    parser.add_argument("--init", metavar="MODEL", help="model whose weights are the start")
    parser.add_argument(
        "--artists", dest="n_artists", type=int, metavar="N", help="label only N artists"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, draws, augmentation")
    parser.add_argument("--split-seed", type=int, default=0, help="of the held-out artists")
    parser.add_argument("--cache", metavar="DIR", help="prepared audio (default: RUN/cache)")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument(
        "--strategy",
        default="none",
        choices=STRATEGIES,
        help="mirrored: all devices of this machine; multiworker: all of TF_CONFIG",
    )
    parser.add_argument(
        "--mixed-precision",
        dest="dtype",
        default="float32",
        choices=PRECISIONS,
        help="type of the convolutions",
    )
    parser.add_argument("--name", default="", help="of the model in its card (default: RUN's)")
    parser.add_argument("--license", default="unknown", help="of the weights, an SPDX id")
    parser.add_argument("--data", default="", help="a few words on the music, for the card")
    parser.add_argument("--description", default="", help="one sentence, for the card")
    parser.add_argument("--credit", help="who made the weights, and from what")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Train and return the exit code."""
    given = vars(args) | {"changes": _changes(args.changes), "command": command_line()}
    names = {f.name for f in dataclasses.fields(TrainingOptions)}
    options = TrainingOptions(**{n: v for n, v in given.items() if n in names and v is not None})
    for path in options.manifests:  # refused before TensorFlow is loaded
        require_files(path, read_manifest(path, options.root))
    with OrderlyStop() as stop:
        from artist_features.training import trainer  # imports TensorFlow

        trainer.train(options, between_steps=stop.check)
    return 0


def _changes(texts: list[str]) -> dict[str, Any]:
    """Parse `--set`: fields of the recipe, or of its augmentation; see `Recipe.changed`."""
    changes = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in CHANGEABLE or not value:
            allowed = ", ".join(sorted(CHANGEABLE))
            raise ValueError(f"--set {text}: FIELD=VALUE is needed; fields are {allowed}.")
        changes[name] = value
        with contextlib.suppress(ValueError, SyntaxError):  # else it is a word
            changes[name] = ast.literal_eval(value)
    return changes


def command_line() -> str:
    """Return the command as it was given, for the card, without folders, which are private."""
    return shlex.join(["artist-features", *map(_without_folder, sys.argv[1:])])


def _without_folder(word: str) -> str:
    if "://" in word:
        return word
    return re.sub(r"^(--[^=/]*=|-[a-z])?.*/", lambda found: found[1] or "", word.rstrip("/"))
