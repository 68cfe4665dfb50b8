"""Recognise audio files by their bytes: format, declared length, damage.

Decoders believe headers and stay silent about missing data; these checks do not.
Every read goes through an already open file descriptor, so that what is checked is
what is decoded.
"""

import os
import struct
import zlib
from typing import TypeAlias

from artist_features.audio import chunks, flac, mp3, tags
from artist_features.audio.file_bytes import read_at
from artist_features.audio.formats import HEADER_BYTES, MAGIC, OTHER_MAGIC, Container
from artist_features.errors import AnyPath, AudioError

_MOST_JUNK = 96 << 10  # bytes before the first frame of an mp3 that are no lost audio
_STREAM_HEAD = 1 << 16  # bytes in which the first whole frame of a stream begins
_AC3_SYNC, _LARGEST_AC3 = b"\x0b\x77", 4096  # bytes of a frame: 11 bits, in words of two
_LARGEST_ADTS = 1 << 13  # bytes of a frame: 13 bits

_TS_BYTES = 188  # of a packet of an MPEG transport stream, which begins with "G" (ISO 13818-1)
_ByteRange: TypeAlias = tuple[int, int | None]  # `Container.start` and `end`


def identify(fd: int, size: int, path: AnyPath) -> Container:
    """Recognise an open audio file by its bytes, never by its name.

    Args:
        fd: file descriptor of a regular file, open for reading.
        size: its length in bytes, > 0.
        path: for messages.

    Returns:
        `Container`; kind "unknown" where no format is recognised but a decoder may try.

    Raises:
        AudioError: `empty`, `unsupported`, `out_of_range` or `damaged`, where the
            header alone proves it.
    """
    start = tags.begin_of_audio(fd, size, path)
    head = read_at(fd, 64, start)
    # decoders do not see the tag
    whole: _ByteRange = (start, size) if start else (0, None)
    for offset, magic, kind in MAGIC:
        if head[offset : offset + len(magic)] == magic:
            if kind == "wav":
                chunks.check_wav(fd, size, start, path)
            if kind in chunks.KINDS:
                return chunks.identify_chunks(kind, fd, size, whole)
            if kind == "flac":
                return _flac(fd, size, start)
            if kind == "mp4":
                return Container("mp4", *whole, n_unread=_mp4_unread(fd, size, start))
            n_unread = _tta_unread(fd, size, start) if kind == "tta" else 0
            return Container(kind, *whole, n_unread=n_unread)
    if head[4:8] in tags.MP4_BOXES and _is_box(head, size - start):
        return Container("mp4", *whole, n_unread=_mp4_unread(fd, size, start))
    if read_at(fd, 2 * _TS_BYTES + 1, start)[::_TS_BYTES] == b"GGG":
        return Container("mpegts", *whole)
    if dolby := _dolby(fd, start):
        return Container(dolby, *whole)
    if _adts_bytes(head):
        return Container("aac", *whole, n_unread=_adts_unread(fd, size, start))
    if mp3.parse_frame(head):
        return _mp3(fd, size, start, start, path)
    for magic, name in OTHER_MAGIC:
        if head.lstrip()[: len(magic)].lower() == magic.lower():
            raise AudioError(
                "unsupported", f"the file starts like {name}; an audio file is needed.", path
            )
    frames = mp3.find_frames(fd, start)
    if frames is not None:
        return _mp3(fd, size, frames, start, path)
    frames = _find_adts(fd, start)
    if frames is not None:
        n_unread = _adts_unread(fd, size, start)
        return Container("aac", frames, size, n_unread=n_unread)
    return Container("unknown", start)


def describe_head(fd: int, start: int = 0) -> str:
    """Return the first bytes of a file as text for an error message."""
    head = read_at(fd, 16, start)
    return "only zero bytes" if not head.strip(b"\0") else repr(head)[1:]


def find_damage(
    fd: int, size: int, kind: str, *, first_only: bool = False, start: int = 0
) -> tuple[str, str] | None:
    """Look for missing or altered bytes that decoders do not report.

    Args:
        first_only: the decoder reads only the first of Ogg streams in a chain.
        start: byte at which the container begins.

    Returns:
        None, or `(code, text)`: code "truncated" where the end is missing, "damaged"
        where bytes before the end are wrong.
    """
    if kind in ("ogg", "opus"):
        return _ogg_damage(fd, first_only, start)
    cut = chunks.find_cut(kind, fd, size, start) if kind in chunks.KINDS else None
    return None if cut is None else ("truncated", cut)


