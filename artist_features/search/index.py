"""The search index: build, save, load, find the nearest tracks or artists."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features.errors import SearchIndexError, checked_int
from artist_features.extraction.remote import identity
from artist_features.metrics import rows_without_direction, unit_vectors
from artist_features.search import ranking, storage
from artist_features.search.ranking import Floats
from artist_features.search.tracks import IndexData, IndexedTrack

if TYPE_CHECKING:  # Keras is imported when a model is used
    from artist_features.extraction.extractor import Extractor

Skip: TypeAlias = Callable[[int], bool]


@dataclass(frozen=True)
class Match:
    """A track that a search found.

    Attributes:
        row: number in the index, from 0.
        similarity: cosine, -1 to 1, rounded to 6 decimals.
        track: `IndexedTrack`.
        percentile: of the similarity, see `Index.percentile`.
    """

    row: int
    similarity: float
    track: IndexedTrack
    percentile: float


@dataclass(frozen=True)
class ArtistMatch:
    """An artist that a search found.

    Attributes:
        artist: name.
        similarity: cosine to the mean of the artist's tracks, rounded to 6 decimals.
        n_tracks: of the artist that were compared.
    """

    artist: str
    similarity: float
    n_tracks: int


class Index:
    """Tracks that can be searched by a vector; made by `Index.build` or `Index.load`.

    Vectors are kept with length 1 (a cosine has no use for lengths). An artist's vector is
    the mean of those of the artist's tracks. Ties are ordered by row, the order of `build`.

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

    def __init__(self, data: IndexData) -> None:
        self._data = data
        self.made_with: dict[str, Any] = data.made_with
        self.package_version, self.created = data.package_version, data.created

    @classmethod
    def build(
        cls,
        vectors: npt.ArrayLike,
        tracks: Sequence[IndexedTrack | str | os.PathLike[str]],
        made_with: "Mapping[str, Any] | Extractor",
    ) -> "Index":
        """Make an index in memory.

        Args:
            vectors: float `(n, dim)`, n >= 1, finite, no row all zeros.
            tracks: list of n paths or `IndexedTrack`s, each path once. Files are known by their
                absolute path with links followed; that of an `IndexedTrack` stays as it is.
            made_with: the `Extractor` of the vectors, or a dict of plain values with `model` and
                `weights_sha256`.

        Raises:
            ValueError: an argument outside what is allowed; a row is named by its number
                and path.
        """
        if isinstance(tracks, (str, bytes)) or not isinstance(tracks, Iterable):
            raise ValueError(f"tracks is {tracks!r:.80}; allowed is a list of n paths.")
        array = np.asarray(vectors)
        if not isinstance(made_with, Mapping):
            made_with = _made_with(made_with, array)
        rows = [
            track if isinstance(track, IndexedTrack) else IndexedTrack(identity(track))
            for track in tracks
        ]
        units = _checked_units(array, rows)
        if missing := [key for key in ("model", "weights_sha256") if not made_with.get(key)]:
            raise ValueError(f"made_with lacks {missing[0]!r}: which model made the vectors?")
        return cls(IndexData.of(units, rows, made_with))

    def updated(
        self,
        vectors: npt.ArrayLike,
        tracks: Sequence[IndexedTrack],
        drop_rows: Iterable[int] = (),
    ) -> "Index":
        """Return an index in memory with tracks added, replaced and dropped.

        Args:
            vectors, tracks: as for `build`, of the same model; may be empty. A track whose path
                the index has takes its row, others come at the end.
            drop_rows: rows that are left out; those after them move up.

        Raises:
            ValueError: an argument outside what is allowed, or no track would be left.
        """
        units = _checked_units(np.asarray(vectors), tracks) if len(tracks) else self.vectors[:0]
        if units.shape[1] != self.dim:
            raise ValueError(f"vectors of shape {units.shape}; those here are of {self.dim}.")
        data = self._data.updated(units, tracks, [self._checked(row) for row in drop_rows])
        if not len(data.vectors):
            raise ValueError("no track would be left; an index needs one or more.")
        return Index(data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Index":
        """Map the file of an index into memory and check it.

        A file from elsewhere cannot run code.

        Raises:
            SearchIndexError: `unavailable`, `damaged` or `incompatible`. A later query of a
                forged file may raise `damaged`, too.
        """
        return cls(storage.read_index(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index into one file, which appears whole or not at all.

        Raises:
            OutputError: `no_space` or `not_writable`.
        """
        storage.write_index(Path(path), self._data)

    def __len__(self) -> int:
        return len(self._data.vectors)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._data.vectors.shape[1]

    @property
    def artists(self) -> list[str]:
        """Names of the artists, in the order of their first tracks; unlabelled ones have none."""
        return self._data.artists.tolist()

    @property
    def n_unlabelled(self) -> int:
        """Tracks without an artist."""
        return int((self._data.artist_of < 0).sum())

    @property
    def columns(self) -> list[str]:
        """Names of the further columns."""
        return list(self._data.columns)

    @property
    def vectors(self) -> Floats:
        """float32 `(n, dim)`, rows of length 1; those of a file cannot be written to."""
        return self._data.vectors

    def track(self, row: int) -> IndexedTrack:
        """Return the `IndexedTrack` of a row, 0 to n - 1."""
        return self._data.track(self._checked(row))

    def duration_s(self, row: int) -> float:
        """Return the length of a row's recording in seconds, 0 if unknown."""
        return float(self._data.durations_s[self._checked(row)])

    def vector(self, row: int) -> Floats:
        """Return float32 `(dim,)`, of length 1."""
        return self._data.vectors[self._checked(row)]

    def whitened(self, vectors: npt.ArrayLike) -> Floats:
        """Whiten vectors by the covariance of this index, to tell copies from neighbours in style.

        Args:
            vectors: float `(n, dim)`, finite.

        Returns:
            float32 `(n, dim)`, rows of length 1; zeros for a vector that equals the mean.

        Raises:
            ValueError: another shape, or a number that is not finite.
        """
        rows = np.asarray(vectors, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise ValueError(f"vectors of shape {rows.shape}; allowed is (n, {self.dim}).")
        if not np.isfinite(rows).all():
            raise ValueError("vectors hold a number that is not finite; leave these rows out.")
        return ranking.whitened(rows, *self._whitening)

    @functools.cached_property
    def _whitening(self) -> tuple[Floats, Floats]:
        return ranking.whitening(self.vectors)

    def _checked(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row}; the index has 0 to {len(self) - 1}.")
        return row

    @property
    def paths(self) -> list[str]:
        """Paths of all tracks, as they were given to `build`."""
        return self._data.paths.tolist()

    def row_of(self, path: str) -> int | None:
        """Return the row of a path as it was given to `build`, or None."""
        return self._data.paths.find(path)

    def rows_of_artist(self, artist: str) -> npt.NDArray[np.int64]:
        """Return the rows of an artist's tracks, ascending, int64; empty if there are none."""
        number = self._data.artists.find(artist) if artist else None
        if number is None:
            return np.empty(0, np.int64)
        return np.flatnonzero(self._data.artist_of == number)

    def percentile(self, similarity: float) -> float:
        """Return how many of 100 random pairs of tracks in this index are less similar.

        From all pairs, or a sample of 100,000, always the same one of an index.

        Args:
            similarity: cosine.

        Returns:
            0 to 100, rounded to 1 decimal.
        """
        quantiles = self._data.pair_quantiles
        return round(
            float(np.interp(similarity, quantiles, np.linspace(0, 100, len(quantiles)))), 1
        )

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
                self._data.path,
            )

    def query(
        self,
        vector: npt.ArrayLike,
        k: int = 10,
        *,
        exclude_rows: Iterable[int] = (),
        exclude_artists: str | Iterable[str] = (),
        skip: Skip | None = None,
    ) -> list[Match]:
        """Find the nearest tracks by cosine similarity.

        Args:
            vector: float `(dim,)` of the same model, of any length but zero.
            k: how many, >= 1; fewer come back if there are no more.
            exclude_rows: rows that are no candidates, such as the query's own.
            exclude_artists: name or names of artists whose tracks are no candidates.
            skip: function of a row: whether it is passed over; called only for rows that would
                be among the first, such as to look for their files.

        Returns:
            list of `Match`, the most similar first, ties by row.

        Raises:
            ValueError: an argument outside what is allowed.
            SearchIndexError: `damaged`: a forged file.
        """
        allowed = ~np.isin(np.arange(len(self)), list(exclude_rows))
        for artist in _names_in(exclude_artists):
            allowed[self.rows_of_artist(artist)] = False
        found = zip(*self.nearest_rows(vector, k, allowed, skip), strict=True)
        return [
            Match(int(row), float(cosine), self.track(row), self.percentile(cosine))
            for row, cosine in found
        ]

    def query_artists(
        self,
        vector: npt.ArrayLike,
        k: int = 10,
        *,
        exclude_rows: Iterable[int] = (),
        exclude_artists: str | Iterable[str] = (),
    ) -> list[ArtistMatch]:
        """Find the nearest artists by cosine similarity to their tracks' mean vector.

        Args:
            vector, k, exclude_artists: as for `query`.
            exclude_rows: rows that do not count for their artists; an artist without any
                other track is no candidate.

        Returns:
            list of `ArtistMatch`, the most similar first, ties in the order of `artists`.
            A mean of length zero has similarity 0.
        """
        means, counts = self._artists_without(set(exclude_rows))
        for artist in _names_in(exclude_artists):
            if artist and (number := self._data.artists.find(artist)) is not None:
                counts[number] = 0
        found = zip(*self._nearest(means, vector, k, counts > 0), strict=True)
        return [
            ArtistMatch(self._data.artists[number], float(cosine), int(counts[number]))
            for number, cosine in found
        ]

    def artist_vector(self, artist: str) -> Floats:
        """Return float32 `(dim,)`: the mean of an artist's tracks, scaled to length 1.

        Raises:
            ValueError: no such artist.
        """
        number = self._data.artists.find(artist)
        if number is None:
            raise ValueError(f"artist {artist!r} has no track in this index; see `artists`.")
        return self._data.artist_vectors[number]

    def nearest_rows(
        self,
        vector: npt.ArrayLike,
        k: int,
        allowed: npt.NDArray[np.bool_],
        skip: Skip | None = None,
    ) -> tuple[ranking.Rows, npt.NDArray[np.float64]]:
        """Return (rows, similarities) that `query` finds among those that bool `(n,)` allows."""

        def find(n: int) -> tuple[ranking.Rows, npt.NDArray[np.float64]]:
            return self._nearest(self._data.vectors, vector, n, allowed)

        return find(k) if skip is None else ranking.top_k_kept(find, k, skip)

    def _nearest(
        self, vectors: Floats, vector: npt.ArrayLike, k: int, allowed: npt.NDArray[np.bool_]
    ) -> tuple[ranking.Rows, npt.NDArray[np.float64]]:
        """Return rows and similarities of the k allowed rows most similar to a query, in order."""
        checked_int("k", k)
        query = _checked_query(np.asarray(vector), self.dim)
        try:
            return ranking.top_k(vectors, query, k, allowed)
        except FloatingPointError as error:
            raise storage.damaged(str(error), self._data.path) from None

    def _artists_without(self, excluded: set[int]) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return artists' vectors and numbers of tracks, as if some rows were not there."""
        artist_of, vectors = self._data.artist_of, self._data.vectors
        counts = np.bincount(artist_of[artist_of >= 0], minlength=len(self._data.artists))
        means = self._data.artist_vectors
        if excluded:
            means = means.copy()
        for number in {int(artist_of[row]) for row in excluded} - {-1}:
            rows = [row for row in np.flatnonzero(artist_of == number) if row not in excluded]
            counts[number] = len(rows)
            if rows:
                means[number] = ranking.mean_direction(vectors[rows])
        return means, counts


def _made_with(extractor: "Extractor", vectors: npt.NDArray[Any]) -> dict[str, Any]:
    if not hasattr(extractor, "card"):
        text = "allowed is the Extractor that made the vectors, or a dict."
        raise ValueError(f"made_with is {extractor!r:.80}; {text}")
    card = extractor.card
    if card is None:
        raise ValueError(
            "the extractor's model is none of a folder; give a dict of its name and hash."
        )
    if vectors.shape[-1:] != (extractor.embedding_dim,):
        text = f"those of {card.name} have {extractor.embedding_dim} numbers."
        raise ValueError(f"vectors of shape {vectors.shape}; {text}")
    return {
        "model": card.name,
        "weights_sha256": card.weights_sha256,
        "graph_sha256": card.graph_sha256,
        "decoder": extractor.decoder,
    }


def _checked_units(vectors: npt.NDArray[np.floating], tracks: Sequence[IndexedTrack]) -> Floats:
    """Scale vectors `(n, dim)` to length 1; refuse zero or non-finite rows and repeated paths."""
    if vectors.ndim != 2 or len(vectors) != len(tracks) or not vectors.size:
        raise ValueError(
            f"vectors of shape {vectors.shape} for {len(tracks)} tracks; allowed is "
            "(n_tracks, dim), with one track or more."
        )
    first: dict[str, int] = {}
    for row, track in enumerate(tracks):
        if (earlier := first.setdefault(track.path, row)) != row:
            raise ValueError(f"rows {earlier} and {row} are both {track.path!r}; give it once.")
    units = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), ranking.BLOCK_ROWS):
        block = vectors[start : start + ranking.BLOCK_ROWS].astype(np.float64)
        for row, kind in rows_without_direction(block).items():
            raise ValueError(
                f"vector of row {start + row} ({tracks[start + row].path!r}) is {kind}; a cosine "
                "needs a direction. Leave the track out."
            )
        units[start : start + len(block)] = unit_vectors(block)
    return units


def _names_in(names: str | Iterable[str]) -> Iterable[str]:
    """Return names; a text alone is one name, not its letters."""
    return [names] if isinstance(names, str) else names


def _checked_query(vector: npt.NDArray[np.floating], dim: int) -> Floats:
    """Scale a query `(dim,)` to length 1; refuse another shape, zeros, and non-finite numbers."""
    if vector.shape != (dim,):
        raise ValueError(
            f"query of shape {vector.shape}; this index holds vectors of {dim} numbers."
        )
    try:
        return unit_vectors(vector[None])[0].astype(np.float32)
    except ValueError:
        text = "query is all zeros or not finite; a cosine needs a direction."
        raise ValueError(text) from None
