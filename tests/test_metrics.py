"""Measures: cases worked by hand, ties, no positives, scikit-learn, properties; agreement."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    ndcg_score,
    precision_score,
)

from artist_features import metrics
from artist_features.metrics import (
    agreement,
    average_precision,
    bootstrap_interval,
    correct,
    ndcg_at_k,
    paired_bootstrap,
    precision_at_k,
    r_precision,
    retrieval,
    side_by_side,
    standardised,
    unit_vectors,
)

YES, NO = True, False
HAND = (  # order, AP, P@1, P@3, R-precision, nDCG@3
    ([YES, NO, NO, NO], 1, 1, 1 / 3, 1, 1),
    ([NO, NO, NO, YES], 1 / 4, 0, 0, 0, 0),
    ([YES, NO, YES, NO], (1 + 2 / 3) / 2, 1, 2 / 3, 1 / 2, 1.5 / (1 + 1 / np.log2(3))),
    ([NO, YES, YES], (1 / 2 + 2 / 3) / 2, 0, 2 / 3, 1 / 2, None),
    ([YES, YES], 1, 1, 2 / 3, 1, 1),  # fewer candidates than k
)
BY_ANGLE = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.8, 0.2]])


@pytest.mark.parametrize(("order", "ap", "at_1", "at_3", "at_r", "ndcg"), HAND)
def test_measures_by_hand(order, ap, at_1, at_3, at_r, ndcg):
    order = np.array(order)
    assert average_precision(order) == pytest.approx(ap)
    assert precision_at_k(order, 1) == at_1
    assert precision_at_k(order, 3) == pytest.approx(at_3)
    assert r_precision(order) == pytest.approx(at_r)
    if ndcg is not None:
        assert ndcg_at_k(order, 3) == pytest.approx(ndcg)


@pytest.mark.parametrize("order", [[], [NO, NO, NO]])
def test_without_positives_there_is_no_score(order):
    order = np.array(order, bool)
    scores = [average_precision(order), precision_at_k(order, 1), r_precision(order)]
    assert np.isnan([*scores, ndcg_at_k(order, 5)]).all()


def test_what_is_no_ranked_list_is_refused():
    with pytest.raises(TypeError, match=r"relevant has dtype float64; allowed is bool"):
        average_precision(np.array([0.9, 0.1]))
    with pytest.raises(ValueError, match=r"relevant of shape \(1, 2\); allowed is \(n_candidates"):
        r_precision(np.array([[True, False]]))
    for k in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=rf"k is {k}; allowed is an integer of 1 or more"):
            precision_at_k(np.array([True]), k)
        with pytest.raises(ValueError, match=r"k is"):
            ndcg_at_k(np.array([], bool), k)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=30).filter(any), st.integers(1, 40))
def test_measures_agree_with_scikit_learn(order, k):
    order = np.array(order)
    scores = -np.arange(len(order), dtype=float)
    assert average_precision(order) == pytest.approx(average_precision_score(order, scores))
    expected = ndcg_score(order[None].astype(float), scores[None], k=k)
    assert ndcg_at_k(order, k) == pytest.approx(expected)
    for measured, at in (
        (precision_at_k(order, min(k, len(order))), k),
        (r_precision(order), None),
    ):
        at = min(at or order.sum(), len(order))
        assert measured == pytest.approx(precision_score(order, np.arange(len(order)) < at))


def test_four_tracks_by_hand():
    """Angles 0, 6.3, 90 and 14.0 degrees; each query's order of the others:

    0 (a): 1 3 2, no yes no. 1 (b): 0 3 2, no no yes.
    2 (b): 3 1 0, no yes no. 3 (a): 1 0 2, no yes no.
    """
    found = retrieval(BY_ANGLE, ["a", "b", "b", "a"])
    np.testing.assert_allclose(found.average_precision, [1 / 2, 1 / 3, 1 / 2, 1 / 2])
    np.testing.assert_array_equal(found.precision_at_1, [0, 0, 0, 0])
    np.testing.assert_array_equal(found.n_positives, [1, 1, 1, 1])
    np.testing.assert_array_equal(found.n_candidates, [3, 3, 3, 3])
    assert found.mean_average_precision == pytest.approx(11 / 24)
    assert (found.mean_precision_at_1, found.mean_r_precision) == (0, 0)
    assert found.mean_precision_at_k == pytest.approx(1 / 10)
    assert found.mean_ndcg_at_k == pytest.approx((3 / np.log2(3) + 1 / 2) / 4)
    np.testing.assert_allclose(found.precision_at_k, [1 / 10] * 4)
    np.testing.assert_allclose(found.ndcg_at_k[1], 1 / np.log2(4))
    np.testing.assert_array_equal(found.r_precision, [0, 0, 0, 0])


def test_ties_survive_scale_and_rounding():
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.standard_normal((1, 256)), 40, axis=0)
    vectors *= rng.uniform(0.001, 1000, (40, 1))
    vectors = np.vstack([vectors.astype(np.float64), rng.standard_normal((1, 256))])
    labels = ["a", "b"] * 20 + ["a"]
    found = retrieval(vectors, labels)
    expected = average_precision(np.array([NO] * 20 + [YES] * 19 + [YES]))
    np.testing.assert_allclose(found.average_precision[0], expected)
    np.testing.assert_allclose(found.average_precision[:40:2], found.average_precision[0])


def test_query_without_positives_is_counted_and_left_out():
    found = retrieval(BY_ANGLE, ["a", "a", "b", "c"])
    np.testing.assert_array_equal(np.isnan(found.average_precision), [NO, NO, YES, YES])
    for scores in (found.precision_at_1, found.precision_at_k, found.r_precision, found.ndcg_at_k):
        np.testing.assert_array_equal(np.isnan(scores), [NO, NO, YES, YES])
    assert found.n_without_positives == 2
    assert found.mean_average_precision == 1
    nobody = retrieval(BY_ANGLE, ["a", "b", "c", "d"])
    assert np.isnan(nobody.mean_average_precision)
    assert nobody.n_without_positives == 4
    assert np.isnan(retrieval(BY_ANGLE[:1], ["a"]).average_precision).all()


def test_own_group_is_no_candidate():
    labels, albums = ["a", "a", "b", "a"], ["one", "one", "two", "three"]
    found = retrieval(BY_ANGLE, labels, albums)
    np.testing.assert_array_equal(found.n_candidates, [2, 2, 3, 3])
    np.testing.assert_array_equal(found.n_positives, [1, 1, 0, 2])
    np.testing.assert_array_equal(found.average_precision, [1, 1, np.nan, 1])


@pytest.mark.parametrize("nothing", [None, ""])
def test_tracks_without_group_exclude_nothing(nothing):
    found = retrieval(BY_ANGLE, ["a", "a", "b", "a"], [nothing, nothing, nothing, "one"])
    np.testing.assert_array_equal(found.n_candidates, [3, 3, 3, 3])


@pytest.mark.parametrize(
    ("rows", "labels", "groups", "message"),
    [
        ([[1, 0], [0, 0]], "ab", None, r"row 1 is all zeros \(1 of 2 rows are unusable\)"),
        ([[1, np.nan], [0, np.inf]], "ab", None, r"row 0 is not finite \(2 of 2 rows"),
        ([1, 2], "ab", None, r"embeddings of shape \(2,\); allowed is \(n_tracks, dim\)"),
        ([[1, 0], [0, 1]], "abc", None, r"3 labels for 2 embeddings; give one for each"),
        ([[1, 0], [0, 1]], "ab", "a", r"1 groups for 2 embeddings; give one for each"),
    ],
)
def test_what_cannot_be_searched_is_refused(rows, labels, groups, message):
    with pytest.raises(ValueError, match=message):
        retrieval(np.array(rows, float), list(labels), None if groups is None else list(groups))


def test_unit_vectors_of_any_length():
    units = unit_vectors(np.array([[3e-200, 4e-200], [3e200, 4e200], [3, 4]]))
    np.testing.assert_allclose(units, [[0.6, 0.8]] * 3)


def brute_force(vectors, labels, groups, k):
    """The definition, one query at a time: sort all, positives last among equals."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = []
    for query in range(len(unit)):
        ranked = sorted(
            (-round(float(unit[query] @ unit[other]), 9), labels[other] == labels[query])
            for other in range(len(unit))
            if other != query and (groups is None or groups[other] != groups[query])
        )
        order = np.array([positive for _, positive in ranked], bool)
        rows.append([average_precision(order), r_precision(order), ndcg_at_k(order, k)])
    return np.array(rows)


