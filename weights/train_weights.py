"""Train the bundled weights, `weights/siamese` and `weights/basic`, and their ablation.

    python weights/train_weights.py MANIFEST [MANIFEST...] --crops CROPS --authors authors \
        --musicnn musicnn.whl --runs RUNS

CROPS holds the distillation sets `train`, `valid` and `test` of weights/make_crops.py. The
manifests are of whole files; artists that they hold out are judged. Every stage is a command of
its own in a folder of RUNS, so that the whole goes on where it was stopped:

    distilled   both teachers, from random weights or those of --start
    *_labels    from there on, with the softmax or the hinge over artists
    basic, siamese   the mean of the weights of both, in shares: of the agreement that the labels
                cost, most comes back, and little goes of what they taught (Wortsman et al., Robust
                fine-tuning of zero-shot models, CVPR 2022)
    *_trial     short runs from random weights: what each part contributes, and the noise

At the end weights/judge.py measures both and decides whether they are shipped; the scores go into
the two cards and into docs/training.md.
"""

import argparse
import dataclasses
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import agreement
import keras
import numpy as np

from artist_features import load_model, metrics
from artist_features.training.distillation_set import DistillationSet
from artist_features.zoo import folder as model_folder
from artist_features.zoo.card import model_card
from artist_features.zoo.registry import read_model

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
KINDS = ("siamese", "basic")
CREDIT = (
    "Trained by artist_features on freely licensed music (CC BY, CC BY-SA, CC0, GPL, public "
    "domain; some BSD, MIT and licences of the works' own). "
    "Teachers: the weights of Park et al., ISMIR 2018 (jongpillee/ismir2018-artist, MIT, "
    "Copyright (c) 2018 Jongpil Lee), and, through a layer that served training only, those of "
    "musicnn 0.1.0 (MSD_musicnn, ISC, Copyright (c) 2019 Music Technology Group, Universitat "
    "Pompeu Fabra, developed by Jordi Pons)."
)
DESCRIPTIONS = {
    "siamese": "Siamese network: two teachers heard alike on transformed music, and a hinge over "
    "artists.",
    "basic": "Artist classifier: two teachers heard alike on transformed music, and a softmax over "
    "artists.",
}
LIMITS = "the music is mostly instrumental game music; little singing and speech"
NOTES = "\n## Notes\n"  # of docs/training.md: what follows is kept
LABEL_WEIGHT = 1.0  # of the artist loss
MOST_LOST = 0.01  # of the agreement with both teachers on the crops `valid`, for the artist labels
RESTART_RATE = 0.002  # half of the recipe's: the weights of --start are not to be lost
TRIALS = {
    "random_trial": ("both teachers", {}),
    "seed_trial": ("the same, another seed", {"seed": 1}),
    "head_trial": ("without the similarities", {"relation_weight": 0}),
    "relation_trial": ("the similarities alone", {"vectors_weight": 0}),
    "labels_trial": (
        "artist labels alone, no teacher",
        {"vectors_weight": 0, "relation_weight": 0, "label_weight": 0.5},
    ),
}


def main() -> None:
    args = parse_args()
    if args.start:
        start_hours(args)  # refused now, not after hours of training
    train_all(args)
    for kind in KINDS:
        judged = args.runs / f"{kind}_judged.json"
        words = [args.runs / kind, *(args.judged or args.manifests), "--lines", *args.manifests]
        words += ["--crops", args.crops / "test", "--json", judged]
        words += ["--authors", args.authors, "--musicnn", args.musicnn]
        run(HERE / "judge.py", *words, "--shipped", args.shipped or kind)
        ship(args, kind, json.loads(judged.read_text(encoding="utf-8")))
    notes = args.table.read_text(encoding="utf-8") if args.table.exists() else ""
    _, heading, kept = notes.partition(NOTES)  # written by hand
    args.table.write_text(report(args) + heading + kept, encoding="utf-8")
    print(f"weights in {args.out}, scores in {args.table}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    text = "whose held-out artists are searched for (default: the MANIFESTs trained on)"
    parser.add_argument("--judged", type=Path, nargs="+", metavar="MANIFEST", help=text)
    parser.add_argument("--crops", type=Path, required=True, help="folder of the three sets")
    parser.add_argument("--authors", type=Path, required=True, help="model folder")
    parser.add_argument("--musicnn", type=Path, required=True, help="musicnn's wheel")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--cache", type=Path, help="prepared audio (default: RUNS/cache)")
    parser.add_argument("--data", default="open music corpus", help="for the cards")
    parser.add_argument("--steps", type=int, default=10000, help="of distilled")
    parser.add_argument("--label-steps", type=int, default=800, help="of the runs with labels")
    parser.add_argument("--trial-steps", type=int, default=1000, help="of each; 0: no trials")
    parser.add_argument("--start", help="model that distilled begins with (default: random)")
    parser.add_argument("--shipped", help="model to be replaced (default: the bundled ones)")
    parser.add_argument("--out", type=Path, default=ROOT / "weights")
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "training.md")
    return parser.parse_args()


