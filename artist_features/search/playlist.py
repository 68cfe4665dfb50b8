"""Playlists from an index: a path from one track to another in even steps."""

import numpy as np

from artist_features.errors import checked_int
from artist_features.search import ranking
from artist_features.search.index import Index
from artist_features.search.ranking import Floats, Rows

_CANDIDATES = 1000  # of a path; with 300 its largest step is 6 to 17 % larger (benchmarks/paths.py)
_POWER = 8  # of a step's cosine distance, summed: near to the least largest step, yet even


def find_path(index: Index, start_row: int, end_row: int, n: int) -> list[int]:
    """Find a playlist that moves from one track to another in even steps.

    The candidates are the tracks nearest to points spaced evenly on the arc between both
    vectors. Among all orders that move forward along the arc, the path has the least sum of
    (1 - cosine of a step) ** 8, which is ruled by its largest step.

    Args:
        index: `Index`.
        start_row, end_row: of two different tracks.
        n: tracks of the path with both, >= 2; fewer come back if there are no more.

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
    n = min(checked_int("n", n, 2), len(index))
    if start_row == end_row or not {start_row, end_row} <= set(range(len(index))):
        raise ValueError(
            f"rows {start_row} and {end_row}; allowed are two different ones of 0 to "
            f"{len(index) - 1}."
        )
    start, end = index.vector(start_row), index.vector(end_row)
    across = ranking.directions((end - (start @ end) * start)[None])[0]
    angles = np.linspace(0, np.arccos(np.clip(start @ end, -1, 1)), n)[1:-1, None]
    targets = (np.cos(angles) * start + np.sin(angles) * across).astype(np.float32)
    rows = _nearest_to_any(index, targets, {start_row, end_row})
    vectors = index.vectors[rows]
    order = np.argsort(np.arctan2(vectors @ across, vectors @ start).round(6), kind="stable")
    rows = np.concatenate([[start_row], rows[order], [end_row]])
    return [int(row) for row in rows[_evenest(index.vectors[rows], n)]]


def _nearest_to_any(index: Index, targets: Floats, excluded: set[int]) -> Rows:
    """Return the rows nearest to each target, ascending, at least as many as targets."""
    allowed = np.ones(len(index), bool)
    allowed[list(excluded)] = False
    rows, k = np.empty(0, np.int64), 1 + _CANDIDATES // (len(targets) + 1)
    while len(rows) < len(targets):
        found = [ranking.top_k(index.vectors, target, k, allowed)[0] for target in targets]
        rows, k = np.unique(np.concatenate(found)), 2 * k
    return rows


def _evenest(vectors: Floats, n: int) -> Rows:
    """Choose n of ordered vectors, first and last among them, by the least sum of powers.

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
