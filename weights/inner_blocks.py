"""Trial: the authors' inner blocks as further targets of a student of the same architecture.

    python weights/inner_blocks.py CROPS --authors authors --json RUNS/inner_blocks.json

CROPS holds the distillation sets `train` and `test`. The student begins with random weights and
learns as the `*_trial` runs of weights/train_weights.py do, which adds the result to its table;
besides, the output of each block is matched with the authors' by squared error, relative to the
variance of the authors' channel. It serves this trial alone: the runs that ship do without.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import agreement
import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from artist_features import load_model
from artist_features.config import LEVEL_DB, FrontEnd
from artist_features.training.learner import Learner
from artist_features.training.recipes import RECIPES, Schedule
from artist_features.training.targets import CropBatches, CropSet

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

    def _vectors_loss(
        self, embeddings: tf.Tensor, target: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        match, cosine = super()._vectors_loss(embeddings, target)
        return match + self._weight * self._block_loss, cosine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops", type=Path, metavar="CROPS")
    parser.add_argument("--authors", required=True, help="model folder")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--weight", type=float, default=1.0)
    parser.add_argument("--json", type=Path, required=True, help="the numbers, to be written")
    args = parser.parse_args()
    changes = {"n_steps": args.steps, "label_weight": 0.0}
    recipe = RECIPES["default"].changed("siamese", changes)
    crops, test = CropSet(args.crops / "train"), CropSet(args.crops / "test")
    n_crops = recipe.n_free + 2 * recipe.n_anchors["siamese"]
    batches = CropBatches(crops, n_anchors=0, n_unlabelled=n_crops, positives=True, seed=0)
    keras.utils.set_random_seed(0)
    learner = InnerLearner(
        load_model(args.authors),
        args.weight,
        recipe=recipe,
        n_artists=2,
        vectors=crops.teachers,
        front_end=dataclasses.replace(FrontEnd(), level_db=LEVEL_DB),
        strategy=tf.distribute.get_strategy(),
    )
    schedule = Schedule(recipe)
    for step, batch in enumerate(tqdm(batches.dataset(0, args.steps), total=args.steps)):
        learner.step(batch, schedule.rate(step))
    rows = np.concatenate(
        [learner.embed_stored(np.float32(test.log_mel[n : n + 256])) for n in range(0, test.n, 256)]
    )
    label = f"{args.steps} steps: both teachers and the authors' inner blocks"
    scores = {label: agreement.measure(rows, test)}
    args.json.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    print(agreement.table(scores))


if __name__ == "__main__":
    main()
