"""Approximate search: vectors in lists around centroids, of which a query reads a few.

An inverted file (Jegou, Douze, Schmid, Product Quantization for Nearest Neighbor Search,
2011, section IV). faiss finds the centroids and assigns the vectors; what is kept are plain
arrays, sorted by list. So a query needs NumPy only, reads a small part of the mapped file,
and no library's own format, with pointers that a forged file could bend, is ever loaded.
"""

import numpy as np

APPROXIMATE_FROM = 100_000  # rows: up to here a query that reads all is fast (benchmarks/search.py)
_LISTS_PER_ROOT = 4  # lists per square root of n; faiss's guide names 4 to 16
_TRAIN_PER_LIST = 64  # vectors per list that k-means sees; faiss warns below 39
_N_ITERATIONS = 10
PROBED_SHARE = 32  # one in so many lists is read, at least `LEAST_PROBED`
LEAST_PROBED = 16


def require_faiss():
    """Return faiss, or say which extra brings it."""
    try:
        import faiss
    except ImportError:
        raise ImportError(
            "an approximate index needs faiss; install it with "
            "`pip install 'artist-features[search]'`, or build an exact one "
            "(--method exact), which needs nothing but time at each query."
        ) from None
    return faiss


def make_lists(vectors, *, seed=0):
    """Sort vectors into lists around centroids.

    Args:
        vectors: float32 `(n, dim)`, of length 1.
        seed: of the sample and of k-means.

    Returns:
        (centroids float32 `(n_lists, dim)`, starts int64 `(n_lists + 1,)`, order int64
        `(n,)`): list i holds the vectors `order[starts[i]:starts[i + 1]]`, ascending.

    Raises:
        ImportError: faiss, the extra `[search]`, is not installed.
    """
    faiss = require_faiss()
    n, dim = vectors.shape
    n_lists = max(1, min(n, round(_LISTS_PER_ROOT * n**0.5)))
    kmeans = faiss.Kmeans(
        dim,
        n_lists,
        niter=_N_ITERATIONS,
        seed=seed,
        spherical=True,  # centroids of length 1, compared by product
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAIN_PER_LIST,
    )
    kmeans.train(vectors)
    _, nearest = kmeans.index.search(vectors, 1)
    nearest = nearest[:, 0]
    order = np.argsort(nearest, kind="stable").astype(np.int64)
    counts = np.bincount(nearest, minlength=n_lists)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return np.ascontiguousarray(kmeans.centroids, np.float32), starts, order


def read_near(contents, query, k, barred):
    """Read the lists nearest to a query; more of them if these hold too few candidates.

    Args:
        contents: `Contents` of an approximate index.
        query: float32 `(dim,)`, of length 1.
        k: how many candidates are wanted, if there are so many.
        barred: bool `(n,)`, by row: no candidates.

    Returns:
        (positions int64 `(m,)` of the vectors read, their float32 products with the query).
    """
    centroids, starts = contents.centroids.all(), contents.list_starts.all()
    nearest = np.argsort(-(centroids @ query), kind="stable")
    wanted = min(k, int((~barred).sum()))
    n_read = n_probed(len(nearest))
    while True:
        ranges = [(starts[i], starts[i + 1]) for i in nearest[:n_read]]
        positions = np.concatenate([np.arange(*pair) for pair in ranges])
        if n_read >= len(nearest) or wanted <= (~barred[contents.row_numbers(positions)]).sum():
            break
        n_read = min(len(nearest), 2 * n_read)
    products = [contents.vectors.rows(*pair) @ query for pair in ranges]
    return positions, np.concatenate(products)


def n_probed(n_lists):
    """Return how many lists a query reads at first."""
    return min(n_lists, max(LEAST_PROBED, -(-n_lists // PROBED_SHARE)))
