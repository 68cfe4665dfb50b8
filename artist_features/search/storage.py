"""Data of a search index, in memory and as a memory-mapped file with a checksum.

The layout is that of safetensors, so that other programs can open the file:

    8 bytes      length of the header, little-endian
    header       JSON: dtype, shape and place of each array; metadata, texts only
    arrays       without gaps, the larger number formats first

The metadata has a CRC-32 of everything else, which is compared when the file is opened. A
checksum does not stop a forger: each size and number is checked before it is used. The
package safetensors neither writes the file nor reads it: up to 0.7 it copies each array, 0.8
leaves a file that only its owner may read and does not sync it, and reading copies.
"""

import datetime
import itertools
import json
import math
import mmap
import os
import stat
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features.errors import AnyPath, SearchIndexError
from artist_features.files import remove_stale_partials, write_atomically
from artist_features.search.ranking import N_QUANTILES, Floats, artist_means, pair_quantiles
from artist_features.version import VERSION

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]

MAX_HEADER_BYTES = 1 << 20
_DTYPES = {"F64": "<f8", "I64": "<i8", "F32": "<f4", "I32": "<i4", "U8": "|u1"}
_DTYPE_NAMES = {np.dtype(text): name for name, text in _DTYPES.items()}
_FORMAT, _FORMAT_VERSION = "artist-features search index", "2"
_FIELDS = ("path", "artist", "title", "duration_s", "mtime_ns")  # of a track
_TEXTS = ("paths", "titles", "artists")
_ARRAYS = {  # name -> (dtype, number of axes)
    "vectors": (np.float32, 2),
    "artist_vectors": (np.float32, 2),
    "artist_of": (np.int32, 1),
    "durations_s": (np.float64, 1),
    "mtimes_ns": (np.int64, 1),
    "pair_quantiles": (np.float32, 1),
}


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


def write_index(path: Path, data: IndexData) -> None:
    """Write an index into one file, which appears whole or not at all.

    Raises:
        OutputError: `no_space` or `not_writable`.
    """
    arrays: Arrays = {name: getattr(data, name) for name in _ARRAYS}
    texts = {name: getattr(data, name) for name in _TEXTS}
    texts |= {f"column{n}": column for n, column in enumerate(data.columns.values())}
    for name, text in texts.items():
        arrays[f"{name}.data"], arrays[f"{name}.starts"] = text.data, text.starts
    metadata = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "made_with": json.dumps(data.made_with, sort_keys=True),
        "package_version": data.package_version,
        "created": data.created,
        "columns": json.dumps(list(data.columns)),
    }
    write_arrays(path, arrays, metadata)


def read_index(path: AnyPath) -> IndexData:
    """Map the file of an index, and check its bytes and that its parts fit together.

    Raises:
        SearchIndexError: `unavailable`, `damaged` or `incompatible`.
    """
    arrays, metadata = read_arrays(path)
    try:
        data = _assembled(arrays, metadata, path)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise damaged(f"{str(error)[:80]} is missing or wrong", path) from None
    if not _fits(data):
        raise damaged("its parts do not fit together", path)
    return data


def _assembled(arrays: Arrays, metadata: dict[str, str], path: AnyPath) -> IndexData:
    for name, (dtype, n_axes) in _ARRAYS.items():
        if name == "pair_quantiles" and name not in arrays:
            arrays[name] = pair_quantiles(arrays["vectors"])
        if name == "mtimes_ns" and name not in arrays:
            arrays[name] = np.full(len(arrays["vectors"]), -1)
        if arrays[name].dtype != dtype or arrays[name].ndim != n_axes:
            raise ValueError(name)

    def texts(name: str) -> Texts:
        return Texts(arrays[f"{name}.data"], arrays[f"{name}.starts"])

    made_with, columns = json.loads(metadata["made_with"]), json.loads(metadata["columns"])
    if not all(isinstance(name, str) for name in columns) or not all(
        isinstance(made_with[name], str) for name in ("model", "weights_sha256")
    ):
        raise ValueError("made_with")
    return IndexData(
        vectors=arrays["vectors"],
        artist_vectors=arrays["artist_vectors"],
        artist_of=arrays["artist_of"],
        durations_s=arrays["durations_s"],
        mtimes_ns=arrays["mtimes_ns"],
        paths=texts("paths"),
        titles=texts("titles"),
        artists=texts("artists"),
        columns={name: texts(f"column{n}") for n, name in enumerate(columns)},
        made_with=made_with,
        package_version=metadata["package_version"],
        created=metadata["created"],
        pair_quantiles=arrays["pair_quantiles"],
        path=path,
    )