@st.composite
def collections(draw):
    n = draw(st.integers(2, 12))
    row = st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any)
    vectors = np.array(draw(st.lists(row, min_size=n, max_size=n)), float)
    labels = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    groups = draw(st.none() | st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return vectors, labels, groups


@settings(max_examples=200, deadline=None)
@given(collections(), st.integers(1, 5), st.integers(1, 200))
def test_blocks_equal_the_definition(collection, k, block_bytes):
    vectors, labels, groups = collection
    expected = brute_force(vectors, labels, groups, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_BLOCK_BYTES", block_bytes)
        found = retrieval(vectors, labels, groups, k=k)
    got = np.stack([found.average_precision, found.r_precision, found.ndcg_at_k], axis=1)
    np.testing.assert_allclose(got, expected)


def test_memory_stays_below_the_square(monkeypatch):
    """2,000 tracks: a float64 matrix of all pairs would take 32 MB."""
    rng = np.random.default_rng(0)
    vectors, labels = rng.standard_normal((2000, 4)), rng.integers(0, 1000, 2000)
    monkeypatch.setattr(metrics, "_BLOCK_BYTES", 1 << 20)
    tracemalloc.start()
    retrieval(vectors, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


def test_interval_by_hand():
    """Two clusters, 0 and 1: the mean of a draw is 0, 0.5, 0.5 or 1."""
    values, clusters = [0.0, 0, 1, 1], ["a", "a", "b", "b"]
    wide = bootstrap_interval(values, clusters, level=0.95)
    assert (wide.estimate, wide.low, wide.high, wide.n_clusters) == (0.5, 0, 1, 2)
    narrow = bootstrap_interval(values, clusters, level=0.4)  # quantiles 0.3 and 0.7
    assert (narrow.low, narrow.high, narrow.level) == (0.5, 0.5, 0.4)


def test_clusters_of_unlike_size_are_drawn_whole():
    """Cluster a has 1 value, b has 3: means 0, 3/4 or 1; the order of rows is no matter."""
    seen = []

    def record(values):
        seen.append(sorted(values.tolist()))
        return float(np.mean(values))

    bootstrap_interval([1.0, 0, 1, 1], ["b", "a", "b", "b"], statistic=record, n_resamples=99)
    assert {tuple(draw) for draw in seen} == {(0, 0), (0, 1, 1, 1), (1,) * 6}


def test_interval_depends_on_the_seed_alone():
    values, clusters = np.random.default_rng(1).uniform(size=40), np.arange(40) // 4
    one = bootstrap_interval(values, clusters)
    assert one == bootstrap_interval(values, [f"artist {c}" for c in clusters])
    assert one != bootstrap_interval(values, clusters, seed=1)
    median = bootstrap_interval(values, clusters, statistic=np.median)
    assert median.estimate == np.median(values)


def test_values_that_are_missing_are_left_out():
    found = bootstrap_interval([0.5, np.nan, 0.5, np.nan], ["a", "a", "b", "c"])
    assert (found.estimate, found.low, found.high, found.n_clusters) == (0.5, 0.5, 0.5, 2)


def test_pairs_cancel_what_is_hard_for_both():
    hard = np.random.default_rng(0).uniform(size=20)
    found = paired_bootstrap(hard + 0.1, hard, np.arange(20))
    assert [found.estimate, found.low, found.high] == pytest.approx([0.1] * 3)
    assert paired_bootstrap(hard, hard + 0.1, np.arange(20)).estimate == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_resamples": 0}, r"n_resamples is 0, level is 0\.95; allowed are 1 or more draws"),
        ({"level": 1.0}, r"level is 1\.0; allowed are .* a level between 0 and 1"),
        ({"clusters": "aaa"}, r"values of shape \(2,\) for 3 clusters; give one cluster"),
        ({"clusters": "aa"}, r"1 of 1 clusters have values; an interval needs 2 or more"),
        ({"values": [1.0, np.nan]}, r"1 of 2 clusters have values"),
    ],
)
def test_intervals_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**{"values": [0.0, 1.0], "clusters": "ab", **options})


