"""Cosine similarity: the nearest rows of a query or of every row, and mean directions.

The similarity to a query is rounded to 6 decimals, since vectors are float32, and equally
similar rows come in the order of their numbers. A first pass in float32 only chooses which
rows can be among the first k; its rounding cannot lose one, so neither the size of a block
nor the computer's way to add decides the order.
"""

import itertools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features.metrics import unit_or_zero

Floats: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[np.int64]

BLOCK_ROWS = 16384  # 16 MiB of 256 numbers: what a processor's cache may hold
_BLOCK_WHITENED = 1024
DECIMALS = 6
N_QUANTILES, _N_PAIRS = 1001, 100_000
# of the largest variance, added to all, and over the number of rows: few know a covariance less
# well; calibrated by benchmarks/duplicates.py on libraries of 5 to 1,088 tracks
_RIDGE, _RIDGE_OF_FEW = 0.01, 3.0
_LEAST_APART = 1e-5  # from the mean; less is rounding
_WHITENING_ROWS = 20_000  # are enough for a covariance of 256 numbers
_MOST_SIMILARITIES = 1 << 25  # held at a time by `neighbours`, 128 MiB, and their partition
# of PrunedSearch
_N_AXES = 48  # of 100,000 rows about 500 are left for k = 50, and 20 MB are read instead of 100
_GROUP_ROWS = 128  # a bound from their maxima is there ten times as fast as one from all rows
_PRUNED_SLACK = np.float32(1e-5)  # above the rounding of float32 products, and of top_k


def top_k(
    vectors: Floats, query: Floats, k: int, allowed: npt.NDArray[np.bool_]
) -> tuple[Rows, npt.NDArray[np.float64]]:
    """Return the k rows most similar to a query, in their order.

    Args:
        vectors: float32 `(n, dim)`, of length 1.
        query: float32 `(dim,)`, of length 1.
        k: how many, >= 1.
        allowed: bool `(n,)`: rows that are candidates.

    Returns:
        (row numbers int64, similarities float64), each `(min(k, number of candidates),)`.

    Raises:
        FloatingPointError: a vector is not finite.
    """
    coarse = np.dot(vectors, query)
    if not np.isfinite(coarse).all():
        raise FloatingPointError("a vector is not finite")
    rows = np.flatnonzero(allowed)
    if k < len(rows):
        candidates = coarse[rows]
        kth = np.partition(candidates, len(rows) - k)[len(rows) - k]
        rows = rows[candidates >= kth - _slack(len(query))]
    exact = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK_ROWS):
        block = vectors[rows[start : start + BLOCK_ROWS]].astype(np.float64)
        # row by row: the sum of one row does not depend on the others
        exact[start : start + BLOCK_ROWS] = (block * query.astype(np.float64)).sum(axis=1)
    exact = np.round(exact, DECIMALS) + 0.0  # no -0
    order = np.lexsort((rows, -exact))[:k]
    return rows[order], exact[order]


def top_k_kept(
    find: Callable[[int], tuple[Rows, npt.NDArray[np.float64]]],
    k: int,
    skip: Callable[[int], bool],
) -> tuple[Rows, npt.NDArray[np.float64]]:
    """Return the k most similar rows that are not passed over.

    Args:
        find: function of a number: so many most similar rows and their similarities, in order;
            fewer if there are no more. It is asked for more until k are kept.
        k: how many, >= 1.
        skip: function of a row: whether it is passed over; called in the order of `find`.
    """
    n_asked = k
    while True:
        rows, similarities = find(n_asked)
        wanted = (place for place, row in enumerate(rows.tolist()) if not skip(row))
        kept = list(itertools.islice(wanted, k))  # what ranks after the last one is not asked for
        if len(kept) == k or len(rows) < n_asked:
            return rows[kept], similarities[kept]
        n_asked *= 2


def _slack(dim: int) -> np.float32:
    """Return the rounding-error margin with which float32 preselection keeps the true top k.

    A float32 product of unit vectors is off by at most dim * 2^-24 or so (N. Higham, Accuracy
    and Stability of Numerical Algorithms, 2002, section 3.1), for two products twice that;
    and rounding makes equal what is 10^-6 apart.
    """
    return np.float32(2 * (dim + 4) * 2.0**-24 + 10.0**-DECIMALS)


