"""Where results go: one `.npz` or `.parquet`, or a folder of Parquet shards.

A file appears whole or not at all: it is written under another name in the same
folder, forced to disk, then renamed. Every output can be continued: rows that it holds
are not made again, rows made with another model or other options are refused.
"""

import json
import os
from pathlib import Path

from artist_features.errors import OutputError
from artist_features.extraction import tables
from artist_features.files import write_atomically

SHARD_ROWS = 2000


def open_output(path, *, dim, made_with, force=False):
    """Check a place for results and return its writer, before anything is decoded.

    Args:
        path: ending `.npz` or `.parquet`, or a folder, each new or of an earlier run.
        dim: length of an embedding.
        made_with: dict of what decides the numbers (weights_sha256, options).
        force: start an existing file anew; a folder is never emptied.

    Returns:
        An object with `done` ({path: status} of rows that stay), `write(index, row)`
        and `close()`.

    Raises:
        OutputError: `not_writable`, `mismatch` or `damaged`.
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    made_with = json.dumps(made_with, sort_keys=True)
    if suffix in (".npz", ".parquet"):
        if path.is_dir():
            raise OutputError("not_writable", "is a folder; name a file.", path)
        _check_folder(path.parent)
        return _TableFile(path, dim, made_with, continued=path.exists() and not force)
    if path.exists() and not path.is_dir():
        raise OutputError(
            "not_writable", "is a file; allowed are .npz, .parquet, or a folder.", path
        )
    if suffix and not path.is_dir():
        raise OutputError(
            "not_writable",
            f"ending {suffix!r}; allowed are .npz, .parquet, or a folder without an ending.",
            path,
        )
    if not path.exists():
        _check_folder(path.parent)
        path.mkdir()
    _check_folder(path)
    return _ShardFolder(path, dim, made_with)


class _TableFile:
    """Collect rows, then write one file: earlier rows, then in the order of arguments."""

    def __init__(self, path, dim, made_with, continued):
        self._path, self._dim, self._made_with = path, dim, made_with
        if path.suffix.lower() == ".npz":
            self._encode, decode = tables.to_npz, tables.from_npz
        else:
            tables.require_pyarrow()
            self._encode, decode = tables.to_parquet, tables.from_parquet
        self._rows = {}
        if continued:
            rows, theirs = tables.read_table(path, decode)
            _check_same(theirs, made_with, path)
            kept = [row for row in rows if not row.failed]  # the others are tried again
            self._rows = dict(enumerate(kept, start=-len(kept)))
        self.done = {row.path: row.status for row in self._rows.values()}

    def write(self, index, row):
        """Keep the row of argument number `index`."""
        self._rows[index] = row

    def close(self):
        """Write the file."""
        rows = [self._rows[index] for index in sorted(self._rows)]
        write_atomically(self._path, self._encode(rows, self._dim, self._made_with))


class _ShardFolder:
    """Write a Parquet shard every `SHARD_ROWS` rows; failed rows are not tried again."""

    def __init__(self, path, dim, made_with):
        tables.require_pyarrow()
        self._path, self._dim, self._made_with = path, dim, made_with
        self._rows, self._number, self.done = [], 0, {}
        for shard in sorted(path.glob("part-[0-9][0-9][0-9][0-9][0-9]*.parquet")):
            rows, theirs = tables.read_table(shard, tables.from_parquet, with_embeddings=False)
            _check_same(theirs, made_with, shard)
            self.done |= {row.path: row.status for row in rows}
            self._number = int(shard.stem.removeprefix("part-")) + 1

    def write(self, index, row):
        """Keep the row, and write a shard if there are enough."""
        self._rows.append(row)
        if len(self._rows) >= SHARD_ROWS:
            self.close()

    def close(self):
        """Write the rows that are left, if any."""
        if self._rows:
            data = tables.to_parquet(self._rows, self._dim, self._made_with)
            write_atomically(self._path / f"part-{self._number:05d}.parquet", data)
            self._number += 1
            self._rows = []


def _check_folder(folder):
    probe = folder / f".probe-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        text = f"folder cannot be written to ({error.strerror}); make it or choose another."
        raise OutputError("not_writable", text, folder) from None


def _check_same(theirs, ours, path):
    """Refuse rows made in another way, naming the first option that differs."""
    theirs, ours = json.loads(theirs), json.loads(ours)
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            raise OutputError(
                "mismatch",
                f"made with {name} = {str(theirs.get(name))[:16]}, this run has "
                f"{str(ours.get(name))[:16]}; write to another place (--force starts a single "
                "file anew).",
                path,
            )
