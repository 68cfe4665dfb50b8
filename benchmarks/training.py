"""Does the input pipeline keep up? Steps from the cache against one constant batch.

    python benchmarks/training.py                       # synthetic tracks
    python benchmarks/training.py --manifest m.csv --teacher siamese

Both run the same compiled step of the default recipe in turn; the ratio of their rates is
the share of the machine that training gets. Target: 0.8. Then steps of 256 stored crops with two
teachers' vectors (random numbers). Target: 0.15 s each.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import soundfile
from measure import Figure, at_least, at_most, device

from artist_features.config import FrontEnd
from artist_features.training import data
from artist_features.training.distillation_set import CropBatches, DistillationSet
from artist_features.training.inputs import read_splits
from artist_features.training.learner import Learner
from artist_features.training.recipes import RECIPES
from artist_features.training.sampling import AudioBatches, Sampler
from artist_features.training.trainer import make_strategy
from artist_features.zoo.registry import load_model

N_CROPS = 2560


def main():
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manifest = args.manifest or synthetic(Path(folder) / "music")
        found = data.load(read_splits([manifest]), args.cache or Path(folder) / "cache", FrontEnd())
        figures = [measure(found, args), measure_stored(Path(folder) / "crops", args)]
    print(f"{device()}\n")
    print("| figure | measured | target |\n|---|---|---|")
    for figure in figures:
        value = f"{figure.value:.2f} {figure.unit} ({figure.detail})"
        print(f"| {figure.name} | {value} | {figure.target} |")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--teacher", default="siamese")
    parser.add_argument("--steps", type=int, default=20, help="in each turn")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def synthetic(folder):
    """Write 40 artists of three 30 s tracks of noise bands; return the manifest."""
    folder.mkdir(parents=True)
    # unlike one another: names that are close count as one artist when splits are drawn
    names = [
        "".join(np.random.default_rng([1, n]).choice(list("abcdefghij"), 12)) for n in range(40)
    ]
    rng, lines = np.random.default_rng(0), ["file,artist,title"]
    for number in range(120):
        name = f"{number}.flac"
        soundfile.write(folder / name, 0.1 * rng.standard_normal(30 * 22050), 22050)
        lines.append(f"{name},{names[number // 3]},track {number}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder / "manifest.csv"


def measure(found, args):
    """Take turns; return the ratio of the median rates as a `Figure`."""
    recipe = RECIPES["default"]["siamese"]
    sampler = Sampler(
        found.by_artist,
        found.training,
        n_anchors=recipe.n_anchors,
        n_unlabelled=recipe.n_unlabelled,
    )
    n_samples = FrontEnd().segment_samples
    tracks = found.training
    batches = AudioBatches(found.cache, sampler, recipe.augmentation, tracks, n_samples, seed=0)
    learner = Learner(
        "siamese",
        recipe,
        n_artists=len(found.artists),
        teacher=load_model(args.teacher),
        strategy=make_strategy("none"),
    )
    constant = next(iter(batches.dataset(0, 1)))
    learner.step(constant, 1e-3)  # compiles
    seconds = {"constant": [], "cache": []}
    for number in range(args.rounds):
        start = time.perf_counter()
        for _ in range(args.steps):
            values = learner.step(constant, 1e-3)
        float(values["loss"])
        seconds["constant"].append((time.perf_counter() - start) / args.steps)
        dataset = iter(batches.dataset(number * args.steps, (number + 1) * args.steps + 4))
        next(dataset)  # the pipeline is running
        start = time.perf_counter()
        for _ in range(args.steps):
            values = learner.step(next(dataset), 1e-3)
        float(values["loss"])
        seconds["cache"].append((time.perf_counter() - start) / args.steps)
    constant, cache = (statistics.median(seconds[name]) for name in ("constant", "cache"))
    return at_least(
        "training steps from the cache / with one constant batch",
        constant / cache,
        "x",
        0.8,
        f"{1000 * cache:.0f} and {1000 * constant:.0f} ms a step of 256 crops",
    )


def measure_stored(folder: Path, args: argparse.Namespace) -> Figure:
    """Return the median time of a step of distillation from stored crops as a `Figure`."""
    front_end, recipe = FrontEnd(), RECIPES["default"]["siamese"]
    shape, teachers = (front_end.segment_frames, front_end.n_mels), {"authors": 256, "musicnn": 753}
    tracks = [{"artist": str(number // 3)} for number in range(120)]
    facts = {"n_crops": N_CROPS, "tracks": tracks}
    crops = DistillationSet.create(folder, facts, shape, teachers)
    rng = np.random.default_rng(0)
    for block in crops.missing():
        rows = np.array(crops.rows(block))
        arrays = {name: rng.standard_normal((len(rows), dim)) for name, dim in teachers.items()}
        arrays["log_mel"] = rng.standard_normal((len(rows), *shape))
        arrays |= {"track": rows % len(tracks), "low_pass_hz": np.full(len(rows), np.inf)}
        crops.write(block, arrays | {"mix_db": np.full(len(rows), -np.inf)})
    crops = DistillationSet(folder)
    n_anchors = recipe.n_anchors
    n_unlabelled = 256 - 2 * n_anchors
    batches = CropBatches(
        crops, n_anchors=n_anchors, n_unlabelled=n_unlabelled, positives=True, seed=0
    )
    learner = Learner(
        "siamese",
        recipe,
        n_artists=len(batches.artists),
        teacher_embeddings=crops.teachers,
        strategy=make_strategy("none"),
    )
    n_steps = args.rounds * args.steps
    seconds, start = [], time.perf_counter()
    for batch in batches.dataset(0, n_steps + 1):
        float(learner.step(batch, 1e-3)["loss"])
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return at_most(
        "training step of 256 from stored crops",
        statistics.median(seconds[1:]),  # the first one compiles
        "s",
        0.15,
        f"{n_steps} steps, {crops.n} crops",
    )


if __name__ == "__main__":
    main()
