"""Search in memory: exact order, exclusions, artists, wrong arguments."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from artist_features.errors import SearchIndexError
from artist_features.metrics import unit_vectors
from artist_features.search import ArtistMatch, Index, IndexedTrack, ranking
from artist_features.search.lookup import is_identified

MADE_WITH = {"model": "tiny", "weights_sha256": "ab" * 32, "graph_sha256": "cd" * 32}


def tracks_of(artists):
    return [
        IndexedTrack(f"/music/{row}.mp3", artist, f"title {row}", 60.0 + row)
        for row, artist in enumerate(artists)
    ]


def index_of(vectors, artists=None):
    vectors = np.asarray(vectors)
    artists = [""] * len(vectors) if artists is None else artists
    return Index.build(vectors, tracks_of(artists), MADE_WITH)


def clustered(n, dim=16, n_clusters=20, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_clusters, dim))
    return centres[rng.integers(0, n_clusters, n)] + 0.3 * rng.standard_normal((n, dim))


def plain(vectors, query):
    """Return (rows in order, similarities) in the plainest way."""
    units = unit_vectors(vectors).astype(np.float32).astype(np.float64)
    query = unit_vectors(np.asarray(query)[None])[0].astype(np.float32).astype(np.float64)
    values = np.round([sum(row * query) for row in units], 6)
    return np.argsort(-values, kind="stable"), values


# small whole numbers: many equal and opposite directions, so many ties
_numbers = st.integers(-2, 2).map(float)


@settings(max_examples=50)
@given(st.data())
def test_exact_order_is_that_of_a_plain_argsort(data):
    n, dim = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 5))
    vectors = data.draw(arrays(np.float64, (n, dim), elements=_numbers))
    vectors[~vectors.any(axis=1)] = 1
    query = data.draw(arrays(np.float64, dim, elements=_numbers))
    query[0] = query[0] or 1
    k = data.draw(st.integers(1, n + 2))
    barred = data.draw(st.sets(st.integers(0, n - 1)))
    found = index_of(vectors).query(query, k, exclude_rows=barred)
    order, values = plain(vectors, query)
    expected = [row for row in order if row not in barred][:k]
    assert [match.row for match in found] == expected
    np.testing.assert_allclose([m.similarity for m in found], values[expected], atol=2e-6)


def test_order_does_not_depend_on_blocks(monkeypatch):
    vectors = np.repeat(clustered(300), 3, axis=0)  # each thrice: ties across blocks
    whole = [index_of(vectors).query(vectors[row], 20) for row in range(0, 900, 50)]
    monkeypatch.setattr(ranking, "BLOCK_ROWS", 7)
    index = index_of(vectors)
    assert [index.query(vectors[row], 20) for row in range(0, 900, 50)] == whole
    for row, matches in zip(range(0, 900, 50), whole, strict=True):
        assert [match.row for match in matches[:3]] == [row // 3 * 3 + i for i in range(3)]
        assert matches[0].similarity == matches[2].similarity == 1


def test_similarities_and_exclusions_by_hand():
    index = index_of([[3, 4], [4, 3], [-3, -4], [8, 6]], ["a", "b", "a", "b"])
    found = index.query([0.6, 0.8], k=9)
    # 0.6 * 0.8 + 0.8 * 0.6 = 0.96, twice: rows 1 and 3 in their order
    expected = [(0, 1.0), (1, 0.96), (3, 0.96), (2, -1.0)]
    assert [(match.row, match.similarity) for match in found] == expected
    assert found[1].track == IndexedTrack("/music/1.mp3", "b", "title 1", 61.0)
    assert [m.row for m in index.query([3, 4], 2, exclude_rows=[0], exclude_artists=["b"])] == [2]
    assert index.query([3, 4], 2, exclude_artists=["a", "b"]) == []
    assert index.query([3, 4], exclude_artists="ab") == index.query([3, 4])  # a name, no letters
    assert [m.row for m in index.query([3, 4], 2, exclude_artists="b")] == [0, 2]
    assert len(index.query([3, 4], 2, exclude_artists=["nobody", ""])) == 2


def test_artists_by_hand():
    # a: mean of (1, 0) and (0, 1) is 45 degrees up; b lies at 0 degrees; c cancels out
    vectors = [[2, 0], [0, 5], [1, 0], [0, 1], [0, -1], [1, 1]]
    index = index_of(vectors, ["a", "a", "b", "c", "c", ""])
    assert index.artists == ["a", "b", "c"]
    assert index.n_unlabelled == 1
    found = [(m.artist, m.similarity, m.n_tracks) for m in index.query_artists([0, 1])]
    assert found == [("a", 0.707107, 2), ("b", 0.0, 1), ("c", 0.0, 2)]
    np.testing.assert_allclose(index.artist_vector("a"), [0.5**0.5] * 2, atol=1e-7)
    # without row 1, a is row 0 alone; without row 2, b has nothing left
    found = [(m.artist, m.similarity, m.n_tracks) for m in index.query_artists([1, 0], 2)]
    assert found == [("b", 1.0, 1), ("a", 0.707107, 2)]
    found = index.query_artists([1, 0], exclude_rows=[1, 2])
    assert [(m.artist, m.similarity, m.n_tracks) for m in found[:2]] == [("a", 1, 1), ("c", 0, 2)]
    assert [m.artist for m in index.query_artists([1, 0], exclude_artists=["a", "c"])] == ["b"]
    assert index_of([[1, 0]]).query_artists([1, 0]) == []


def test_artist_mean_is_of_directions():
    index = index_of([[100, 0], [0, 1]], ["a", "a"])
    np.testing.assert_allclose(index.artist_vector("a"), [0.5**0.5] * 2, atol=1e-7)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [([0, 0], "all zeros"), ([np.nan, 1], "not finite"), ([1, -np.inf], "not finite")],
)
def test_vectors_without_direction_are_named(bad, kind):
    vectors = np.array([[1.0, 0], [0, 1], bad, [1, 1]])
    text = rf"vector of row 2 \('/music/2.mp3'\) is {kind}; .* Leave the track out"
    with pytest.raises(ValueError, match=text):
        index_of(vectors)


def test_huge_and_tiny_vectors_have_directions():
    index = index_of(np.array([[3e38, 4e38], [3e-40, 4e-40]]))
    assert [m.similarity for m in index.query([3, 4])] == [1, 1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"vectors": np.ones((3, 2))}, r"vectors of shape \(3, 2\) for 2 tracks"),
        ({"vectors": np.ones(2)}, r"vectors of shape \(2,\)"),
        ({"vectors": np.ones((0, 2)), "tracks": []}, "with one track or more"),
        ({"tracks": tracks_of(["a"]) * 2}, r"rows 0 and 1 are both '/music/0.mp3'; give it once"),
        ({"made_with": {"model": "x"}}, "made_with lacks 'weights_sha256'"),
        ({"tracks": [IndexedTrack("a\0b"), IndexedTrack("c")]}, "text 0 has a zero byte"),
        ({"tracks": "ab"}, "tracks is 'ab'; allowed is a list"),
        ({"tracks": None}, "tracks is None; allowed is a list"),
        ({"made_with": None}, "made_with is None; allowed is the Extractor"),
        ({"made_with": "siamese"}, "made_with is 'siamese'; allowed is the Extractor"),
    ],
)
def test_build_refuses(change, text):
    arguments = {"vectors": np.ones((2, 2)), "tracks": tracks_of("ab"), "made_with": MADE_WITH}
    with pytest.raises(ValueError, match=text):
        Index.build(**arguments | change)


def test_query_refuses():
    index = index_of([[1, 0], [0, 1]])
    for k in (0, -1, True, 2.0):
        with pytest.raises(ValueError, match="allowed is an integer of 1 or more"):
            index.query([1, 0], k)
    with pytest.raises(ValueError, match=r"query of shape \(3,\); this index holds vectors of 2"):
        index.query([1, 0, 0])
    for vector in ([0, 0], [np.nan, 1]):
        with pytest.raises(ValueError, match="query is all zeros or not finite"):
            index.query(vector)
    with pytest.raises(ValueError, match="artist 'x' has no track in this index"):
        index.artist_vector("x")
    for row in (-1, 2):
        for ask in (index.track, index.vector, index.duration_s):
            with pytest.raises(IndexError, match=f"row {row}; the index has 0 to 1"):
                ask(row)
        with pytest.raises(IndexError, match=f"row {row}; the index has 0 to 1"):
            index.updated([], [], [row])


def test_another_model_is_refused():
    index = index_of([[1, 0]])
    index.check_model("ab" * 32, "cd" * 32)
    index.check_model("ab" * 32)
    for other in [("ef" * 32, "cd" * 32), ("ab" * 32, "ef" * 32)]:
        with pytest.raises(SearchIndexError, match="holds vectors of model 'tiny'") as caught:
            index.check_model(*other)
        assert caught.value.code == "mismatch"


def test_percentile_is_that_among_the_pairs():
    vectors = clustered(60, dim=4)
    index = index_of(vectors)
    units = unit_vectors(vectors)
    cosines = (units @ units.T)[np.triu_indices(60, 1)]
    for similarity in (-0.5, 0.0, 0.3, 0.9):
        right = 100 * np.mean(cosines < similarity)
        assert index.percentile(similarity) == pytest.approx(right, abs=0.6)
    assert (index.percentile(-1.1), index.percentile(1.1)) == (0, 100)
    (match,) = index.query(vectors[0], 1)
    assert match.percentile == index.percentile(match.similarity)
    assert index_of([[1, 0]]).percentile(0.5) == 100


@pytest.mark.parametrize(
    ("matches", "identified"),
    [
        ([("a", 0.9, 3), ("b", 0.81, 1)], True),
        ([("a", 0.9, 2), ("b", 0.1, 9)], False),
        ([("a", 0.9, 9), ("b", 0.83, 9)], False),
        ([("a", 0.9, 9)], False),
        ([], False),
    ],
)
def test_an_artist_is_identified_by_margin_and_tracks(matches, identified):
    found = [ArtistMatch(*match) for match in matches]
    assert is_identified(found, found[0].n_tracks if found else 0) is identified


@pytest.mark.parametrize(
    ("vectors", "text"),
    [
        (np.zeros(3), r"vectors of shape \(3,\); allowed is \(n, 3\)"),
        (np.zeros((2, 4)), r"vectors of shape \(2, 4\); allowed is \(n, 3\)"),
        ([[0.0, np.nan, 1.0]], "not finite"),
    ],
)
def test_whitened_refuses_other_shapes_and_nan(vectors: npt.ArrayLike, text: str) -> None:
    tracks = [IndexedTrack(f"/{row}.mp3") for row in range(3)]
    index = Index.build(np.eye(3), tracks, {"model": "tiny", "weights_sha256": 64 * "0"})
    with pytest.raises(ValueError, match=text):
        index.whitened(vectors)
