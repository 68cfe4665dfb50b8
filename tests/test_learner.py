"""One training step: its terms."""

import numpy as np
import pytest
import tensorflow as tf

from artist_features.training.learner import Learner
from artist_features.training.losses import relation
from artist_features.training.recipes import RECIPES

pytestmark = pytest.mark.slow


def test_similarities_are_matched_as_they_are_and_standardised():
    rng = np.random.default_rng(0)
    target = rng.standard_normal((64, 256)).astype(np.float32)
    target = (target - target.mean(0)) / target.std(0)
    # what a teacher's vectors become by another scale and origin of each number
    embeddings = target * rng.uniform(0.5, 2, 256) + rng.uniform(0, 3, 256)
    embeddings = tf.constant(embeddings, tf.float32)
    changes = {"vectors_weight": 0.0, "relation_weight": 1.0}
    recipe = RECIPES["default"]["siamese"].changed(changes)
    learner = Learner(
        "siamese",
        recipe,
        n_artists=2,
        teacher_embeddings={"teacher": target},
        strategy=tf.distribute.get_strategy(),
    )
    target = tf.constant(target)
    found, _ = learner._stored_teacher_loss(embeddings, target)
    as_they_are = float(np.mean(relation(embeddings, target, embeddings, target)))
    assert as_they_are > 0.05
    assert float(found) == pytest.approx(as_they_are / 2, rel=1e-3)
