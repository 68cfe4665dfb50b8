"""2-D projection of embeddings (dimensionality reduction): t-SNE; PCA for few tracks.

openTSNE draws 50,000 points in minutes (interpolation by FFT), compiles nothing when it
starts, and takes the neighbours that the map shows anyway, so that they are sought once.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from artist_features.metrics import unit_or_zero
from artist_features.optional import require
from artist_features.search.ranking import Floats, Rows

PERPLEXITY = 30  # Source: van der Maaten and Hinton, JMLR 2008, section 2: typically 5 to 50
N_NEIGHBOURS = 10  # shown at a click
N_EARLY, N_LATE = 250, 500  # iterations. Source: openTSNE's defaults
EXAGGERATION = 12  # of the early iterations. Source: Linderman et al., Nature Methods 2019
MIN_FOR_TSNE = 30  # tracks; fewer have no neighbourhoods to speak of, and t-SNE collapses some
FFT_FROM = 10000  # points from which the FFT is the faster gradient. Source: openTSNE


def tsne_neighbours(n: int) -> int:
    """Return the number of neighbours for t-SNE of n tracks: three perplexities."""
    return min(3 * PERPLEXITY, n - 1)


def place(
    vectors: Floats,
    indices: Rows,
    similarities: Floats,
    *,
    seed: int = 0,
    n_jobs: int = 1,
    progress: Callable[[int], object] | None = None,
) -> tuple[Floats, str]:
    """Project tracks to 2-D by t-SNE (PCA for few), similar ones close together.

    Args:
        vectors: float32 `(n, dim)`, n >= 1.
        indices, similarities: `(n, k)` of `ranking.neighbours`, k = `tsne_neighbours(n)`.
        seed: of t-SNE; the same seed gives the same places.
        n_jobs: threads.
        progress: called with the number of iterations done since the last call, of
            `N_EARLY + N_LATE`, or None.

    Returns:
        (places, method): float32 `(n, 2)` in [-1, 1], and "t-SNE", or "PCA" below
        `MIN_FOR_TSNE` tracks.

    Raises:
        ImportError: openTSNE is missing and there are enough tracks for it.
    """
    n = len(vectors)
    start = _principal(unit_or_zero(np.asarray(vectors, np.float32)))
    if n < MIN_FOR_TSNE:
        return _fit(start), "PCA"
    require("openTSNE", "a map", "map")
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    # on unit vectors: |a - b|^2 = 2 - 2 a.b
    distances = np.sqrt(np.maximum(2 - 2 * similarities.astype(np.float64), 0))
    affinities = PerplexityBasedNN(
        knn_index=PrecomputedNeighbors(indices, distances),
        perplexity=min(PERPLEXITY, (n - 1) / 3),
        k_neighbors=indices.shape[1],
        n_jobs=n_jobs,
        random_state=seed,
    )
    # no two at one place: t-SNE could not part them
    scale = start[:, 0].std() or 1.0
    start = 1e-4 * (start / scale + 1e-2 * np.random.default_rng(seed).standard_normal((n, 2)))
    embedding = TSNEEmbedding(
        start,
        affinities,
        negative_gradient_method="fft" if n >= FFT_FROM else "bh",
        n_jobs=n_jobs,
        random_state=seed,
    )
    options: dict[str, Any] = {"inplace": True, "propagate_exception": True}
    if progress is not None:
        report = progress

        def every_tenth(*_: object) -> None:  # a true result would end the optimisation
            report(10)

        options |= {"callbacks": every_tenth, "callbacks_every_iters": 10}
    embedding.optimize(N_EARLY, exaggeration=EXAGGERATION, momentum=0.5, **options)
    embedding.optimize(N_LATE, momentum=0.8, **options)
    return _fit(np.asarray(embedding)), "t-SNE"


def _principal(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """PCA: coordinates `(n, 2)` of the rows on their first two principal components."""
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    places = np.zeros((len(rows), 2))
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    places[:, : axes.shape[1]] = centred @ axes
    return places


def _fit(places: npt.NDArray[np.floating]) -> Floats:
    """Centre places and scale the longer side to [-0.95, 0.95]."""
    centred = places - (places.max(axis=0) + places.min(axis=0)) / 2
    half = np.abs(centred).max()
    return (0.95 * centred / (half or 1)).astype(np.float32)
