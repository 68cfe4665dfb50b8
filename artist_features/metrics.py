"""Measures of retrieval, classification and agreement, with bootstrap intervals. NumPy only.

Retrieval takes every track as a query among all others:

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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from artist_features.errors import checked_int

__all__ = [
    "Interval",
    "Retrieval",
    "average_precision",
    "bootstrap_interval",
    "correct",
    "mean",
    "ndcg_at_k",
    "paired_bootstrap",
    "precision_at_k",
    "r_precision",
    "retrieval",
    "unit_vectors",
]

Vectors = npt.NDArray[np.floating]

_BLOCK_BYTES = 64 << 20  # similarities held at once, float64
_DECIMALS = 9  # to which similarities are compared
_TINY = 1e-12  # length below which a vector has no direction
_RIDGE = 10.0  # penalty for standardised vectors; 1 to 100 gave the same to 0.005
_N_FOLDS = 5
_CONSTANT = 1e-6  # deviation under which a dimension does not vary


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
    """Score each track as a query for the other tracks of its label.

    The docstring of this module defines candidates, positives and ties. Memory grows with
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
                average_precision(relevant),
                precision_at_k(relevant, 1),
                precision_at_k(relevant, k),
                r_precision(relevant),
                ndcg_at_k(relevant, k),
            )
    return Retrieval(*scores, *counts, k)  # type: ignore[call-arg]


def unit_vectors(embeddings: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Scale vectors to length 1, and refuse those without a direction.

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
    if bad := rows_without_direction(vectors):
        row, kind = next(iter(bad.items()))
        raise ValueError(
            f"embeddings row {row} is {kind} ({len(bad)} of {len(vectors)} rows are unusable); "
            "a cosine needs a direction. Leave these tracks out."
        )
    # squares neither overflow nor vanish
    vectors = vectors / np.max(np.abs(vectors), axis=1, initial=0.0, keepdims=True)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows_without_direction(vectors: Vectors) -> dict[int, str]:
    """Return {row: "all zeros" or "not finite"} of vectors `(n, dim)` that no cosine is of."""
    largest = np.max(np.abs(vectors), axis=1, initial=0.0)  # NaN stays NaN
    bad = np.flatnonzero(~(np.isfinite(largest) & (largest > 0)))
    return {int(row): "not finite" if largest[row] != 0 else "all zeros" for row in bad}


def unit_or_zero(vectors: Vectors) -> Vectors:
    """Scale vectors `(n, dim)` to length 1, in their dtype; a row of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def mean_cosine(a: Vectors, b: Vectors) -> float:
    """Compute the mean cosine of the rows of two arrays `(n, dim)`; 0 for a row of zeros."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean(np.sum(a * b, axis=1) / norms.clip(_TINY)))


def _rank(
    positives: npt.NDArray[np.float64], negatives: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Relevance vector of a ranked list, ties pessimistic: True where a positive is ranked."""
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


def average_precision(relevant: npt.ArrayLike) -> float:
    """Compute the mean of the precision at the rank of each positive.

    Args:
        relevant: bool `(n_candidates,)`, in rank order, True for a positive.

    Returns:
        float in [0, 1]; NaN without positives.

    Raises:
        TypeError, ValueError: not a bool array of one axis.

    Example:
        >>> average_precision(np.array([True, False, True, False]))  # (1/1 + 2/3) / 2
        0.8333333333333333
    """
    ranks = _positive_ranks(relevant)
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else np.nan


def precision_at_k(relevant: npt.ArrayLike, k: int) -> float:
    """Compute the share of positives among the first k candidates.

    It is divided by k also where there are fewer candidates or positives than k.

    Args:
        relevant: bool `(n_candidates,)`, in rank order, True for a positive.
        k: ranks that count, >= 1.

    Returns:
        float in [0, 1]; NaN without positives.

    Raises:
        TypeError, ValueError: not a bool array of one axis, or k < 1.
    """
    ranks, k = _positive_ranks(relevant), checked_int("k", k)
    return float(np.sum(ranks <= k) / k) if len(ranks) else np.nan


def r_precision(relevant: npt.ArrayLike) -> float:
    """Compute the precision at rank R, where R is the number of positives.

    Args:
        relevant: bool `(n_candidates,)`, in rank order, True for a positive.

    Returns:
        float in [0, 1]; NaN without positives.

    Raises:
        TypeError, ValueError: not a bool array of one axis.
    """
    ranks = _positive_ranks(relevant)
    return float(np.mean(ranks <= len(ranks))) if len(ranks) else np.nan


def ndcg_at_k(relevant: npt.ArrayLike, k: int) -> float:
    """Compute the normalised discounted cumulative gain of the first k candidates.

    A positive at rank r gains 1 / log2(r + 1); the sum is divided by that of the best
    order possible.

    Args:
        relevant: bool `(n_candidates,)`, in rank order, True for a positive.
        k: ranks that count, >= 1.

    Returns:
        float in [0, 1]; NaN without positives.

    Raises:
        TypeError, ValueError: not a bool array of one axis, or k < 1.

    Source: Järvelin & Kekäläinen, "Cumulated gain-based evaluation of IR techniques",
    ACM TOIS 20(4), 2002, with the discount at every rank as scikit-learn has it.
    """
    ranks, k = _positive_ranks(relevant), checked_int("k", k)
    if not len(ranks):
        return np.nan
    best = np.arange(1, min(k, len(ranks)) + 1)
    return float(np.sum(1 / np.log2(ranks[ranks <= k] + 1)) / np.sum(1 / np.log2(best + 1)))


def _positive_ranks(relevant: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the ranks of the positives, counted from 1."""
    relevant = np.asarray(relevant)
    if relevant.dtype != bool:
        raise TypeError(
            f"relevant has dtype {relevant.dtype}; allowed is bool, True for a positive, in rank "
            "order."
        )
    if relevant.ndim != 1:
        raise ValueError(f"relevant of shape {relevant.shape}; allowed is (n_candidates,).")
    return np.flatnonzero(relevant) + 1


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval.

    Attributes:
        estimate: the statistic of the values as they are.
        low, high: percentile interval.
        level: of the interval, such as 0.95.
        n_clusters: clusters that were drawn from.
    """

    estimate: float
    low: float
    high: float
    level: float
    n_clusters: int


def mean(values: npt.ArrayLike) -> float:
    """Compute the mean of the values that are not NaN; NaN if there are none."""
    kept = np.asarray(values, np.float64)
    kept = kept[~np.isnan(kept)]
    return float(np.mean(kept)) if len(kept) else np.nan


def bootstrap_interval(
    values: npt.ArrayLike,
    clusters: Iterable[Any],
    *,
    statistic: Callable[[npt.NDArray[np.float64]], float] = mean,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Estimate a statistic and its percentile interval, drawing whole clusters.

    Tracks of one artist resemble each other, so artists are drawn (with replacement),
    not tracks. The collection that was searched stays as it is: the interval tells how
    the score varies with the artists asked about.

    Args:
        values: float `(n,)`, one per query; NaN entries are left out.
        clusters: `(n,)`, such as artist names.
        statistic: function of float64 `(m,)` to a number.
        n_resamples: draws, >= 1.
        level: of the interval, between 0 and 1.
        seed: of the draws; equal clusters and seed give equal draws.

    Returns:
        `Interval`.

    Raises:
        ValueError: lengths that differ, fewer than two clusters with values, or an
            option outside what is allowed.

    Source: percentile interval, Efron & Tibshirani, "An Introduction to the Bootstrap",
    1993, chapter 13, with clusters in place of single observations.
    """
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f"n_resamples is {n_resamples}, level is {level}; allowed are 1 or more draws and a "
            "level between 0 and 1."
        )
    values, starts, sizes = _by_cluster(values, clusters)
    rng = np.random.default_rng(seed)
    drawn = np.empty(n_resamples)
    for draw in range(n_resamples):
        chosen = rng.integers(0, len(starts), len(starts))
        lengths = sizes[chosen]
        ends = np.cumsum(lengths)
        shift = np.repeat(starts[chosen] - (ends - lengths), lengths)
        drawn[draw] = statistic(values[shift + np.arange(ends[-1])])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(values)), float(low), float(high), level, len(starts))


