"""Candidate pairs of near-duplicate search: similar whitened vectors of recordings of like length.

Cosines of the vectors as they are do not part copies from neighbours in style. Whitened by the
library's own covariance they nearly do: what all music has in common goes.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from artist_features.search.ranking import Floats, Rows, whitened, whitening

# calibrated by benchmarks/duplicates.py
N_CANDIDATES = 10
LEAST_COSINE = 0.6
_LEAST_ROWS = 1000  # of a library that is large enough to be spared less likely pairs
_BLOCK_QUERIES, _BLOCK_ROWS = 2048, 8192  # 64 MiB of similarities


def candidate_pairs(
    vectors: Floats, lengths_s: npt.NDArray[np.float64], apart_s: float
) -> Iterator[tuple[Rows, list[tuple[int, int]]]]:
    """Find pairs of rows that may be copies, in the order of their lengths.

    Up to `N_CANDIDATES` of the longer recordings are taken for each row, those most similar.
    From 1,000 rows on a cosine of `LEAST_COSINE` is asked for, too. Beside the vectors it takes
    0.5 GB.

    Args:
        vectors: float32 `(n, dim)`.
        lengths_s: float64 `(n,)`, 0 where unknown: such rows are compared with each other.
        apart_s: largest difference of two lengths in seconds.

    Yields:
        (rows, pairs): int64 `(k,)` rows that come in no later pair, and the pairs of rows in
        which these are the shorter ones; every row is yielded once.
    """
    n = len(vectors)
    order = np.argsort(lengths_s, kind="stable")
    ordered_s = lengths_s[order]
    ends = np.searchsorted(ordered_s, ordered_s + apart_s, side="right")
    transform = whitening(vectors)
    least = LEAST_COSINE if n >= _LEAST_ROWS else -2.0
    for start in range(0, n, _BLOCK_QUERIES):
        numbers = np.arange(start, min(n, start + _BLOCK_QUERIES))[:, None]
        queries, last = whitened(vectors[order[numbers[:, 0]]], *transform), ends[numbers]
        cosines = np.full((len(queries), N_CANDIDATES), least, np.float32)
        found = np.full(cosines.shape, -1)
        for first in range(start, int(last.max()), _BLOCK_ROWS):
            others = np.arange(first, min(first + _BLOCK_ROWS, int(last.max())))
            block = queries @ whitened(vectors[order[others]], *transform).T
            block[(others <= numbers) | (others >= last)] = -np.inf
            _keep_best(cosines, found, block, others)
        pairs = [(start + row, found[row, k]) for row, k in np.argwhere(found >= 0)]
        yield order[numbers[:, 0]], [(int(order[a]), int(order[b])) for a, b in pairs]


def _keep_best(cosines: Floats, found: Rows, block: Floats, others: Rows) -> None:
    """Merge better candidates into the running top-k, `(n, N_CANDIDATES)` each."""
    better = np.flatnonzero(block.max(axis=1) > cosines.min(axis=1))
    merged = np.concatenate([cosines[better], block[better]], axis=1)
    best = np.argpartition(merged, -N_CANDIDATES, axis=1)[:, -N_CANDIDATES:]
    rows = np.concatenate([found[better], np.broadcast_to(others, block[better].shape)], axis=1)
    cosines[better] = np.take_along_axis(merged, best, axis=1)
    found[better] = np.take_along_axis(rows, best, axis=1)
