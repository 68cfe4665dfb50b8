"""FLAC: the number of samples that a file really has, from the header of its last frame.

Decoders stop at the total that STREAMINFO states. A writer that was killed, or that joined
recordings, leaves a total that is too small. Source: RFC 9639, sections 8.2 and 9.1.
"""

import os

_TAIL_BYTES = 1 << 18  # more than any frame of a recording with up to 8 channels
_STREAMINFO = 8  # byte at which its body begins
_TOTAL = 21  # byte that holds the upper 4 of the 36 bits of the total
_BLOCK_SIZES = {1: 192, **{n: 144 << n for n in range(2, 6)}, **{n: 1 << n for n in range(8, 16)}}


def length_patch(fd: int, size: int, start: int = 0) -> tuple[int, bytes] | None:
    """Find out whether more samples follow than STREAMINFO states.

    Args:
        fd: file descriptor of a FLAC file.
        size: its length in bytes.
        start: byte at which "fLaC" stands.

    Returns:
        (position, bytes) that put the total right, or None where it is right, unknown (0), or
        cannot be determined.
    """
    head = os.pread(fd, 26, start)
    if len(head) < 26 or head[4] & 0x7F:  # the first block is no STREAMINFO
        return None
    stated = (head[_TOTAL] & 0x0F) << 32 | int.from_bytes(head[_TOTAL + 1 : 26], "big")
    largest = int.from_bytes(head[_STREAMINFO + 2 : _STREAMINFO + 4], "big")
    found = _samples_at_end(os.pread(fd, _TAIL_BYTES, max(start, size - _TAIL_BYTES)), largest)
    if not stated or found is None or not stated < found < 1 << 36:
        return None
    bits = bytes([head[_TOTAL] & 0xF0 | found >> 32]) + (found & 0xFFFFFFFF).to_bytes(4, "big")
    return start + _TOTAL, bits


def _samples_at_end(tail: bytes, largest: int) -> int | None:
    """Return at which sample the last frame ends; two frames in a row must agree."""
    frames = []
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0 and len(frames) < 8:
        if (frame := _parse(tail[at : at + 16], largest)) is not None:
            frames.append(frame)
    for later, (first, count) in enumerate(frames):
        if any(before + n == first for before, n in frames[later + 1 :]):
            return first + count
    return None


def _parse(head: bytes, largest: int) -> tuple[int, int] | None:
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
    count = _BLOCK_SIZES.get(size_code)
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
    """Checksum of a frame header: polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc
