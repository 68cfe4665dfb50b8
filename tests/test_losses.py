"""Loss terms against values worked by hand."""

import keras
import numpy as np
import pytest

from artist_features.training.losses import batch_hinge, distillation, relation


def at(*degrees):
    """Unit vectors at angles in the plane, times 3: length must not matter."""
    radians = np.radians(degrees)
    return 3 * np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)


def test_batch_hinge_sums_over_the_nearest_clips_of_other_artists():
    anchors, positives = at(0, 90), at(60, 90)
    labels = np.array([0, 1], np.int32)
    others, names = at(0, 60, 90, 75), np.array([0, 1, 2, 2], np.int32)
    # anchor 0, s_pos cos 60 = .5; others of artist 1 (cos 60 = .5) and 2 (cos 90 = 0,
    #   cos 75 = .259): .4, 0 and .159; its own artist's clip (cos 0 = 1) does not count
    # anchor 1, s_pos 1; others of artist 0 (cos 90 = 0) and 2 (cos 0 = 1, cos 15 = .966):
    #   0, .4 and .366
    for n_negatives, expected in ((1, [0.4, 0.4]), (2, [0.559, 0.766]), (9, [0.559, 0.766])):
        hinge = batch_hinge(anchors, positives, labels, others, names, n_negatives)
        np.testing.assert_allclose(np.asarray(hinge), expected, atol=1e-3)


def test_batch_hinge_of_a_batch_of_one_artist_is_zero():
    vectors, labels = at(0, 90), np.array([3, 3], np.int32)
    hinge = np.asarray(batch_hinge(vectors, at(180, 0), labels, vectors, labels, 4))
    assert hinge.tolist() == [0.0, 0.0]


def test_distillation_is_squared_error_and_twice_the_missing_cosine():
    ours = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    theirs = np.array([[3.0, 4.0], [0.0, 2.0]], np.float32)
    # row 2: mean of 1 and 4 is 2.5; cosine 0 costs 2
    np.testing.assert_allclose(np.asarray(distillation(ours, theirs)), [0.0, 4.5], atol=1e-6)


def test_silent_clips_give_finite_losses():
    zeros = np.zeros((2, 4), np.float32)
    labels = np.array([0, 1], np.int32)
    for loss in (distillation(zeros, zeros), batch_hinge(zeros, zeros, labels, zeros, labels, 1)):
        assert np.isfinite(np.asarray(keras.ops.convert_to_numpy(loss))).all()


def related(ours, theirs):
    return np.asarray(relation(ours, theirs, ours, theirs))


def test_relation_is_what_the_correlation_of_cosines_lacks():
    ours, theirs = at(0, 10, 50, 80), at(0, 30, 40, 90)
    for row, found in enumerate(related(ours, theirs)):
        rest = [n for n in range(4) if n != row]
        cosines = [np.cos(np.radians(a[rest] - a[row])) for a in
                   (np.array([0, 10, 50, 80]), np.array([0, 30, 40, 90]))]  # fmt: skip
        assert found == pytest.approx(1 - np.corrcoef(*cosines)[0, 1], abs=1e-4)


def test_relation_ignores_length_level_and_what_has_no_target():
    ours, theirs = at(0, 10, 50, 80), at(0, 30, 40, 90)
    np.testing.assert_allclose(related(ours, 5 * theirs), related(ours, theirs), atol=1e-5)
    lifted = np.concatenate([theirs, np.full((4, 1), 9, np.float32)], 1)
    np.testing.assert_allclose(related(ours, lifted), related(ours, theirs), atol=1e-3)
    unknown = np.concatenate([theirs, np.zeros((1, 2), np.float32)])
    found = related(np.concatenate([ours, at(20)]), unknown)
    np.testing.assert_allclose(found, [*related(ours, theirs), 0], atol=1e-6)


def test_relation_counts_no_pair_of_one_target():
    ours, theirs = at(0, 10, 50, 80), at(0, 30, 40, 90)
    twice = [np.concatenate([rows, rows[:1]]) for rows in (ours, theirs)]
    found = np.asarray(relation(ours[:1], theirs[:1], *twice))
    np.testing.assert_allclose(found, related(ours, theirs)[:1], atol=1e-6)
    assert related(at(0, 90), at(0, 0)).tolist() == [0.0, 0.0]
    assert related(at(0, 90), at(0, 50)).tolist() == [0.0, 0.0], "one pair has no order"


def test_relation_has_a_finite_gradient():
    import tensorflow as tf

    theirs = np.concatenate([at(0, 30, 40), np.zeros((1, 2), np.float32)])
    for start in (at(0, 80, 20, 50), np.zeros((4, 2), np.float32), at(7, 7, 7, 7)):
        ours = tf.Variable(start)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(relation(ours, theirs, ours, theirs))
        gradient = np.asarray(tape.gradient(loss, ours))
        assert np.isfinite(gradient).all()
    assert np.isfinite(float(loss))
