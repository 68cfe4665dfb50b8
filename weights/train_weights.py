"""Train the bundled weights, `weights/siamese` and `weights/basic`, and their ablation.

    artist-features import-authors model_siamese_10000.h5 teacher
    python weights/musicnn_vectors.py musicnn.whl MANIFEST [MORE...] -o musicnn.npz
    python weights/train_weights.py MANIFEST [MORE...] --teacher teacher --targets musicnn.npz \
        --runs RUNS

MANIFEST has the artist names that are divided into train, valid and test by the seed; MORE
adds music to train on, with or without artists (column split: train). Every stage is a
command of its own in a folder of RUNS, so that the whole goes on where it was stopped:

    distilled       the teacher's term alone
    basic           from there on, the artist loss, the teacher's term and musicnn's
    siamese         from basic on, the same terms
    siamese_alone   the same from distilled on, for as long and at the same rate as basic
    siamese_one_teacher, basic_one_teacher    from distilled on without musicnn, by the
                    default recipe, shorter
    siamese_labels, basic_labels    the artist loss alone, from random weights
    siamese_whitened, basic_whitened    siamese and basic after `artist-features whiten`: shipped

At the end all of them, the teacher, MFCCs and chance find the test artists' tracks, as
they are and as 16 kHz and 8 kHz (telephone) recordings of them; the scores go into the two
cards and into docs/training.md.
"""

import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from artist_features.evaluation.artists import evaluate_artists, select_tracks
from artist_features.evaluation.report import scores_record
from artist_features.signal.audio import Clip, read_file
from artist_features.training.manifest import Track, read_manifest, write_manifest
from artist_features.zoo import card_text
from artist_features.zoo import folder as model_folder

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("siamese", "basic")
# the second teacher knows more (docs/training.md), so the first one holds loosely; the hinge
# is a sum over the nearest negatives, so it weighs more than the classifier's entropy
_TOGETHER = {"learning_rate": 0.003, "teacher_weight": 0.1, "relation_weight": 6}
BASIC = {**_TOGETHER, "label_weight": 0.5}
SIAMESE = {**_TOGETHER, "label_weight": 0.25}
NARROW_HZ = (16000, 8000)
CREDIT = (
    "Trained by artist_features on freely licensed music (CC BY, CC BY-SA, CC0, GPL, public "
    "domain; some BSD, MIT and licences of the works' own, among them OpenMusic Yellow). "
    "Teachers: the weights of Park et al., ISMIR 2018 (jongpillee/ismir2018-artist, MIT, "
    "Copyright (c) 2018 Jongpil Lee), and, through a layer that served training only, those of "
    "musicnn 0.1.0 (MSD_musicnn, ISC, Copyright (c) 2019 Music Technology Group, Universitat "
    "Pompeu Fabra, developed by Jordi Pons)."
)
DESCRIPTIONS = {
    "siamese": "Siamese network: hinge over artists, with the authors' model and musicnn as "
    "teachers.",
    "basic": "Artist classifier: softmax over artists, with the authors' model and musicnn as "
    "teachers.",
}
ROWS = {
    "siamese_whitened": "siamese: from basic on, labels, both teachers, whitened (shipped)",
    "basic_whitened": "basic: labels, both teachers, whitened (shipped)",
    "siamese": "siamese: from basic on, labels, both teachers",
    "basic": "basic: labels, both teachers",
    "siamese_alone": "siamese: labels, both teachers, not from basic on",
    "siamese_one_teacher": "siamese: labels and the authors' model",
    "basic_one_teacher": "basic: labels and the authors' model",
    "distilled": "the authors' model as teacher alone",
    "siamese_labels": "siamese: labels alone",
    "basic_labels": "basic: labels alone",
    "teacher": "the authors' Siamese-10000",
    "musicnn": "musicnn's mean-pool layer, 753 numbers",
    "mfcc": "MFCC mean and deviation, standardised",
    "chance": "chance",
}


def main():
    args = parse_args()
    runs = args.runs
    score_targets(args, args.manifests[0])  # now, not after hours: do they fit the manifest?
    train_all(args)
    for kind in KINDS:
        whiten(args, kind)
    manifest = args.manifests[0]
    scores = evaluate(args, manifest, runs / "scores.json")
    standardised = evaluate(args, manifest, runs / "scores_standardised.json", "--standardise")
    scores["rows"]["musicnn"] = score_targets(args, manifest)
    standardised["rows"]["musicnn"] = score_targets(args, manifest, standardise=True)
    narrow = {}
    for rate in NARROW_HZ:
        copies = resampled(manifest, runs / f"{rate}hz", rate)
        narrow[rate] = evaluate(args, copies, runs / f"scores_{rate}hz.json")
    for kind in KINDS:
        ship(args, kind, scores)
    args.table.write_text(report(args, scores, standardised, narrow), encoding="utf-8")
    print(f"weights in {args.out}, scores in {args.table}")


