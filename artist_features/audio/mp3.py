"""MPEG audio (mp3, mp2): frame headers, and the length that a file really has.

An mp3 has no reliable length. A first frame tagged Xing, Info or VBRI may state one,
and decoders stop where it says; without such a frame they guess from the bit rate of
the first frame, and stop there too. So the frames are counted, 0.3 ms for 30 s.
"""

import functools
import struct
from dataclasses import dataclass, replace

from artist_features.audio import tags
from artist_features.audio.file_bytes import read_at

_VBRI_COUNT = 50  # byte of a frame at which VBRI states the number of frames
_SEARCH_BYTES = 1 << 18  # junk allowed before the first frame, and searched at a time
_CHAIN = 3  # consecutive frame headers that are no coincidence
_CHUNK_BYTES = 1 << 20
_RUN = b"\xff" * 64  # of erased flash memory, passed over at once
_MOST_SYNC = 1 << 19  # bytes 0xFF in junk, and 32 for each place: more is not worth the search
_RESYNC_BYTES = 1000  # mpg123 gives up 1,024 bytes after the last frame, or where fewer are zero
_MOST_GAPS = 1000  # so small, that are left out: each costs time at each read
_MOST_AFTER = 32 << 10  # bytes after the last frame that may be a tag without a known mark
_ABSURD = 200  # a declared length so many times the real one is no download cut short

_BITRATES = {  # kbit/s; key: (MPEG-1?, layer); ISO 11172-3 and 13818-3
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True)
class Frame:
    """One MPEG audio frame, from its header.

    Attributes:
        sample_rate: in Hz.
        n_channels: 1 or 2.
        n_samples: samples per channel in a frame.
        n_bytes: length of the frame, header included.
        tag_offset: byte of the frame at which a Xing or Info tag would lie.
    """

    sample_rate: int
    n_channels: int
    n_samples: int
    n_bytes: int
    tag_offset: int


@dataclass(frozen=True)
class Mp3Frames:
    """Frame count of an mp3: its real length, and whether its header can be trusted.

    Attributes:
        declared_s: length in seconds that the file promises, or has by count.
        end: byte after the last frame.
        trusted: True if a decoder may rely on the length in the file's header.
        patch: (position, four bytes) that put the length in the header right, or None.
        changes_at_s: seconds at which the audio format changes, or None.
        n_unread: bytes between frames and after `end` that hold no frame and are no tag.
        gaps: (first byte, byte after the last) of what lies between frames and stops a decoder.
    """

    declared_s: float
    end: int
    trusted: bool
    patch: tuple[int, bytes] | None = None
    changes_at_s: float | None = None
    n_unread: int = 0
    gaps: tuple[tuple[int, int], ...] = ()


