"""Held-out artist MAP against the number of artists trained on, for both models.

    python weights/number_of_artists.py MANIFEST [MORE...] --runs RUNS

The paper (section 5) compares the classifier, which needs a fixed set of labels, with the
Siamese network, which needs only pairs. Here both train from random weights, with labels
alone, on the music of 10, 20, 40, 80 and all artists, for the same number of steps.
Writes docs/number_of_artists.md and .png; a run that was stopped goes on.
"""

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path

from artist_features.datasets.manifest import read_manifest, write_manifest

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("siamese", "basic")


def main():
    args = parse_args()
    args.manifest = joined(args.manifests, args.runs)
    points = {kind: [] for kind in KINDS}
    for n_artists in [*args.artists, None]:
        for kind in KINDS:
            points[kind].append(point(args, kind, n_artists))
    args.docs.mkdir(exist_ok=True)
    draw(points, args.docs / "number_of_artists.png")
    (args.docs / "number_of_artists.md").write_text(report(args, points), encoding="utf-8")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="prepared audio (default: RUNS/cache)")
    parser.add_argument("--artists", type=int, nargs="+", default=[10, 20, 40, 80])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    return parser.parse_args()


def joined(manifests: list[Path], runs: Path) -> Path:
    """Write one manifest of several, with absolute paths, so that one split serves all."""
    if len(manifests) == 1:
        return manifests[0]
    runs.mkdir(parents=True, exist_ok=True)
    tracks = [track for manifest in manifests for track in read_manifest(manifest)]
    write_manifest(runs / "joined.csv", tracks)
    return runs / "joined.csv"


def point(args, kind, n_artists):
    """Train and score one model; return (number of artists, MAP with interval)."""
    run = args.runs / f"{kind}_{n_artists or 'all'}"
    words = [kind, args.manifest, "--out", run, "--cache", args.cache or args.runs / "cache"]
    words += ["--set", f"n_steps={args.steps}", "--set", "label_weight=1"]
    words += ["--artists", n_artists] if n_artists else []
    command("train", *words)
    scores = run / "scores.json"
    words = ["artists", args.manifest, "--split", "test", "--model", run, "--json", scores]
    command("evaluate", *words, "--force")
    card = json.loads((run / "artist_features.json").read_text(encoding="utf-8"))
    found = json.loads(scores.read_text(encoding="utf-8"))
    score = found["models"][0]["mean_average_precision"]
    tracks = {"n_test_tracks": found["n_tracks"], "n_test_artists": found["n_artists"]}
    tracks["device"] = found["device"]
    return {"n_artists": card["training"]["n_artists"], **score, **tracks}


def command(*words):
    words = [sys.executable, "-m", "artist_features.cli.main", *map(str, words)]
    if code := subprocess.run(words).returncode:
        sys.exit(code)


def draw(points, path):
    """Write the figure."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for kind, marker, shift in (("siamese", "o", 0.985), ("basic", "s", 1.015)):
        found = points[kind]
        middle = [p["estimate"] for p in found]
        errors = [
            [p["estimate"] - p["low"] for p in found],
            [p["high"] - p["estimate"] for p in found],
        ]
        at = [p["n_artists"] * shift for p in found]
        axes.errorbar(at, middle, yerr=errors, marker=marker, capsize=3, label=kind)
    axes.set_xscale("log")
    ticks = [p["n_artists"] for p in points["siamese"]]
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.set_xlabel("artists trained on")
    axes.set_ylabel("artist MAP, held-out artists")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def report(args, points):
    """Return the text of docs/number_of_artists.md."""
    test = points["siamese"][0]
    lines = [
        "# How many artists?",
        "",
        f"Written by `python weights/number_of_artists.py MANIFEST... --runs RUNS --steps "
        f"{args.steps}` on {datetime.date.today()}, {test['device']}. Labels alone, from random "
        f"weights, {args.steps} steps; MAP of finding an artist's other tracks among "
        f"{test['n_test_tracks']} tracks of {test['n_test_artists']} held-out artists, 95 % "
        "bootstrap intervals over artists.",
        "",
        "![MAP against the number of artists](number_of_artists.png)",
        "",
        "| artists | siamese | basic |",
        "|---|---|---|",
    ]
    for mine, theirs in zip(points["siamese"], points["basic"], strict=True):
        cells = [f"{p['estimate']:.3f} ({p['low']:.3f} to {p['high']:.3f})" for p in (mine, theirs)]
        lines.append(f"| {mine['n_artists']} | {' | '.join(cells)} |")
    lines += [
        "",
        "The classifier has one output for each artist: another artist means another last layer "
        "and training anew. The Siamese network has no such layer: it takes pairs of tracks of "
        "any artist, so artists can come and go while it trains.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
