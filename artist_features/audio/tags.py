"""Tags before and after the audio of a file: where they end, and where a decoder should begin."""

from artist_features.audio.file_bytes import read_at
from artist_features.audio.formats import HEADER_BYTES
from artist_features.errors import AnyPath, AudioError

_MOST_TAGS, _MOST_PADDING = 64, 16 << 20  # bytes of zeros after a tag
_LARGEST_TAG = 1 << 18  # bytes of a Lyrics3 tag that are searched for its end
MP4_BOXES = (
    *(b"moov", b"mdat", b"wide", b"skip", b"free"),
    *(b"styp", b"moof", b"sidx", b"pnot", b"uuid"),
)


def begin_of_audio(fd: int, size: int, path: AnyPath) -> int:
    """Return where the audio begins: after ID3 tags, and the zeros that pad them."""
    start = 0
    for _ in range(_MOST_TAGS):
        head = read_at(fd, 10, start)
        if not head.startswith(b"ID3") or len(head) < 10:
            break
        start = end = _id3_end(head, start, size, path)
        while start < min(size, end + _MOST_PADDING):
            block = read_at(fd, 1 << 20, start)
            n_zeros = len(block) - len(block.lstrip(b"\0"))
            start += n_zeros
            if n_zeros < len(block):
                break
        start = _first_box(fd, end, start)
    if start == size:
        raise _only_a_tag(size, path)
    return start


def _id3_end(head: bytes, start: int, size: int, path: AnyPath) -> int:
    flags, length = head[5], 0
    for byte in head[6:10]:
        length = length << 7 | byte & 0x7F
    end = start + 10 + length + (10 if flags & 0x10 else 0)
    if end == size or size <= HEADER_BYTES < end:
        raise _only_a_tag(size, path)
    if end > size:
        raise AudioError(
            "damaged",
            f"ID3 tag claims {end / 2**20:.1f} MiB, the file has {size / 2**20:.1f} MiB. "
            "Rewrite or remove the tag.",
            path,
        )
    return end


def _only_a_tag(size: int, path: AnyPath) -> AudioError:
    text = f"{size} bytes hold an ID3 tag and no audio; the file is incomplete."
    return AudioError("empty", text, path)


def _first_box(fd: int, end: int, start: int) -> int:
    """Find the first MP4 box after zero padding, else return `start`."""
    for first in range(max(end, start - 3), start):
        if read_at(fd, 4, first + 4) in (b"ftyp", *MP4_BOXES):
            return first
    return start


def after_tags(fd: int, position: int, end: int) -> int:
    """Return where the tags that begin at `position` end, or `position`; never after `end`.

    ID3v1 (128 bytes, 227 with its extension), ID3v2, APEv2 (32 bytes and what it states) and
    Lyrics3 are known; each states its length, or has a fixed one.
    """
    for _ in range(_MOST_TAGS):
        head = read_at(fd, 32, position)
        if head.startswith(b"TAG+"):
            length = 227
        elif head.startswith(b"TAG"):
            length = 128
        elif head.startswith(b"ID3") and len(head) >= 10:
            length = 10
            for n, byte in enumerate(head[6:10]):
                length += (byte & 0x7F) << 7 * (3 - n)
        elif head.startswith(b"3DI"):
            length = 10
        elif head.startswith(b"APETAGEX") and len(head) >= 16:
            length = 32 + int.from_bytes(head[12:16], "little")
        elif head.startswith(b"LYRICSBEGIN"):
            text = read_at(fd, _LARGEST_TAG, position)
            length = max(text.find(mark) for mark in (b"LYRICS200", b"LYRICSEND")) + 9
        else:
            break
        if not 0 < length <= end - position:
            return end if head.startswith((b"ID3", b"APETAGEX")) else position
        position += length
    return position


def few_or_tags(fd: int, size: int, position: int) -> bool:
    """Return whether the rest of a file is negligible: a few bytes, a tag, or zeros."""
    position = after_tags(fd, position, size)
    if size - position < HEADER_BYTES:
        return True
    return all(not read_at(fd, 1 << 20, at).strip(b"\0") for at in range(position, size, 1 << 20))