class PrunedSearch:
    """Exact k-nearest-neighbour search, pruned by a low-rank projection and an error bound.

    A cosine is the product on these axes and that of what they leave of both vectors, which is
    at most the product of its lengths (Cauchy-Schwarz): rows that cannot be among the first k
    are not compared in full. What `query` returns is exact.

    Args:
        vectors: float32 `(n, dim)`, of length 1; 200 bytes are kept for each row.

    Raises:
        FloatingPointError: a vector is not finite.
    """

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors
        blocks = [vectors[i : i + BLOCK_ROWS] for i in range(0, len(vectors), BLOCK_ROWS)]
        gram = sum(np.dot(block.T, block) for block in blocks)
        if not np.isfinite(gram).all():
            raise FloatingPointError("a vector is not finite")
        axes = np.linalg.eigh(gram)[1][:, ::-1][:, :_N_AXES].astype(np.float32)
        self._heads = np.concatenate([block @ axes for block in blocks])
        self._rests = np.concatenate(
            [np.linalg.norm(block - block @ axes @ axes.T, axis=1) for block in blocks]
        )

    def query(self, row: int, k: int) -> tuple[Rows, npt.NDArray[np.float64]]:
        """Find the k other rows most similar to one, as `top_k` does.

        Returns:
            (row numbers int64, similarities float64), each `(min(k, n - 1),)`.
        """
        rows, query = self._candidates(row, k), self._vectors[row]
        if len(rows) > len(self._vectors) // 8:  # the axes say little here: copying costs more
            allowed = np.zeros(len(self._vectors), bool)
            allowed[rows] = True
            return top_k(self._vectors, query, k, allowed)
        found, similarities = top_k(self._vectors[rows], query, k, np.ones(len(rows), bool))
        return rows[found], similarities

    def _candidates(self, row: int, k: int) -> Rows:
        """Return the rows, ascending, that may be among the k nearest."""
        products = self._heads @ self._heads[row]
        bounds = self._rests * self._rests[row] + _PRUNED_SLACK
        products[row] = -np.inf
        least = products - bounds
        if 4 * k <= len(least) // _GROUP_ROWS:
            # k rows have no less than the k-th largest of the maxima of groups of rows
            least = np.maximum.reduceat(least, np.arange(0, len(least), _GROUP_ROWS))
        n = len(least)
        kth = np.partition(least, n - k)[n - k] if k <= n else -2
        # never -inf, where the row is alone in its group: it is no candidate
        return np.flatnonzero(products + bounds >= max(kth, np.float32(-2)))


