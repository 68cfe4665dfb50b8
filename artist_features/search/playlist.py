"""Playlists from an index: a path between two tracks, tracks like some and unlike others; M3U."""

import os
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from artist_features.errors import checked_int
from artist_features.extraction.remote import is_uri
from artist_features.metrics import unit_or_zero, unit_vectors
from artist_features.search import ranking
from artist_features.search.index import Index, Skip
from artist_features.search.ranking import Floats, Rows
from artist_features.search.tracks import IndexedTrack

M3U_ENDINGS = (".m3u8", ".m3u")
_CANDIDATES = 1000  # of a path; with 300 its largest step is 6 to 17 % larger (benchmarks/paths.py)
_LONGEST = 500  # tracks of a path: time and memory grow with the cube and the square
_POWER = 8  # of a step's cosine distance, summed: near to the least largest step, yet even


def find_path(
    index: Index, start_row: int, end_row: int, n: int, *, skip: Skip | None = None
) -> list[int]:
    """Find a playlist that moves from one track to another in even steps.

    The candidates are the tracks nearest to points spaced evenly on the arc between both
    vectors. Among all orders that move forward along the arc, the path has the least sum of
    (1 - cosine of a step) ** 8, which is ruled by its largest step.

    Args:
        index: `Index`.
        start_row, end_row: of two different tracks.
        n: tracks of the path with both, 2 to 500; fewer come back if there are no more.
        skip: function of a row: whether it is passed over, see `Index.query`.

    Returns:
        list of n rows, `start_row` first, `end_row` last, none twice.

    Raises:
        ValueError: an argument outside what is allowed.

    Example:
        >>> from artist_features.search import IndexedTrack
        >>> tracks = [IndexedTrack(f"/{degrees}.mp3") for degrees in (0, 90, 30, 61, 200)]
        >>> angles = np.radians([0, 90, 30, 61, 200])
        >>> made_with = {"model": "mine", "weights_sha256": 64 * "0"}
        >>> vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> find_path(Index.build(vectors, tracks, made_with), 0, 1, 4)
        [0, 2, 3, 1]
    """
    if checked_int("n", n, 2) > _LONGEST:
        raise ValueError(f"n is {n} tracks of a path; allowed is 2 to {_LONGEST}.")
    n = min(n, len(index))
    if start_row == end_row or not {start_row, end_row} <= set(range(len(index))):
        raise ValueError(
            f"rows {start_row} and {end_row}; allowed are two different ones of 0 to "
            f"{len(index) - 1}."
        )
    start, end = index.vector(start_row), index.vector(end_row)
    across = unit_or_zero((end - (start @ end) * start)[None])[0]
    angles = np.linspace(0, np.arccos(np.clip(start @ end, -1, 1)), n)[1:-1, None]
    targets = (np.cos(angles) * start + np.sin(angles) * across).astype(np.float32)
    rows = _nearest_to_any(index, targets, {start_row, end_row}, skip)
    n = min(n, len(rows) + 2)
    vectors = index.vectors[rows]
    order = np.argsort(np.arctan2(vectors @ across, vectors @ start).round(6), kind="stable")
    rows = np.concatenate([[start_row], rows[order], [end_row]])
    return [int(row) for row in rows[_evenest(index.vectors[rows], n)]]


def playlist(
    index: Index,
    like: npt.ArrayLike,
    unlike: npt.ArrayLike | None = None,
    n: int = 50,
    *,
    no_repeat_artist: int = 0,
    seed: int | None = None,
    exclude_rows: Iterable[int] = (),
    skip: Skip | None = None,
) -> list[int]:
    """Choose the tracks nearest to the mean of some vectors, none nearer to an unwanted one.

    Args:
        index: `Index`.
        like: float `(n_like, dim)`, vectors of the same model.
        unlike: float `(n_unlike, dim)`: a track that is as near to one of these as to the mean
            of `like` is left out.
        n: how many, >= 1; fewer come back if there are no more.
        no_repeat_artist: tracks of other artists between two of the same, >= 0. Tracks without
            an artist may follow each other.
        seed: of a draw of n among the nearest 3 n, in the order drawn; None takes the nearest,
            in their order.
        exclude_rows: rows that are no candidates, such as those of `like`.
        skip: function of a row: whether it is passed over, see `Index.query`.

    Returns:
        list of rows.

    Raises:
        ValueError: an argument outside what is allowed.
    """
    checked_int("n", n)
    checked_int("no_repeat_artist", no_repeat_artist, 0)
    if seed is not None:
        checked_int("seed", seed, 0)
    wanted = ranking.mean_direction(_units(index, like))
    allowed = np.ones(len(index), bool)
    allowed[list(exclude_rows)] = False
    if unlike is not None:
        nearest_unwanted = (index.vectors @ _units(index, unlike).T).max(axis=1)
        allowed &= index.vectors @ wanted > nearest_unwanted
    if not index.n_unlabelled and no_repeat_artist >= len(index.artists):
        n = min(n, len(index.artists))  # nobody can follow after that
    k = 3 * n if seed is not None or no_repeat_artist else n
    while True:
        rows, _ = index.nearest_rows(wanted, k, allowed, skip)
        n_found = len(rows)
        if seed is not None:
            rows = np.random.default_rng(seed).permutation(rows)
        chosen = _spaced(index, rows, n, no_repeat_artist)
        if len(chosen) == n or n_found < k:
            return chosen
        k *= 2


