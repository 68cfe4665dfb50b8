"""Every track as a query among all others: cosine ranking and its scores.

- Similarity is the cosine. A query never counts itself, nor any track of its group; every
  other track is a candidate, those of the query's label are positives. Groups filter: with
  artists as labels, albums as groups ask for the artist beyond the query's own record; with
  genres as labels, artists as groups ask for the genre beyond the query's own artist.
- Ties are broken against the model: of candidates equally similar to the query, those
  that are not positives come first. A model that gives every track one vector gains
  nothing by it. Similarities are equal if they agree to 9 decimals, since products of
  equal vectors may differ in their last bits.
- A query without positives has no score: NaN, left out of means, and counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from artist_features.errors import checked_int
from artist_features.metrics import ranked
from artist_features.metrics.bootstrap import mean

_BLOCK_BYTES = 64 << 20  # similarities held at once, float64
_DECIMALS = 9


@dataclass(frozen=True)
class Retrieval:
    """Scores of every query; NaN where a query has no positives.

    Attributes:
        average_precision: float64 `(n_tracks,)`, in [0, 1].
        precision_at_1: float64 `(n_tracks,)`, 0 or 1.
        precision_at_k: float64 `(n_tracks,)`, in [0, 1].
        r_precision: float64 `(n_tracks,)`, in [0, 1].
        ndcg_at_k: float64 `(n_tracks,)`, in [0, 1].
        n_positives: int64 `(n_tracks,)`, positives of each query.
        n_candidates: int64 `(n_tracks,)`, candidates of each query.
        k: of `precision_at_k` and `ndcg_at_k`.
    """

    average_precision: npt.NDArray[np.float64]
    precision_at_1: npt.NDArray[np.float64]
    precision_at_k: npt.NDArray[np.float64]
    r_precision: npt.NDArray[np.float64]
    ndcg_at_k: npt.NDArray[np.float64]
    n_positives: npt.NDArray[np.int64]
    n_candidates: npt.NDArray[np.int64]
    k: int

    @property
    def mean_average_precision(self) -> float:
        """Mean of AP over queries that have positives; NaN if there are none."""
        return mean(self.average_precision)

    @property
    def mean_precision_at_1(self) -> float:
        """Mean of P@1 over queries that have positives; NaN if there are none."""
        return mean(self.precision_at_1)

    @property
    def mean_precision_at_k(self) -> float:
        """Mean of P@k over queries that have positives; NaN if there are none."""
        return mean(self.precision_at_k)

    @property
    def mean_r_precision(self) -> float:
        """Mean of R-precision over queries that have positives; NaN if there are none."""
        return mean(self.r_precision)

    @property
    def mean_ndcg_at_k(self) -> float:
        """Mean of nDCG@k over queries that have positives; NaN if there are none."""
        return mean(self.ndcg_at_k)

    @property
    def n_without_positives(self) -> int:
        """Queries left out of every mean."""
        return int(np.sum(self.n_positives == 0))


def retrieval(
    embeddings: npt.ArrayLike,
    labels: Iterable[Any],
    groups: Iterable[Any] | None = None,
    *,
    k: int = 10,
) -> Retrieval:
    """Search every track's label-mates among all others; score each query.

    The module's docstring defines candidates, positives and ties. Memory grows with
    the number of tracks, not with its square.

    Args:
        embeddings: float `(n_tracks, dim)`, finite, no row all zeros.
        labels: `(n_tracks,)`, such as artist names.
        groups: `(n_tracks,)`, albums or artists, or None. A query's own group is no
            candidate; None or "" as an entry means that the track has no group.
        k: of `precision_at_k` and `ndcg_at_k`, >= 1.

    Returns:
        `Retrieval`, in the order of the tracks.

    Raises:
        ValueError: shapes that do not fit, or a vector that has no direction.
    """
    unit = unit_vectors(embeddings)
    n_tracks = len(unit)
    label_index = _indices("labels", labels, n_tracks)
    group_index = _group_indices(groups, n_tracks)
    checked_int("k", k)
    scores = np.empty((5, n_tracks))
    counts = np.empty((2, n_tracks), np.int64)
    n_rows = max(1, _BLOCK_BYTES // (8 * max(1, n_tracks)))
    for start in range(0, n_tracks, n_rows):
        similarity = unit[start : start + n_rows] @ unit.T
        np.round(similarity, _DECIMALS, out=similarity)
        for query, row in enumerate(similarity, start=start):
            candidate = group_index != group_index[query]  # its own group holds the query
            positive = candidate & (label_index == label_index[query])
            counts[:, query] = positive.sum(), candidate.sum()
            relevant = _rank(row[positive], row[candidate & ~positive])
            scores[:, query] = (
                ranked.average_precision(relevant),
                ranked.precision_at_k(relevant, 1),
                ranked.precision_at_k(relevant, k),
                ranked.r_precision(relevant),
                ranked.ndcg_at_k(relevant, k),
            )
    return Retrieval(*scores, *counts, k)  # type: ignore[call-arg]


def unit_vectors(embeddings: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Scale vectors to length 1.

    Args:
        embeddings: float `(n_tracks, dim)`.

    Returns:
        float64 `(n_tracks, dim)`.

    Raises:
        ValueError: not two axes, or a row that is all zeros, NaN or infinite.
    """
    vectors = np.asarray(embeddings, np.float64)
    if vectors.ndim != 2:
        raise ValueError(f"embeddings of shape {vectors.shape}; allowed is (n_tracks, dim).")
    largest = np.max(np.abs(vectors), axis=1, initial=0.0)  # NaN stays NaN
    bad = np.flatnonzero(~(np.isfinite(largest) & (largest > 0)))
    if len(bad):
        kind = "all zeros" if largest[bad[0]] == 0 else "not finite"
        raise ValueError(
            f"embeddings row {bad[0]} is {kind} ({len(bad)} of {len(vectors)} rows are unusable); "
            "a cosine needs a direction. Leave these tracks out."
        )
    vectors = vectors / largest[:, None]  # squares neither overflow nor vanish
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _rank(
    positives: npt.NDArray[np.float64], negatives: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Return bool `(n_candidates,)` in rank order from the similarities of both kinds."""
    ahead = len(negatives) - np.searchsorted(np.sort(negatives), np.sort(positives)[::-1])
    relevant = np.zeros(len(positives) + len(negatives), bool)
    relevant[np.arange(len(positives)) + ahead] = True
    return relevant


def _indices(name: str, values: Iterable[Any], n_tracks: int) -> npt.NDArray[np.int64]:
    """Return int64 `(n_tracks,)`, equal where the values are equal."""
    values = list(values)
    if len(values) != n_tracks:
        raise ValueError(f"{len(values)} {name} for {n_tracks} embeddings; give one for each.")
    first: dict[Any, int] = {}
    return np.array([first.setdefault(value, len(first)) for value in values], np.int64)


def _group_indices(groups: Iterable[Any] | None, n_tracks: int) -> npt.NDArray[np.int64]:
    """Return int64 `(n_tracks,)`; a track without a group is a group of its own."""
    if groups is None:
        return np.arange(n_tracks)
    groups = list(groups)
    indices = _indices("groups", groups, n_tracks)
    alone = np.array([group is None or group == "" for group in groups], bool)
    return np.where(alone, n_tracks + np.arange(n_tracks), indices)
