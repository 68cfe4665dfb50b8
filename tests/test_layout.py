"""Neighbours are exact, places are the same for the same seed, few tracks are no problem."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from map_data import clusters

from artist_features.maps import layout
from artist_features.search import ranking


def test_neighbours_by_hand():
    vectors = np.float32([[2, 0], [1, 1], [0, 3], [-1, 0]])
    indices, similarities = ranking.neighbours(vectors, 3)
    assert indices.tolist() == [[1, 2, 3], [0, 2, 3], [1, 0, 3], [2, 1, 0]]
    half = np.sqrt(0.5)
    np.testing.assert_allclose(similarities[1], [half, half, -half], rtol=1e-6)
    np.testing.assert_allclose(similarities[0], [half, 0, -1], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(2, 30), st.just(3)), elements=st.integers(-3, 3)),
    st.data(),
)
def test_neighbours_are_those_of_a_plain_sort(vectors, data):
    k = data.draw(st.integers(1, len(vectors) - 1))
    indices, similarities = ranking.neighbours(vectors, k)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = vectors / np.where(lengths > 0, lengths, 1)
    everything = rows @ rows.T
    np.fill_diagonal(everything, -np.inf)
    expected = np.argsort(-everything, axis=1, kind="stable")[:, :k]
    np.testing.assert_allclose(
        similarities, np.take_along_axis(everything, expected, axis=1), atol=1e-6
    )
    assert all(len(set(row)) == k and at not in row for at, row in enumerate(indices.tolist()))


def test_neighbours_over_several_blocks_and_progress(monkeypatch):
    vectors, n_done = clusters(50), []
    expected = ranking.neighbours(vectors, 5)
    monkeypatch.setattr(ranking, "_MOST_SIMILARITIES", 7 * 50)
    found = ranking.neighbours(vectors, 5, n_done.append)
    np.testing.assert_array_equal(found[0], expected[0])
    assert n_done == [7] * 7 + [1]  # 50 rows in blocks of 7
    with pytest.raises(ValueError, match="k is 50; allowed is 1 to 49"):
        ranking.neighbours(vectors, 50)


def place(vectors, **options):
    n = len(vectors)
    none = np.zeros((n, 0))
    near = ranking.neighbours(vectors, layout.tsne_neighbours(n)) if n > 1 else (none, none)
    return layout.place(vectors, *near, **options)


@pytest.mark.parametrize("n", [1, 2, 5, 29])
def test_few_tracks_are_laid_out_by_pca(n):
    places, method = place(clusters(n))
    assert method == "PCA"
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()
    assert np.abs(places).max() == pytest.approx(0 if n == 1 else 0.95)
    assert len(np.unique(places, axis=0)) == n


def test_pca_by_hand():
    # unit vectors already; they differ most along the first axis, not at all along the third
    places, _ = place(np.float32([[1, 0, 0], [-1, 0, 0], [0, 1, 0]]))
    np.testing.assert_allclose(places[:, 0], [0.95, -0.95, 0], atol=1e-6)
    np.testing.assert_allclose(places[:, 1], [-0.475, -0.475, 0.475], atol=1e-6)


def test_tsne_parts_clusters_and_repeats_itself(monkeypatch):
    pytest.importorskip("openTSNE")
    monkeypatch.setattr(layout, "N_EARLY", 100)
    monkeypatch.setattr(layout, "N_LATE", 100)
    told = []
    places, method = place(clusters(80), progress=told.append)
    assert method == "t-SNE"
    assert sum(told) == 200
    assert np.abs(places).max() == pytest.approx(0.95)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert (gaps.argmin(axis=1) % 4 == np.arange(80) % 4).mean() > 0.95
    np.testing.assert_array_equal(place(clusters(80))[0], places)
    assert not np.allclose(place(clusters(80), seed=1)[0], places)


def test_equal_vectors_get_places(monkeypatch):
    pytest.importorskip("openTSNE")
    monkeypatch.setattr(layout, "N_EARLY", 20)
    monkeypatch.setattr(layout, "N_LATE", 20)
    for vectors in (np.ones((40, 4), np.float32), np.zeros((40, 4), np.float32)):
        assert np.isfinite(place(vectors)[0]).all()
