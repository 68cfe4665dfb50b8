"""Make vectors vary alike in all directions."""

import numpy as np


def whitening_matrix(covariance, shrinkage):
    """Return the symmetric matrix that whitens vectors of a covariance.

    Args:
        covariance: float64 `(dim, dim)`, not all zeros.
        shrinkage: 0 to 1, how much of each direction's variance is the mean of all.

    Example:
        >>> whitening_matrix(np.diag([4.0, 1.0]), 0.0).round(3).tolist()
        [[0.5, 0.0], [0.0, 1.0]]
    """
    variances, directions = np.linalg.eigh(covariance)
    variances = np.maximum(variances, 0)  # rounding may go below
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.mean()
    return (directions / np.sqrt(shrunk)) @ directions.T
