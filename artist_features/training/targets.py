"""Another model's vectors of tracks, to be matched through a layer that serves training only."""

import hashlib
import io
import os
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np

from artist_features.errors import ManifestError, display_path
from artist_features.training.whitening import whitening_matrix

# what NumPy raises for files that are none of its own, damaged, or something else
_UNREADABLE = (
    *(ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, IndexError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError),
)
# of the covariance towards that of directions which vary alike; source: our comparison of
# 0.02 to 0.9 on training artists, see `of_tracks`
_SHRINKAGE = 0.9
_ROUNDING = 1e-9  # what varies by less, relative to its size, does not vary


def file_sha256(path):
    """Return the hash of a file of vectors, "" for None.

    Raises:
        ManifestError: it cannot be read.
    """
    return hashlib.sha256(_read(path)).hexdigest() if path else ""


@dataclass(frozen=True)
class Targets:
    """Vectors of recordings, as their file has them.

    Attributes:
        path: of the file.
        names: list of absolute paths of recordings, each once.
        vectors: float32 `(n, n_parts, dim)`.
    """

    path: object
    names: list
    vectors: np.ndarray

    def of_tracks(self, tracks):
        """Return the vectors of tracks, standardised and whitened.

        Whitened so that their likeness is not that of the few directions in which music
        varies most: musicnn's vectors find an artist's other tracks with a MAP of 0.331
        instead of 0.302 among the training artists of the open corpus, and of 0.727
        instead of 0.691 among those that check a run (labels unseen by musicnn).

        Args:
            tracks: list of `Track`.

        Returns:
            float32 `(n_tracks, n_parts, dim)`, each dimension with mean 0 and about the
            same deviation over the tracks that have vectors; all zeros for tracks without.

        Raises:
            ManifestError: no two of these tracks have vectors that differ.
        """
        rows = dict(zip(self.names, self.vectors, strict=True))
        missing = np.full(self.vectors.shape[1:], np.nan, np.float32)
        found = np.array([rows.get(os.path.abspath(track.path), missing) for track in tracks])
        known = np.isfinite(found).all(axis=(1, 2))
        if not known.any():
            text = "has no vector of any track of the manifests; paths are compared as they lie."
            raise ManifestError(text, self.path)
        used = found[known].reshape(-1, found.shape[2]).astype(np.float64)
        deviation = used.std(axis=0)
        varies = deviation > _ROUNDING * np.abs(used).max(axis=0)
        if not varies.any():
            text = f"has the same numbers for all {known.sum()} tracks: nothing to learn from."
            raise ManifestError(text, self.path)
        scaled = np.where(varies, (found - used.mean(axis=0)) / np.where(varies, deviation, 1), 0)
        scaled[~known] = 0
        whole = scaled[known].reshape(-1, found.shape[2])
        covariance = whole.T @ whole / len(whole)
        return (scaled @ whitening_matrix(covariance, _SHRINKAGE)).astype(np.float32)


def read(path):
    """Read a file of vectors.

    Args:
        path: `.npz` with `paths` of the recordings, each once, and `embeddings`: float
            `(n, dim)`, one vector a track, as `artist-features extract` writes it, or
            `(n, n_parts, dim)`, vectors of crops at equal distances from the track's
            beginning to its end. They may be another model's, of any length. A row of NaN:
            the track has none.

    Returns:
        `Targets`.

    Raises:
        ManifestError: the file cannot be used.
    """
    try:
        with np.load(io.BytesIO(_read(path)), allow_pickle=False) as file:
            paths, vectors = file["paths"], np.asarray(file["embeddings"], np.float32)
    except _UNREADABLE as error:
        text = f"is no .npz with `paths` and `embeddings` ({error}); write it with `extract`."
        raise ManifestError(text, path) from None
    if (
        vectors.ndim not in (2, 3)
        or paths.shape != vectors.shape[:1]
        or paths.dtype.kind != "U"
        or not vectors.size
    ):
        text = (
            f"has {paths.shape} paths ({paths.dtype}) and {vectors.shape} embeddings; needed are n "
            "names and (n, dim) or (n, n_parts, dim) numbers."
        )
        raise ManifestError(text, path)
    names = [os.path.abspath(name) for name in paths.tolist()]
    if len(set(names)) < len(names):
        name, count = Counter(names).most_common(1)[0]
        text = f"names {display_path(name)} {count} times; one row a track is needed."
        raise ManifestError(text, path)
    return Targets(path, names, vectors if vectors.ndim == 3 else vectors[:, None])


def pick(targets, tracks, position):
    """Pick each crop's vector.

    Args:
        targets: float32 tensor `(n_tracks, n_parts, dim)`.
        tracks: int32 `(n,)`.
        position: float32 `(n,)` in [0, 1], where between the first and the last possible
            place the crop begins.

    Returns:
        float32 tensor `(n, dim)`: of the part that begins nearest.
    """
    import tensorflow as tf

    part = tf.cast(tf.round(position * (targets.shape[1] - 1)), tf.int32)
    return tf.gather_nd(targets, tf.stack([tracks, part], axis=1))


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ManifestError(f"cannot be read ({error.strerror}).", path) from None
