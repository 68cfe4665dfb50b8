"""A score of one model with its interval, and its difference to the first model's."""

from artist_features.metrics import bootstrap_interval, paired_bootstrap

BOOTSTRAP = {"n_resamples": 2000, "level": 0.95, "seed": 0}


def compare(values, first, clusters):
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
