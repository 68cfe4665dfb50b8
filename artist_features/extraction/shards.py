"""A folder of results that many runs may fill: Parquet shards and a journal.

A finished row goes into the journal at once, and with 2,000 others into a shard, which
appears whole or not at all. Whatever ends a run, the next one puts the journal's rows into a
shard and goes on; nothing finished is lost or made twice. Readers of `*.parquet` see only
whole shards, while a run goes on too.
"""

import os
import re

from artist_features.errors import OutputError
from artist_features.extraction import tables
from artist_features.extraction.journal import Journal
from artist_features.extraction.ledger import Ledger
from artist_features.files import acquire_lock, output_error, write_atomically

SHARD_ROWS = 2000  # recordings
SHARD_LINES = 8000  # of the table, where the segments of a recording have a line each
LOCK_FILE, JOURNAL_FILE = ".lock", ".journal"  # hidden: pandas and datasets pass over them
_DAMAGED = ".damaged"
_NAME = re.compile(r"part-([0-9]{5,})\.parquet")


class ShardFolder:
    """Shards of one kind of rows; one writer at a time.

    Args:
        path: `Path` of the folder, which exists.
        dim: length of an embedding.
        made_with: JSON of what decides the numbers; rows made otherwise are refused.
        check_same: function of (theirs, path) that refuses those.

    Attributes:
        keeps_failed: failed rows stay, until they are marked as stale.
        damaged: list of paths of shards that could not be read; moved aside, so that
            their recordings are read again.

    Raises:
        OutputError: `locked`, `mismatch`, `not_writable`, `no_space`.
    """

    keeps_failed = True

    def __init__(self, path, dim, made_with, check_same):
        tables.require_pyarrow()
        self._path, self._dim, self._made_with = path, dim, made_with
        self._lock = acquire_lock(path / LOCK_FILE, path)
        self._rows, self._n_lines, self._journal, self._ledger = [], 0, None, Ledger()
        try:
            self._recover(check_same)
        except BaseException:
            if self._journal:
                self._journal.close(remove=False)
            self._ledger.close()
            self._lock.release()
            raise

    def _recover(self, check_same):
        """Read what earlier runs left, and mend what they left half done."""
        for partial in self._path.glob(".partial-*"):
            if partial.is_file():
                partial.unlink(missing_ok=True)
        self._number, damaged = 0, []
        for number, shard in self._shards():
            self._number = max(self._number, number + 1)
            try:
                rows, theirs = _read(shard, with_embeddings=False)
            except OutputError as error:
                if error.code != "damaged":
                    raise
                damaged.append(shard)
                continue
            check_same(theirs, shard)
            self._ledger.add(rows, number)
        self._journal = Journal(self._path / JOURNAL_FILE, self._made_with, check_same)
        self.damaged = [self._set_aside(shard) for shard in damaged]
        for row in self._journal.recovered:
            held = self._ledger.find(row.path)
            # killed between a shard's writing and the journal's clearing: it is in both
            if held is None or held[1] != (row.size_bytes, row.mtime_ns):
                self._rows.append(row)
        self._ledger.add(self._rows, self._number)
        self._flush()

    def _shards(self):
        """Yield (number, path) of the files that have the name of a shard, in their order."""
        for shard in sorted(self._path.glob("part-*.parquet")):
            if (name := _NAME.fullmatch(shard.name)) and shard.is_file():
                yield int(name[1]), shard

    def _set_aside(self, shard):
        aside = shard.with_name(f".{shard.stem}{_DAMAGED}")
        try:
            os.replace(shard, aside)
        except OSError as error:
            raise output_error(error, shard) from None
        return aside

    def begin_walk(self):
        """Begin to walk over the files, once more."""
        self._ledger.begin_walk()

    def is_repeated(self, path):
        """Tell whether a path was named before in this walk: it has one row all the same."""
        return self._ledger.is_repeated(path)

    def find(self, path):
        """Return (status, (size, mtime)) of a path's row, or None."""
        return self._ledger.find(path)

    def mark_stale(self, path):
        """Mark a path's row as to be made again."""
        self._ledger.mark_stale(path)

    def failed_and_not_named(self):
        """Return paths that could not be looked at, and that this walk does not name."""
        return self._ledger.failed_and_not_named()

    def drop_stale(self):
        """Take the rows that are to be made again out of their shards."""
        for number in self._ledger.stale_shards():
            shard = self._shard(number)
            data = tables.without_rows(shard, self._ledger.is_stale)
            if data is not None:
                write_atomically(shard, data)
            else:
                shard.unlink()
        self._ledger.forget_stale()

    def write(self, index, row):
        """Keep a row, and write a shard if there are enough."""
        self._journal.append(row)
        self._rows.append(row)
        self._n_lines += max(1, len(row.starts_s))
        if len(self._rows) >= SHARD_ROWS or self._n_lines >= SHARD_LINES:
            self._flush()

    def _flush(self):
        if self._rows:
            data = tables.to_parquet(self._rows, self._dim, self._made_with)
            write_atomically(self._shard(self._number), data)
            self._number += 1
            self._rows, self._n_lines = [], 0
        self._journal.clear()

    def _shard(self, number):
        return self._path / f"part-{number:05d}.parquet"

    def close(self, *, complete=True):
        """Write the rows that are left; others may write here afterwards.

        Args:
            complete: False where the job did not come to its rows; all is kept as it is.
        """
        try:
            if complete:
                self._flush()
        finally:
            self._journal.close(remove=not self._rows)
            self._ledger.close()
            self._lock.release()


def _read(shard, **options):
    return tables.read_table(shard, tables.from_parquet, **options)
