"""What an output already holds: a table on disk, so that memory does not grow with it."""

import os
import sqlite3
import tempfile

from artist_features.errors import OutputError

_TABLE = """
CREATE TABLE held (
    path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, status TEXT, shard INTEGER,
    stale INTEGER DEFAULT 0
) WITHOUT ROWID
"""

_NAMED = "CREATE TABLE named (path BLOB PRIMARY KEY) WITHOUT ROWID"


class Ledger:
    """Paths that have a row, with the file's size and time when it was read.

    Lives in a private temporary file, which disappears with the process: it is built anew
    from the shards at each start, and so never disagrees with them.
    """

    def __init__(self):
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._run("PRAGMA journal_mode = OFF")
        self._run("PRAGMA synchronous = OFF")
        self._run(_TABLE)
        self._run(_NAMED)

    def add(self, rows, shard):
        """Note rows of a shard, given by its number; a later row of a path replaces it."""
        values = [
            (os.fsencode(row.path), row.size_bytes, row.mtime_ns, row.status, shard) for row in rows
        ]
        insert = "INSERT OR REPLACE INTO held (path, size, mtime, status, shard) "
        for row in values:
            self._run(f"{insert} VALUES (?, ?, ?, ?, ?)", row)

    def find(self, path):
        """Return (status, (size, mtime)) of a path's row, or None."""
        query = "SELECT status, size, mtime FROM held WHERE path = ? AND NOT stale"
        found = self._run(query, [os.fsencode(path)]).fetchone()
        return found and (found[0], (found[1], found[2]))

    def mark_stale(self, path):
        """Mark a path's row as to be made again."""
        self._run("UPDATE held SET stale = 1 WHERE path = ?", [os.fsencode(path)])

    def stale_shards(self):
        """Return the numbers of the shards that hold stale rows."""
        query = "SELECT DISTINCT shard FROM held WHERE stale ORDER BY shard"
        return [number for (number,) in self._run(query)]

    def is_stale(self, path):
        """Tell whether a path's row is to be made again."""
        query = "SELECT stale FROM held WHERE path = ?"
        found = self._run(query, [os.fsencode(path)]).fetchone()
        return bool(found and found[0])

    def forget_stale(self):
        """Forget the stale rows; they are out of the shards."""
        self._run("DELETE FROM held WHERE stale")

    def failed_and_not_named(self):
        """Return the paths without a size whose rows are there, and that no walk names now."""
        query = "SELECT path FROM held WHERE NOT stale AND size < 0 AND path NOT IN "
        return [os.fsdecode(path) for (path,) in self._run(f"{query} (SELECT path FROM named)")]

    def begin_walk(self):
        """Forget which paths were named."""
        self._run("DELETE FROM named")

    def is_repeated(self, path):
        """Tell whether a path was named before in this walk, and note that it is now."""
        insert = "INSERT OR IGNORE INTO named VALUES (?)"
        return self._run(insert, [os.fsencode(path)]).rowcount == 0

    def _run(self, statement, values=()):
        try:
            return self._table.execute(statement, values)
        except sqlite3.Error as error:
            text = f"no room for a temporary table ({error}); make some, or set SQLITE_TMPDIR."
            raise OutputError("no_space", text, tempfile.gettempdir()) from None

    def close(self):
        """Free the table."""
        self._table.close()