def _units(index: Index, vectors: npt.ArrayLike) -> Floats:
    units = unit_vectors(vectors).astype(np.float32)
    if not len(units) or units.shape[1] != index.dim:
        raise ValueError(f"vectors of shape {units.shape}; allowed is (n, {index.dim}), n >= 1.")
    return units


def _spaced(index: Index, rows: Rows, n: int, gap: int) -> list[int]:
    """Choose up to n rows with at least `gap` others between two of one artist."""
    waiting = [(int(row), index.track(row).artist) for row in rows]
    chosen: list[tuple[int, str]] = []
    while len(chosen) < n:
        recent = {artist for _, artist in chosen[-gap:] if artist} if gap else set()
        found = next((pair for pair in waiting if pair[1] not in recent), None)
        if found is None:
            break
        waiting.remove(found)
        chosen.append(found)
    return [row for row, _ in chosen]


def _nearest_to_any(index: Index, targets: Floats, excluded: set[int], skip: Skip | None) -> Rows:
    """Return the rows nearest to each target, ascending, as many as targets if there are any."""
    allowed = np.ones(len(index), bool)
    allowed[list(excluded)] = False
    k = 1 + _CANDIDATES // (len(targets) + 1)
    while True:
        found = [index.nearest_rows(target, k, allowed, skip)[0] for target in targets]
        rows = np.unique(np.concatenate([np.empty(0, np.int64), *found]))
        if len(rows) >= len(targets) or k >= len(index):
            return rows
        k *= 2


def _evenest(vectors: Floats, n: int) -> Rows:
    """Choose n of ordered vectors, both ends included, by least path cost (dynamic programming).

    Args:
        vectors: float32 `(m, dim)`, m >= n.

    Returns:
        int64 `(n,)`, ascending.
    """
    units = vectors.astype(np.float64)
    costs = np.clip(1 - (units @ units.T).round(ranking.DECIMALS), 0, 2) ** _POWER
    costs[np.tril_indices(len(costs))] = np.inf
    best = np.full(len(costs), np.inf)  # cost to reach each vector in so many steps
    best[0] = 0
    before = []
    for _ in range(n - 1):
        total = best[:, None] + costs
        before.append(total.argmin(axis=0))
        best = total.min(axis=0)
    chosen = [len(costs) - 1]
    for previous in reversed(before):
        chosen.append(int(previous[chosen[-1]]))
    return np.array(chosen[::-1])


def to_m3u(tracks: Iterable[IndexedTrack], folder: str) -> tuple[str, list[IndexedTrack]]:
    """Return the text of an extended M3U playlist, in UTF-8.

    Format: one `#EXTM3U` line, then for each track `#EXTINF:seconds,artist - title` and its path
    (the de-facto Winamp format; UTF-8 without byte-order mark, RFC 8216 section 4.1).

    Args:
        tracks: `IndexedTrack`s, in the order in which they are played.
        folder: absolute path of the folder in which the playlist will lie; a track inside
            it is named relative to it, any other by its absolute path.

    Returns:
        (text, left_out): `str`, and the list of tracks whose path no playlist can name:
        one that is not UTF-8, or has a line break.
    """
    lines, left_out = ["#EXTM3U"], []
    for track in tracks:
        if not _can_be_named(track.path):
            left_out.append(track)
            continue
        seconds = round(track.duration_s) if track.duration_s > 0 else -1  # -1: unknown
        label = track.label.encode("utf-8", "replace").decode()
        label = " ".join("".join(c if c.isprintable() else " " for c in label).split())
        lines += [f"#EXTINF:{seconds},{label}", _location(track.path, folder)]
    return "\n".join(lines) + "\n", left_out


def _can_be_named(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return path.splitlines() == [path] and path == path.strip()


def _location(path: str, folder: str) -> str:
    if is_uri(path):
        return path
    folder = os.path.join(os.path.realpath(folder), "")
    if not path.startswith(folder):
        return path
    path = path.removeprefix(folder)
    plain = path[0].isalnum() and ":" not in path  # else a player may take it for something else
    return path if plain else f"./{path}"
