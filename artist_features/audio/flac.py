"""FLAC: the real number of samples, and where the last frame ends.

Decoders stop at the total that STREAMINFO states. A writer that was killed, or that joined
recordings, leaves a total that is too small. Source: RFC 9639, sections 8.2 and 9.1.
"""

import re
from dataclasses import dataclass

from artist_features.audio.file_bytes import read_at

_TAIL = 1 << 18  # more than any frame of a recording with up to 8 channels
_SEARCH = 1 << 30  # bytes at the end in which the last frame is looked for
_INFO = 8  # byte at which its body begins
_MOST_ENDS = 8  # of a frame, by its checksum, that are looked at
_TOTAL = 21  # byte that holds the upper 4 of the 36 bits of the total
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_BLOCKS = {1: 192, **{n: 144 << n for n in range(2, 6)}, **{n: 1 << n for n in range(8, 16)}}


@dataclass(frozen=True)
class FlacFrames:
    """Where a FLAC file ends, and whether its header can be trusted.

    Attributes:
        end: byte at which another FLAC file begins in the same file, or the file's end.
        patch: (position, bytes) that put the total of STREAMINFO right, or None.
        after: bytes at which the last frame may end, by its checksum, the first the likeliest;
            () where nothing can follow it.
    """

    end: int
    patch: tuple[int, bytes] | None
    after: tuple[int, ...]


def scan_frames(fd: int, size: int, start: int) -> FlacFrames:
    """Find the last frame of the FLAC file at byte `start`, and compare the stated total.

    Args:
        fd: file descriptor, open for reading.
        size: of the file in bytes.
        start: byte at which "fLaC" stands.
    """
    end = _next_file(fd, size, start)
    last = _last_frame(fd, end, start)
    if last is None:
        return FlacFrames(end, None, ())
    n_samples, position, most = last
    return FlacFrames(end, _patch(fd, start, n_samples), _ends_of_frame(fd, end, position, most))


def _ends_of_frame(fd: int, size: int, position: int, most: int) -> tuple[int, ...]:
    """Return `FlacFrames.after` of a frame at byte `position` that has `most` bytes at most."""
    if size - position <= most:
        return ()
    before, crc, ends = 1, 0, []
    for at, byte in enumerate(read_at(fd, most, position), start=1):
        before, crc = crc, (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
        # at the end of a frame the checksum of the whole is 0; by chance once in 65,536 bytes
        if crc == 0 and before and at > 6:
            ends.append(position + at)
    return tuple(ends[:_MOST_ENDS]) or (position + most,)


def _next_file(fd: int, size: int, start: int) -> int:
    """Return where a second FLAC file begins, or the file's end."""
    for at in range(start + 4, size, 1 << 20):
        data = read_at(fd, (1 << 20) + 8, at)
        if (found := data.find(b"fLaC\0\0\0\x22")) >= 0:
            return at + found
    return size


def _patch(fd: int, start: int, n_samples: int) -> tuple[int, bytes] | None:
    """Return `FlacFrames.patch`; None where the stated total is right or unknown (0)."""
    head = read_at(fd, 26, start)
    stated = (head[_TOTAL] & 0x0F) << 32 | int.from_bytes(head[_TOTAL + 1 : 26], "big")
    if not stated or not stated < n_samples < 1 << 36:
        return None
    bits = bytes([head[_TOTAL] & 0xF0 | n_samples >> 32])
    return start + _TOTAL, bits + (n_samples & 0xFFFFFFFF).to_bytes(4, "big")


def _last_frame(fd: int, size: int, start: int) -> tuple[int, int, int] | None:
    """Find the last frame: (sample after it, its byte, most bytes that it may have), or None."""
    head = read_at(fd, 42, start)
    if len(head) < 42 or head[4] & 0x7F:
        return None
    largest = int.from_bytes(head[_INFO + 2 : _INFO + 4], "big")
    most = int.from_bytes(head[_INFO + 7 : _INFO + 10], "big")  # 0: unknown
    for end in range(size, max(start, size - _SEARCH), -_TAIL // 2):  # tags may follow
        first = max(start, end - _TAIL)
        if found := _samples_after(read_at(fd, end - first, first), largest):
            return found[0], first + found[1], most or _TAIL
    return None


def _samples_after(tail: bytes, largest: int) -> tuple[int, int] | None:
    """Return (sample after the last frame, its byte); two frames in a row must agree."""
    frames: list[tuple[int, int, int]] = []  # (first sample, number, byte), from the end
    for found in reversed([match.start() for match in _SYNC.finditer(tail)]):
        if (frame := _frame(tail[found : found + 16], largest)) is not None:
            frames.append((*frame, found))
            if len(frames) == 8:
                break
    for later, (first, count, place) in enumerate(frames):
        if any(before + n == first for before, n, _ in frames[later + 1 :]):
            return first + count, place
    return None


def _frame(head: bytes, largest: int) -> tuple[int, int] | None:
    """Return (first sample, number of samples) of a frame header; None if it is none."""
    if len(head) < 16 or head[1] & 0xFE != 0xF8:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 0x0F
    if not size_code or rate_code == 15 or head[3] >> 4 > 10 or head[3] & 1:
        return None
    n_ones = next((n for n in range(8) if not head[4] << n & 0x80), 8)
    length = max(1, n_ones)
    if n_ones in (1, 8):
        return None
    number = head[4] & (0x7F >> n_ones)
    for byte in head[5 : 4 + length]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    at = 4 + length
    count = _BLOCKS.get(size_code)
    if count is None:  # 6 and 7: its own field
        n_bytes = size_code - 5
        count = int.from_bytes(head[at : at + n_bytes], "big") + 1
        at += n_bytes
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    variable = head[1] & 1
    return (number if variable else number * largest), count


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _crc_table(n_bits: int, polynomial: int) -> list[int]:
    """Return the checksum of each byte, most significant bit first."""
    table, top = [], 1 << n_bits - 1
    for byte in range(256):
        crc = byte << n_bits - 8
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc & top else 0)
        table.append(crc & 2 * top - 1)
    return table


# checksums of a frame header, x^8 + x^2 + x + 1, and of a frame, x^16 + x^15 + x^2 + 1
# (RFC 9639, sections 9.1.8 and 9.3)
_CRC8, _CRC16 = _crc_table(8, 0x07), _crc_table(16, 0x8005)
