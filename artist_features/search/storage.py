"""What is in the file of an index, and whether it fits together."""

import datetime
import json
from dataclasses import dataclass

import numpy as np

from artist_features.errors import AnyPath, SearchIndexError
from artist_features.search.artist_means import artist_vectors
from artist_features.search.container import StoredArray, damaged, read_arrays, write_arrays
from artist_features.search.texts import Texts
from artist_features.search.tracks import IndexedTrack
from artist_features.version import VERSION

_FORMAT, _FORMAT_VERSION = "artist-features search index", "1"
_TEXTS = ("paths", "titles", "artists")
_ARRAYS = {  # name -> (dtype, number of axes)
    "vectors": (np.float32, 2),
    "artist_vectors": (np.float32, 2),
    "artist_of": (np.int32, 1),
    "durations_s": (np.float64, 1),
}


@dataclass
class Contents:
    """The arrays of an index.

    Attributes:
        vectors: `StoredArray` float32 `(n, dim)`, length 1.
        paths, titles: `Texts` of n; artists: `Texts` of the names.
        columns: {name: `Texts` of n}, further columns.
        artist_of: `StoredArray` int32 `(n,)`: number of the artist, -1 for none.
        artist_vectors: `StoredArray` float32 `(n_artists, dim)`, length 1 or 0.
        durations_s: `StoredArray` float64 `(n,)`, 0 for unknown.
        made_with, package_version, created: see `Index`.
        path: of the file, or None.
    """

    vectors: StoredArray
    paths: Texts
    titles: Texts
    artists: Texts
    columns: dict
    artist_of: StoredArray
    artist_vectors: StoredArray
    durations_s: StoredArray
    made_with: dict
    package_version: str
    created: str
    path: AnyPath | None = None

    def track(self, row):
        """Return the `IndexedTrack` of a row."""
        artist = int(self.artist_of.rows(row, row + 1)[0])
        return IndexedTrack(
            self.paths[row],
            self.artists[artist] if artist >= 0 else "",
            self.titles[row],
            float(self.durations_s.rows(row, row + 1)[0]),
            {name: texts[row] for name, texts in self.columns.items()},
        )


def contents_of(vectors, tracks, made_with):
    """Return `Contents` from unit vectors and tracks."""
    numbers = {}
    artist_of = np.full(len(tracks), -1, np.int32)
    for row, track in enumerate(tracks):
        if track.artist:
            artist_of[row] = numbers.setdefault(track.artist, len(numbers))
    columns = list(dict.fromkeys(name for track in tracks for name in track.extra))
    return Contents(
        StoredArray(vectors),
        Texts.of([track.path for track in tracks]),
        Texts.of([track.title for track in tracks]),
        Texts.of(list(numbers)),
        {name: Texts.of([track.extra.get(name, "") for track in tracks]) for name in columns},
        StoredArray(artist_of),
        StoredArray(artist_vectors(vectors, artist_of, len(numbers))),
        StoredArray(np.array([track.duration_s for track in tracks], np.float64)),
        dict(made_with),
        VERSION,
        datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )


def write_contents(path, contents):
    """Write `Contents` to a file; see `container.write_arrays` for errors."""
    arrays = {name: getattr(contents, name) for name in _ARRAYS}
    texts = {name: getattr(contents, name) for name in _TEXTS}
    texts |= {f"column{n}": column for n, column in enumerate(contents.columns.values())}
    for name, text in texts.items():
        arrays[f"{name}.data"], arrays[f"{name}.starts"] = text.data, text.starts
    metadata = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "made_with": json.dumps(contents.made_with, sort_keys=True),
        "package_version": contents.package_version,
        "created": contents.created,
        "columns": json.dumps(list(contents.columns)),
    }
    write_arrays(path, arrays, metadata)


def read_contents(path):
    """Open the file of an index and check that its parts fit together.

    Raises:
        SearchIndexError: `unavailable`, `damaged` or `incompatible`.
    """
    arrays, metadata = read_arrays(path)
    if metadata.get("format") != _FORMAT or metadata.get("format_version") != _FORMAT_VERSION:
        raise SearchIndexError(
            "incompatible",
            f"is a file of format {metadata.get('format', 'unknown')[:40]!r} version "
            f"{metadata.get('format_version', '?')[:10]!r}; this version reads {_FORMAT!r} version "
            f"{_FORMAT_VERSION!r}. Build it again: artist-features index build.",
            path,
        )
    try:
        contents = _assembled(arrays, metadata, path)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise damaged(f"{str(error)[:80]} is missing or wrong", path) from None
    _check_fit(contents, path)
    return contents


def _assembled(arrays, metadata, path):
    for name, (dtype, n_axes) in _ARRAYS.items():
        if arrays[name].dtype != dtype or len(arrays[name].shape) != n_axes:
            raise ValueError(name)

    def texts(name):
        return Texts(arrays[f"{name}.data"], arrays[f"{name}.starts"], path)

    made_with, columns = json.loads(metadata["made_with"]), json.loads(metadata["columns"])
    if not all(isinstance(name, str) for name in columns) or not all(
        isinstance(made_with[name], str) for name in ("model", "weights_sha256")
    ):
        raise ValueError("made_with")
    return Contents(
        **{name: arrays[name] for name in _ARRAYS},
        **{name: texts(name) for name in _TEXTS},
        columns={name: texts(f"column{n}") for n, name in enumerate(columns)},
        made_with=made_with,
        package_version=metadata["package_version"],
        created=metadata["created"],
        path=path,
    )


def _check_fit(contents, path):
    """Refuse numbers that would lead out of the arrays."""
    n, dim = contents.vectors.shape
    n_artists = len(contents.artists)
    of_rows = [contents.paths, contents.titles, *contents.columns.values()]
    fits = n > 0 and dim > 0 and all(len(texts) == n for texts in of_rows)
    fits &= contents.artist_of.shape == contents.durations_s.shape == (n,)
    fits &= contents.artist_vectors.shape == (n_artists, dim)
    if fits:
        artist_of = contents.artist_of.all()
        fits = artist_of.min() >= -1 and artist_of.max() < n_artists
        fits &= bool(np.isfinite(contents.artist_vectors.all()).all())
        fits &= bool(np.isfinite(contents.durations_s.all()).all())
    if not fits:
        raise damaged("its parts do not fit together", path)
