"""Input files of a job: arguments to paths, parts for several machines, and a table of the paths.

`find_audio` searches folders, lists and URIs; `part_of` takes the share of one machine;
`NamedPaths` compares them with the rows that an output holds, on disk.
"""

import contextlib
import itertools
import os
import sqlite3
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from artist_features.audio.folders import search_folder
from artist_features.errors import AnyPath, AudioError, ManifestError, OutputError, shortened
from artist_features.extraction.remote import (
    has_known_scheme,
    identity,
    is_gone,
    is_link,
    is_uri,
    local_path,
    needs_search,
    require_fsspec,
    search_uri,
)
from artist_features.library.tables import Row

Found: TypeAlias = str | AudioError  # a file, or a folder that cannot be searched
Stamp: TypeAlias = tuple[int, int]  # size in bytes, last change in ns
NO_FILE: Stamp = (-1, -1)
_LAST_NS = (1 << 63) - 1  # of tables; in April 2262, and some disks have later dates


def find_audio(arguments: Iterable[AnyPath], passed: Counter[str] | None = None) -> Iterator[Found]:
    """Yield the paths that the arguments name, in order, folders searched and sorted.

    A file that is named is yielded as it is, whatever its ending. A folder gives every
    file in it with an audio ending, links followed, each real folder once; a linked file
    inside the same folder is not given twice. A URI (`s3://bucket/a.mp3`) is yielded as it
    is; one that ends in "/" or has a "*" is searched. `@list.txt` gives one path or URI per
    line, relative to the working directory; it is read once, so that it may be a pipe.

    Args:
        arguments: of the command line.
        passed: what folders hold besides is counted, see `search_folder`.

    Yields:
        paths as `str` (any file name survives in `os.fsdecode` form), or an `AudioError`
        for a folder that may not be read.

    Raises:
        ImportError: a URI, and the packages are not there that open it.
        ManifestError: a list that cannot be read, or a line that is no path.
    """
    for argument in map(os.fsdecode, arguments):
        for path in _read_list(argument[1:]) if _is_list(argument) else [argument]:
            if is_uri(path):
                require_fsspec(path)
                yield from search_uri(path) if needs_search(path) else [path]
            else:
                yield from search_folder(path, passed) if os.path.isdir(path) else [path]


def require_named(arguments: Sequence[str]) -> None:
    """Refuse arguments if nothing that they name is there; else what is not is a row of its own.

    A URI is not asked for if its scheme is known, unless it is one of `file://`; a list in a pipe
    is not read.

    Raises:
        ManifestError: of the first name, or a list that cannot be read.
    """
    lists = [argument[1:] for argument in arguments if _is_list(argument)]
    if any(os.path.exists(path) and not os.path.isfile(path) for path in lists):
        return
    names = (argument for argument in arguments if not _is_list(argument))
    first = None
    for name in itertools.chain(names, *map(_read_list, lists)):
        name = local_path(name)
        there = has_known_scheme(name) if is_uri(name) else os.path.lexists(name)
        if there or not (is_uri(name) or is_gone(name)):
            return
        first = name if first is None else first
    if first is None:
        return
    hint = ""
    if is_link(first):
        raise ManifestError("fsspec knows no such scheme; allowed are s3://, https:// ...", first)
    if first.startswith("~"):
        hint = " The shell has not replaced '~': leave out the quotes."
    elif set(first) & set("*?["):
        hint = " Nothing has this pattern, or it was in quotes, where the shell leaves it alone."
    elif arguments[0].startswith("@"):
        hint = f" Nothing else that {shortened(arguments[0])} names is there either."
    raise ManifestError(f"no such file or folder.{hint}", first)


def unless_empty(items: Iterator[Found]) -> Iterator[Found] | None:
    """Return an iterator, or None if there is nothing in it."""
    first = list(itertools.islice(items, 1))
    return itertools.chain(first, items) if first else None


def _is_list(argument: str) -> bool:
    return argument.startswith("@") and not os.path.lexists(argument)