def paired_bootstrap(
    values_a: npt.ArrayLike,
    values_b: npt.ArrayLike,
    clusters: Iterable[Any],
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Estimate mean(a) - mean(b) over the same queries, with its interval.

    Both are drawn together, so what makes a query hard for both cancels out.

    Args:
        values_a, values_b: float `(n,)`, of the same queries; NaN in the same places.
        clusters: `(n,)`, such as artist names.
        n_resamples, level, seed: see `bootstrap_interval`.

    Returns:
        `Interval`; above 0 throughout means that a is better.

    Raises:
        ValueError: as `bootstrap_interval`, or a query that only one of both has.
    """
    values_a, values_b = np.asarray(values_a, np.float64), np.asarray(values_b, np.float64)
    if values_a.shape != values_b.shape or np.any(np.isnan(values_a) != np.isnan(values_b)):
        raise ValueError(
            f"values of shapes {values_a.shape} and {values_b.shape} are no pairs: both need the "
            "same queries, and NaN in the same places."
        )
    return bootstrap_interval(
        values_a - values_b, clusters, n_resamples=n_resamples, level=level, seed=seed
    )


def _by_cluster(
    values: npt.ArrayLike, clusters: Iterable[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the values sorted by cluster, and where each cluster starts and its size."""
    array, clusters = np.asarray(values, np.float64), list(clusters)
    if array.shape != (len(clusters),):
        raise ValueError(
            f"values of shape {array.shape} for {len(clusters)} clusters; give one cluster for "
            "each value."
        )
    kept = ~np.isnan(array)
    array, index = array[kept], _indices("clusters", clusters, len(clusters))[kept]
    _, sizes = np.unique(index, return_counts=True)
    if len(sizes) < 2:
        n = len(set(clusters))
        raise ValueError(f"{len(sizes)} of {n} clusters have values; an interval needs 2 or more.")
    starts = np.cumsum(sizes) - sizes
    return array[np.argsort(index, kind="stable")], starts, sizes


def correct(predicted: npt.ArrayLike, actual: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Per-item classification accuracy: 1.0 where predicted equals actual.

    Args:
        predicted, actual: `(n,)`, class names or numbers.

    Returns:
        float64 `(n,)`, 1 where they are equal, else 0.

    Raises:
        ValueError: not two lists of the same length, or of unlike kinds.

    Example:
        >>> correct(["rock", "pop", "pop"], ["rock", "pop", "rock"])
        array([1., 1., 0.])
    """
    predicted, actual = np.asarray(predicted), np.asarray(actual)
    if predicted.ndim != 1 or predicted.shape != actual.shape:
        raise ValueError(
            f"predicted has shape {predicted.shape}, actual {actual.shape}; allowed are two lists "
            "of the same length."
        )
    if len(actual) and _is_text(predicted) != _is_text(actual):
        raise ValueError(
            f"predicted holds {predicted.dtype}, actual {actual.dtype}; name classes in both or "
            "number them in both."
        )
    return (predicted == actual).astype(np.float64)


def _is_text(values: npt.NDArray[Any]) -> bool:
    return values.dtype.kind in "UO"


def agreement(student: Vectors, teachers: Mapping[str, Vectors]) -> dict[str, float]:
    """Student-teacher representational similarity (RSA): correlation of cosines, and ridge R2.

    Every dimension is standardised over the crops; teachers side by side weigh the same.

    Args:
        student: `(n, dim)`, n >= 10.
        teachers: {name: `(n, k)`}, rows of the same crops.

    Returns:
        dict: each teacher's name, and "both" for all side by side: Pearson correlation, over
        all pairs of crops, of the student's cosine similarities with the teacher's; and
        "r2_NAME": share of the teacher's variance that ridge regression finds in the student's
        vectors, cross-validated in 5 folds.

    Raises:
        ValueError: too few rows, or another number of them.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 3))
        >>> found = agreement(x, {"same": x @ np.diag([1.0, 2.0, 3.0])})
        >>> round(found["same"], 3), round(found["r2_same"], 1)
        (1.0, 1.0)
    """
    n = len(student)
    if n < 2 * _N_FOLDS:
        raise ValueError(f"{n} crops; agreement needs {2 * _N_FOLDS} or more.")
    if odd := {name for name, rows in teachers.items() if len(rows) != n}:
        raise ValueError(f"teacher {min(odd)!r}: {len(teachers[min(odd)])} rows, student {n}.")
    standard = standardised(student)
    similarity = _similarities(standard)
    known = {name: standardised(rows) for name, rows in teachers.items()}
    found = {name: _correlation(similarity, _similarities(rows)) for name, rows in known.items()}
    found["both"] = _correlation(similarity, _similarities(side_by_side(known.values())))
    return found | {f"r2_{name}": _ridge_r2(standard, rows) for name, rows in known.items()}


def standardised(rows: Vectors) -> npt.NDArray[np.float64]:
    """Scale each dimension to mean 0 and deviation 1; 0 where it does not vary."""
    rows = np.asarray(rows, np.float64)
    deviation = rows.std(axis=0)
    varies = deviation > _CONSTANT
    return (rows - rows.mean(axis=0)) / np.where(varies, deviation, 1) * varies


def side_by_side(teachers: Iterable[Vectors]) -> npt.NDArray[np.float64]:
    """Concatenate standardised teacher embeddings, equally weighted (divided by sqrt of dim).

    Numbers that never vary count in k: of musicnn's 753 some 540 are constant.
    """
    return np.concatenate([rows / np.sqrt(rows.shape[1]) for rows in teachers], axis=1)


def _similarities(rows: Vectors) -> npt.NDArray[np.float64]:
    """Return the cosines of all pairs of rows, float64 `(n * (n - 1) / 2,)`."""
    rows = unit_or_zero(rows)
    return (rows @ rows.T)[np.triu_indices(len(rows), 1)]


def _correlation(a: Vectors, b: Vectors) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _ridge_r2(student: Vectors, teacher: Vectors) -> float:
    fold = np.arange(len(student)) % _N_FOLDS
    residual = np.empty_like(teacher)
    penalty = _RIDGE * np.eye(student.shape[1])
    for number in range(_N_FOLDS):
        own = fold == number
        known, wanted = student[~own], teacher[~own]
        weights = np.linalg.solve(known.T @ known + penalty, known.T @ wanted)
        residual[own] = teacher[own] - student[own] @ weights
    total = float(np.sum(teacher**2))
    return 1 - float(np.sum(residual**2)) / total if total else 0.0
