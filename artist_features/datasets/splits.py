"""Split tracks into train, valid and test: by track, by artist, or as a manifest says.

Every split is a function of the seed and the tracks' names, not of their order.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from artist_features.datasets.names import artist_groups
from artist_features.datasets.tracks import Track
from artist_features.errors import ManifestError

SPLITS = ("train", "valid", "test")
TRACK_COUNTS = (15, 3, 2)  # Source: Park et al., ISMIR 2018: 20 tracks an artist
_ARTIST_COUNTS = (7, 1, 2)  # of ten artists


def splits_of(
    tracks: Sequence[Track],
    path: str | Path = "manifest",
    *,
    by: Literal["track", "artist"] = "track",
    seed: int = 0,
) -> list[str]:
    """Return each track's split: that of the manifest's column, else a drawn one.

    Args:
        tracks: list of `Track`.
        path: of the manifest, for messages.
        by: "track" or "artist", how to split where the tracks have no `split` column.
        seed: of the draw, an integer >= 0.

    Returns:
        list of "train", "valid" or "test", one for each track.

    Raises:
        ManifestError: the column is there, and a row says something else.
        ValueError: `seed` is below 0.
    """
    draw = split_by_track if by == "track" else split_by_artist
    return column_of_splits(tracks, path) or draw(tracks, seed=seed)


def column_of_splits(tracks: Sequence[Track], path: str | Path = "manifest") -> list[str] | None:
    """Return the manifest's `split` column, or None where there is none or it is blank.

    Raises:
        ManifestError: with the line of the first value that is no split.
    """
    values = [track.extra.get("split", "").strip() for track in tracks]
    if not any(values):
        return None
    for track, value in zip(tracks, values, strict=True):
        if value not in SPLITS:
            raise ManifestError(
                f"split is {value!r}; allowed are {', '.join(SPLITS)}, in every row or in none.",
                path,
                track.line,
            )
    return values


def split_by_track(
    tracks: Sequence[Track], counts: Sequence[int] = TRACK_COUNTS, seed: int = 0
) -> list[str]:
    """Split each artist's tracks, so that every split knows the same artists.

    With the paper's 20 tracks an artist gives exactly `counts`. Other numbers of tracks are
    divided in the same proportions by largest remainder (a tie goes to the earlier split),
    with at least one track for training: 1 gives 1/0/0, 3 give 2/1/0, 6 give 4/1/1. An
    artist's split does not depend on the other artists.

    Args:
        tracks: list of `Track`; those without artist all go to train.
        counts: tracks of one artist for train, valid and test.
        seed: of the draw, an integer >= 0.

    Returns:
        list of "train", "valid" or "test", one for each track.

    Raises:
        ValueError: `seed` is below 0.
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for position, track in enumerate(tracks):
        positions[track.artist].append(position)
    splits = ["train"] * len(tracks)
    for artist, own in positions.items():
        if artist:
            own.sort(key=lambda i: (tracks[i].path.as_posix(), tracks[i].title))
            _deal(splits, [[position] for position in own], counts, _rng(seed, artist))
    return splits


def split_by_artist(tracks: Sequence[Track], seed: int = 0) -> list[str]:
    """Split whole artists, so that no artist is in two splits.

    Names that may be one artist (spelling, a close name, one MusicBrainz id) stay
    together. Only artists with a name that has two or more tracks are drawn, as the others
    give no positive pair: they go to train, and so do tracks without artist.

    Args:
        tracks: list of `Track`; of the artists drawn 7 in 10 go to train, 1 to valid, 2 to
            test, at least one artist to train.
        seed: of the draw, an integer >= 0.

    Returns:
        list of "train", "valid" or "test", one for each track.

    Raises:
        ValueError: `seed` is below 0.
    """
    first_name = artist_groups(tracks)
    n_tracks = Counter(track.artist for track in tracks)
    positions: dict[str, list[int]] = defaultdict(list)
    for position, track in enumerate(tracks):
        if track.artist:
            positions[first_name[track.artist]].append(position)
    drawn = [
        positions[first]
        for first in sorted(positions)
        if any(n_tracks[tracks[position].artist] > 1 for position in positions[first])
    ]
    splits = ["train"] * len(tracks)
    _deal(splits, drawn, _ARTIST_COUNTS, _rng(seed, ""))
    return splits


def _deal(
    splits: list[str],
    groups: Sequence[Sequence[int]],
    counts: Sequence[int],
    rng: np.random.Generator,
) -> None:
    """Randomly assign whole groups to train, valid and test in the given proportions."""
    order = rng.permutation(len(groups))
    names = np.repeat(SPLITS, _shares(len(groups), counts)).tolist()
    for index, split in zip(order.tolist(), names, strict=True):
        for position in groups[index]:
            splits[position] = split


def _shares(n: int, counts: Sequence[int]) -> list[int]:
    """Divide n in proportion to `counts` by largest remainder, the first gets >= 1."""
    exact = [Fraction(n * count, sum(counts)) for count in counts]
    shares = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: n - sum(shares)]:
        shares[i] += 1
    if n and not shares[0]:
        largest = max(range(len(shares)), key=lambda i: (shares[i], i))
        shares[largest] -= 1
        shares[0] = 1
    return shares


def _rng(seed: int, artist: str) -> np.random.Generator:
    if seed < 0:
        raise ValueError(f"seed is {seed}; an integer >= 0 is needed.")
    digest = hashlib.sha256(artist.encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