def train_all(args):
    """Run all stages of training, or go on with them."""
    both = ["--teacher", args.teacher, "--targets", args.targets]
    train(args, "distilled", "siamese", args.steps, "--teacher", args.teacher, label_weight=0)
    train(args, "basic", "basic", args.label_steps, *both, init="distilled", **BASIC)
    gentle = SIAMESE | {"learning_rate": 0.001}
    train(args, "siamese", "siamese", args.siamese_steps, *both, init="basic", **gentle)
    train(args, "siamese_alone", "siamese", args.label_steps, *both, init="distilled", **SIAMESE)
    for kind in KINDS:
        name = f"{kind}_one_teacher"
        train(args, name, kind, args.ablation_steps, *both[:2], init="distilled")
    for kind in KINDS:
        train(args, f"{kind}_labels", kind, args.ablation_steps, label_weight=1)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    parser.add_argument("--teacher", type=Path, required=True, help="model folder")
    parser.add_argument("--targets", type=Path, required=True, help="of musicnn_vectors.py")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--data", default="open music corpus", help="for the cards")
    parser.add_argument("--steps", type=int, default=5000, help="of the teacher's term alone")
    parser.add_argument("--label-steps", type=int, default=5000, help="of basic, siamese_alone")
    parser.add_argument("--siamese-steps", type=int, default=1500, help="of siamese after basic")
    parser.add_argument("--ablation-steps", type=int, default=1000, help="of the other runs")
    parser.add_argument("--out", type=Path, default=ROOT / "weights")
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "training.md")
    return parser.parse_args()


def train(args, name, kind, steps, *words, init=None, **changes):
    """Run one stage, or go on with it."""
    if init:
        words = [*words, "--init", args.runs / init]
        changes = {"learning_rate": 0.002} | changes  # a trained start needs no high rate
    changes = {"n_steps": steps} | changes
    for field, value in changes.items():
        words = [*words, "--set", f"{field}={value}"]
    words = [*words, "--name", name, "--license", "MIT", "--credit", CREDIT, "--data", args.data]
    if name in DESCRIPTIONS:
        words += ["--description", DESCRIPTIONS[name]]
    out = ["--out", args.runs / name, "--cache", args.runs / "cache"]
    command("train", kind, *args.manifests, *out, *words)


def whiten(args, kind):
    """Whiten the last block of a trained model over the manifests' tracks to train on."""
    out = args.runs / f"{kind}_whitened"
    if (out / model_folder.CARD_FILE).exists():
        before = model_folder.read_card(out).training["whitened"]["before"]
        if model_folder.read_card(args.runs / kind).weights_sha256 in before:
            return
    options = ["--out", out, "--name", kind, "--cache", args.runs / "cache", "--force"]
    command("whiten", args.runs / kind, *args.manifests, *options)


def resampled(manifest, folder, sample_rate):
    """Write the test tracks at a low sample rate; return their manifest."""
    target = folder / "manifest.csv"
    if target.exists():
        return target
    tracks = select_tracks(read_manifest(manifest), manifest, split="test")
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for number, track in enumerate(tracks):
        blocks = list(read_file(track.path, Clip(), target_rate=sample_rate))
        path = folder / f"{number:04d}.flac"
        soundfile.write(path, np.concatenate(blocks).clip(-1, 1), sample_rate)
        copies.append(Track(path, track.artist, track.title, {"split": "test"}))
    write_manifest(target, copies)
    return target


def evaluate(args, manifest, record, *options):
    """Score everything on the test artists; return the record."""
    words = ["artists", manifest, "--split", "test", "--json", record, "--force", *options]
    models = [args.runs / n for n in ROWS if (args.runs / n).is_dir()] + [args.teacher]
    for model in models:
        words += ["--model", model]
    command("evaluate", *words, "--baseline", "mfcc", "--baseline", "chance")
    found = json.loads(record.read_text(encoding="utf-8"))
    names = [model.name for model in models[:-1]] + ["teacher", "mfcc", "chance"]
    found["rows"] = dict(zip(names, found["models"], strict=True))
    return found


