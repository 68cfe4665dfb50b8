"""The pipeline of training crops: the same bytes for the same step, however it is shared."""

import numpy as np
import pytest
import tensorflow as tf

from artist_features.training.cache import AudioCache
from artist_features.training.recipes import DEFAULT
from artist_features.training.sampling import AudioBatches, Sampler

N, LENGTH = 500, 3000


@pytest.fixture
def batches():
    samples = np.random.default_rng(0).integers(-9000, 9000, 12 * LENGTH).astype("<i2")
    cache = AudioCache(samples, np.arange(12) * LENGTH, [LENGTH] * 12, 22050)
    by_artist = np.split(np.arange(12), 4)
    sampler = Sampler(by_artist, np.arange(12), n_anchors=4, n_negatives=2, n_unlabelled=6, seed=1)
    return AudioBatches(cache, sampler, DEFAULT.augmentation, np.arange(12), N, seed=1)


def by_role(parts, n_parts):
    """Put the rows of several replicas back in the order of the whole step."""
    n_anchors, n_free = 4 // n_parts, 6 // n_parts
    ends = np.cumsum([n_anchors] * 4 + [n_free])[:-1]
    blocks = [np.split(part, ends) for part in parts]
    return np.concatenate([np.concatenate(block) for block in zip(*blocks, strict=True)])


def test_replicas_share_the_rows_of_one_step(batches):
    whole = batches.read(5)
    parts = [batches.read(5, index, 2) for index in range(2)]
    for column in range(5):
        rows = by_role([part[column] for part in parts], 2)
        np.testing.assert_array_equal(rows, whole[column])
    labels = np.concatenate([part[5] for part in parts])
    np.testing.assert_array_equal(labels, whole[5])


def test_dataset_gives_the_steps_in_order(batches):
    found = list(batches.dataset(3, 6).as_numpy_iterator())
    assert len(found) == 3
    for step, elements in zip(range(3, 6), found, strict=True):
        for element, expected in zip(elements, batches.read(step), strict=True):
            np.testing.assert_array_equal(element, expected)
    assert found[0][0].shape == (4 + 4 + 8 + 6, N)
    assert found[0][0].dtype == np.int16


def test_dataset_of_a_replica_takes_its_turns(batches):
    context = tf.distribute.InputContext(2, 1, 2)  # two processes, this is the second
    found = list(batches.dataset(0, 2, context).as_numpy_iterator())
    assert len(found) == 2
    np.testing.assert_array_equal(found[1][0], batches.read(1, 1, 2)[0])
    both = tf.distribute.InputContext(1, 0, 2)  # one process with two devices
    found = list(batches.dataset(0, 2, both).as_numpy_iterator())
    assert len(found) == 4
    np.testing.assert_array_equal(found[3][0], batches.read(1, 1, 2)[0])


def test_another_step_hears_something_else(batches):
    assert (batches.read(0)[0] != batches.read(1)[0]).any()
    assert (batches.read(0)[1] != batches.read(1)[1]).any()
