"""Artists as vectors: the mean of their tracks' directions."""

import numpy as np

from artist_features.search.vectors import mean_direction


def artist_vectors(vectors, artist_of, n_artists):
    """Return float32 `(n_artists, dim)`: each artist's mean direction.

    Args:
        vectors: float32 `(n, dim)`, of length 1.
        artist_of: int32 `(n,)`: number of each row's artist, -1 for none.
        n_artists: how many there are; each has a row.
    """
    order = np.argsort(artist_of, kind="stable")
    ends = np.searchsorted(artist_of[order], np.arange(n_artists + 1))
    found = np.zeros((n_artists, vectors.shape[1]), np.float32)
    for number in range(n_artists):
        found[number] = mean_direction(vectors[order[ends[number] : ends[number + 1]]])
    return found


def without_rows(index, contents, excluded):
    """Return artists' vectors as if some rows were not there.

    Args:
        index: `Index`; contents: its `Contents`.
        excluded: set of row numbers.

    Returns:
        (float32 `(n_artists, dim)`, int64 `(n_artists,)` number of tracks, 0 for an artist
        of whom nothing is left).
    """
    artist_of = contents.artist_of.all()
    counts = np.bincount(artist_of[artist_of >= 0], minlength=len(contents.artists))
    means = np.array(contents.artist_vectors.all())
    for number in {int(artist_of[row]) for row in excluded} - {-1}:
        rows = [int(row) for row in np.flatnonzero(artist_of == number) if row not in excluded]
        counts[number] = len(rows)
        if rows:
            means[number] = mean_direction(np.stack([index.vector(row) for row in rows]))
    return means, counts
