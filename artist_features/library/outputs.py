"""Outputs of a job: one `.npz` or `.parquet`, a folder of Parquet shards, or JSON lines.

A file appears whole or not at all. Every file and folder can be continued: rows that it holds
are not made again, rows made with another model or other options are refused.
"""

import contextlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from artist_features.audio.folders import COMPANIONS, search_folder
from artist_features.errors import AnyPath, OutputError, display_path, shortened
from artist_features.files import acquire_lock, output_error, write_atomically
from artist_features.library import tables
from artist_features.library.inputs import NamedPaths
from artist_features.library.shards import ShardFolder
from artist_features.library.tables import Row


class Output(Protocol):
    """Where the rows of a job go; see `open_output`.

    Attributes:
        keeps_failed: rows without a vector stay until they are asked for again; else every
            run makes them anew.
    """

    keeps_failed: bool

    def drop(self, parts: Iterable[int], is_stale: Callable[[str], bool]) -> None:
        """Remove rows that are to be made anew; called before the first `write`.

        Args:
            parts: numbers of the parts that hold such rows, as given to `NamedPaths.hold`.
            is_stale: function of a row's path: whether it is to go.

        Raises:
            OutputError: `no_space` or `not_writable`.
        """

    def write(self, list_index: int, row: Row) -> None:
        """Keep a row of the file with number `list_index` in the list.

        Raises:
            OutputError: `no_space` or `not_writable`; the rows before it are kept.
        """

    def close(self, *, complete: bool = True) -> None:
        """Flush buffered rows and release the lock.

        Args:
            complete: False where the job did not come to its rows; all is kept as it is.

        Raises:
            OutputError: `no_space` or `not_writable`.
        """


def open_output(
    path: AnyPath | None,
    named: NamedPaths,
    *,
    dim: int,
    made_with: Mapping[str, Any],
    force: bool = False,
) -> Output:
    """Check a place for results and return the `Output` there, before anything is decoded.

    Args:
        path: ending `.npz` or `.parquet`, or a folder, each new or of an earlier run; None
            for JSON lines on standard output.
        named: table to which the rows are added that are there.
        dim: length of an embedding.
        made_with: what decides the numbers (weights_sha256, options), and `model`.
        force: start an existing file anew; a folder is never emptied.

    Raises:
        OutputError: `not_writable`, `locked`, `mismatch`, `no_space` or `damaged`.
    """
    if path is None:
        return JsonLines()
    path = Path(os.fsdecode(path))
    suffix, record = path.suffix.lower(), json.dumps(made_with, sort_keys=True)
    if suffix in (".npz", ".parquet"):
        if path.is_dir():
            raise OutputError("not_writable", "is a folder; name a file.", path)
        _check_folder(path.parent)
        _check_folder(Path(os.path.realpath(path)).parent)  # of what a link names
        return TableFile(path, named, dim, record, continued=not force)
    if path.exists() and not path.is_dir():
        text = "is a file; allowed are .npz, .parquet, or a folder."
        raise OutputError("not_writable", text, path)
    if suffix and not path.is_dir():
        text = f"ending {suffix!r}; allowed are .npz, .parquet, or a folder without an ending."
        raise OutputError("not_writable", text, path)
    if not path.exists():
        _check_folder(path.parent)
        path.mkdir()
    _refuse_music(path)
    _check_folder(path)
    return ShardFolder(path, named, dim, record)


def _refuse_music(folder: Path) -> None:
    """Refuse a folder that holds audio and no shards: it is somebody's music."""
    if any(name.startswith(("part-", ".journal", ".lock")) for name in os.listdir(folder)):
        return
    passed: Counter[str] = Counter()
    found = (name for name in search_folder(folder, passed) if isinstance(name, str))
    audio = next(found, None) or next((f"files {e}" for e in passed if e != COMPANIONS), None)
    if audio is not None:
        name = shortened(display_path(os.path.relpath(audio, folder) if os.sep in audio else audio))
        text = f"holds audio ({name}); choose a folder of its own for vectors."
        raise OutputError("mismatch", text, folder)


def _check_folder(folder: Path) -> None:
    probe = folder / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        text = f"folder cannot be written to ({error.strerror}); make it or choose another."
        raise OutputError("not_writable", text, folder) from None


class TableFile:
    """Output in one file, see `Output`: earlier rows, then in the order of the list.

    Args:
        path: of the `.npz` or `.parquet`.
        named, dim: as for `open_output`.
        made_with: JSON of what decides the numbers.
        continued: begin with the rows of the file, if there is one.
    """

    keeps_failed = False

    def __init__(
        self, path: Path, named: NamedPaths, dim: int, made_with: str, *, continued: bool
    ) -> None:
        self._path, self._dim, self._made_with = path, dim, made_with
        if path.suffix.lower() == ".npz":
            self._encode, decode = tables.to_npz, tables.from_npz
        else:
            tables.require_pyarrow()
            self._encode, decode = tables.to_parquet, tables.from_parquet
        self._rows: dict[int, Row] = {}  # by list index; earlier ones below 0
        self._lock = acquire_lock(path.with_name(f".{path.name}.lock"), path)
        try:
            if continued and path.exists():
                rows, _ = tables.read_table(path, decode, made_with)
                self._rows = dict(enumerate(rows, start=-len(rows)))
                named.hold(rows)
        except BaseException:
            self._unlock()
            raise

    def drop(self, parts: Iterable[int], is_stale: Callable[[str], bool]) -> None:
        self._rows = {n: row for n, row in self._rows.items() if not is_stale(row.path)}

    def write(self, list_index: int, row: Row) -> None:
        self._rows[list_index] = row

    def close(self, *, complete: bool = True) -> None:
        """Write the file; leave it alone where the job did not come to its rows."""
        try:
            if complete:
                rows = [self._rows[list_index] for list_index in sorted(self._rows)]
                write_atomically(self._path, self._encode(rows, self._dim, self._made_with))
        finally:
            self._unlock()

    def _unlock(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._lock.lock_file)
        self._lock.release()


class JsonLines:
    """Output on standard output, see `Output`: a line of JSON for each row, at once."""

    keeps_failed = True

    def drop(self, parts: Iterable[int], is_stale: Callable[[str], bool]) -> None:
        """Do nothing: no row is there from before."""

    def write(self, list_index: int, row: Row) -> None:
        embedding = None if row.embedding is None else row.embedding.tolist()
        facts = ("path", "name", "status", "error", "duration_s")
        record = {name: getattr(row, name) for name in facts} | {"embedding": embedding}
        if row.starts_s:
            record["start_s"] = row.starts_s
        try:
            print(json.dumps(record), flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise output_error(error, "standard output") from None

    def close(self, *, complete: bool = True) -> None:
        """Do nothing: no row is held back."""
