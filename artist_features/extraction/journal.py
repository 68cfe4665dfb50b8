"""Finished rows, one after another in a file, before there are enough of them for a shard.

A record is its length, a checksum, the row as JSON, and its numbers. A process that is killed
leaves at most one record half written, at the end: reading stops there. Records reach the
system at once, and the disk once a second, so that a power loss costs a second.
"""

import contextlib
import json
import os
import struct
import time
import zlib

import numpy as np

from artist_features.extraction.tables import Row
from artist_features.files import output_error

_HEAD = struct.Struct("<4sIII")  # mark, bytes of JSON, bytes of numbers, checksum
_MARK = b"AFr1"
_SYNC_EVERY_S = 1.0
_LARGEST = 1 << 30  # bytes; longer is no record of ours


class Journal:
    """Append rows to a file; start with those that an earlier process left.

    Args:
        path: `Path` of the file.

    Attributes:
        recovered: list of `Row` that the file held, in their order.

    Raises:
        OutputError: `not_writable` or `no_space`.
    """

    def __init__(self, path):
        self._path = path
        self._synced = time.monotonic()
        try:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - open as long as this
            self.recovered, self._end = _read(self._file)
            self._file.truncate(self._end)
        except OSError as error:
            raise output_error(error, path) from None

    def append(self, row):
        """Write a row; it survives the end of this process.

        Raises:
            OutputError: `no_space` or `not_writable`; the rows before it stay readable.
        """
        record = _encode(row)
        try:
            view = memoryview(record)
            while view:
                view = view[self._file.write(view) :]
            self._end += len(record)
            if time.monotonic() - self._synced > _SYNC_EVERY_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)  # half a record would hide all that follow
            raise output_error(error, self._path, len(record)) from None

    def clear(self):
        """Forget all rows: they are in a shard now."""
        try:
            self._file.truncate(0)
        except OSError as error:
            raise output_error(error, self._path) from None
        self._end = 0

    def close(self, *, remove):
        """Close the file; `remove` it where nothing is left in it."""
        self._file.close()
        if remove:
            self._path.unlink(missing_ok=True)


def _encode(row):
    facts = {name: value for name, value in vars(row).items() if name != "embedding"}
    facts["shape"] = None if row.embedding is None else row.embedding.shape
    text = json.dumps(facts).encode("ascii")
    numbers = b"" if row.embedding is None else row.embedding.astype("<f4").tobytes()
    checksum = zlib.crc32(numbers, zlib.crc32(text))
    return _HEAD.pack(_MARK, len(text), len(numbers), checksum) + text + numbers


def _read(file):
    """Return (rows, where the last whole record ends)."""
    rows, end = [], 0
    file.seek(0)
    with open(os.dup(file.fileno()), "rb") as reader:
        while True:
            head = reader.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return rows, end
            mark, n_text, n_numbers, checksum = _HEAD.unpack(head)
            if mark != _MARK or max(n_text, n_numbers) > _LARGEST:
                return rows, end
            text, numbers = reader.read(n_text), reader.read(n_numbers)
            if len(text) + len(numbers) < n_text + n_numbers:
                return rows, end
            if zlib.crc32(numbers, zlib.crc32(text)) != checksum:
                return rows, end
            rows.append(_decode(text, numbers))
            end += len(head) + n_text + n_numbers


def _decode(text, numbers):
    facts = json.loads(text)
    shape = facts.pop("shape")
    embedding = None
    if shape is not None:
        embedding = np.frombuffer(numbers, "<f4").astype(np.float32).reshape(shape)
    return Row(embedding=embedding, **facts)