def score_targets(args, manifest, **options):
    """Score the second teacher on the same tracks; return its record."""
    tracks = select_tracks(read_manifest(manifest), manifest, split="test")
    with np.load(args.targets, allow_pickle=False) as file:
        names = [os.path.abspath(name) for name in file["paths"].tolist()]
        vectors = dict(zip(names, file["embeddings"].mean(axis=1), strict=True))
    rows = np.stack([vectors[os.path.abspath(track.path)] for track in tracks])
    (scores,) = evaluate_artists({"musicnn": rows}, [track.artist for track in tracks], **options)
    return scores_record(scores)


def command(*words):
    """Run the command line in a process of its own."""
    words = [sys.executable, "-m", "artist_features.cli.main", *map(str, words)]
    if code := subprocess.run(words).returncode:
        sys.exit(code)


def ship(args, kind, scores):
    """Copy a whitened model folder, with the scores in its card."""
    run, folder = args.runs / f"{kind}_whitened", args.out / kind
    card = model_folder.read_card(run)
    model_folder.read_weights(run, card)
    others = {
        "authors_siamese_10000_artist_map": "teacher",
        "mfcc_artist_map": "mfcc",
        "chance_artist_map": "chance",
        "before_whitening_artist_map": kind,
        "labels_alone_artist_map": f"{kind}_labels",
        "authors_as_only_teacher_artist_map": f"{kind}_one_teacher",
        "distillation_from_authors_alone_artist_map": "distilled",
    }
    measured = {
        "held_out_artist_map": round(map_of(scores, run.name)["estimate"], 3),
        "held_out_artist_map_interval": interval(map_of(scores, run.name)),
        **{name: round(map_of(scores, row)["estimate"], 3) for name, row in others.items()},
        "measured": (
            f"finding the other tracks of an artist among {scores['n_tracks']} tracks of "
            f"{scores['n_artists']} artists not in training; 95 % bootstrap over artists; "
            f"{scores['date'][:10]}, CPU; python weights/train_weights.py"
        ),
    }
    limits = "mostly instrumental game music; little singing and speech; few artists"
    card = dataclasses.replace(
        card, scores=measured, credit=CREDIT, training=card.training | {"limits": limits}
    )
    folder.mkdir(parents=True, exist_ok=True)
    for file in model_folder.KERAS_FILES:
        (folder / file).write_bytes((run / file).read_bytes())
    (folder / model_folder.CARD_FILE).write_text(card.to_json(), encoding="utf-8")
    (folder / "README.md").write_text(card_text.model_card(card), encoding="utf-8")


def map_of(scores, name):
    return scores["rows"][name]["mean_average_precision"]


def interval(value):
    return f"{value['low']:.3f} to {value['high']:.3f}"


def report(args, scores, standardised, narrow):
    """Return the text of docs/training.md."""
    lines = [
        "# What each step of training contributed",
        "",
        f"Written by `python weights/train_weights.py` on {datetime.date.today()}, "
        f"{scores['device']}. Artist retrieval among {scores['n_tracks']} tracks of "
        f"{scores['n_artists']} artists that "
        "no run has seen (split by artist, seed 0); 95 % bootstrap intervals over artists, those "
        "of differences over the same artists. The "
        "cosine to the teacher is the mean over 3 s segments of the tracks that check each run. "
        "Standardised: every dimension has mean 0 and deviation 1 over these tracks, as MFCCs "
        "need. In the last columns all tracks are recordings of that sample rate.",
        "",
        "| model | steps | minutes | cosine to the teacher | MAP | MAP less that of the first | "
        "P@1 | MAP, standardised | MAP, 16 kHz | MAP, 8 kHz |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, title in ROWS.items():
        row, steps, minutes, cosine = scores["rows"][name], "", "", ""
        if (args.runs / name / "run.json").exists():
            card = model_folder.read_card(args.runs / name)
            checks = card.scores.get("check_during_training", {})
            steps, minutes = card.training["steps"], card.training["minutes"]
            cosine = f"{checks['valid_cosine']:.3f}" if "valid_cosine" in checks else ""
        measures = [row["mean_average_precision"], row["difference_of_map_to_first"]]
        measures += [row["precision_at_1"], map_of(standardised, name)]
        cells = [f"{v['estimate']:.3f} ({interval(v)})" if v else "" for v in measures]
        for rate in NARROW_HZ:
            scored = name in narrow[rate]["rows"]
            cells.append(f"{map_of(narrow[rate], name)['estimate']:.3f}" if scored else "")
        lines.append(f"| {title} | {steps} | {minutes} | {cosine} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
