"""Open audio files, read their bytes, and show them as decoders should see them.

`CorrectedFile` leaves out junk and puts a wrong header right.
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from typing import Any

from artist_features.errors import AnyPath, AudioError


@contextlib.contextmanager
def opened(path: AnyPath) -> Iterator[tuple[int, os.stat_result]]:
    """Context with (descriptor, status) of a regular, non-empty file; a FIFO never blocks it.

    Raises:
        AudioError: `not_found`, `not_a_file`, `no_permission`, `empty` or `damaged`.
    """
    # O_BINARY: Windows reads text otherwise, without some of the bytes
    wanted = ("O_RDONLY", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
    flags = sum(getattr(os, name, 0) for name in wanted)
    try:
        _require_regular(os.stat(path).st_mode, path)
        fd = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise os_error(error, path) from None
    try:
        status = os.fstat(fd)
        _require_regular(status.st_mode, path)
        if status.st_size == 0:
            raise AudioError("empty", "0 bytes; the file was never written. Copy it again.", path)
        yield fd, status
    except OSError as error:
        raise os_error(error, path) from None
    finally:
        os.close(fd)


_SPECIAL_FILES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _require_regular(mode: int, path: AnyPath) -> None:
    if not stat.S_ISREG(mode):
        name = _SPECIAL_FILES.get(stat.S_IFMT(mode), "not a regular file")
        raise AudioError("not_a_file", f"is {name}; an audio file is needed.", path)


def os_error(error: OSError | ValueError, path: AnyPath | None) -> AudioError:
    """Translate an error of opening or reading a recording into an `AudioError`."""
    code: int | None = getattr(error, "errno", None)
    if code in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
        reason = {errno.ELOOP: "symbolic links lead in a circle", errno.ENOENT: "no such file"}
        text = reason.get(code, os.strerror(code or 0).lower())
        return AudioError("not_found", f"{text}; check the path.", path)
    if isinstance(error, ValueError):  # a zero byte in the name
        return AudioError("not_found", f"not a possible file name ({error}).", path)
    if code in (errno.EACCES, errno.EPERM):
        return AudioError("no_permission", "no permission to read; change its mode or owner.", path)
    return AudioError("damaged", f"reading failed: {error.strerror or error}.", path)


def read_at(fd: int, n_bytes: int, position: int) -> bytes:
    """Read from a place in a file, whose own position stays: `os.pread`, which Windows lacks."""
    if hasattr(os, "pread"):
        return os.pread(fd, n_bytes, position)
    before = os.lseek(fd, 0, os.SEEK_CUR)
    try:
        os.lseek(fd, position, os.SEEK_SET)
        return os.read(fd, n_bytes)
    finally:
        os.lseek(fd, before, os.SEEK_SET)


class CorrectedFile(io.RawIOBase):
    """Read-only view of an audio file: junk and gaps skipped, wrong header bytes replaced.

    Args:
        fd: file descriptor, open for reading; its own position is left alone.
        start, end: the bytes to show.
        patch: (position in the real file, bytes to show there).
        gaps: (first byte, byte after the last) of stretches that are not shown (`mp3.Mp3Frames`).
        endless: claim to have no end: where no header states a length, libsndfile then decodes
            what there is, instead of stopping at the length that it guesses.
    """

    _ENDLESS = 1 << 40

    def __init__(
        self,
        fd: int,
        start: int,
        end: int,
        patch: tuple[int, bytes] = (0, b""),
        gaps: tuple[tuple[int, int], ...] = (),
        *,
        endless: bool = False,
    ) -> None:
        super().__init__()
        self._fd, self._start, self._end, self._patch = fd, start, end, patch
        self._gaps, self._endless = gaps, endless
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        size = self._end - self._start - sum(b - a for a, b in self._gaps)
        size = self._ENDLESS if self._endless else size
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        at, end = self._real()
        if self._position > self._ENDLESS // 2:  # a look for tags at the end: there are none
            data = bytearray(len(buffer))
        else:
            n_bytes = max(0, min(len(buffer), end - at))
            data = bytearray(read_at(self._fd, n_bytes, at))
            position, new = self._patch
            for offset, byte in enumerate(new, start=position - at):
                if 0 <= offset < len(data):
                    data[offset] = byte
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _real(self) -> tuple[int, int]:
        """Map the virtual read position to (file offset, end of that contiguous run)."""
        at = self._start + self._position
        for first, after in self._gaps:
            if at < first:
                return at, first
            at += after - first
        return at, self._end