def parse_frame(head: bytes) -> Frame | None:
    """Parse a four-byte frame header; None if it is not one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate_index, rate_index = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    mpeg1 = version == 3
    sample_rate = (44100, 48000, 32000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    bitrate = 1000 * _BITRATES[mpeg1, layer][bitrate_index]
    padding = head[2] >> 1 & 1
    n_channels = 1 if head[3] >> 6 == 3 else 2
    if layer == 1:
        n_bytes = (12 * bitrate // sample_rate + padding) * 4
        return Frame(sample_rate, n_channels, 384, n_bytes, 0)
    n_samples = 1152 if mpeg1 or layer == 2 else 576
    side_information = {(1, 2): 32, (1, 1): 17, (0, 2): 17, (0, 1): 9}[mpeg1, n_channels]
    n_bytes = n_samples // 8 * bitrate // sample_rate + padding
    return Frame(sample_rate, n_channels, n_samples, n_bytes, 4 + side_information)


def find_frames(fd: int, position: int = 0) -> int | None:
    """Return where, from `position` on, three frames of one format follow; or None."""
    data = read_at(fd, _SEARCH_BYTES + 8192, position)
    start = data.find(b"\xff")
    while 0 <= start < _SEARCH_BYTES:
        if frame := parse_frame(data[start : start + 4]):
            at, follows = start, _Follower(data[start : start + 4], frame)
            for _ in range(_CHAIN):
                n_bytes = follows.n_bytes(data, at)
                at += n_bytes
                if not n_bytes:
                    break
            else:
                return position + start
        if data.startswith(_RUN, start):  # no header begins with three of them
            rest = data[start:]
            start += len(rest) - len(rest.lstrip(b"\xff")) - len(_RUN)
        start = data.find(b"\xff", start + 1)
    return None


def scan_frames(fd: int, size: int, start: int) -> Mp3Frames:
    """Count the frames from the one at byte `start` on, and judge the declared length.

    Returns:
        `Mp3Frames`.
    """
    head = read_at(fd, 64, start)
    frame = parse_frame(head)
    if frame is None:
        raise ValueError(f"no frame at byte {start}")
    stated = _stated_length(head, frame)
    first = start + frame.n_bytes if stated else start
    n_frames, end, changes, gaps = _count(fd, size, first, head, frame)
    seconds = frame.n_samples / frame.sample_rate
    found = Mp3Frames(
        n_frames * seconds,
        end,
        trusted=False,
        changes_at_s=n_frames * seconds if changes else None,
        n_unread=_unread(fd, size, end, gaps),
        gaps=tuple(gaps),
    )
    if stated is None:
        return found
    at, stated_frames, stated_bytes = stated
    tolerance = max(2, 0.01 * n_frames)
    cut = stated_bytes > 1.01 * (size - start) or stated_frames < _ABSURD * n_frames
    if abs(stated_frames - n_frames) <= tolerance or (stated_frames > n_frames and cut):
        # libsndfile does not read VBRI, and stops at a length that it guesses instead
        trusted = at != _VBRI_COUNT
        return replace(found, declared_s=stated_frames * seconds, trusted=trusted)
    if at == _VBRI_COUNT:
        return found
    return replace(found, patch=(start + at, struct.pack(">I", n_frames)))


def _unread(fd: int, size: int, end: int, gaps: list[tuple[int, int]]) -> int:
    """Return how many bytes between and after the frames are no tag, nor too few to matter."""
    n_between = sum(after - tags.after_tags(fd, first, after) for first, after in gaps)
    n_after = size - tags.after_tags(fd, end, size)
    return (n_between if n_between > _RESYNC_BYTES else 0) + (
        n_after if n_after > _MOST_AFTER else 0
    )


def _stated_length(head: bytes, frame: Frame) -> tuple[int, int, int] | None:
    """Return (offset of the frame count, frame count, byte count or 0), or None."""
    at = frame.tag_offset
    if head[at : at + 4] in (b"Xing", b"Info") and len(head) >= at + 16:
        flags, n_frames, n_bytes = struct.unpack_from(">III", head, at + 4)
        return (at + 8, n_frames, n_bytes if flags & 2 else 0) if flags & 1 else None
    if head[36:40] == b"VBRI" and len(head) >= 54:
        n_bytes, n_frames = struct.unpack_from(">II", head, 46)
        return _VBRI_COUNT, n_frames, n_bytes
    return None


class _Follower:
    """Matches frames that continue the stream of a first frame: same format and rate."""

    def __init__(self, head: bytes, frame: Frame) -> None:
        self._second = head[1] & 0xFE  # without the protection bit
        self._mono = frame.n_channels == 1
        self._n_bytes = _frame_sizes(self._second, frame.sample_rate)

    def n_bytes(self, data: bytes, at: int) -> int:
        """Return the length of the frame at `data[at]`; 0 if there is none that fits."""
        if (
            at + 4 > len(data)
            or data[at] != 0xFF
            or data[at + 1] & 0xFE != self._second
            or (data[at + 3] >> 6 == 3) != self._mono
        ):
            return 0
        return self._n_bytes[data[at + 2]]


@functools.lru_cache
def _frame_sizes(second: int, sample_rate: int) -> list[int]:
    """Return frame lengths by the third byte of the header; 0 for another sample rate."""
    frames = [parse_frame(bytes((0xFF, second, third, 0))) for third in range(256)]
    return [f.n_bytes if f and f.sample_rate == sample_rate else 0 for f in frames]


def _count(
    fd: int, size: int, position: int, head: bytes, frame: Frame
) -> tuple[int, int, bool, list[tuple[int, int]]]:
    """Return (whole frames, byte after them, whether another format follows, gaps)."""
    follows = _Follower(head, frame)
    n_frames, end, n_sync = 0, position, 0
    gaps: list[tuple[int, int]] = []
    while n_sync < _MOST_SYNC:
        data, at = read_at(fd, _CHUNK_BYTES, position), 0
        while (n_bytes := follows.n_bytes(data, at)) and position + at + n_bytes <= size:
            at += n_bytes
            n_frames += 1
        if at:
            end = position = position + at
            continue
        found, searched = _next_frames(fd, size, position + 1, _MOST_SYNC - n_sync)
        if found is None:
            return n_frames, end, False, gaps
        position = found
        n_sync += searched + 32
        if not follows.n_bytes(read_at(fd, 4, position), 0):
            return n_frames, end, True, gaps
        if len(gaps) < _MOST_GAPS or position - end > _RESYNC_BYTES:
            gaps.append((end, position))
    return n_frames, end, False, [gap for gap in gaps if gap[0] < end]


def _next_frames(fd: int, size: int, position: int, most: int) -> tuple[int | None, int]:
    """Return (where frames go on, or None, how many bytes 0xFF were looked at)."""
    n_sync = 0
    for start in range(position, size, _SEARCH_BYTES):
        found = find_frames(fd, start)
        searched = _SEARCH_BYTES if found is None else found - start
        n_sync += read_at(fd, searched, start).replace(_RUN, b"\xff").count(b"\xff")
        if found is not None or n_sync > most:
            return found, n_sync
    return None, n_sync
