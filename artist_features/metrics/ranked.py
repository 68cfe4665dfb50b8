"""Measures of one ranked list: which ranks hold the positives, from the best on."""

import numpy as np
import numpy.typing as npt

from artist_features.errors import checked_int


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
