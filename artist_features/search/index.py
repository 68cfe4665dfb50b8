"""An index: vectors of tracks, and what is known of them, in one file that is searched."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artist_features.errors import SearchIndexError
from artist_features.search import artist_means, ranking, storage
from artist_features.search.container import damaged
from artist_features.search.tracks import ArtistMatch, IndexedTrack, Match
from artist_features.search.vectors import checked_query, checked_vectors


class Index:
    """Tracks that can be searched by a vector; made by `Index.build` or `Index.load`.

    Vectors are kept with length 1 (a cosine has no use for lengths). An artist's vector is
    the mean of those of the artist's tracks. `artist_features.search.ranking` says how
    ties are ordered: by row, which is the order of `build`.

    Attributes:
        made_with: dict of what decides the vectors: `model` (name), `weights_sha256`,
            `graph_sha256`, and the options of the extraction.
        package_version: of this package, which built the index.
        created: date and time of that, ISO 8601.

    Example:
        >>> from artist_features.search import IndexedTrack
        >>> tracks = [IndexedTrack(f"/{name}.mp3", artist=name[0]) for name in ("a1", "a2", "b1")]
        >>> made_with = {"model": "mine", "weights_sha256": 64 * "0"}
        >>> index = Index.build([[1, 0], [1, 1], [0, 1]], tracks, made_with)
        >>> [(match.track.path, match.similarity) for match in index.query([2, 0], k=2)]
        [('/a1.mp3', 1.0), ('/a2.mp3', 0.707107)]
        >>> index.query([2, 0], k=1, exclude_artists=["a"])[0].track.artist
        'b'
    """

    def __init__(self, contents: storage.Contents) -> None:
        self._c = contents
        self.made_with: dict[str, Any] = contents.made_with
        self.package_version, self.created = contents.package_version, contents.created

    @classmethod
    def build(
        cls,
        vectors: npt.ArrayLike,
        tracks: Sequence[IndexedTrack],
        made_with: Mapping[str, Any],
    ) -> "Index":
        """Make an index in memory.

        Args:
            vectors: float `(n, dim)`, n >= 1, finite, no row all zeros.
            tracks: list of n `IndexedTrack`, each path once.
            made_with: dict of plain values with `model` and `weights_sha256`.

        Raises:
            ValueError: an argument outside what is allowed; a row is named by its number
                and path.
        """
        units = checked_vectors(vectors, tracks)
        if missing := [key for key in ("model", "weights_sha256") if not made_with.get(key)]:
            raise ValueError(f"made_with lacks {missing[0]!r}: which model made the vectors?")
        return cls(storage.contents_of(units, tracks, made_with))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Index":
        """Open the file of an index; vectors are read when a query needs them.

        A file from elsewhere cannot run code. Damage is found when it is read.

        Raises:
            SearchIndexError: `unavailable`, `damaged` or `incompatible`. A later query
                may raise `damaged`, too.
        """
        return cls(storage.read_contents(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index into one file, which appears whole or not at all.

        Raises:
            OutputError: `no_space` or `not_writable`.
        """
        storage.write_contents(Path(path), self._c)

    def __len__(self) -> int:
        return len(self._c.vectors)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._c.vectors.shape[1]

    @property
    def artists(self) -> list[str]:
        """Names of the artists, in the order of their first tracks; unlabelled ones have none."""
        return self._c.artists.list()

    @property
    def n_unlabelled(self) -> int:
        """Tracks without an artist."""
        return int((self._c.artist_of.all() < 0).sum())

    @property
    def columns(self) -> list[str]:
        """Names of the further columns."""
        return list(self._c.columns)

    def track(self, row: int) -> IndexedTrack:
        """Return the `IndexedTrack` of a row."""
        return self._c.track(row)

    def vector(self, row: int) -> npt.NDArray[np.float32]:
        """Return float32 `(dim,)`, of length 1."""
        return self._c.vectors.rows(row, row + 1)[0]

    def row_of(self, path: str) -> int | None:
        """Return the row of a path as it was given to `build`, or None."""
        return self._c.paths.find(path)

    def rows_of_artist(self, artist: str) -> npt.NDArray[np.int64]:
        """Return the rows of an artist's tracks, ascending, int64; empty if there are none."""
        number = self._c.artists.find(artist) if artist else None
        if number is None:
            return np.empty(0, np.int64)
        return np.flatnonzero(self._c.artist_of.all() == number)

    def check_model(
        self, weights_sha256: str, graph_sha256: str | None = None, model: str | None = None
    ) -> None:
        """Refuse the vectors of another model.

        Args:
            weights_sha256: of the model whose vectors are to be compared.
            graph_sha256: of its graph; None if unknown.
            model: its name, for the message.

        Raises:
            SearchIndexError: `mismatch`.
        """
        ours = self.made_with.get("graph_sha256")
        same_graph = None in (ours, graph_sha256) or ours == graph_sha256
        if weights_sha256 != self.made_with["weights_sha256"] or not same_graph:
            raise SearchIndexError(
                "mismatch",
                f"holds vectors of model {self.made_with['model']!r}, the query is of "
                f"{repr(model) if model else 'another'}; vectors of two models cannot be "
                "compared. Name the index's own model, or build an index with the other. "
                "(Weights' sha256: "
                f"{self.made_with['weights_sha256'][:12]} and {str(weights_sha256)[:12]}.)",
                self._c.path,
            )

    def query(
        self,
        vector: npt.ArrayLike,
        k: int = 10,
        *,
        exclude_rows: Iterable[int] = (),
        exclude_artists: Iterable[str] = (),
    ) -> list[Match]:
        """Find the tracks whose vectors point most nearly the same way.

        Args:
            vector: float `(dim,)` of the same model, of any length but zero.
            k: how many, >= 1; fewer come back if there are no more.
            exclude_rows: rows that are no candidates, such as the query's own.
            exclude_artists: names of artists whose tracks are no candidates.

        Returns:
            list of `Match`, the most similar first, ties by row.

        Raises:
            ValueError: an argument outside what is allowed.
            SearchIndexError: `damaged`.
        """
        query = checked_query(vector, self.dim, k)
        barred = np.isin(np.arange(len(self)), list(exclude_rows))
        for artist in exclude_artists:
            barred[self.rows_of_artist(artist)] = True
        rows = np.flatnonzero(~barred)
        coarse = ranking.similarities(self._c.vectors, query)[rows]
        if not np.isfinite(coarse).all():  # a forged file
            raise damaged("a vector is not finite", self._c.path)
        if not len(rows):
            return []

        def read(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            return self._c.vectors.at(rows[chosen])

        pairs = zip(*ranking.best(coarse, rows, read, query, k), strict=True)
        return [Match(int(row), float(value), self.track(int(row))) for row, value in pairs]

    def query_artists(
        self,
        vector: npt.ArrayLike,
        k: int = 10,
        *,
        exclude_rows: Iterable[int] = (),
        exclude_artists: Iterable[str] = (),
    ) -> list[ArtistMatch]:
        """Find the artists whose tracks' mean vector points most nearly the same way.

        Args:
            vector, k, exclude_artists: as for `query`.
            exclude_rows: rows that do not count for their artists; an artist without any
                other track is no candidate.

        Returns:
            list of `ArtistMatch`, the most similar first, ties in the order of `artists`.
            A mean of length zero has similarity 0.
        """
        query = checked_query(vector, self.dim, k)
        means, counts = artist_means.without_rows(self, self._c, set(exclude_rows))
        for artist in exclude_artists:
            if artist and (number := self._c.artists.find(artist)) is not None:
                counts[number] = 0
        numbers = np.flatnonzero(counts)
        if not len(numbers):
            return []
        means = means[numbers]
        found = ranking.best(means @ query, numbers, means.__getitem__, query, k)
        return [
            ArtistMatch(self._c.artists[int(number)], float(value), int(counts[number]))
            for number, value in zip(*found, strict=True)
        ]

    def artist_vector(self, artist: str) -> npt.NDArray[np.float32]:
        """Return float32 `(dim,)`: the mean of an artist's tracks, scaled to length 1.

        Raises:
            ValueError: no such artist.
        """
        number = self._c.artists.find(artist)
        if number is None:
            raise ValueError(f"artist {artist!r} has no track in this index; see `artists`.")
        return self._c.artist_vectors.rows(number, number + 1)[0]
