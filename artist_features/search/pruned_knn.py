"""Exact k-nearest-neighbour search, pruned by a low-rank projection and an error bound."""

import numpy as np
import numpy.typing as npt

from artist_features.search.index import Index
from artist_features.search.ranking import BLOCK_ROWS, Rows, top_k

_N_AXES = 48  # of 100,000 rows about 500 are left for k = 50, and 20 MB are read instead of 100
_GROUP_ROWS = 128  # a bound from their maxima is there ten times as fast as one from all rows
_SLACK = np.float32(1e-5)  # above the rounding of float32 products of unit vectors, and of top_k


class PrunedSearch:
    """Low-rank projection of an index's vectors, for faster exact k-NN queries.

    A cosine is the product on these axes and that of what they leave of both vectors, which is
    at most the product of its lengths (Cauchy-Schwarz): rows that cannot be among the first k
    are not compared in full. What `query` returns is exact.

    Args:
        index: `Index`; 200 bytes are kept for each row.

    Raises:
        FloatingPointError: a vector is not finite.
    """

    def __init__(self, index: Index) -> None:
        self._vectors = vectors = index.vectors
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
        """Find the k other rows most similar to one, as `ranking.top_k` does.

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
        bounds = self._rests * self._rests[row] + _SLACK
        products[row] = -np.inf
        least = products - bounds
        if 4 * k <= len(least) // _GROUP_ROWS:
            # k rows have no less than the k-th largest of the maxima of groups of rows
            least = np.maximum.reduceat(least, np.arange(0, len(least), _GROUP_ROWS))
        n = len(least)
        kth = np.partition(least, n - k)[n - k] if k <= n else -2
        # never -inf, where the row is alone in its group: it is no candidate
        return np.flatnonzero(products + bounds >= max(kth, np.float32(-2)))