# ---- MP3 ----


def _mp3(fd: int, size: int, start: int, after_tag: int, path: AnyPath) -> Container:
    """Build the `Container` of an MP3: frame count, header patch, gaps a decoder must not see."""
    found = mp3.scan_frames(fd, size, start)
    n_junk = start - after_tag
    n_unread = found.n_unread + (n_junk if n_junk > _MOST_JUNK else 0)
    if found.changes_at_s is not None:
        raise AudioError(
            "damaged",
            f"the audio format changes at {found.changes_at_s:.1f} s: several mp3 files in one. "
            "Split them.",
            path,
        )
    as_it_is = found.trusted and not (found.gaps or n_unread)  # at which a decoder would stop
    return Container(
        "mp3",
        start,
        None if as_it_is else found.end,
        found.patch or (0, b""),
        found.declared_s,
        n_unread,
        found.gaps,
        endless=not found.trusted and found.patch is None,
    )


def _dolby(fd: int, start: int) -> str | None:
    """Return "ac3" or "eac3" if two frames of Dolby Digital (ATSC A/52) begin here, else None."""
    data = read_at(fd, _LARGEST_AC3 + 2, start)
    if data[:2] != _AC3_SYNC or _AC3_SYNC not in data[6:]:
        return None
    version = data[5] >> 3  # bsid
    return "ac3" if version <= 10 else "eac3" if version <= 16 else None


def _is_box(head: bytes, size: int) -> bool:
    """Return whether an MP4 box of a possible length begins with these bytes."""
    length = int.from_bytes(head[:4], "big")
    return length in (0, 1) or 8 <= length <= size


def _mp4_unread(fd: int, size: int, start: int) -> int:
    """Return how many bytes at the end lie after the last box, or in a second MP4 file."""
    position = start
    seen: set[bytes] = set()
    while position < size:
        head = read_at(fd, 16, position)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        elif length == 0 and name.strip(b"\0"):  # up to the end of the file
            return 0
        beyond = position + length > size and name not in (b"ftyp", *tags.MP4_BOXES)
        if length < 8 or not name.isascii() or beyond or name in seen:
            return size - position if size - position >= HEADER_BYTES else 0
        # decoders read the first of each; a stream of fragments repeats them, and goes on
        seen = set() if name == b"moof" else seen | {name} & {b"ftyp", b"moov"}
        if name == b"mfra":  # the last box of a fragmented file
            seen = {b"ftyp", b"moov"}
        position += length
    return 0


