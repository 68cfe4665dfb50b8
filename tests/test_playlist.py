"""Paths and playlists of an index."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_search import clustered, index_of

from artist_features.search import Index, IndexedTrack, playlist
from artist_features.search.lookup import indexed_query
from artist_features.search.playlist import find_path
from artist_features.search.ranking import top_k_kept
from artist_features.search.result_filter import (
    COPY_COSINES,
    LEAST_COSINE,
    ResultFilter,
    may_be_copies,
)


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


def test_what_is_skipped_is_replaced_by_others_as_long_as_there_are_any():
    index = index_of(clustered(60))
    for n, skipped in [(10, set(range(0, 60, 2))), (30, set(range(40)))]:
        rows = find_path(index, 0, 1, n, skip=skipped.__contains__)
        assert len(rows) == min(n, 2 + len(set(range(2, 60)) - skipped))
        assert not set(rows[1:-1]) & skipped
        found = playlist.playlist(index, index.vectors[:1], n=n, skip=skipped.__contains__)
        assert len(found) == min(n, 60 - len(skipped))
        assert not set(found) & skipped
        matches = index.query(index.vector(0), n, skip=skipped.__contains__)
        assert [match.row for match in matches] == found


def test_two_copies_of_a_track_are_not_in_one_list():
    vectors = np.abs(clustered(20)).repeat(2, axis=0)  # 0 and 1 are one recording, 2 and 3, ...
    made_with = {"model": "tiny", "weights_sha256": 64 * "0"}
    tracks = [IndexedTrack(f"/{row}.mp3", duration_s=60.0 + row // 2) for row in range(40)]
    index = Index.build(vectors, tracks, made_with)
    for most in (1, 2):
        skip = ResultFilter(index, [indexed_query(index, 0)], files=False) if most == 1 else None
        found = playlist.playlist(index, index.vectors[:1], n=15, skip=skip)
        path = find_path(index, 0, 39, 15, skip=skip)
        assert len(found) == len(path) == 15
        matches = index.query(index.vector(0), 15, exclude_rows=[0], skip=skip)
        assert max(Counter(match.row // 2 for match in matches).values()) == most
        assert max(Counter(row // 2 for row in found).values()) == most
        if most == 1:
            assert max(Counter(row // 2 for row in path[1:-1]).values()) == 1


@pytest.mark.parametrize(
    ("cosine", "whitened", "seconds", "copy"),
    [
        (0.93, 0.81, 60.9, True),
        (0.93, 0.79, 60.0, False),
        (0.91, 0.97, 60.0, False),  # by chance, where a model has few directions
        (0.986, 0.0, 60.0, True),  # of which a small library says nothing else
        (0.93, 0.81, 71.0, True),  # begins or ends elsewhere
        (0.93, 0.81, 72.0, False),
        (0.93, 0.92, 0.0, False),  # unknown: more is asked of the cosine
        (0.93, 0.96, 0.0, True),
        (0.986, 0.0, 0.0, False),
        (0.992, 0.0, 0.0, True),
    ],
)
def test_a_copy_is_similar_and_of_like_length(cosine, whitened, seconds, copy, monkeypatch):
    vectors = np.array([[1, 0], [cosine, np.sqrt(1 - cosine**2)], [0, -1]], np.float32)
    white = {1.0: [1, 0], float(vectors[1, 0]): [whitened, np.sqrt(1 - whitened**2)], 0.0: [0, -1]}

    def whiten(_: Index, rows: np.ndarray) -> np.ndarray:
        return np.array([white[float(x)] for x in rows[:, 0]], np.float32)

    monkeypatch.setattr(Index, "whitened", whiten)
    lengths_s = {"/a.mp3": 60.0, "/b.mp3": seconds, "/c.mp3": 60.0}
    tracks = [IndexedTrack(path, duration_s=length_s) for path, length_s in lengths_s.items()]
    index = Index.build(vectors, tracks, {"model": "tiny", "weights_sha256": 64 * "0"})
    assert ResultFilter(index, [indexed_query(index, 0)], files=False)(1) is copy
    of_another = ResultFilter(index, [indexed_query(index, 2)], files=False)
    assert [of_another(row) for row in (0, 1, 0)] == [False, copy, False]
    # the check before the closer look, which knows no lengths
    alike = cosine > 0.985 or (cosine > 0.92 and whitened > 0.8)
    assert may_be_copies(index, [2, 0, 1]) is alike
    assert alike or not copy


def test_copies_of_a_copy_that_is_left_out_are_left_out(monkeypatch):
    """A chain: 1 is a copy of 0, 2 of 1 alone."""
    monkeypatch.setattr(Index, "whitened", lambda _, rows: rows)
    angles = np.arccos(0.93) * np.arange(3)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    tracks = [IndexedTrack(f"/{row}.mp3", duration_s=60.0) for row in range(3)]
    index = Index.build(vectors, tracks, {"model": "tiny", "weights_sha256": 64 * "0"})
    left_out = ResultFilter(index, [], files=False)
    assert [left_out(row) for row in (0, 1, 2)] == [False, True, True]
    left_out = ResultFilter(index, [], files=False)
    assert [left_out(row) for row in (0, 2)] == [False, False]


def test_copies_are_told_from_neighbours_in_style():
    """All tracks have so much in common that many are nearly as similar as a copy."""
    n, rng = 400, np.random.default_rng(400)
    axes = rng.standard_normal((64, 64)) * 0.95 ** np.arange(64)[:, None]
    pieces = rng.standard_normal((n, 64))
    pieces = np.concatenate([pieces, pieces[:1] + 0.6 * rng.standard_normal((1, 64))])
    vectors = 10 * axes[0] + pieces @ axes
    tracks = [IndexedTrack(f"/{row}.mp3", duration_s=60.0) for row in range(n + 1)]
    index = Index.build(vectors, tracks, {"model": "tiny", "weights_sha256": 64 * "0"})
    cosines = index.vectors[1:] @ index.vector(0)
    assert (cosines > LEAST_COSINE).sum() > 50
    assert cosines.max() < COPY_COSINES[0]
    left_out = ResultFilter(index, [indexed_query(index, 0)], files=False)
    assert [row for row in range(1, n + 1) if left_out(row)] == [n]


@pytest.mark.parametrize("n_others", [0, 1, 3])
def test_copies_are_known_in_the_smallest_libraries(n_others):
    """Where the library's only variance is that of the copies."""
    rng = np.random.default_rng(n_others)
    tracks = 3 + rng.standard_normal((1 + n_others, 64))
    copies = tracks[:1] + 0.1 * rng.standard_normal((3, 64))
    vectors = np.concatenate([tracks, copies, tracks[:1]])  # the last one is the same
    names = [IndexedTrack(f"/{row}.mp3", duration_s=60.0) for row in range(len(vectors))]
    made_with = {"model": "tiny", "weights_sha256": 64 * "0"}
    for n in range(len(tracks) + 1, len(vectors) + 1):
        index = Index.build(vectors[:n], names[:n], made_with)
        left_out = ResultFilter(index, [indexed_query(index, 0)], files=False)
        assert [row for row in range(1, n) if left_out(row)] == [*range(len(tracks), n)]


