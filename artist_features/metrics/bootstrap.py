"""How far a mean over queries would vary with other artists: bootstrap intervals."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


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
    first: dict[Any, int] = {}
    index = np.array([first.setdefault(name, len(first)) for name in clusters], np.int64)
    kept = ~np.isnan(array)
    array, index = array[kept], index[kept]
    _, sizes = np.unique(index, return_counts=True)
    if len(sizes) < 2:
        raise ValueError(
            f"{len(sizes)} of {len(first)} clusters have values; an interval needs 2 or more."
        )
    starts = np.cumsum(sizes) - sizes
    return array[np.argsort(index, kind="stable")], starts, sizes
