"""Means of a model's scores with bootstrap intervals, and differences from the first model's."""

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from artist_features.metrics import Interval, bootstrap_interval, paired_bootstrap

BOOTSTRAP: dict[str, Any] = {"n_resamples": 2000, "level": 0.95, "seed": 0}


def compare(
    values: npt.ArrayLike, first: npt.ArrayLike | None, clusters: Iterable[Any]
) -> tuple[Interval, Interval | None]:
    """Estimate a mean over queries or tracks, and how far it is from the first model's.

    Args:
        values: float `(n,)`, of one model.
        first: float `(n,)`, of the first model on the same; None if this is the first.
        clusters: `(n,)`, such as artists, drawn whole.

    Returns:
        (`Interval`, `Interval` of the difference or None).

    Raises:
        ValueError: see `bootstrap_interval` and `paired_bootstrap`.
    """
    difference = None
    if first is not None:
        difference = paired_bootstrap(values, first, clusters, **BOOTSTRAP)
    return bootstrap_interval(values, clusters, **BOOTSTRAP), difference
