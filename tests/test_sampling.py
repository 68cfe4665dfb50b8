"""The sampler and its batches: roles, the same draws for the same seed, however it is shared."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from artist_features.training.cache import AudioCache
from artist_features.training.recipes import DEFAULT
from artist_features.training.sampling import AudioBatches, Sampler

BY_ARTIST = [np.arange(0, 2), np.arange(2, 9), np.arange(9, 12), np.arange(12, 40)]
ARTIST_OF = np.repeat(np.arange(4), [2, 7, 3, 28])
ALL = np.arange(60)


def drawn(n_steps, **options):
    sampler = Sampler(BY_ARTIST, ALL, **{"n_anchors": 10, "n_negatives": 4, **options})
    return [sampler.plan(step) for step in range(n_steps)]


def test_ten_thousand_draws_never_pair_an_anchor_with_itself_or_its_artist():
    plans = drawn(1000)
    anchors = np.concatenate([p.anchors for p in plans])
    positives = np.concatenate([p.positives for p in plans])
    negatives = np.concatenate([p.negatives for p in plans])
    labels = np.concatenate([p.labels for p in plans])
    assert len(anchors) == 10_000
    assert negatives.shape == (10_000, 4)
    assert (anchors != positives).all()
    np.testing.assert_array_equal(ARTIST_OF[anchors], labels)
    np.testing.assert_array_equal(ARTIST_OF[positives], labels)
    assert (ARTIST_OF[negatives] != labels[:, None]).all()
    # every track can be any of the three
    for rows in (anchors, positives, negatives.ravel()):
        assert set(rows) == set(range(40))


def test_anchors_are_balanced_over_artists_not_tracks():
    labels = np.concatenate([p.labels for p in drawn(100)])
    assert Counter(labels.tolist()) == {0: 250, 1: 250, 2: 250, 3: 250}


def test_same_seed_same_draws_in_any_order_of_steps():
    forward = Sampler(BY_ARTIST, ALL, n_anchors=10, n_negatives=4, n_unlabelled=5, seed=3)
    later = Sampler(BY_ARTIST, ALL, n_anchors=10, n_negatives=4, n_unlabelled=5, seed=3)
    other = Sampler(BY_ARTIST, ALL, n_anchors=10, n_negatives=4, n_unlabelled=5, seed=4)
    plans = [forward.plan(step) for step in range(8)]
    np.testing.assert_array_equal(later.plan(7).tracks, plans[7].tracks)
    assert (other.plan(7).tracks != plans[7].tracks).any()
    assert (plans[6].tracks != plans[7].tracks).any()


def test_classifier_gets_no_positives():
    plan = drawn(1, positives=False, n_negatives=0, n_unlabelled=3)[0]
    assert len(plan.positives) == 0
    assert len(plan.tracks) == 13


@pytest.mark.parametrize("n_parts", [1, 2, 5])
def test_parts_make_up_the_step(n_parts):
    plan = drawn(1, n_unlabelled=20)[0]
    parts = [plan.part(index, n_parts) for index in range(n_parts)]
    for name, whole in vars(plan).items():
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), whole)


def test_rows_hold_negatives_column_by_column():
    plan = drawn(1, n_unlabelled=1)[0]
    np.testing.assert_array_equal(plan.tracks[20:30], plan.negatives[:, 0])
    np.testing.assert_array_equal(plan.tracks[50:60], plan.negatives[:, 3])


@pytest.mark.parametrize(
    ("by_artist", "unlabelled", "message"),
    [
        ([np.arange(3)], ALL, "1 artists to train on; needed are 2 or more"),
        ([np.arange(3), np.arange(3, 4)], ALL, "an artist with 1 tracks; a positive needs 2"),
        (BY_ARTIST, ALL[:0], "no tracks for the unlabelled crops"),
    ],
)
def test_too_little_to_draw_from(by_artist, unlabelled, message):
    with pytest.raises(ValueError, match=message):
        Sampler(by_artist, unlabelled, n_anchors=4, n_unlabelled=2)


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