def train_all(args: argparse.Namespace) -> None:
    """Run all stages of training, or go on with them."""
    rate = {"learning_rate": RESTART_RATE} if args.start else {}
    train(args, "distilled", "siamese", args.steps, args.start, label_weight=0, **rate)
    for kind in KINDS:
        changes = {"learning_rate": 0.001, "label_weight": LABEL_WEIGHT, "keep": "last"}
        name = f"{kind}_labels"
        train(args, name, kind, args.label_steps, args.runs / "distilled", **changes)
        average(args, kind)
    for name, (_, changes) in TRIALS.items() if args.trial_steps else ():
        train(args, name, "siamese", args.trial_steps, **{"label_weight": 0} | changes)


def train(
    args: argparse.Namespace,
    name: str,
    kind: str,
    steps: int,
    init: str | Path | None = None,
    seed: int = 0,
    **changes: Any,
) -> None:
    """Run one stage, or go on with it."""
    words = ["--init", init] if init else []
    changes = {"n_steps": steps, "keep": "best", "check_every": min(1000, steps)} | changes
    for field, value in changes.items():
        words = [*words, "--set", f"{field}={value}"]
    words = [*words, "--seed", seed, "--crops", args.crops / "train"]
    words += ["--check-crops", args.crops / "valid", "--name", name, "--license", "MIT"]
    words += ["--credit", CREDIT, "--data", args.data]
    out = ["--out", args.runs / name, "--cache", args.cache or args.runs / "cache"]
    run("-m", "artist_features.cli.main", "train", kind, *args.manifests, *out, *words)


def average(args: argparse.Namespace, kind: str) -> None:
    """Write the model whose weights are the mean of `distilled` and of the run with labels.

    The labels' share is the largest by 0.05 that costs `MOST_LOST` of the agreement; statistics
    of batch normalisation are averaged likewise.
    """
    crops, labels = DistillationSet(args.crops / "valid"), args.runs / f"{kind}_labels"
    model, start = load_model(labels), load_model(args.runs / "distilled")
    pairs = list(zip(start.get_weights(), model.get_weights(), strict=True))
    network = keras.Model(model.get_layer("log_mel").output, model.output)
    log_mel = crops.log_mel.astype(np.float32)
    least = 0.0
    for share in np.arange(21) / 20:
        model.set_weights([(1 - share) * one + share * other for one, other in pairs])
        rows = network.predict(log_mel, batch_size=256, verbose=0)
        found = metrics.agreement(rows, crops.teachers)["both"]
        print(f"{kind}: labels' share {share:.2f}, agreement {found:.4f}")
        least = least or found - MOST_LOST
        if found < least:
            break
        averaged = {
            "share": round(float(share), 2),
            "of": labels.name,
            "agreement": round(found, 4),
        }
    share = averaged["share"]
    model.set_weights([(1 - share) * one + share * other for one, other in pairs])
    card = model_folder.read_card(labels)
    fields = {field.name: getattr(card, field.name) for field in dataclasses.fields(card)}
    del fields["weights_sha256"]
    training = card.training | {"averaged": averaged}
    fields |= {"name": kind, "description": DESCRIPTIONS[kind], "training": training}
    model_folder.write_folder(args.runs / kind, model, fields)


def run(*words: object) -> None:
    """Run Python in a process of its own; stop if it fails."""
    if code := subprocess.run([sys.executable, *map(str, words)]).returncode:
        sys.exit(code)


