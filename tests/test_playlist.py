"""Paths and playlists of an index."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_search import clustered, index_of

from artist_features.search import playlist
from artist_features.search.playlist import find_path


def largest_step(index, rows):
    vectors = index.vectors[rows].astype(np.float64)
    return 1 - (vectors[1:] * vectors[:-1]).sum(axis=1).min()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_path_has_n_tracks_none_twice_and_both_ends(data):
    n_rows, seed = data.draw(st.integers(2, 40)), data.draw(st.integers(0, 9))
    vectors = clustered(n_rows, dim=3, n_clusters=4, seed=seed).round()  # equal and opposite ones
    vectors[~vectors.any(axis=1)] = 1
    index = index_of(vectors)
    start, end = data.draw(st.permutations(range(n_rows)))[:2]
    n = data.draw(st.integers(2, 50))
    rows = find_path(index, start, end, n)
    assert (rows[0], rows[-1], len(set(rows))) == (start, end, min(n, n_rows))
    assert len(rows) == len(set(rows))
    assert find_path(index, start, end, n) == rows


def test_steps_of_a_path_are_at_most_half_of_a_random_walk():
    index = index_of(np.random.default_rng(0).standard_normal((2000, 8)))
    rng = np.random.default_rng(1)
    for _ in range(10):
        walk = rng.choice(len(index), 10, replace=False)
        path = find_path(index, walk[0], walk[-1], 10)
        assert largest_step(index, path) <= 0.5 * largest_step(index, walk)


def test_few_candidates_are_enough_for_a_long_path(monkeypatch):
    monkeypatch.setattr(playlist, "_CANDIDATES", 1)
    assert len(set(find_path(index_of(clustered(60)), 3, 4, 50))) == 50


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 0, 3), "rows 0 and 0; allowed are two different ones of 0 to 2"),
        ((0, 3, 3), "rows 0 and 3"),
        ((-1, 1, 3), "rows -1 and 1"),
        ((0, 1, 1), "n is 1; allowed is an integer of 2 or more"),
    ],
)
def test_path_refuses(arguments, text):
    with pytest.raises(ValueError, match=text):
        find_path(index_of(np.eye(3)), *arguments)
