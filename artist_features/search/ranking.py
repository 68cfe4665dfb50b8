"""The most similar rows, exactly: a coarse pass in float32, then the order in float64.

Similarity is the cosine, rounded to 6 decimals, since vectors are float32. Rows that are
equally similar come in the order of their numbers. The coarse pass only chooses which rows
can be among the first k; its rounding cannot lose one, so neither the size of a block nor
the computer's way to add decides the order.
"""

import numpy as np

BLOCK_ROWS = 16384  # 16 MiB of 256 numbers: what a processor's cache may hold
DECIMALS = 6


def similarities(vectors, query):
    """Return float32 `(n,)`: products of a query with all vectors, block by block.

    Args:
        vectors: `StoredArray` float32 `(n, dim)`, of length 1.
        query: float32 `(dim,)`, of length 1.
    """
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, len(vectors))
        np.dot(vectors.rows(start, stop), query, out=found[start:stop])
    return found


def best(coarse, numbers, read, query, k):
    """Return the k most similar rows in their order.

    Args:
        coarse: float32 `(n,)`: products of the candidates with the query.
        numbers: int64 `(n,)`: the candidates' row numbers, by which ties are ordered.
        read: function of positions, int64 `(m,)` of the n, to their vectors `(m, dim)`.
        query: float32 `(dim,)`.
        k: how many, >= 1.

    Returns:
        (row numbers int64, similarities float64), each `(min(k, n),)`.
    """
    n = len(coarse)
    chosen = np.arange(n)
    if k < n:
        kth = np.partition(coarse, n - k)[n - k]
        chosen = np.flatnonzero(coarse >= kth - _slack(len(query)))
    exact = np.empty(len(chosen))
    query = query.astype(np.float64)
    for start in range(0, len(chosen), BLOCK_ROWS):
        rows = read(chosen[start : start + BLOCK_ROWS]).astype(np.float64)
        # row by row: the sum of one row does not depend on the others
        exact[start : start + BLOCK_ROWS] = (rows * query).sum(axis=1)
    exact = np.round(exact, DECIMALS) + 0.0  # no -0
    numbers = numbers[chosen]
    order = np.lexsort((numbers, -exact))[:k]
    return numbers[order], exact[order]


def _slack(dim):
    """Return the most by which a true k-th best may lie below the coarse k-th.

    A float32 product of unit vectors is off by at most dim * 2^-24 or so (N. Higham, Accuracy
    and Stability of Numerical Algorithms, 2002, section 3.1), for two products twice that;
    and rounding makes equal what is 10^-6 apart.
    """
    return np.float32(2 * (dim + 4) * 2.0**-24 + 10.0**-DECIMALS)