def ship(args: argparse.Namespace, kind: str, judged: dict) -> None:
    """Copy a model folder, with the scores in its card."""
    source, folder = args.runs / kind, args.out / kind
    card, _ = model_folder.read_folder(source)
    scores, own = judged["scores"], judged["scores"]["candidate"]
    measured = {
        "agreement_with_both_teachers": round(own["agreement"]["all"], 3),
        **{
            f"{name}_agreement_with_both_teachers": round(scores[name]["agreement"]["all"], 3)
            for name in ("shipped", "authors", "musicnn")
        },
        "r2_of_musicnn": round(own["r2_musicnn"], 3),
        "agreement_by_domain": {k: round(v, 3) for k, v in own["agreement"].items()},
        "held_out_artist_map": round(own["map"]["estimate"], 3),
        "held_out_artist_map_interval": interval(own["map"]),
        "map_less_mfcc": interval(own["map_less_mfcc"]["all"]),
        **{
            f"{name}_artist_map": round(scores[name]["map"]["estimate"], 3)
            for name in ("shipped", "authors", "musicnn", "mfcc")
        },
        "cosine_from_-20_to_+6_dB": round(own["level"], 4),
        **{name: round(value, 3) for name, value in own["length"].items()},
        "measured": (
            "agreement on stress crops, the rest on tracks, of artists not in training; vectors "
            f"standardised for MAP; {judged['date']}, {judged['device']}; "
            "python weights/train_weights.py"
        ),
    }
    training = card.training | {"limits": LIMITS}
    if args.start:
        training["data"] += f"; begun with weights of {start_hours(args)} h"
    card = dataclasses.replace(card, scores=measured, credit=CREDIT, training=training)
    folder.mkdir(parents=True, exist_ok=True)
    for file in model_folder.KERAS_FILES:
        (folder / file).write_bytes((source / file).read_bytes())
    (folder / model_folder.CARD_FILE).write_text(card.to_json(), encoding="utf-8")
    (folder / "README.md").write_text(model_card(card, card.name), encoding="utf-8")


def start_hours(args: argparse.Namespace) -> float:
    """Return the hours of music of the model that `distilled` begins with."""
    return read_model(args.start)[0].training["hours"]


def interval(value: dict) -> str:
    return f"{value['low']:.3f} to {value['high']:.3f}"


def report(args: argparse.Namespace) -> str:
    """Return the text of docs/training.md."""
    crops = DistillationSet(args.crops / "test")
    stages = {"distilled": "both teachers"}
    stages |= {f"{kind}_labels": f"{kind}: artist labels, from there on" for kind in KINDS}
    stages |= {kind: f"{kind}: the mean of both (shipped)" for kind in KINDS}
    stages |= {name: f"{args.trial_steps} steps: {text}" for name, (text, _) in TRIALS.items()}
    scores = {"the authors' Siamese-10000": crops.teachers["authors"]}
    for name, text in stages.items():
        if (args.runs / name / model_folder.CARD_FILE).exists():
            done = model_folder.read_card(args.runs / name).training
            spent = "" if name in KINDS else f" ({done['steps']} steps, {done['minutes']} min)"
            scores[text + spent] = agreement.embed(args.runs / name, crops)
    measured = {name: agreement.measure(rows, crops) for name, rows in scores.items()}
    if (trials := args.runs / "loss_trials.json").exists():  # of weights/loss_trials.py
        measured |= json.loads(trials.read_text(encoding="utf-8"))
    judged = {
        kind: json.loads((args.runs / f"{kind}_judged.json").read_text(encoding="utf-8"))
        for kind in KINDS
    }
    device = judged["siamese"]["device"]
    lines = [
        "# What each step of training contributed",
        "",
        f"Written by `python weights/train_weights.py` on {datetime.date.today()}, {device}. "
        f"Agreement with the two teachers on {crops.n} stress crops of "
        f"{len(crops.facts['tracks'])} tracks that no run has heard, whole and per domain: "
        "correlation of cosine similarities over all pairs, standardised "
        "(`artist_features.metrics.agreement`).",
        "",
        agreement.table(measured),
        "",
        "## Held-out artists",
        "",
        f"Artist retrieval (MAP, standardised; 95 % bootstrap intervals over artists), level and "
        f"length on the held-out tracks ({judged['siamese']['n_tracks']} in all; "
        f"lines of {judged['siamese']['n_line_tracks']} whole files):",
        "",
        "| model | MAP | MAP less MFCC | cosine, -20 to +6 dB | excerpt finds its clip | "
        "nDCG@10 of lines |",
        "|---|---|---|---|---|---|",
    ]
    rows = {kind: judged[kind]["scores"]["candidate"] for kind in KINDS}
    rows |= {
        name: judged["siamese"]["scores"][name]
        for name in ("shipped", "authors", "musicnn", "mfcc")
    }
    for name, row in rows.items():
        cells = [f"{row['map']['estimate']:.3f} ({interval(row['map'])})"]
        cells.append(interval(row["map_less_mfcc"]["all"]) if "map_less_mfcc" in row else "")
        cells.append(f"{row['level']:.3f}" if "level" in row else "")
        cells += [f"{value:.2f}" for value in row.get("length", {}).values()] or ["", ""]
        label = {"shipped": "siamese, weights before"}.get(name, name)
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
