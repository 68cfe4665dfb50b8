"""Bytes of audio files, and the files as decoders should see them: no junk, a right header."""

import io
import os
from typing import Any


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
