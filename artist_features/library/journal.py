"""Append-only journal of finished rows, before there are enough of them for a shard.

A record is its length, a checksum, the row as JSON, and its numbers; the first one holds what
the rows were made with. A process that is killed leaves at most one record half written, at the
end: reading stops there. Records reach the system at once, and the disk once a second, so that a
power loss costs a second.
"""

import contextlib
import json
import os
import struct
import time
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from artist_features.errors import OutputError
from artist_features.files import output_error
from artist_features.library.tables import Row, check_same

_HEAD = struct.Struct("<4sIII")  # mark, bytes of JSON, bytes of numbers, checksum
_HEAD_MARK, _MARK = b"AFj1", b"AFr1"
_SYNC_EVERY_S = 1.0
_LARGEST = 1 << 30  # bytes; longer is no record of ours


class Journal:
    """Append rows to a file; start with those that an earlier process left.

    Args:
        made_with: JSON of what decides the numbers; rows made otherwise are refused.

    Attributes:
        recovered: list of `Row` that the file held, in their order.

    Raises:
        OutputError: `not_writable`, `no_space`, or `mismatch`; the file is as it was.
    """

    def __init__(self, path: Path, made_with: str) -> None:
        self._path, self._head = path, _record(_HEAD_MARK, {"made_with": made_with})
        self._synced = time.monotonic()
        try:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - open as long as this
        except OSError as error:
            raise output_error(error, path) from None
        try:
            self.recovered, self._end = _read(self._file, path, made_with)
            self._file.truncate(self._end)
        except OSError as error:
            self._file.close()
            raise output_error(error, path) from None
        except OutputError:
            self._file.close()
            raise

    def append(self, row: Row) -> None:
        """Write a row; it survives the end of this process.

        Raises:
            OutputError: `no_space` or `not_writable`; the rows before it stay readable.
        """
        facts = {name: value for name, value in vars(row).items() if name != "embedding"}
        facts["shape"] = None if row.embedding is None else row.embedding.shape
        numbers = b"" if row.embedding is None else row.embedding.astype("<f4").tobytes()
        record = _record(_MARK, facts, numbers)
        if not self._end:
            record = self._head + record
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

    def clear(self) -> None:
        """Forget all rows: they are in a shard now."""
        try:
            self._file.truncate(0)
        except OSError as error:
            raise output_error(error, self._path) from None
        self._end = 0

    def close(self, *, remove: bool) -> None:
        """Close the file; `remove` it where nothing is left in it."""
        self._file.close()
        if remove:
            self._path.unlink(missing_ok=True)


def _record(mark: bytes, facts: dict[str, Any], numbers: bytes = b"") -> bytes:
    text = json.dumps(facts).encode("ascii")
    checksum = zlib.crc32(numbers, zlib.crc32(text))
    return _HEAD.pack(mark, len(text), len(numbers), checksum) + text + numbers


def _read(file: Any, path: Path, made_with: str) -> tuple[list[Row], int]:
    """Return (rows, where the last whole record ends)."""
    file.seek(0)
    with open(os.dup(file.fileno()), "rb") as reader:
        begin = reader.read(len(_HEAD_MARK))
        if begin and not _HEAD_MARK.startswith(begin):
            raise OutputError("mismatch", "is no journal of this program; move it away.", path)
        reader.seek(0)
        head = _next(reader, _HEAD_MARK)
        if head is None:
            return [], 0
        # before the rows, which another version may have written otherwise
        check_same(json.loads(head[0])["made_with"], made_with, path)
        rows, end = [], reader.tell()
        while (found := _next(reader, _MARK)) is not None:
            rows.append(_decode(*found))
            end = reader.tell()
        return rows, end


def _next(reader: BinaryIO, wanted: bytes) -> tuple[bytes, bytes] | None:
    """Return (JSON, numbers) of the next record, or None if it is not whole."""
    head = reader.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    mark, n_text, n_numbers, checksum = _HEAD.unpack(head)
    if mark != wanted or max(n_text, n_numbers) > _LARGEST:
        return None
    text, numbers = reader.read(n_text), reader.read(n_numbers)
    if len(text) + len(numbers) < n_text + n_numbers:
        return None
    return (text, numbers) if zlib.crc32(numbers, zlib.crc32(text)) == checksum else None


def _decode(text: bytes, numbers: bytes) -> Row:
    facts = json.loads(text)
    shape = facts.pop("shape")
    embedding = None
    if shape is not None:
        embedding = np.frombuffer(numbers, "<f4").astype(np.float32).reshape(shape)
    return Row(embedding=embedding, **facts)