def _read_list(path: str) -> Iterator[str]:
    """Yield the paths of a list, line by line: it may be longer than memory."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                line = line.rstrip(b"\r\n")
                names = {name.strip(b' "') for name in line.split(b",")}
                if number == 1 and len(names) > 1 and names & {b"path", b"file"}:
                    text = "is a table with a header; a list has one path per line, and no header."
                    raise ManifestError(text, path, number)
                if b"\0" in line:
                    text = "zero byte in a path; needed is one path per line, not in UTF-16."
                    raise ManifestError(text, path, number)
                if line.strip():
                    yield os.fsdecode(line)
    except OSError as error:
        raise ManifestError(f"list cannot be read ({error.strerror}).", path) from None


def part_of(
    found: Iterable[Found], arguments: Sequence[str], index: int, n: int
) -> Iterator[Found]:
    """Yield part number `index` (from 1) of `n` of the files, for one of several machines.

    The part is a hash of the path with links followed, below the outermost named folder
    that holds the file; of a file outside all named folders, of its name alone. A file is
    in the same part under all its names, and wherever a machine has mounted the folder.

    Args:
        found: files and folders that cannot be searched, from `find_audio`.
        arguments: that were given to `find_audio`.
    """
    named = {os.path.realpath(argument) for argument in arguments if os.path.isdir(argument)}
    roots = sorted((os.path.join(folder, "") for folder in named), key=len)
    folders: dict[str, str] = {}
    for item in found:
        path = identity(_name_of(item), folders)
        if zlib.crc32(os.fsencode(_below(roots, path))) % n == index - 1:
            yield item


def _below(roots: Iterable[str], path: str) -> str:
    """Return a path below the first root that holds it, or the last part of a path."""
    if is_uri(path):
        return path
    for root in roots:
        if os.path.join(path, "").startswith(root):
            return path[len(root) :].replace(os.sep, "/")
    return os.path.basename(path)


class NamedPath(NamedTuple):
    """A file that a job names, or a folder that could not be searched.

    Attributes:
        list_index: number in the list, from 0.
        path: that stands for the file, see `identity`.
        name: as it was given or found.
        error: of the search, or None.
    """

    list_index: int
    path: str
    name: str
    error: AudioError | None


_TABLES = """
CREATE TABLE held (
    path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, status TEXT, failed INTEGER,
    part INTEGER, stale INTEGER DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE named (
    list_index INTEGER PRIMARY KEY, path BLOB, name BLOB, size INTEGER, mtime INTEGER,
    code TEXT, message TEXT
);
"""


class NamedPaths:
    """SQLite table of the files that a job names and of the rows that its output holds.

    A private temporary file, which disappears with the process: memory does not grow with
    the number of files, and it is built anew at each start, so that it never disagrees with
    the output. A context manager.

    Args:
        repeats: a path that is named twice is listed twice.

    Raises:
        OutputError: `no_space`, from any method.
    """

    def __init__(self, *, repeats: bool = False) -> None:
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._folders: dict[str, str] = {}
        self._n_added = 0
        with _disk_errors():
            self._table.execute("PRAGMA journal_mode = OFF")
            self._table.execute("PRAGMA synchronous = OFF")
            self._table.executescript(_TABLES)
        if not repeats:
            self._run("CREATE UNIQUE INDEX paths ON named (path)")

    def __enter__(self) -> "NamedPaths":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the table."""
        self._table.close()

    def hold(self, rows: Iterable[Row], part: int = 0) -> None:
        """Note rows that the output holds; a later one of the same path replaces it.

        Args:
            rows: with or without their embeddings.
            part: number of the file of the output in which they are.
        """
        insert = "INSERT OR REPLACE INTO held (path, size, mtime, status, failed, part)"
        for row in rows:
            values = [os.fsencode(row.path), row.size_bytes, row.mtime_ns, row.status, row.failed]
            self._run(f"{insert} VALUES (?, ?, ?, ?, ?, ?)", [*values, part])

    def held(self, path: str) -> tuple[str, Stamp] | None:
        """Return (status, stamp) of the row that the output holds of a path, or None."""
        query = "SELECT status, size, mtime FROM held WHERE path = ?"
        found = self._run(query, [os.fsencode(path)]).fetchone()
        return found and (found[0], (found[1], found[2]))

    def add(self, item: Found) -> None:
        """Insert a file, or a folder that cannot be searched, into the table."""
        name, error = _name_of(item), item if isinstance(item, AudioError) else None
        path = identity(name, self._folders)
        size, mtime = stamp_of(path) if error is None else NO_FILE
        values = [self._n_added, os.fsencode(path), os.fsencode(name), size, mtime]
        values += [error.code, error.message] if error else [None, None]
        self._run("INSERT OR IGNORE INTO named VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        self._n_added += 1

    def compare(self, *, retry_failed: bool) -> int:
        """Mark stale rows, to be extracted again; return how many files have changed.

        Those are rows of files that have changed, of folders that can be searched now, and,
        with `retry_failed`, of named files without a vector.
        """
        n_changed = self._run(
            "UPDATE held SET stale = 1 WHERE path IN (SELECT path FROM named JOIN held USING (path)"
            " WHERE named.size >= 0 AND (named.size != held.size OR named.mtime != held.mtime))"
        ).rowcount
        if retry_failed:
            self._run("UPDATE held SET stale = 1 WHERE failed AND path IN (SELECT path FROM named)")
        query = "SELECT path FROM held WHERE size < 0 AND NOT stale AND path NOT IN "
        for (path,) in self._run(f"{query} (SELECT path FROM named)").fetchall():
            if os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK):
                self._run("UPDATE held SET stale = 1 WHERE path = ?", [path])
        return n_changed

    def mark_gone(self) -> int:
        """Mark the rows of files that do not exist to be removed; return how many.

        Files that are named keep their rows, as do URIs, of which none is asked for.
        """
        query = "SELECT path FROM held WHERE NOT stale AND path NOT IN (SELECT path FROM named)"
        gone = [row for row in self._run(query) if is_gone(os.fsdecode(row[0]))]
        for row in gone:
            self._run("UPDATE held SET stale = 1 WHERE path = ?", row)
        return len(gone)

    def stale_parts(self) -> list[int]:
        """Return the parts of the output that hold rows to be made anew."""
        query = "SELECT DISTINCT part FROM held WHERE stale ORDER BY part"
        return [part for (part,) in self._run(query)]

    def is_stale(self, path: str) -> bool:
        """Return whether the row of a path is to be made anew."""
        query = "SELECT 1 FROM held WHERE path = ? AND stale"
        return self._run(query, [os.fsencode(path)]).fetchone() is not None

    def forget_stale(self) -> None:
        """Forget the rows to be made anew: the output holds them no longer."""
        self._run("DELETE FROM held WHERE stale")

    def counts(self) -> tuple[int, int]:
        """Return how many files are listed, and how often one was named again."""
        (n_listed,) = self._run("SELECT count(*) FROM named").fetchone()
        return n_listed, self._n_added - n_listed

    def kept(self) -> Counter[str]:
        """Return {status: listed files whose row the output holds}."""
        query = "SELECT status, count(*) FROM named JOIN held USING (path) GROUP BY status"
        return Counter(dict(self._run(query).fetchall()))

    def missing(self, *, searched: bool = True) -> Iterator[NamedPath]:
        """Yield the files without a row, in the order of the list.

        Args:
            searched: False for the folders that could not be searched.
        """
        query = (
            "SELECT list_index, path, name, code, message FROM named LEFT JOIN held USING (path) "
            f"WHERE status IS NULL AND code IS {'' if searched else 'NOT'} NULL ORDER BY list_index"
        )
        with _disk_errors():
            for list_index, *texts, code, message in self._table.execute(query):
                path, name = map(os.fsdecode, texts)
                error = AudioError(code, message, name) if code else None
                yield NamedPath(list_index, path, name, error)

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        with _disk_errors():
            return self._table.execute(statement, values)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        text = f"no room for a temporary table ({error}); make some, or set SQLITE_TMPDIR."
        raise OutputError("no_space", text, tempfile.gettempdir()) from None


def stamp_of(path: str) -> Stamp:
    """Modification stamp (size, mtime) of a file; `NO_FILE` if it is missing or a URI.

    A URI has no stamp: only a request would show that it has changed.
    """
    if is_uri(path):
        return NO_FILE
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return NO_FILE
    return status.st_size, max(-_LAST_NS, min(status.st_mtime_ns, _LAST_NS))


def _name_of(item: Found) -> str:
    """Return the path of a file or folder as it was given or found."""
    return os.fsdecode((item.path or "") if isinstance(item, AudioError) else item)
