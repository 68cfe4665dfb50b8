"""Agreement of models with both teachers on stress crops that no run has heard, per domain.

    python weights/agreement.py SET MODEL [MODEL...] [--json OUT]

SET is a distillation set of the split `test` (weights/make_crops.py). What is measured stands in
artist_features/metrics.py; why it is: over the weights this project has had, agreement
with both teachers went with genre retrieval and classification on recordings that nobody here
trained on, artist retrieval on our own corpus did not (docs/training.md).
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np

from artist_features import load_model
from artist_features.metrics import agreement
from artist_features.training.distillation_set import DistillationSet

TELEPHONE = "8 kHz copies"
_TELEPHONE_HZ = 4000  # a crop without anything above is heard as a recording at 8 kHz
_LEAST = 100  # crops of a domain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops", type=Path, metavar="SET")
    parser.add_argument("models", nargs="+", metavar="MODEL", help="name, folder or Hub id")
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    args = parser.parse_args()
    crops = DistillationSet(args.crops)
    scores = {"authors": measure(np.asarray(crops.teachers["authors"]), crops)}
    scores |= {name: measure(embed(name, crops), crops) for name in args.models}
    print(table(scores))
    if args.json:
        args.json.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


def embed(model: str | Path, crops: DistillationSet) -> np.ndarray:
    """Return a model's embeddings float32 `(n, dim)` of the stored log-mel."""
    found = load_model(model)
    network = keras.Model(found.get_layer("log_mel").output, found.output)
    return network.predict(crops.log_mel.astype(np.float32), batch_size=256, verbose=0)


def measure(vectors: np.ndarray, crops: DistillationSet) -> dict[str, dict[str, float]]:
    """Return {"all" or a domain: `metrics.agreement`} of vectors `(n, dim)`."""
    domains = np.array([track["domain"] for track in crops.facts["tracks"]])[crops.track]
    parts = {"all": np.ones(crops.n, bool)}
    parts |= {name: domains == name for name in sorted(set(domains) - {""})}
    parts[TELEPHONE] = crops.low_pass_hz <= _TELEPHONE_HZ
    return {
        name: agreement(vectors[rows], {k: v[rows] for k, v in crops.teachers.items()})
        for name, rows in parts.items()
        if rows.sum() >= _LEAST
    }


def table(scores: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return a Markdown table of `measure`'s results by model."""
    parts = list(next(iter(scores.values())))
    lines = [
        "| model | both teachers | authors | musicnn | R2 of musicnn | "
        + " | ".join(f"both, {name}" for name in parts[1:])
        + " |",
        "|---" * (len(parts) + 4) + "|",
    ]
    for name, row in scores.items():
        whole = [row["all"][key] for key in ("both", "authors", "musicnn", "r2_musicnn")]
        cells = [f"{value:.3f}" for value in (*whole, *(row[p]["both"] for p in parts[1:]))]
        lines.append(f"| {Path(name).name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
