"""Folder of Parquet shards with a journal, which many runs may fill one after another.

A finished row goes into the journal at once, and with 2,000 others into a shard, which
appears whole or not at all. Whatever ends a run, the next one puts the journal's rows into a
shard and goes on; nothing finished is lost or made twice. Readers of `*.parquet` see only
whole shards, while a run goes on too.

A record of the journal is its length, a checksum, the row as JSON, and its numbers; the first one
holds what the rows were made with. A process that is killed leaves at most one record half
written, at the end: reading stops there. Records reach the system at once, and the disk once a
second, so that a power loss costs a second.
"""

import contextlib
import json
import logging
import os
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from artist_features.errors import OutputError, display_path
from artist_features.files import acquire_lock, output_error, write_atomically
from artist_features.library import tables
from artist_features.library.inputs import NamedPaths
from artist_features.library.tables import Row, check_same

SHARD_ROWS = 2000  # recordings
SHARD_LINES = 8000  # of the table, where the segments of a recording have a line each
LOCK_FILE, JOURNAL_FILE = ".lock", ".journal"  # hidden: pandas and datasets pass over them
_NAME = re.compile(r"part-([0-9]{5,})\.parquet")
_HEAD = struct.Struct("<4sIII")  # mark, bytes of JSON, bytes of numbers, checksum
_HEAD_MARK, _MARK = b"AFj1", b"AFr1"
_SYNC_EVERY_S = 1.0
_LARGEST = 1 << 30  # bytes; longer is no record of ours
_logger = logging.getLogger(__name__)


class ShardFolder:
    """Output of a job in shards, see `Output`; one writer at a time.

    A shard that is damaged is moved aside, so that its recordings are read again.

    Args:
        path: of the folder, which exists.
        named: table to which the rows are added that are there.
        dim: length of an embedding.
        made_with: JSON of what decides the numbers; rows made otherwise are refused.

    Raises:
        OutputError: `locked`, `mismatch`, `not_writable`, `no_space`.
    """

    keeps_failed = True

    def __init__(self, path: Path, named: NamedPaths, dim: int, made_with: str) -> None:
        tables.require_pyarrow()
        self._path, self._dim, self._made_with = path, dim, made_with
        self._lock = acquire_lock(path / LOCK_FILE, path)
        self._journal: Journal | None = None
        self._rows: list[Row] = []
        self._n_lines = self._number = 0
        try:
            self._recover(named)
        except BaseException:
            self._release(remove=False)
            raise

    def _recover(self, named: NamedPaths) -> None:
        """Recover the state of interrupted runs: shards and journal."""
        for partial in self._path.glob(".partial-*"):
            if partial.is_file():
                partial.unlink(missing_ok=True)
        damaged = []
        for number, shard in self._shards():
            self._number = max(self._number, number + 1)
            try:
                rows, _ = tables.read_table(
                    shard, tables.from_parquet, self._made_with, with_embeddings=False
                )
            except OutputError as error:
                if error.code != "damaged":
                    raise
                damaged.append(shard)
                continue
            named.hold(rows, number)
        self._journal = Journal(self._path / JOURNAL_FILE, self._made_with)
        for shard in damaged:
            self._set_aside(shard)
        for row in self._journal.recovered:
            held = named.held(row.path)
            # killed between a shard's writing and the journal's clearing: it is in both
            if held is None or held[1] != (row.size_bytes, row.mtime_ns):
                self._rows.append(row)
        named.hold(self._rows, self._number)
        self._flush()

    def _shards(self) -> Iterator[tuple[int, Path]]:
        """Yield (number, path) of the files that have the name of a shard, in their order."""
        for shard in sorted(self._path.glob("part-*.parquet")):
            if (name := _NAME.fullmatch(shard.name)) and shard.is_file():
                yield int(name[1]), shard

    def _set_aside(self, shard: Path) -> None:
        aside = shard.with_name(f".{shard.stem}.damaged")
        try:
            os.replace(shard, aside)
        except OSError as error:
            raise output_error(error, shard) from None
        name = display_path(aside)
        _logger.warning("%s: damaged, moved aside; its files are read again", name)

    def drop(self, parts: Iterable[int], is_stale: Callable[[str], bool]) -> None:
        """Take rows that are to be made anew out of their shards, see `Output`."""
        for number in parts:
            shard = self._shard(number)
            data = tables.without_rows(shard, is_stale)
            if data is not None:
                write_atomically(shard, data)
            else:
                shard.unlink()

    def write(self, list_index: int, row: Row) -> None:
        """Keep a row, and write a shard if there are enough; `list_index` does not matter."""
        if self._journal is None:
            raise ValueError("the folder is closed")
        self._journal.append(row)
        self._rows.append(row)
        self._n_lines += max(1, len(row.starts_s))
        if len(self._rows) >= SHARD_ROWS or self._n_lines >= SHARD_LINES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            data = tables.to_parquet(self._rows, self._dim, self._made_with)
            write_atomically(self._shard(self._number), data)
            self._number += 1
            self._rows, self._n_lines = [], 0
        if self._journal:
            self._journal.clear()

    def _shard(self, number: int) -> Path:
        return self._path / f"part-{number:05d}.parquet"

    def close(self, *, complete: bool = True) -> None:
        """Write the rows that are left into a shard, see `Output`."""
        try:
            if complete:
                self._flush()
        finally:
            self._release(remove=not self._rows)

    def _release(self, *, remove: bool) -> None:
        """Close the journal, remove it where nothing is left in it, and free the lock."""
        if self._journal:
            self._journal.close(remove=remove)
            self._journal = None
        self._lock.release()


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
