"""Trials of other distillation losses, which the runs that ship do without.

    python weights/loss_trials.py CROPS --authors authors --json RUNS/loss_trials.json

CROPS holds the distillation sets `train` and `test`. The student begins with random weights and
learns as the `*_trial` runs of weights/train_weights.py do, which adds the results to its table.

    inner blocks   beside the usual terms the output of each block is matched with the authors', of
                   the same architecture, by squared error relative to the variance of their channel
    plain          the similarities of the embeddings as they are alone, not standardised, too
    cosine         the cosine of the head's output to both teachers side by side, and nothing else
"""

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import agreement
import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from artist_features import load_model
from artist_features.config import LEVEL_DB, FrontEnd
from artist_features.training.distillation_set import CropBatches, DistillationSet
from artist_features.training.learner import Learner
from artist_features.training.losses import distillation, relation, unit
from artist_features.training.recipes import RECIPES, Recipe, Schedule

BLOCKS = [f"block{number}" for number in range(1, 6)]


class InnerLearner(Learner):
    """`Learner` that matches the output of each block with the authors', too.

    Args:
        authors: `keras.Model` of the authors' weights.
        weight: of the blocks' mean squared error.
    """

    def __init__(self, authors: keras.Model, weight: float, **options: object) -> None:
        super().__init__("siamese", **options)
        self._weight = weight
        outputs = [self.model.get_layer(name).output for name in BLOCKS]
        self._inner = keras.Model(
            self.model.get_layer("log_mel").output, [*outputs, self.model.output]
        )
        log_mel = authors.get_layer("log_mel").output
        self._teacher_blocks = keras.Model(
            log_mel, [authors.get_layer(name).output for name in BLOCKS]
        )

    def _embed(self, mel: tf.Tensor, n: int) -> tf.Tensor:
        *blocks, embeddings = self._inner(mel, training=True)
        errors = []
        for found, wanted in zip(blocks, self._teacher_blocks(mel, training=False), strict=True):
            _, variance = tf.nn.moments(wanted, axes=[0, 1])
            squared = tf.reduce_mean((found - wanted) ** 2, axis=[0, 1])
            errors.append(tf.reduce_mean(squared / (variance + 1e-3)))
        self._block_loss = tf.add_n(errors) / len(errors)
        return embeddings

    def _stored_teacher_loss(
        self, embeddings: tf.Tensor, target: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        match, cosine = super()._stored_teacher_loss(embeddings, target)
        return match + self._weight * self._block_loss, cosine


class PlainLearner(Learner):
    """`Learner` that matches the similarities of embeddings as they are, not standardised."""

    def _stored_teacher_loss(
        self, embeddings: tf.Tensor, target: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        found = self._heads["vectors"](embeddings)
        match = tf.reduce_mean(distillation(found, target))
        apart = tf.reduce_mean(relation(embeddings, target, embeddings, target))
        cosine = tf.reduce_mean(tf.reduce_sum(unit(found) * unit(target), axis=-1))
        recipe = self._recipe
        return recipe.vectors_weight * match + recipe.relation_weight * apart, cosine


class CosineLearner(Learner):
    """`Learner` whose loss is 1 - cosine to both teachers side by side."""

    def _stored_teacher_loss(
        self, embeddings: tf.Tensor, target: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        cosine = tf.reduce_mean(
            tf.reduce_sum(unit(self._heads["vectors"](embeddings)) * unit(target), axis=-1)
        )
        return 1 - cosine, cosine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops", type=Path, metavar="CROPS")
    parser.add_argument("--authors", required=True, help="model folder")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--weight", type=float, default=1.0)
    parser.add_argument("--json", type=Path, required=True, help="the numbers, to be written")
    args = parser.parse_args()
    changes = {"n_steps": args.steps, "label_weight": 0.0}
    recipe = RECIPES["default"]["siamese"].changed(changes)
    scores = {}
    authors = load_model(args.authors)
    for text, build in {
        "both teachers and the authors' inner blocks": functools.partial(
            InnerLearner, authors, args.weight
        ),
        "both teachers, similarities not standardised": functools.partial(PlainLearner, "siamese"),
        "the cosine alone": functools.partial(CosineLearner, "siamese"),
    }.items():
        scores[f"{args.steps} steps: {text}"] = trial(build, recipe, args.crops)
    args.json.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    print(agreement.table(scores))


def trial(build: Callable[..., Learner], recipe: Recipe, folder: Path) -> dict:
    """Train a student, and return its `agreement.measure`."""
    crops, test = DistillationSet(folder / "train"), DistillationSet(folder / "test")
    n_crops = recipe.n_unlabelled + 2 * recipe.n_anchors
    batches = CropBatches(crops, n_anchors=0, n_unlabelled=n_crops, positives=True, seed=0)
    keras.utils.set_random_seed(0)
    learner = build(
        recipe=recipe,
        n_artists=2,
        teacher_embeddings=crops.teachers,
        front_end=dataclasses.replace(FrontEnd(), level_db=LEVEL_DB),
        strategy=tf.distribute.get_strategy(),
    )
    schedule = Schedule(recipe)
    n_steps = recipe.n_steps
    for step, batch in enumerate(tqdm(batches.dataset(0, n_steps), total=n_steps)):
        learner.step(batch, schedule.rate(step))
    rows = np.concatenate(
        [learner.embed_stored(np.float32(test.log_mel[n : n + 256])) for n in range(0, test.n, 256)]
    )
    return agreement.measure(rows, test)


if __name__ == "__main__":
    main()
