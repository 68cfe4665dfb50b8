"""The file of a search index: memory-mapped arrays and texts with a checksum.

The layout is that of safetensors, so that other programs can open the file:

    8 bytes      length of the header, little-endian
    header       JSON: dtype, shape and place of each array; metadata, texts only
    arrays       without gaps, the larger number formats first

The metadata has a CRC-32 of everything else, which is compared when the file is opened. A
checksum does not stop a forger: each size and number is checked before it is used. The
package safetensors neither writes the file nor reads it: up to 0.7 it copies each array, 0.8
leaves a file that only its owner may read and does not sync it, and reading copies.
"""

import json
import math
import mmap
import os
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features.errors import AnyPath, SearchIndexError
from artist_features.files import remove_stale_partials, write_atomically
from artist_features.search.ranking import N_QUANTILES, pair_quantiles
from artist_features.search.tracks import IndexData, Texts

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]

MAX_HEADER_BYTES = 1 << 20
_DTYPES = {"F64": "<f8", "I64": "<i8", "F32": "<f4", "I32": "<i4", "U8": "|u1"}
_DTYPE_NAMES = {np.dtype(text): name for name, text in _DTYPES.items()}
_FORMAT, _FORMAT_VERSION = "artist-features search index", "2"
_TEXTS = ("paths", "titles", "artists")
_ARRAYS = {  # name -> (dtype, number of axes)
    "vectors": (np.float32, 2),
    "artist_vectors": (np.float32, 2),
    "artist_of": (np.int32, 1),
    "durations_s": (np.float64, 1),
    "mtimes_ns": (np.int64, 1),
    "pair_quantiles": (np.float32, 1),
}


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

    fields: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
    fields |= {name: texts(name) for name in _TEXTS}
    made_with, columns = json.loads(metadata["made_with"]), json.loads(metadata["columns"])
    if not all(isinstance(name, str) for name in columns) or not all(
        isinstance(made_with[name], str) for name in ("model", "weights_sha256")
    ):
        raise ValueError("made_with")
    return IndexData(
        **fields,
        columns={name: texts(f"column{n}") for n, name in enumerate(columns)},
        made_with=made_with,
        package_version=metadata["package_version"],
        created=metadata["created"],
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