@pytest.mark.parametrize("other", [[0.0, 1.0], [0.0, np.nan, 1.0]])
def test_what_is_not_paired_is_refused(other):
    with pytest.raises(ValueError, match=r"are no pairs: both need the same queries"):
        paired_bootstrap([0.0, 1.0, 2.0], other, "abc")


def test_correct_by_hand():
    predicted, actual = ["rock", "pop", "pop", "jazz"], ["rock", "pop", "rock", "pop"]
    np.testing.assert_array_equal(correct(predicted, actual), [1, 1, 0, 0])
    assert len(correct([], [])) == 0


@pytest.mark.parametrize(
    ("predicted", "actual", "message"),
    [
        ([1, 2], [1], r"predicted has shape \(2,\), actual \(1,\); allowed are two lists"),
        ([[1]], [[1]], r"predicted has shape \(1, 1\)"),
        (["1"], [1], r"predicted holds <U1, actual int64; name classes in both"),
    ],
)
def test_what_cannot_be_compared_is_refused(predicted, actual, message):
    with pytest.raises(ValueError, match=message):
        correct(predicted, actual)


# agreement with teachers


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(200, 6))


def test_scale_shift_and_constants_do_not_matter(vectors: np.ndarray) -> None:
    teacher = vectors * [1, 2, 3, 4, 5, 6] + 7
    student = np.hstack([vectors, np.full((200, 2), 3.0)])
    found = agreement(student, {"t": teacher})
    assert found["t"] == pytest.approx(1)
    assert found["both"] == pytest.approx(1)
    assert found["r2_t"] > 0.99


