"""One writer at a time, also where several machines share a folder."""

import os
import socket

import filelock

from artist_features.errors import OutputError
from artist_features.files import output_error


def acquire_lock(path, output):
    """Take a lock that goes with the process.

    Args:
        path: `Path` of the lock's file, which says who holds it.
        output: `Path` of what is locked, for messages.

    Returns:
        `filelock.FileLock`, held.

    Raises:
        OutputError: `locked`, `not_writable` or `no_space`.
    """
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
        path.write_text(f"pid {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    except filelock.Timeout:
        holder = path.read_text(encoding="utf-8", errors="replace") or "another process"
        text = f"{holder} is writing here; wait for it, or choose another place."
        raise OutputError("locked", text, output) from None
    except OSError as error:
        raise output_error(error, path) from None
    return lock
