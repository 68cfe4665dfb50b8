"""One file of named arrays: mapped into memory, checked where it is touched, never trusted.

The layout is that of safetensors (a JSON header, then bare numbers), so that other programs
can open the file. That package copies what it reads and has no checksums; here an array is
a view of the mapped file, and a CRC-32 for each MiB is compared when the MiB is first read.

    8 bytes      length of the header, little-endian
    header       JSON: dtype, shape and place of each array; metadata, texts only
    arrays       without gaps, the larger number formats first
      ...          of which `crc32`: of each MiB of each array, in the order of their names
      ...          of which `sha256`: of header and `crc32`, 32 bytes
"""

import hashlib
import json
import math
import mmap
import os
import stat
import zlib

import numpy as np

from artist_features.errors import SearchIndexError
from artist_features.files import write_parts_atomically

BLOCK_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 20
_DTYPES = {"F64": "<f8", "I64": "<i8", "F32": "<f4", "I32": "<i4", "U32": "<u4", "U8": "|u1"}
_NAMES = {np.dtype(text): name for name, text in _DTYPES.items()}
_CRC, _SHA = "crc32", "sha256"  # of the arrays; and of header and crc32


class StoredArray:
    """An array in memory or in a mapped file, whose bytes are checked when first read.

    Args:
        array: ndarray `(n, ...)`, C-contiguous.
        crcs: uint32, one for each MiB; None where there is nothing to check.
        path: of the file, for messages.
    """

    def __init__(self, array, crcs=None, path=None):
        self._array, self._crcs, self._path = array, crcs, path
        self._checked = np.zeros(0 if crcs is None else len(crcs), bool)
        self._bytes = array.reshape(-1).view(np.uint8)
        self._row_bytes = array.itemsize * math.prod(array.shape[1:])
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self):
        return len(self._array)

    def rows(self, start, stop):
        """Return rows start to stop, a view that must not be written to.

        Raises:
            SearchIndexError: `damaged`: their bytes are not those that were written.
        """
        if self._crcs is not None and stop > start and self._row_bytes:
            first = start * self._row_bytes // BLOCK_BYTES
            last = (stop * self._row_bytes - 1) // BLOCK_BYTES
            self._check(np.flatnonzero(~self._checked[first : last + 1]) + first)
        return self._array[start:stop]

    def at(self, positions):
        """Return a copy of the rows at positions, int64 `(m,)`; errors as of `rows`."""
        if self._crcs is not None and len(positions) and self._row_bytes:
            first = positions * self._row_bytes // BLOCK_BYTES
            per_row = self._row_bytes // BLOCK_BYTES + 2  # blocks that a row may touch
            blocks = np.unique(first[:, None] + np.arange(per_row))
            blocks = blocks[blocks < len(self._checked)]
            self._check(blocks[~self._checked[blocks]])
        return self._array[positions]

    def _check(self, blocks):
        for block in blocks:
            place = slice(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
            if zlib.crc32(self._bytes[place]) != self._crcs[block]:
                raise damaged("its checksum does not fit", self._path)
            self._checked[block] = True

    def all(self):
        """Return the whole array, checked."""
        return self.rows(0, len(self))

    def crcs(self):
        """Return the CRC-32 of each MiB, a list."""
        starts = range(0, len(self._bytes), BLOCK_BYTES)
        return [zlib.crc32(self._bytes[start : start + BLOCK_BYTES]) for start in starts]


def write_arrays(path, arrays, metadata):
    """Write arrays into one file, which appears whole or not at all.

    Args:
        path: `Path` of the file.
        arrays: {name: `StoredArray`}.
        metadata: {name: text}.

    Raises:
        OutputError: `no_space` or `not_writable`.
        ValueError: a header over 1 MiB.
    """
    whole = {name: np.ascontiguousarray(stored.all()) for name, stored in sorted(arrays.items())}
    crcs = [crc for array in whole.values() for crc in StoredArray(array).crcs()]
    whole[_CRC] = np.array(crcs, "<u4")
    whole[_SHA] = np.zeros(32, np.uint8)
    names = sorted(whole, key=lambda name: (-whole[name].itemsize, name))
    header, place = {"__metadata__": metadata}, 0
    for name in names:
        array = whole[name]
        end = place + array.nbytes
        dtype = _NAMES[array.dtype]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"header of {len(text)} bytes; allowed are {MAX_HEADER_BYTES}.")
    digest = hashlib.sha256(text + whole[_CRC].tobytes()).digest()
    whole[_SHA] = np.frombuffer(digest, np.uint8)
    parts = [len(text).to_bytes(8, "little"), text, *(whole[name] for name in names)]
    write_parts_atomically(path, [part for part in parts if memoryview(part).nbytes])


def read_arrays(path):
    """Map a file written by `write_arrays`; of the arrays, nothing is read yet.

    Args:
        path: of the file.

    Returns:
        ({name: `StoredArray`}, {name: text}).

    Raises:
        SearchIndexError: `unavailable` or `damaged`.
    """
    mapped = _map(path)
    n_bytes = len(mapped)
    length = int.from_bytes(mapped[:8], "little")
    if n_bytes < 8 or length > min(MAX_HEADER_BYTES, n_bytes - 8):
        raise damaged("it ends within its header, or has none", path)
    text = mapped[8 : 8 + length]
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__")
        views, place = {}, 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            shape, dtype = entry["shape"], np.dtype(_DTYPES[entry["dtype"]])
            if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
                raise ValueError("a size that is no count")
            n_items = math.prod(shape)
            if len(shape) > 2 or begin != place or end - begin != n_items * dtype.itemsize:
                raise ValueError("sizes that do not fit together")
            if 8 + length + end > n_bytes:
                raise ValueError("it ends too early")
            flat = np.frombuffer(mapped, dtype, n_items, 8 + length + begin)
            views[name] = flat.reshape(shape)
            place = end
        if 8 + length + place != n_bytes:
            raise ValueError("more bytes than arrays")
        if not all(isinstance(item, str) for pair in metadata.items() for item in pair):
            raise ValueError("metadata that is no text")
        crcs, digest = views.pop(_CRC), views.pop(_SHA)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(f"its header makes no sense: {str(error)[:80]!r}", path) from None
    if hashlib.sha256(text + crcs.tobytes()).digest() != digest.tobytes():
        raise damaged("the checksum of its header does not fit", path)
    counts = {name: -(-views[name].nbytes // BLOCK_BYTES) for name in sorted(views)}
    if crcs.shape != (sum(counts.values()),) or crcs.dtype != np.uint32:
        raise damaged("checksums are missing", path)
    arrays, first = {}, 0
    for name, count in counts.items():
        arrays[name] = StoredArray(views[name], crcs[first : first + count], path)
        first += count
    return arrays, metadata


def damaged(what, path):
    """Return the error for a file that is not what was written."""
    text = f"is no search index, or damaged ({what}); build it again: artist-features index build."
    return SearchIndexError("damaged", text, path)


def _map(path):
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
