"""The sampler: who is anchor, positive, negative; the same draws for the same seed."""

from collections import Counter

import numpy as np
import pytest

from artist_features.training.sampling import Sampler

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