def _fits(data: IndexData) -> bool:
    """Validate a loaded index: shapes, artist numbers in range, finite values."""
    n, dim = data.vectors.shape
    n_artists = len(data.artists)
    of_rows = [data.paths, data.titles, *data.columns.values()]
    return (
        n > 0
        and dim > 0
        and all(len(texts) == n for texts in of_rows)
        and data.artist_of.shape == data.durations_s.shape == data.mtimes_ns.shape == (n,)
        and data.artist_vectors.shape == (n_artists, dim)
        and bool(data.artist_of.min() >= -1 and data.artist_of.max() < n_artists)
        and bool(np.isfinite(data.artist_vectors).all())
        and bool(np.isfinite(data.durations_s).all())
        and data.pair_quantiles.shape == (N_QUANTILES,)
        and bool((np.diff(data.pair_quantiles) >= 0).all())
    )


def write_arrays(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write C-contiguous arrays and texts, with their checksum; see the module for the layout.

    Raises:
        OutputError: `no_space` or `not_writable`.
        ValueError: a header over 1 MiB.
    """
    arrays = dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))
    header: dict[str, Any] = {"__metadata__": {**metadata, "crc32": _crc32(arrays, metadata)}}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        dtype = _DTYPE_NAMES[array.dtype]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"header of {len(text)} bytes; allowed are {MAX_HEADER_BYTES}.")
    parts: list[Any] = [len(text).to_bytes(8, "little"), text, *arrays.values()]
    remove_stale_partials(path.parent)  # of an index of 1,000,000 rows it is 1 GB
    write_atomically(path, *(part for part in parts if memoryview(part).nbytes))


def read_arrays(path: AnyPath) -> tuple[Arrays, dict[str, str]]:
    """Map a file of `write_arrays`; the arrays are views of it and cannot be written to.

    Raises:
        SearchIndexError: `unavailable`, `damaged`, or `incompatible`: of another version.
    """
    mapped = _mapped(path)
    length = int.from_bytes(mapped[:8], "little")
    if len(mapped) < 8 or length > min(MAX_HEADER_BYTES, len(mapped) - 8):
        raise damaged("it ends within its header, or has none", path)
    try:
        header = json.loads(mapped[8 : 8 + length])
        metadata = header.pop("__metadata__")
        if not all(isinstance(item, str) for pair in metadata.items() for item in pair):
            raise ValueError("metadata that is no text")
        if metadata["format"] != _FORMAT:
            raise ValueError("another format")
        if metadata["format_version"] != _FORMAT_VERSION:
            text = f"is of index format {metadata['format_version'][:10]!r}; this version reads "
            text += f"{_FORMAT_VERSION!r}. Build it again: artist-features index build."
            raise SearchIndexError("incompatible", text, path)
        arrays = _views(header, mapped, 8 + length)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(f"its header makes no sense: {str(error)[:80]!r}", path) from None
    if metadata.pop("crc32", "") != _crc32(arrays, metadata):
        raise damaged("its checksum does not fit", path)
    return arrays, metadata


def _views(header: dict[str, Any], mapped: mmap.mmap, start: int) -> Arrays:
    """Return the arrays of a header, or raise for one that leads out of the mapped bytes."""
    arrays: Arrays = {}
    place = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        shape, dtype = entry["shape"], np.dtype(_DTYPES[entry["dtype"]])
        if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
            raise ValueError("a size that is no count")
        n_items = math.prod(shape)
        if len(shape) > 2 or begin != place or end - begin != n_items * dtype.itemsize:
            raise ValueError("sizes that do not fit together")
        if start + end > len(mapped):
            raise ValueError("it ends too early")
        arrays[name] = np.frombuffer(mapped, dtype, n_items, start + begin).reshape(shape)
        place = end
    if start + place != len(mapped):
        raise ValueError("more bytes than arrays")
    return arrays


def _crc32(arrays: Arrays, metadata: Mapping[str, str]) -> str:
    """Return a checksum of names, dtypes, shapes, numbers and metadata, 8 hexadecimal digits."""
    crc = zlib.crc32(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        crc = zlib.crc32(json.dumps([name, array.dtype.str, array.shape]).encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def damaged(what: str, path: AnyPath | None) -> SearchIndexError:
    """Return the error `damaged`, which names the command that builds the file again."""
    text = f"is no search index, or damaged ({what}); build it again: artist-features index build."
    return SearchIndexError("damaged", text, path)


def _mapped(path: AnyPath) -> mmap.mmap:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a named pipe would be waited for
            text = "is not a regular file; name an index that `index build` wrote."
            raise SearchIndexError("unavailable", text, path)
        if not status.st_size:
            raise damaged("0 bytes", path)
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        text = f"cannot be read ({error.strerror}); check its path and mode."
        raise SearchIndexError("unavailable", text, path) from None
