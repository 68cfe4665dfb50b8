"""Splits: every track once, no artist in two of them, the same on every machine."""

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artist_features.datasets.splits import (
    SPLITS,
    column_of_splits,
    split_by_artist,
    split_by_track,
    splits_of,
)
from artist_features.datasets.tracks import Track
from artist_features.errors import ManifestError

ARTISTS = st.sampled_from(
    ["", "Ann", "ann", "The Änn", "Bob", "Bob & Co", "Bob and Co", "Żaba", "!"]
)
LABELS = st.lists(ARTISTS, max_size=60)
SEEDS = st.integers(0, 2**32)


def tracks_of(artists):
    return [Track(Path(f"m/{i:04d}.ogg"), artist, f"T{i}") for i, artist in enumerate(artists)]


def catalogue(n_artists, n_tracks):
    return tracks_of([f"artist {i}" for i in range(n_artists) for _ in range(n_tracks)])


def counts(splits):
    found = Counter(splits)
    return tuple(found[split] for split in SPLITS)


@pytest.mark.parametrize(
    ("n_tracks", "expected"),
    [
        *[(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (2, 1, 0)), (6, (4, 1, 1)), (20, (15, 3, 2))],
        *[(40, (30, 6, 4)), (27, (20, 4, 3))],
    ],
)
def test_by_track_in_the_papers_proportions(n_tracks, expected):
    assert counts(split_by_track(catalogue(1, n_tracks))) == expected


def test_by_track_keeps_one_for_training():
    assert counts(split_by_track(catalogue(1, 2), counts=(1, 10, 10))) == (1, 1, 0)


@settings(deadline=None)
@given(LABELS, SEEDS, st.randoms(use_true_random=False))
def test_splits_follow_the_tracks_not_their_order(artists, seed, random):
    tracks = tracks_of(artists)
    order = list(range(len(tracks)))
    random.shuffle(order)
    for draw in (split_by_track, split_by_artist):
        splits = draw(tracks, seed=seed)
        assert len(splits) == len(tracks)
        assert set(splits) <= set(SPLITS)
        assert draw([tracks[i] for i in order], seed=seed) == [splits[i] for i in order]
        unlabelled = {split for split, artist in zip(splits, artists, strict=True) if not artist}
        assert unlabelled <= {"train"}


@settings(deadline=None)
@given(LABELS, SEEDS)
def test_by_track_every_artist_has_training_tracks(artists, seed):
    splits = split_by_track(tracks_of(artists), seed=seed)
    found = {a for a, split in zip(artists, splits, strict=True) if split == "train"}
    assert found == set(artists)


@settings(deadline=None)
@given(LABELS, SEEDS)
def test_by_artist_no_artist_is_in_two_splits(artists, seed):
    splits = split_by_artist(tracks_of(artists), seed)
    n_tracks, of = Counter(artists), defaultdict(set)
    one = {"ann": "Ann", "The Änn": "Ann", "Bob & Co": "Bob and Co"}
    for artist, split in zip(artists, splits, strict=True):
        if artist:
            of[one.get(artist, artist)].add(split)
    assert all(len(found) == 1 for found in of.values())
    alone = {"Bob", "Żaba", "!"} & {a for a in artists if n_tracks[a] == 1}
    assert all(of[artist] == {"train"} for artist in alone)


def test_by_artist_fractions_are_of_artists_with_two_tracks():
    tracks = [*catalogue(20, 2), *tracks_of(f"lonely {i}" for i in range(9))]
    tracks = [Track(Path(f"{i}.ogg"), t.artist, "T") for i, t in enumerate(tracks)]
    assert counts(split_by_artist(tracks)) == (2 * 14 + 9, 2 * 2, 2 * 4)
    assert counts(split_by_artist(catalogue(3, 2))) == (4, 0, 2)


def test_a_draw_stays_what_it_was():
    """Golden: models are published with a seed, which must give the same split for good."""
    letters = {"train": "t", "valid": "v", "test": "e"}
    by_track = split_by_track(catalogue(2, 10), seed=7)
    assert "".join(letters[split] for split in by_track) == "ettttttvttttttvttett"
    by_artist = split_by_artist(catalogue(12, 2), seed=7)
    assert "".join(letters[split] for split in by_artist[::2]) == "ettttvettttt"


def test_seeds_differ_and_artists_do_not_disturb_each_other():
    tracks = catalogue(5, 20)
    assert split_by_track(tracks, seed=0) != split_by_track(tracks, seed=1)
    assert split_by_artist(catalogue(30, 2)) != split_by_artist(catalogue(30, 2), seed=1)
    assert split_by_track(tracks[:40]) == split_by_track(tracks)[:40]
    own = split_by_track(tracks)
    assert own[:20] != own[20:40]


def test_the_manifests_column_wins(tmp_path):
    tracks = [Track(Path(f"{i}"), "A", "T", {"split": "test"}, line=i + 2) for i in range(3)]
    assert splits_of(tracks, by="artist", seed=5) == ["test"] * 3
    plain = catalogue(4, 20)
    assert splits_of(plain, seed=5) == split_by_track(plain, seed=5)
    assert splits_of(plain, by="artist", seed=5) == split_by_artist(plain, seed=5)
    blank = [Track(t.path, t.artist, t.title, {"split": " "}) for t in plain]
    assert column_of_splits(blank) is None
    tracks[1].extra["split"] = "val"
    text = r"m\.csv line 3: split is 'val'; allowed are train, valid, test"
    with pytest.raises(ManifestError, match=text):
        splits_of(tracks, "m.csv")


@pytest.mark.parametrize("draw", [split_by_track, split_by_artist])
def test_a_seed_below_zero_is_refused(draw: Callable[..., list[str]]) -> None:
    with pytest.raises(ValueError, match="seed is -1; an integer >= 0"):
        draw(catalogue(2, 3), seed=-1)
