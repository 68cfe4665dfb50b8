"""Folder of Parquet shards with a journal, which many runs may fill one after another.

A finished row goes into the journal at once, and with 2,000 others into a shard, which
appears whole or not at all. Whatever ends a run, the next one puts the journal's rows into a
shard and goes on; nothing finished is lost or made twice. Readers of `*.parquet` see only
whole shards, while a run goes on too.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from artist_features.errors import OutputError, display_path
from artist_features.files import acquire_lock, output_error, write_atomically
from artist_features.library import tables
from artist_features.library.inputs import NamedPaths
from artist_features.library.journal import Journal
from artist_features.library.tables import Row

SHARD_ROWS = 2000  # recordings
SHARD_LINES = 8000  # of the table, where the segments of a recording have a line each
LOCK_FILE, JOURNAL_FILE = ".lock", ".journal"  # hidden: pandas and datasets pass over them
_NAME = re.compile(r"part-([0-9]{5,})\.parquet")
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
                rows, stored = tables.read_table(shard, tables.from_parquet, with_embeddings=False)
            except OutputError as error:
                if error.code != "damaged":
                    raise
                damaged.append(shard)
                continue
            tables.check_same(stored, self._made_with, shard)
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