def test_what_equals_the_mean_has_no_whitened_direction():
    """Or rounding would decide what is a copy."""
    index = index_of(np.random.default_rng(0).standard_normal((1, 64)).repeat(300, axis=0))
    assert not index.whitened(index.vectors).any()
    np.testing.assert_allclose(np.linalg.norm(index.whitened(np.eye(64)[:2]), axis=1), 1, rtol=1e-5)


def test_what_ranks_after_the_last_one_is_not_asked_for():
    """Or more copies would be reported than were passed over."""
    asked = []
    rows, _ = top_k_kept(
        lambda n: (np.arange(n), np.zeros(n)), 2, lambda row: asked.append(row) or row == 0
    )
    assert rows.tolist() == [1, 2]
    assert max(asked) == 2


def test_a_list_that_cannot_be_filled_is_not_looked_for(monkeypatch):
    """Two artists, and two others are to come between two tracks of one."""
    index = index_of(clustered(40), artists=["Ann", "Bob"] * 20)
    asked = []
    monkeypatch.setattr(
        Index, "nearest_rows", lambda _, v, k, *rest: (asked.append(k), (np.arange(k), None))[1]
    )
    assert playlist.playlist(index, index.vectors[:1], n=30, no_repeat_artist=2) == [0, 1]
    assert max(asked) <= 6


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
        ((0, 1, 501), "n is 501 tracks of a path; allowed is 2 to 500"),
    ],
)
def test_path_refuses(arguments, text):
    with pytest.raises(ValueError, match=text):
        find_path(index_of(np.eye(3)), *arguments)


def test_playlist_is_ordered_and_leaves_out_what_is_nearer_to_the_unwanted():
    angles = np.radians([0, 10, 20, 30, 40, 80])
    index = index_of(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    like, unlike = index.vectors[[0, 1]], index.vectors[[4]]  # mean at 5 degrees, bound at 22.5
    assert playlist.playlist(index, like) == [0, 1, 2, 3, 4, 5]
    assert playlist.playlist(index, like, unlike) == [0, 1, 2]
    assert playlist.playlist(index, like, unlike, exclude_rows=[0, 1]) == [2]
    assert playlist.playlist(index, like, n=2, exclude_rows=[0]) == [1, 2]


def test_an_artist_comes_again_after_so_many_others():
    index = index_of(clustered(200, n_clusters=1), ["a", "a", "a", "b", "c", ""] * 33 + ["d", "d"])
    for seed in (None, 3):
        rows = playlist.playlist(index, index.vectors[:1], n=30, no_repeat_artist=2, seed=seed)
        artists = [index.track(row).artist for row in rows]
        assert len(set(rows)) == 30
        for place, artist in enumerate(artists):
            assert not artist or artist not in artists[max(0, place - 2) : place]
    # one artist alone: nothing can follow
    index = index_of(clustered(40), ["a"] * 40)
    assert len(playlist.playlist(index, index.vectors[:1], no_repeat_artist=1)) == 1


def test_a_seed_draws_among_the_nearest_and_always_the_same():
    index = index_of(clustered(400))
    like = index.vectors[:1]
    drawn = [playlist.playlist(index, like, n=20, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) <= set(playlist.playlist(index, like, n=60))


def test_playlist_refuses():
    index = index_of(np.eye(3))
    for like, text in [
        ([[1, 0]], r"shape \(1, 2\); allowed is \(n, 3\)"),
        ([[0, 0, 0]], "all zeros"),
    ]:
        with pytest.raises(ValueError, match=text):
            playlist.playlist(index, like)
    with pytest.raises(ValueError, match="query is all zeros"):
        playlist.playlist(index, [[1, 0, 0], [-1, 0, 0]])
    with pytest.raises(ValueError, match="n is 0"):
        playlist.playlist(index, [[1, 0, 0]], n=0)