def _tta_unread(fd: int, size: int, start: int) -> int:
    """Return how many bytes follow the last frame of True Audio, by its seek table.

    Source: tausoft.org, TTA1 format: 22 bytes of header; frames of 256 / 245 s; a table of their
    lengths with a checksum.
    """
    head = read_at(fd, 22, start)
    if len(head) < 22:
        return 0
    rate, n_samples = struct.unpack_from("<II", head, 10)
    n_frames = -(-n_samples // max(1, 256 * rate // 245))
    if 64 * n_frames > size:  # no frame is so short
        return 0
    table = read_at(fd, 4 * n_frames + 4, start + 22)
    *lengths, crc = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    if len(lengths) < n_frames or crc != zlib.crc32(table[:-4]):
        return 0
    end = start + 22 + len(table) + sum(lengths)
    return 0 if end >= size or tags.few_or_tags(fd, size, end) else size - end


def _adts_unread(fd: int, size: int, position: int) -> int:
    """Return how many bytes lie in no AAC frame and in no tag; 0 where they are few."""
    n_unread = 0
    while position < size:
        data, at = read_at(fd, 1 << 20, position), 0
        while (n_bytes := _adts_bytes(data[at : at + 7])) >= 7 and at + n_bytes <= len(data):
            at += n_bytes
        position += at
        if at:
            continue
        end = tags.after_tags(fd, position, size)
        if end == position:
            end = _next_adts(fd, size, position)
            n_unread += end - position
        position = end
    return n_unread if n_unread >= 2 * _LARGEST_ADTS else 0


def _next_adts(fd: int, size: int, position: int) -> int:
    """Return where frames go on after `position`, or the file's end."""
    for start in range(position + 1, size, _STREAM_HEAD - 3 * _LARGEST_ADTS):
        if (found := _find_adts(fd, start)) is not None:
            return found
    return size


def _adts_bytes(head: bytes) -> int:
    """Parse an ADTS (AAC) frame header; return the frame's length in bytes, or 0."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def _find_adts(fd: int, position: int) -> int | None:
    """Return where three ADTS frames follow each other, as in a recording of a stream; or None."""
    data = read_at(fd, _STREAM_HEAD, position)
    at = data.find(b"\xff")
    while at >= 0:
        follows = at
        for _ in range(3):
            n_bytes = _adts_bytes(data[follows : follows + 7])
            if n_bytes < 7:
                break
            follows += n_bytes
        else:
            return position + at
        at = data.find(b"\xff", at + 1)
    return None


# ---- Ogg: pages with checksums ----

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg_crc(data: bytes) -> int:
    """Ogg's checksum (polynomial 0x04c11db7, unreflected) by way of zlib's reflected one."""
    state = zlib.crc32(data.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{state:032b}"[::-1], 2)


def _ogg_damage(fd: int, first_only: bool, start: int) -> tuple[str, str] | None:
    ended = has_data = False
    next_number: dict[int, int] = {}  # of each stream, by its serial
    with open(os.dup(fd), "rb", buffering=1 << 20) as stream:
        stream.seek(start)
        position = start
        while head := stream.read(27):
            if head[:4] != b"OggS"[: len(head)] or (len(head) == 27 and head[4] != 0):
                if ended:
                    return _after_ogg(fd, position)
                return "damaged", f"no Ogg page at byte {position}"
            lacing = stream.read(head[26]) if len(head) == 27 else b""
            body = stream.read(sum(lacing))
            if len(head) < 27 or len(lacing) < head[26] or len(body) < sum(lacing):
                return "truncated", f"the last Ogg page, at byte {position}, is incomplete"
            crc = int.from_bytes(head[22:26], "little")
            if crc != _ogg_crc(head[:22] + bytes(4) + head[26:] + lacing + body):
                return "damaged", f"checksum of the Ogg page at byte {position} is wrong"
            serial, number = struct.unpack_from("<II", head, 14)
            if ended and head[5] & 2 and first_only:
                return "truncated", f"only the first of chained Ogg streams, up to byte {position}"
            if head[5] & 2 and has_data and not ended:
                return "truncated", f"the Ogg stream before byte {position} has no end page"
            has_data = not head[5] & 2
            if not head[5] & 2 and number != next_number.get(serial, number):
                return "damaged", f"an Ogg page is missing at byte {position}"
            next_number[serial] = number + 1
            ended = bool(head[5] & 4)
            position += 27 + len(lacing) + len(body)
    return None if ended else ("truncated", "the Ogg stream has no end page")


def _after_ogg(fd: int, position: int) -> tuple[str, str] | None:
    """Describe trailing data after the last page of an Ogg stream; None for a tag."""
    size = os.fstat(fd).st_size
    end = tags.after_tags(fd, position, size)
    if size - end < _MOST_JUNK and b"OggS" not in read_at(fd, _MOST_JUNK, end):
        return None
    return "truncated", f"{size - end} of {size} bytes follow the end of the Ogg stream"


# ---- FLAC ----


def _flac(fd: int, size: int, start: int) -> Container:
    """Build the `Container` of a FLAC file: patch a low STREAMINFO total, cut at a second file."""
    found = flac.scan_frames(fd, size, start)
    n_unread = size - found.end
    if found.after and not any(tags.few_or_tags(fd, found.end, at) for at in found.after):
        n_unread += found.end - found.after[0]
    if found.patch or start or found.end < size:
        return Container("flac", start, found.end, found.patch or (0, b""), n_unread=n_unread)
    return Container("flac", n_unread=n_unread)
