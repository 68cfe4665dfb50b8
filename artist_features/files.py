"""Files that appear whole or not at all."""

import contextlib
import errno
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artist_features.errors import AnyPath, OutputError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes under a temporary name, force them to disk, rename.

    Args:
        path: `Path` of the file.
        data: bytes.

    Raises:
        OutputError: `no_space` or `not_writable`; nothing is left behind.
    """
    write_parts_atomically(path, [data])


def write_parts_atomically(path: Path, parts: Sequence[Any]) -> None:
    """Do as `write_atomically` with buffers that are written one after another.

    Args:
        path: `Path` of the file.
        parts: list of bytes-like objects (arrays too), which need not fit in memory twice.

    Raises:
        OutputError: `no_space` or `not_writable`; nothing is left behind.
    """
    partial = partial_name(path)
    try:
        with open(partial, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        n_bytes = sum(memoryview(part).nbytes for part in parts)
        raise output_error(error, path, n_bytes) from None


def partial_name(path: Path) -> Path:
    """Return a name beside `path` for what is not whole yet, which nobody else takes.

    The number of a process is not enough: two machines may share the folder.
    """
    return path.with_name(f".partial-{os.getpid()}-{secrets.token_hex(4)}")


def check_new_file(path: AnyPath, force: bool) -> None:
    """Refuse before the work is done what could not be written afterwards.

    Args:
        path: of the file to be.
        force: it may replace a file.

    Raises:
        OutputError: `not_writable`.
    """
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
    """Return the `OutputError` that says what an `OSError` of writing means.

    Args:
        error: `OSError`.
        path: what was written.
        n_bytes: how much there was to write, if known.
    """
    if error.errno in _NO_SPACE:
        needed = "" if n_bytes is None else f" for {n_bytes} bytes"
        return OutputError("no_space", f"no space{needed}; free some and run again.", path)
    return OutputError("not_writable", f"{error.strerror or error}.", path)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power loss, where folders can be synced (POSIX)."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
