"""Cross-validated classifiers: artists stay whole, C is chosen inside, scikit-learn agrees."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from artist_features.evaluation import crossvalidation
from artist_features.evaluation.crossvalidation import (
    artists_by_label,
    cross_validate,
    group_numbers,
)

N_ARTISTS = 8  # of each class, three tracks each
LABELS = np.repeat(["jazz", "rock"], 3 * N_ARTISTS)
ARTISTS = np.repeat([f"artist {n}" for n in range(2 * N_ARTISTS)], 3).tolist()


@pytest.fixture
def small_grid(monkeypatch):
    monkeypatch.setattr(crossvalidation, "C_GRID", (0.01, 1.0))


def toy(noise, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.where(LABELS == "jazz", 1.0, -1.0)[:, None] * np.eye(1, 4)
    return centres + noise * rng.standard_normal((len(LABELS), 4))


def test_learns_what_is_there_and_compares_with_the_first(small_grid):
    noise = np.random.default_rng(0).standard_normal((48, 5))
    scores = cross_validate({"good": toy(0.1), "bad": noise}, LABELS, ARTISTS, n_folds=4)
    names = [(row.name, row.classifier, row.dim) for row in scores]
    pair = ("logistic regression", "SVM")
    assert names == [(name, c, dim) for name, dim in (("good", 4), ("bad", 5)) for c in pair]
    for good, bad in zip(scores[:2], scores[2:], strict=True):
        assert (good.accuracy.estimate, good.difference) == (1, None)
        np.testing.assert_array_equal(good.predicted, LABELS)
        assert bad.accuracy.estimate < 0.8
        assert bad.difference.estimate == pytest.approx(bad.accuracy.estimate - 1)
        assert bad.accuracy.n_clusters == 16
        assert len(bad.chosen_c) == 4
        assert set(bad.chosen_c) <= {0.01, 1.0}


def test_knowing_the_artist_gains_nothing(small_grid):
    """Vectors that say who plays and nothing of the class, tracks of one artist alike."""
    rng = np.random.default_rng(1)
    who = np.repeat(rng.standard_normal((2 * N_ARTISTS, 30)), 3, axis=0)
    who += 0.01 * rng.standard_normal(who.shape)
    _, whole = cross_validate({"who": who}, LABELS, ARTISTS, n_folds=4)
    _, torn = cross_validate({"who": who}, LABELS, [""] * 48, n_folds=4)
    assert torn.accuracy.estimate > 0.9  # as unknown artists, it learns them by heart
    assert whole.accuracy.estimate < 0.75


def test_predictions_are_those_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(crossvalidation, "C_GRID", (1.0,))
    vectors = toy(1.5)
    _, found = cross_validate({"x": vectors}, LABELS, ARTISTS, n_folds=4, seed=3)
    folds = StratifiedGroupKFold(4, shuffle=True, random_state=3)
    pipeline = make_pipeline(StandardScaler(), SVC(C=1.0))
    groups = np.repeat(np.arange(2 * N_ARTISTS), 3)
    expected = cross_val_predict(pipeline, vectors, LABELS, groups=groups, cv=folds)
    np.testing.assert_array_equal(found.predicted, expected)
    assert 0.5 < found.accuracy.estimate < 1


def test_outer_and_inner_folds_keep_artists_whole():
    groups = group_numbers(ARTISTS)
    folds = crossvalidation._folds(LABELS, groups, 5, 0)
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(48))
    for train, held in folds:
        assert not set(groups[train]) & set(groups[held])
        inner = crossvalidation._inner_folds(LABELS, groups, train, 5, 0)
        assert len(inner) == 3
        for inner_train, inner_held in inner:
            assert not set(groups[train[inner_train]]) & set(groups[train[inner_held]])
            assert len(inner_train) + len(inner_held) == len(train)


def test_standardising_is_fitted_with_the_classifier():
    for name in crossvalidation.CLASSIFIERS:
        steps = [type(step).__name__ for _, step in crossvalidation._pipeline(name).steps]
        assert steps[0] == "StandardScaler"
    huge = toy(0.3) * [1, 1e6, 1, 1]  # noise that drowns the class if it is not evened out
    lr, svm = cross_validate({"x": huge}, LABELS, ARTISTS, n_folds=4)
    assert min(lr.accuracy.estimate, svm.accuracy.estimate) > 0.9


def test_groups_by_hand():
    assert group_numbers(["a", "", "a", "", "b"]).tolist() == [0, 1, 0, 2, 3]
    found = artists_by_label(["x", "x", "y", "x", "y"], ["a", "a", "a", "", ""])
    assert found == {"x": 2, "y": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_folds": 9}, r"class 'jazz' has tracks of 8 artists, 9 folds need 9 \(2 of 2 class"),
        ({"labels": ["jazz"] * 48}, r"1 classes; two or more are needed"),
    ],
)
def test_what_cannot_be_validated_is_refused(options, message):
    given = {"vectors_by_name": {"x": toy(1)}, "labels": LABELS, "artists": ARTISTS, **options}
    with pytest.raises(ValueError, match=message):
        cross_validate(**given)


def test_a_fold_that_lacks_a_class_is_refused():
    """All of ska is one artist's: held out, nothing of it is left to train on."""
    labels = np.array(["rock"] * 9 + ["ska"] * 3)
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9])
    with pytest.raises(ValueError, match=r"a fold has no track of class 'ska' to train on"):
        crossvalidation._split(labels, groups, 3, 0)