def test_what_is_unrelated_has_none(vectors: np.ndarray) -> None:
    other = np.random.default_rng(1).normal(size=(200, 6))
    found = agreement(vectors, {"t": other})
    assert abs(found["t"]) < 0.05
    assert found["r2_t"] < 0.05  # cross-validated: nothing to find


def test_teachers_weigh_the_same_however_long(vectors: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    one, two = rng.normal(size=(200, 4)), rng.normal(size=(200, 40))
    joined = side_by_side([standardised(one), standardised(two)])
    assert np.square(joined[:, :4]).sum() == pytest.approx(np.square(joined[:, 4:]).sum())


def test_r2_is_the_share_that_a_linear_map_finds(vectors: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    known = vectors @ rng.normal(size=(6, 5))
    noise = rng.normal(size=(200, 5)) * known.std(axis=0)
    assert agreement(vectors, {"t": known + noise})["r2_t"] == pytest.approx(0.5, abs=0.12)


def test_wrong_shapes_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(ValueError, match="4 crops; agreement needs 10"):
        agreement(vectors[:4], {"t": vectors[:4]})
    with pytest.raises(ValueError, match="teacher 't': 3 rows, student 200"):
        agreement(vectors, {"t": vectors[:3]})


def test_numpy_is_enough():
    code = "import sys, artist_features.metrics; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "numpy" in loaded
    assert not loaded & {"tensorflow", "keras", "sklearn", "scipy"}
    assert set(metrics.__all__) <= set(dir(metrics))
