"""Atomic writes, file locks and checksums."""

import contextlib
import errno
import hashlib
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from artist_features.errors import AnyPath, OutputError

if TYPE_CHECKING:  # 20 ms: imported when a lock is taken
    import filelock

_STALE_S = 86400.0  # a file that is being written was changed later than that
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path, *parts: Any) -> None:
    """Write buffers, one after another, under a temporary name, force them to disk, rename.

    Args:
        parts: bytes-like objects (arrays too), which need not fit in memory twice.

    Raises:
        OutputError: `no_space` or `not_writable`; nothing is left behind.
    """
    n_bytes = sum(memoryview(part).nbytes for part in parts)
    with atomic_file(path, n_bytes) as file:
        for part in parts:
            file.write(part)


@contextlib.contextmanager
def atomic_file(path: Path, n_bytes: int | None = None) -> Iterator[BinaryIO]:
    """Context with a binary file that takes the place of `path` when the context ends well.

    Args:
        n_bytes: how much will be written, if known, for the message.

    Raises:
        OutputError: `no_space` or `not_writable`; nothing is left behind.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    partial = partial_name(path)
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):  # a private file stays private
            os.chmod(partial, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise output_error(error, path, n_bytes) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_stale_partials(folder: Path) -> None:
    """Remove what writers that were killed more than a day ago left in a folder."""
    with contextlib.suppress(OSError):
        for path in folder.glob(".partial-*"):
            if path.is_file() and time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink(missing_ok=True)


def partial_name(path: Path) -> Path:
    """Return a unique temporary name beside `path`, for writing before the rename.

    The number of a process is not enough: two machines may share the folder.
    """
    return path.with_name(f".partial-{os.getpid()}-{secrets.token_hex(4)}")


def acquire_lock(path: Path, output: AnyPath) -> "filelock.FileLock":
    """Take an exclusive lock that ends with the process, also where machines share a folder.

    Args:
        path: of the lock's file, which says who holds it.
        output: what is locked, for messages.

    Returns:
        The lock, held.

    Raises:
        OutputError: `locked`, `not_writable` or `no_space`.
    """
    import filelock

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
        path.write_text(f"pid {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    except filelock.Timeout:
        holder = ""
        with contextlib.suppress(OSError):  # it may end now, and take the file along
            holder = path.read_text(encoding="utf-8", errors="replace")
        text = (
            f"{holder or 'another process'} is writing here; wait for it, or choose another place."
        )
        raise OutputError("locked", text, output) from None
    except OSError as error:
        raise output_error(error, path) from None
    return lock


def file_sha256(path: AnyPath) -> str:
    """Return the sha256 of a file's bytes, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_new_file(path: AnyPath, force: bool, inputs: Sequence[AnyPath] = ()) -> None:
    """Check that a new file can be written, before the work for it begins.

    Args:
        force: it may replace a file, but no input.
        inputs: files that are read for it.

    Raises:
        OutputError: `not_writable`.
    """
    read = [file for file in inputs if os.path.exists(file)]
    if os.path.exists(path) and any(os.path.samefile(file, path) for file in read):
        text = "is what the new file is made of; choose another name."
        raise OutputError("not_writable", text, path)
    if os.path.exists(path) and not (force and os.path.isfile(path)):
        text = "exists; --force replaces a file, else choose another name."
        if not os.path.isfile(path):
            text = "exists and is no file, which --force would replace; choose another name."
        raise OutputError("not_writable", text, path)
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise OutputError("not_writable", "its folder does not exist; make it first.", path)
    if not os.access(folder, os.W_OK):
        text = "its folder cannot be written to; choose another."
        raise OutputError("not_writable", text, path)


def output_error(error: OSError, path: AnyPath, n_bytes: int | None = None) -> OutputError:
    """Translate an `OSError` of writing `path`, of `n_bytes` if known, into an `OutputError`."""
    if error.errno in _NO_SPACE:
        needed = "" if n_bytes is None else f" for {n_bytes} bytes"
        return OutputError("no_space", f"no space{needed}; free some and run again.", path)
    return OutputError("not_writable", f"{error.strerror or error}.", path)


@contextlib.contextmanager
def writable(path: AnyPath, remedy: str) -> Iterator[None]:
    """Context in which an `OSError` becomes an `OutputError` with a remedy."""
    try:
        yield
    except OSError as error:
        code = output_error(error, path).code
        text = f"cannot be written ({error.strerror or error}); {remedy}."
        raise OutputError(code, text, error.filename or path) from None


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power loss, where folders can be synced (POSIX)."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
