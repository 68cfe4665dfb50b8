"""`artist-features train`: a manifest to a trained model."""

import ast
import contextlib
import signal
import sys

_RECIPES = ("default", "paper")


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train",
        help="train a model on tracks with artist names",
        description="Train a model on the tracks of one or more manifests (see `artist-features "
        "manifest`). RUN becomes a model folder. Killed at any moment, the same command goes on "
        "from the last checkpoint and ends with the same weights.",
    )
    parser.add_argument("kind", choices=("basic", "siamese"))
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST", help="CSV: file,artist,title")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder")
    parser.add_argument("--recipe", default="default", choices=_RECIPES)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe, e.g. n_steps=500 or label_weight=0",
    )
    parser.add_argument(
        "--teacher", metavar="MODEL", help="model whose embeddings are to be matched, too"
    )
    parser.add_argument("--init", metavar="MODEL", help="model whose weights are the start")
    parser.add_argument("--artists", type=int, metavar="N", help="label only N artists")
    parser.add_argument("--seed", type=int, default=0, help="of weights, draws, augmentation")
    parser.add_argument("--split-seed", type=int, default=0, help="of the held-out artists")
    parser.add_argument("--cache", metavar="DIR", help="prepared audio (default: RUN/cache)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "gpu"))
    parser.add_argument(
        "--strategy",
        default="none",
        choices=("none", "mirrored", "multiworker"),
        help="mirrored: all devices of this machine; multiworker: all of TF_CONFIG",
    )
    parser.add_argument(
        "--mixed-precision",
        dest="dtype",
        default="float32",
        choices=("float32", "bfloat16", "float16"),
        help="type of the convolutions",
    )
    parser.add_argument("--name", help="of the model in its card (default: its kind)")
    parser.add_argument("--license", default="unknown", help="of the weights, an SPDX id")
    parser.add_argument("--data", default="", help="a few words on the music, for the card")
    parser.add_argument("--description", default="", help="one sentence, for the card")
    parser.add_argument("--credit", help="who made the weights, and from what")
    parser.set_defaults(command=run)


def run(args):
    """Train and return the exit code."""
    from artist_features.training import trainer

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = trainer.Options(
        recipe_name=args.recipe,
        changes=_changes(args),
        seed=args.seed,
        split_seed=args.split_seed,
        n_artists=args.artists,
        teacher=args.teacher,
        init=args.init,
        cache=args.cache,
        strategy=args.strategy,
        device=args.device,
        dtype=args.dtype,
        name=args.name,
        license=args.license,
        data=args.data,
        description=args.description,
        command=_command(),
    )
    if args.credit:
        options.credit = args.credit
    trainer.train(args.kind, args.manifests, args.out, options, say=_say)
    return 0


def _changes(args):
    """Parse `--set`; numbers, strings and, for fields by kind, one number for this kind."""
    import dataclasses

    from artist_features.training.recipes import RECIPES, Augmentation

    recipe = RECIPES[args.recipe]
    allowed = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
    sounds = {f.name for f in dataclasses.fields(Augmentation)}
    changes, augmentation = {}, {}
    for text in args.set:
        name, _, value = text.partition("=")
        if name not in allowed.keys() | sounds or name == "augmentation" or not value:
            fields = ", ".join(sorted((allowed.keys() | sounds) - {"augmentation"}))
            raise ValueError(f"--set {text}: FIELD=VALUE is needed; fields are {fields}.")
        with contextlib.suppress(ValueError, SyntaxError):  # else it is a word
            value = ast.literal_eval(value)
        if name in sounds:
            augmentation[name] = value
            continue
        if isinstance(allowed[name], dict):
            value = {**allowed[name], args.kind: value}
        if not isinstance(value, (type(allowed[name]), int if allowed[name] != "" else str)):
            kind = type(allowed[name]).__name__
            raise ValueError(f"--set {text}: {value!r}; allowed is a value of type {kind}.")
        changes[name] = value
    if augmentation:
        changes["augmentation"] = dataclasses.replace(recipe.augmentation, **augmentation)
    return changes


def _command():
    import os
    import shlex

    # paths by their last part: where a user keeps files is nobody's business
    words = [
        os.path.basename(word.rstrip("/")) if os.path.isdir(os.path.dirname(word)) else word
        for word in sys.argv[1:]
    ]
    return shlex.join(["artist-features", *words])


def _say(text):
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
