"""Accuracy of predicted classes, with its interval."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from artist_features.metrics.bootstrap import Interval, bootstrap_interval


def correct(predicted: npt.ArrayLike, actual: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compare predicted with actual classes, one by one.

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


def accuracy(predicted: npt.ArrayLike, actual: npt.ArrayLike) -> float:
    """Compute the share of predictions that are right; NaN without any.

    Args:
        predicted, actual: `(n,)`, class names or numbers.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: see `correct`.

    Example:
        >>> accuracy([1, 2, 3, 3], [1, 2, 3, 4])
        0.75
    """
    right = correct(predicted, actual)
    return float(np.mean(right)) if len(right) else np.nan


def accuracy_interval(
    predicted: npt.ArrayLike,
    actual: npt.ArrayLike,
    clusters: Iterable[Any] | None = None,
    **options: Any,
) -> Interval:
    """Estimate the accuracy and its bootstrap interval.

    Args:
        predicted, actual: `(n,)`, class names or numbers.
        clusters: `(n,)`, such as artists, drawn whole; None draws single predictions.
        options: `n_resamples`, `level` and `seed` of `bootstrap_interval`.

    Returns:
        `Interval`.

    Raises:
        ValueError: see `correct` and `bootstrap_interval`.
    """
    right = correct(predicted, actual)
    clusters = range(len(right)) if clusters is None else clusters
    return bootstrap_interval(right, clusters, **options)


def _is_text(values: npt.NDArray[Any]) -> bool:
    return values.dtype.kind in "UO"
