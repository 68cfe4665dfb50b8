"""Vectors that have a direction, and means of directions."""

import numpy as np

from artist_features.errors import checked_int
from artist_features.metrics import unit_vectors
from artist_features.search.ranking import BLOCK_ROWS


def mean_direction(vectors):
    """Return float32 `(dim,)`: the mean of unit vectors at length 1; zeros if they cancel out."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(mean)
    return (mean / length if length > 1e-6 else np.zeros_like(mean)).astype(np.float32)


def checked_vectors(vectors, tracks):
    """Return float32 `(n, dim)` of length 1, or name what is wrong with which row."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or len(vectors) != len(tracks) or not vectors.size:
        raise ValueError(
            f"vectors of shape {vectors.shape} for {len(tracks)} tracks; allowed is "
            "(n_tracks, dim), with one track or more."
        )
    first = {}
    for row, track in enumerate(tracks):
        if (earlier := first.setdefault(track.path, row)) != row:
            raise ValueError(f"rows {earlier} and {row} are both {track.path!r}; give it once.")
    units = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS].astype(np.float64)
        largest = np.abs(block).max(axis=1)
        if len(bad := np.flatnonzero(~(np.isfinite(largest) & (largest > 0)))):
            row = start + int(bad[0])
            kind = "all zeros" if largest[bad[0]] == 0 else "not finite"
            raise ValueError(
                f"vector of row {row} ({tracks[row].path!r}) is {kind}; a cosine needs a "
                "direction. Leave the track out."
            )
        units[start : start + len(block)] = unit_vectors(block)
    return units


def checked_query(vector, dim, k):
    """Return a query as float32 `(dim,)` of length 1, or say what is wrong with it or with k."""
    checked_int("k", k)
    vector = np.asarray(vector)
    if vector.shape != (dim,):
        raise ValueError(
            f"query of shape {vector.shape}; this index holds vectors of {dim} numbers."
        )
    try:
        return unit_vectors(vector[None])[0].astype(np.float32)
    except ValueError:
        text = "query is all zeros or not finite; a cosine needs a direction."
        raise ValueError(text) from None
