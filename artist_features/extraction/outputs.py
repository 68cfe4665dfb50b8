"""Where results go: one `.npz` or `.parquet`, or a folder of Parquet shards.

A file appears whole or not at all. Every output can be continued: rows that it holds are
not made again, rows made with another model or other options are refused.
"""

import contextlib
import json
import os
import secrets
from pathlib import Path

from artist_features.errors import OutputError, display_path
from artist_features.extraction import tables
from artist_features.extraction.shards import ShardFolder
from artist_features.files import acquire_lock, write_atomically
from artist_features.signal.folders import AUDIO_ENDINGS

_NAMES_ONLY = ("model",)  # say where the numbers come from, do not decide them


def open_output(path, *, dim, made_with, force=False):
    """Check a place for results and return its writer, before anything is decoded.

    Args:
        path: ending `.npz` or `.parquet`, or a folder, each new or of an earlier run.
        dim: length of an embedding.
        made_with: dict of what decides the numbers (weights_sha256, options), and `model`.
        force: start an existing file anew; a folder is never emptied.

    Returns:
        An object with `begin_walk()` and `is_repeated(path)` for walking over the files,
        `find(path)`, which gives (status, (size, mtime)) of a row that is there,
        `mark_stale(path)`, `failed_and_not_named()`, `drop_stale()`, `write(index, row)`,
        `close()`, `keeps_failed` and `damaged`; see `ShardFolder`.

    Raises:
        OutputError: `not_writable`, `locked`, `mismatch`, `no_space` or `damaged`.
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    made_with = json.dumps(made_with, sort_keys=True)

    def check_same(theirs, place):
        _check_same(theirs, made_with, place)

    if suffix in (".npz", ".parquet"):
        if path.is_dir():
            raise OutputError("not_writable", "is a folder; name a file.", path)
        _check_folder(path.parent)
        return _TableFile(path, dim, made_with, check_same, path.exists() and not force)
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
    _refuse_music(path)
    _check_folder(path)
    return ShardFolder(path, dim, made_with, check_same)


def _refuse_music(folder: Path) -> None:
    """Refuse a folder that holds audio and no shards: it is somebody's music."""
    names = os.listdir(folder)
    ours = any(name.startswith(("part-", ".journal", ".lock")) for name in names)
    audio = sorted(n for n in names if os.path.splitext(n)[1].lower() in AUDIO_ENDINGS)
    if audio and not ours:
        text = f"holds audio ({display_path(audio[0])}); choose a folder of its own for vectors."
        raise OutputError("mismatch", text, folder)


class _TableFile:
    """Collect rows, then write one file: earlier rows, then in the order of arguments.

    Failed rows are always tried again.
    """

    keeps_failed = False

    def __init__(self, path, dim, made_with, check_same, continued):
        self._path, self._dim, self._made_with = path, dim, made_with
        if path.suffix.lower() == ".npz":
            self._encode, decode = tables.to_npz, tables.from_npz
        else:
            tables.require_pyarrow()
            self._encode, decode = tables.to_parquet, tables.from_parquet
        self._rows, self._places, self.damaged = {}, {}, []
        self._lock = acquire_lock(path.with_name(f".{path.name}.lock"), path)
        try:
            if continued and path.exists():
                self._continue(*tables.read_table(path, decode), check_same)
        except BaseException:
            self._unlock()
            raise

    def _continue(self, rows, theirs, check_same):
        check_same(theirs, self._path)
        self._rows = dict(enumerate(rows, start=-len(rows)))
        for place, row in self._rows.items():
            self._places.setdefault(row.path, []).append(place)

    def _unlock(self):
        with contextlib.suppress(OSError):
            os.unlink(self._lock.lock_file)
        self._lock.release()

    def begin_walk(self):
        """Begin to walk over the files, once more."""
        self._named: set[str] = set()

    def is_repeated(self, path: str) -> bool:
        """Tell whether a path was named before in this walk: it has one row all the same."""
        if path in self._named:
            return True
        self._named.add(path)
        return False

    def find(self, path):
        """Return (status, (size, mtime)) of an earlier row of a path, or None."""
        if path not in self._places:
            return None
        row = self._rows[self._places[path][-1]]
        return row.status, (row.size_bytes, row.mtime_ns)

    def mark_stale(self, path):
        """Forget the earlier rows of a path."""
        for place in self._places.pop(path, ()):
            del self._rows[place]

    def failed_and_not_named(self):
        """Return paths that could not be looked at."""
        return [row.path for row in self._rows.values() if row.size_bytes < 0]

    def drop_stale(self):
        """Nothing to do: stale rows are gone already."""

    def write(self, index, row):
        """Keep the row of argument number `index`."""
        self._rows[index] = row

    def close(self, *, complete=True):
        """Write the file; leave it alone where the job did not come to its rows."""
        try:
            if complete:
                rows = [self._rows[index] for index in sorted(self._rows)]
                write_atomically(self._path, self._encode(rows, self._dim, self._made_with))
        finally:
            self._unlock()


def _check_folder(folder):
    probe = folder / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        text = f"folder cannot be written to ({error.strerror}); make it or choose another."
        raise OutputError("not_writable", text, folder) from None


def _check_same(theirs, ours, path):
    """Refuse rows made in another way, naming the first option that differs."""
    theirs, ours = json.loads(theirs), json.loads(ours)
    models = ["", ""]  # named first: a hash says little
    if theirs.get("model") != ours.get("model"):
        models = [f"model {record.get('model')} and " for record in (theirs, ours)]
    for name in sorted((theirs.keys() | ours.keys()) - set(_NAMES_ONLY)):
        if theirs.get(name) != ours.get(name):
            raise OutputError(
                "mismatch",
                f"made with {models[0]}{name} = {str(theirs.get(name))[:16]}, this run has "
                f"{models[1]}{str(ours.get(name))[:16]}; write to another place (--force starts a "
                "single file anew).",
                path,
            )