def neighbours(
    vectors: npt.NDArray[np.floating], k: int, progress: Callable[[int], object] | None = None
) -> tuple[Rows, Floats]:
    """Return the k most similar other rows of each row, from float32 products.

    Args:
        vectors: float `(n, dim)`, of any length. One of zeros only is similar to nothing (0).
        k: how many, 0 < k < n.
        progress: called with the number of rows done since the last call, or None.

    Returns:
        (row numbers, cosines): int64 and float32 `(n, k)`, highest cosine first, equal
        ones in the order of the rows. A row is never its own neighbour.

    Raises:
        ValueError: k is not below n.

    Example:
        >>> neighbours(np.array([[1.0, 0], [1, 1], [0, 1]]), 1)[0].ravel()
        array([1, 0, 1])
    """
    n = len(vectors)
    if not 0 < k < n:
        raise ValueError(f"k is {k}; allowed is 1 to {n - 1}, one less than the {n} tracks.")
    units = unit_or_zero(np.asarray(vectors, np.float32))
    indices, similarities = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    n_queries = max(1, min(512, _MOST_SIMILARITIES // n))
    for start in range(0, n, n_queries):
        block = units[start : start + n_queries] @ units.T
        here = np.arange(len(block))
        block[here, start + here] = -np.inf
        # one more than k, so that ties at the end are not cut by chance
        limit = np.partition(block, n - k, axis=1)[:, n - k]
        for row, values in enumerate(block):
            found = np.flatnonzero(values >= limit[row])
            indices[start + row] = found[np.argsort(-values[found], kind="stable")[:k]]
        stop = start + len(block)
        similarities[start:stop] = np.take_along_axis(block, indices[start:stop], axis=1)
        if progress:
            progress(len(block))
    return indices, similarities


def whitening(vectors: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Compute the ridge whitening transform of a library's directions.

    What all music of the library has in common goes, so that copies stand out from neighbours in
    style.

    Args:
        vectors: float `(n, dim)`, n >= 1, of any length; of more than 20,000 rows every so many
            are taken.

    Returns:
        (mean, matrix): float32 `(dim,)` and `(dim, dim)`, for `whitened`.
    """
    rows = vectors[:: -(-len(vectors) // _WHITENING_ROWS)]
    n, dim = rows.shape
    total, products = np.zeros(dim), np.zeros((dim, dim))
    for start in range(0, n, _BLOCK_WHITENED):
        units = unit_or_zero(np.asarray(rows[start : start + _BLOCK_WHITENED], np.float64))
        total += units.sum(axis=0)
        products += units.T @ units
    mean = total / n
    variances, axes = np.linalg.eigh(products / n - np.outer(mean, mean))
    largest = max(float(variances[-1]), _LEAST_APART**2)
    ridge = max(_RIDGE, _RIDGE_OF_FEW / n)
    scale = np.sqrt(np.maximum(variances, 0) + ridge * largest)
    return mean.astype(np.float32), (axes / scale).astype(np.float32)


def whitened(vectors: npt.NDArray[np.floating], mean: Floats, matrix: Floats) -> Floats:
    """Apply a `whitening` to vectors `(n, dim)`; return rows of length 1, zeros at the mean."""
    centred = unit_or_zero(vectors) - mean
    centred[np.linalg.norm(centred, axis=1) < _LEAST_APART] = 0
    return unit_or_zero(centred @ matrix)


def mean_direction(units: Floats) -> Floats:
    """Return the mean of unit vectors `(n, dim)` at length 1; zeros if they cancel out."""
    mean = units.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(mean)
    return (mean / length if length > 1e-6 else np.zeros_like(mean)).astype(np.float32)


def pair_quantiles(units: Floats) -> Floats:
    """Background distribution of cosine similarity: quantiles over random pairs of tracks.

    Args:
        units: float32 `(n, dim)`, of length 1.

    Returns:
        float32 `(1001,)`, ascending: the quantiles 0, 0.001, ... 1; all 0 where there is no pair.
    """
    n = len(units)
    if n < 2:
        return np.zeros(N_QUANTILES, np.float32)
    first, second = np.triu_indices(n if n * (n - 1) // 2 <= _N_PAIRS else 1, 1)
    if not len(first):
        rng = np.random.default_rng(0)
        first = rng.integers(0, n, _N_PAIRS)
        second = (first + rng.integers(1, n, _N_PAIRS)) % n
    cosines = np.empty(len(first), np.float32)
    for start in range(0, len(first), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        cosines[block] = np.einsum("nd,nd->n", units[first[block]], units[second[block]])
    return np.quantile(cosines, np.linspace(0, 1, N_QUANTILES)).astype(np.float32)


def artist_means(units: Floats, artist_of: npt.NDArray[np.int32], n_artists: int) -> Floats:
    """Return the mean direction of each artist's tracks.

    Args:
        units: float32 `(n, dim)`, of length 1.
        artist_of: int32 `(n,)`: number of each row's artist, -1 for none.
        n_artists: how many there are; each has a row.

    Returns:
        float32 `(n_artists, dim)`.
    """
    order = np.argsort(artist_of, kind="stable")
    ends = np.searchsorted(artist_of[order], np.arange(n_artists + 1))
    means = np.zeros((n_artists, units.shape[1]), np.float32)
    for number in range(n_artists):
        means[number] = mean_direction(units[order[ends[number] : ends[number + 1]]])
    return means
