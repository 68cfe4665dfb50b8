"""Tracks of a search index in memory: `IndexedTrack`, packed texts, and the arrays of an index."""

import datetime
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from artist_features.errors import AnyPath
from artist_features.search.ranking import Floats, artist_means, pair_quantiles
from artist_features.version import VERSION

_FIELDS = ("path", "artist", "title", "duration_s", "mtime_ns")  # of a track


@dataclass(frozen=True)
class IndexedTrack:
    """One row of an index.

    Attributes:
        path: of the file, absolute, or a URI; `str` in `os.fsdecode` form.
        artist, title: "" if unknown.
        duration_s: of the recording; 0 if unknown.
        extra: further columns of the manifest, {name: text}.
        mtime_ns: when the file was changed last, as it was extracted, in ns since 1970; -1 if
            unknown.
    """

    path: str
    artist: str = ""
    title: str = ""
    duration_s: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)
    mtime_ns: int = -1

    @property
    def name(self) -> str:
        """The title, or the file's name without its ending."""
        return self.title or os.path.splitext(os.path.basename(self.path))[0]

    @property
    def label(self) -> str:
        """Display name: 'artist - title', the title alone, or the file's name."""
        return f"{self.artist} - {self.name}" if self.artist else self.name


class Texts:
    """Packed string array: UTF-8 bytes and offsets, memory-mapped, decoded lazily.

    File names that are not UTF-8 survive, in `os.fsdecode` form.

    Args:
        data: uint8: a zero byte, then each text and a zero byte.
        starts: int64 `(n + 1,)`: where each text begins, and the end.

    Raises:
        ValueError: places outside the data.
    """

    def __init__(self, data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> None:
        fits = starts.dtype == np.int64 and data.dtype == np.uint8
        fits = fits and starts.ndim == data.ndim == 1 and len(starts) > 0
        if not fits or starts[0] != 1 or starts[-1] != len(data) or (np.diff(starts) < 1).any():
            raise ValueError("the place of a text")
        self.data, self.starts = data, starts

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Texts":
        """Store a list of texts.

        Raises:
            ValueError: a text with a zero byte in it.
        """
        try:
            data = "\0".join(["", *texts, ""]).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half a pair in one of them
            data = b"\0".join([b"", *map(_encoded, texts), b""])
        array = np.frombuffer(data, np.uint8)
        starts = np.flatnonzero(array == 0) + 1
        if len(starts) != len(texts) + 1:
            row = next(row for row, text in enumerate(texts) if "\0" in text)
            raise ValueError(f"text {row} has a zero byte in it; leave that out.")
        return cls(array, starts.astype(np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> str:
        start, end = int(self.starts[row]), int(self.starts[row + 1])
        return self.data[start : end - 1].tobytes().decode("utf-8", "surrogateescape")

    def tolist(self) -> list[str]:
        """Return all texts."""
        texts = self.data.tobytes().decode("utf-8", "surrogateescape").split("\0")[1:-1]
        # a forged file may have a zero byte within a text
        return texts if len(texts) == len(self) else [self[row] for row in range(len(self))]

    def find(self, text: str) -> int | None:
        """Return the first row that holds exactly this text, or None."""
        part = _encoded(text)
        if b"\0" in part:
            return None
        place = self.data.tobytes().find(b"\0" + part + b"\0")
        if place < 0:
            return None
        row = int(np.searchsorted(self.starts, place + 1))
        return row if self.starts[row] == place + 1 and self[row] == text else None


def _encoded(text: str) -> bytes:
    """Return the bytes of a text; those of a file name are the ones that the disk has."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair, which no file name gives
        return os.fsencode(text.encode("utf-8", "backslashreplace").decode())


@dataclass
class IndexData:
    """Arrays and metadata of an index.

    Attributes:
        vectors: float32 `(n, dim)`, length 1.
        artist_vectors: float32 `(n_artists, dim)`, length 1 or 0.
        artist_of: int32 `(n,)`: number of the artist, -1 for none.
        durations_s: float64 `(n,)`, 0 for unknown.
        mtimes_ns: int64 `(n,)`, -1 for unknown, as all are of a file of an earlier version.
        paths, titles: n texts each; artists: n_artists names.
        columns: {name: n texts}, further columns.
        made_with, package_version, created: see `Index`.
        pair_quantiles: float32 `(1001,)`, see `ranking.pair_quantiles`; a file of an earlier
            version has none, for which they are computed.
        path: of the file, or None.
    """

    vectors: Floats
    artist_vectors: Floats
    artist_of: npt.NDArray[np.int32]
    durations_s: npt.NDArray[np.float64]
    mtimes_ns: npt.NDArray[np.int64]
    paths: Texts
    titles: Texts
    artists: Texts
    columns: dict[str, Texts]
    made_with: dict[str, Any]
    package_version: str
    created: str
    pair_quantiles: Floats
    path: AnyPath | None = None

    @classmethod
    def of(
        cls, units: Floats, tracks: Sequence[IndexedTrack], made_with: Mapping[str, Any]
    ) -> "IndexData":
        """Arrange float32 `(n, dim)` of length 1 and their n tracks."""
        fields = {name: [getattr(track, name) for track in tracks] for name in _FIELDS}
        return cls._arranged(units, fields, _columns_of(tracks), made_with)

    @classmethod
    def _arranged(
        cls,
        units: Floats,
        fields: Mapping[str, Sequence[Any]],
        columns: Mapping[str, Sequence[str]],
        made_with: Mapping[str, Any],
    ) -> "IndexData":
        """Arrange vectors and track metadata as columns: `_FIELDS` and further ones."""
        numbers = {"": -1}
        artists = [numbers.setdefault(name, len(numbers) - 1) for name in fields["artist"]]
        artist_of = np.array(artists, np.int32)
        names = list(numbers)[1:]
        return cls(
            units,
            artist_means(units, artist_of, len(names)),
            artist_of,
            np.array(fields["duration_s"], np.float64),
            np.array(fields["mtime_ns"], np.int64),
            Texts.of(fields["path"]),
            Texts.of(fields["title"]),
            Texts.of(names),
            {name: Texts.of(texts) for name, texts in columns.items()},
            dict(made_with),
            VERSION,
            datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            pair_quantiles(units),
        )

    def updated(
        self, units: Floats, tracks: Sequence[IndexedTrack], drop_rows: Iterable[int]
    ) -> "IndexData":
        """Return a copy with further tracks; one of a path that is there takes its row.

        Args:
            units: float32 `(n, dim)`, of length 1.
            tracks: n `IndexedTrack`s.
            drop_rows: rows to leave out, unless a track takes them.
        """
        fields = self._fields()
        row_of = {path: row for row, path in enumerate(fields["path"])}
        rows = [row_of.setdefault(track.path, len(row_of)) for track in tracks]
        kept = np.ones(len(row_of), bool)
        kept[list(drop_rows)] = False
        kept[rows] = True

        def merged(before: Sequence[Any], new: Sequence[Any]) -> list[Any]:
            values = [*before, *new[: len(kept) - len(before)]]  # to their length
            for row, value in zip(rows, new, strict=True):
                values[row] = value
            return list(itertools.compress(values, kept))

        vectors = np.empty((kept.sum(), units.shape[1]), np.float32)
        old = np.flatnonzero(kept[: len(self.vectors)])
        np.take(self.vectors, old, axis=0, out=vectors[: len(old)], mode="clip")
        vectors[np.cumsum(kept)[rows] - 1] = units
        columns, blank = _columns_of(tracks, self.columns), [""] * len(self.vectors)
        for name, new in columns.items():
            before = self.columns[name].tolist() if name in self.columns else blank
            columns[name] = merged(before, new)
        for name, before in fields.items():
            fields[name] = merged(before, [getattr(track, name) for track in tracks])
        return self._arranged(vectors, fields, columns, self.made_with)

    def _fields(self) -> dict[str, list[Any]]:
        artists = [*self.artists.tolist(), ""]  # number -1 is the last
        return {
            "path": self.paths.tolist(),
            "artist": [artists[number] for number in self.artist_of.tolist()],
            "title": self.titles.tolist(),
            "duration_s": self.durations_s.tolist(),
            "mtime_ns": self.mtimes_ns.tolist(),
        }

    def track(self, row: int) -> IndexedTrack:
        """Return path, names, length and further columns of a row."""
        artist = int(self.artist_of[row])
        return IndexedTrack(
            self.paths[row],
            self.artists[artist] if artist >= 0 else "",
            self.titles[row],
            float(self.durations_s[row]),
            {name: texts[row] for name, texts in self.columns.items()},
            int(self.mtimes_ns[row]),
        )


def _columns_of(tracks: Sequence[IndexedTrack], names: Iterable[str] = ()) -> dict[str, list[Any]]:
    """Return the further columns of tracks, those with some names first, {name: n texts}."""
    names = dict.fromkeys([*names, *(name for track in tracks for name in track.extra)])
    return {name: [track.extra.get(name, "") for track in tracks] for name in names}
