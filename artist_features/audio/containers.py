"""Recognise audio files by their bytes: format, declared length, damage.

Decoders believe headers and stay silent about missing data; these checks do not.
Every read goes through an already open file descriptor, so that what is checked is
what is decoded.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from artist_features.audio import flac, mp3
from artist_features.audio.file_bytes import read_at
from artist_features.audio.formats import MAGIC
from artist_features.config import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from artist_features.errors import AnyPath, AudioError

HEADER_BYTES = 4096  # a file this small that does not decode is "header only"
_MOST_TAGS, _MOST_PADDING = 64, 16 << 20  # bytes of zeros after a tag
_MOST_JUNK = 96 << 10  # bytes before the first frame of an mp3 that are no lost audio
_STREAM_HEAD = 1 << 16  # bytes in which the first whole frame of a stream begins
_DS64_DATA = 28  # byte of an RF64 file at which the 64-bit size of the samples stands
_AC3_SYNC, _LARGEST_AC3 = b"\x0b\x77", 4096  # bytes of a frame: 11 bits, in words of two
_LARGEST_ADTS = 1 << 13  # bytes of a frame: 13 bits
_STREAMED_BITS = 0x7FFF0000  # set in the sizes that writers to a pipe put

_BOXES = (b"moov", b"mdat", b"wide", b"skip", b"free", b"styp", b"moof", b"sidx", b"pnot", b"uuid")
_TS_BYTES = 188  # of a packet of an MPEG transport stream, which begins with "G" (ISO 13818-1)
_OTHER_MAGIC = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"#EXTM3U", "an M3U playlist"),
    (b"ffconcat", "an ffconcat playlist"),
    (b"[playlist]", "a PLS playlist"),
    (b"<!DOCTYPE", "HTML"),
    (b"<html", "HTML"),
    (b"<?xml", "XML"),
    (b"\x7fELF", "a program"),
)


@dataclass(frozen=True)
class Container:
    """Format of an audio file, and which of its bytes a decoder should see.

    Attributes:
        kind: of `formats.FORMATS`, or "unknown".
        start: byte at which a decoder should begin (after junk).
        end: byte after the audio, where the header is wrong about the length; None
            where a decoder may read the file as it is.
        patch: (position, bytes) that a decoder must see in place of the file's.
        declared_s: length in seconds that the header promises, if worth believing.
        n_unread: bytes at the end in which no audio was found, and that are no tag, or that
            are beyond what the decoder can reach.
        gaps: (first byte, byte after the last) of what a decoder must not see.
        endless: libsndfile must read up to `end`, whatever length it guesses.
    """

    kind: str
    start: int = 0
    end: int | None = None
    patch: tuple[int, bytes] = (0, b"")
    declared_s: float | None = None
    n_unread: int = 0
    gaps: tuple[tuple[int, int], ...] = ()
    endless: bool = False


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
    start = _after_tags(fd, size, path)
    head = read_at(fd, 64, start)
    # decoders do not see the tag
    whole: _ByteRange = (start, size) if start else (0, None)
    for offset, magic, kind in MAGIC:
        if head[offset : offset + len(magic)] == magic:
            if kind == "wav":
                _check_wav(fd, size, start, path)
            if kind in _LAYOUTS or kind == "au":
                return _chunked(kind, fd, size, whole)
            if kind == "flac":
                return _flac(fd, size, start)
            if kind == "mp4":
                return Container("mp4", *whole, n_unread=_mp4_unread(fd, size, start))
            n_unread = _tta_unread(fd, size, start) if kind == "tta" else 0
            return Container(kind, *whole, n_unread=n_unread)
    if head[4:8] in _BOXES and _is_box(head, size - start):
        return Container("mp4", *whole, n_unread=_mp4_unread(fd, size, start))
    if read_at(fd, 2 * _TS_BYTES + 1, start)[::_TS_BYTES] == b"GGG":
        return Container("mpegts", *whole)
    if dolby := _dolby(fd, start):
        return Container(dolby, *whole)
    if _adts_bytes(head):
        return Container("aac", *whole, n_unread=_adts_unread(fd, size, start))
    if mp3.parse_frame(head):
        return _mp3(fd, size, start, start, path)
    for magic, name in _OTHER_MAGIC:
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
    if kind in _LAYOUTS or kind == "au":
        for _, first, length in _stated_samples(kind, fd, start):
            if first + length > size and length & _STREAMED_BITS != _STREAMED_BITS:
                text = f"header declares {length} bytes of samples, the file holds {size - first}"
                return "truncated", text
    return None


# ---- RIFF/WAVE and its relatives: a list of chunks ----

# position of the first chunk, layout of a chunk's head, bytes of it that its size counts,
# alignment, id of the chunk that holds the samples
_LAYOUTS = {
    "wav": (12, "<4sI", 0, 2, b"data"),
    "aiff": (12, ">4sI", 0, 2, b"SSND"),
    "caf": (8, ">4sq", 0, 1, b"data"),
    "w64": (40, "<16sQ", 24, 8, bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")),
}


def _chunks(
    fd: int, kind: str, start: int, position: int | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """Yield (id, position of the body, declared size) of each chunk, or of those from one on."""
    first, layout, counted, alignment, _ = _LAYOUTS[kind]
    position = start + first if position is None else position
    head = struct.Struct(">4sI" if read_at(fd, 4, start) == b"RIFX" else layout)
    for _ in range(256):
        data = read_at(fd, head.size, position)
        if len(data) < head.size:
            return
        name, size = head.unpack(data)
        size -= counted
        position += head.size
        yield name, position, size
        if not 0 <= size < 2**62:  # up to the end of the file, or nonsense
            return
        position += size + -size % alignment


def _chunked(kind: str, fd: int, size: int, whole: _ByteRange) -> Container:
    """Build the `Container` of WAV, AIFF, CAF, AU or W64: patch a data size that is too small.

    A writer that was killed, or one that wrote more than 4 GiB, leaves such a size. Samples go on
    after it where no chunk begins. What is mended with 32 bits is read as far as these reach;
    AIFF states the length twice, and is not mended.
    """
    start = whole[0]
    place, first, length = next(_stated_samples(kind, fd, start), (0, 0, -1))
    end = first + length
    # of an AIFF without a length, decoders go by the number of frames
    if length < 0 or end > size or (kind == "aiff" and length == 0):
        return Container(kind, *whole)
    after = _after_chunks(kind, fd, size, start, end)
    if _few_or_tags(fd, size, after):
        return Container(kind, *whole)
    another = _begins_another(fd, kind, start, after)
    if kind == "w64":  # libsndfile reads on up to the end of the file, whatever is stated
        if another:
            return Container(kind, start, end, n_unread=size - after)
        return Container(kind, *whole)
    if kind == "aiff" or after > end or another:
        return Container(kind, *whole, n_unread=size - after)
    mended, beyond = b"\xff" * 4, max(0, size - first - 0xFFFFFFFF)
    if read_at(fd, 4, start) == b"RF64":
        mended, beyond = (size - first).to_bytes(8, "little"), 0
    elif kind == "caf":  # -1: up to the end of the file
        mended, beyond = b"\xff" * 8, 0
    return Container(kind, start, size, (place, mended), n_unread=beyond)


def _stated_samples(kind: str, fd: int, start: int) -> Iterator[tuple[int, int, int]]:
    """Yield (byte of the stated size, first byte, stated size) of each chunk of samples."""
    if kind == "au":
        head = read_at(fd, 8, start + 4)
        if len(head) == 8:
            first, length = struct.unpack(">II", head)
            yield start + 8, start + first, length
        return
    is_rf64 = kind == "wav" and read_at(fd, 4, start) == b"RF64"
    for name, first, length in _chunks(fd, kind, start):
        if name != _LAYOUTS[kind][-1]:
            continue
        if is_rf64:  # its chunk `ds64` states the size (EBU Tech 3306)
            place = start + _DS64_DATA
            yield place, first, int.from_bytes(read_at(fd, 8, place), "little")
        else:
            yield first - (8 if kind == "caf" else 4), first, length


def _after_chunks(kind: str, fd: int, size: int, start: int, end: int) -> int:
    """Return where the plausible chunks after the samples end."""
    after = end
    if kind in _LAYOUTS:
        for name, position, length in _chunks(fd, kind, start, _padded(kind, start, end)):
            if name == _LAYOUTS[kind][-1] or not _is_chunk(name, position, length, size):
                break
            after = position + length
    return min(after, size)


def _padded(kind: str, start: int, end: int) -> int:
    """Return where a chunk may begin after one that ends at `end`."""
    return end + -(end - start) % (_LAYOUTS[kind][3] if kind in _LAYOUTS else 1)


def _begins_another(fd: int, kind: str, start: int, end: int) -> bool:
    """Detect concatenated files: a magic number or second data chunk right after the audio."""
    marks = [(offset, magic) for offset, magic, _ in MAGIC]
    marks += [(0, magic) for magic, _ in _OTHER_MAGIC] + [(0, b"RIFF"), (0, b"RF64"), (0, b"ID3")]
    if kind in _LAYOUTS:
        marks.append((0, _LAYOUTS[kind][-1]))
    for at in (end, _padded(kind, start, end)):
        head = read_at(fd, 64, at)
        if any(head.startswith(magic, offset) for offset, magic in marks):
            return True
        if mp3.find_frames(fd, at) == at:
            return True
    return False


def _is_chunk(name: bytes, position: int, length: int, size: int) -> bool:
    """Return True for a plausible chunk header whose body lies inside the file."""
    letters = name.strip(b" \0").replace(b"_", b"").replace(b"-", b"")
    if name[:4].upper() in (b"RIFF", b"RF64", b"FORM"):  # another file follows
        return False
    return letters.isalnum() and length >= 0 and position + length <= size + 1


def _few_or_tags(fd: int, size: int, position: int) -> bool:
    """Return whether the rest of a file is negligible: a few bytes, a tag, or zeros."""
    position = mp3.after_tags(fd, position, size)
    if size - position < HEADER_BYTES:
        return True
    return all(not read_at(fd, 1 << 20, at).strip(b"\0") for at in range(position, size, 1 << 20))


def _check_wav(fd: int, size: int, start: int, path: AnyPath) -> None:
    order = ">" if read_at(fd, 4, start) == b"RIFX" else "<"
    has_format = False
    for name, position, length in _chunks(fd, "wav", start):
        if name == b"data" and has_format:
            if length == 0 < size - position:
                raise AudioError(
                    "empty",
                    f"WAV header says 0 bytes of samples, the file holds {size - position} bytes "
                    "after it. Its writer was interrupted; repair the header.",
                    path,
                )
            return
        if name != b"fmt ":
            continue
        body = read_at(fd, 16, position)
        if len(body) < 16:
            break
        has_format = True
        tag, channels, rate, _, _, bits = struct.unpack(f"{order}HHIIHH", body)
        check_format(rate, channels, path)
        if (bits == 0 and tag in (1, 3)) or (tag in (2, 0x11) and length < 18):
            raise AudioError(
                "unsupported",
                f"WAV header says format {tag:#x} with {bits} bits a sample in a format chunk of "
                f"{length} bytes; no decoder can read that. Write the file again as PCM.",
                path,
            )
    if size > HEADER_BYTES and not has_format:
        raise AudioError("damaged", "WAV file without a format chunk.", path)


def check_format(sample_rate: int, n_channels: int, path: AnyPath) -> None:
    """Refuse a sample rate or channel count that no recording has (`out_of_range`)."""
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise AudioError(
            "out_of_range",
            f"sample rate is {sample_rate} Hz; allowed is {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz. "
            "The header is wrong or this is not audio.",
            path,
        )
    if not 1 <= n_channels <= MAX_CHANNELS:
        text = f"{n_channels} channels; allowed is 1 to {MAX_CHANNELS} channels."
        raise AudioError("out_of_range", text, path)


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


# ---- tags before the audio, AAC ----


def _after_tags(fd: int, size: int, path: AnyPath) -> int:
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


def _dolby(fd: int, start: int) -> str | None:
    """Return "ac3" or "eac3" if two frames of Dolby Digital (ATSC A/52) begin here, else None."""
    data = read_at(fd, _LARGEST_AC3 + 2, start)
    if data[:2] != _AC3_SYNC or _AC3_SYNC not in data[6:]:
        return None
    version = data[5] >> 3  # bsid
    return "ac3" if version <= 10 else "eac3" if version <= 16 else None


def _first_box(fd: int, end: int, start: int) -> int:
    """Find the first MP4 box after zero padding, else return `start`."""
    for first in range(max(end, start - 3), start):
        if read_at(fd, 4, first + 4) in (b"ftyp", *_BOXES):
            return first
    return start


def _only_a_tag(size: int, path: AnyPath) -> AudioError:
    text = f"{size} bytes hold an ID3 tag and no audio; the file is incomplete."
    return AudioError("empty", text, path)


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
        beyond = position + length > size and name not in (b"ftyp", *_BOXES)
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
    return 0 if end >= size or _few_or_tags(fd, size, end) else size - end


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
        end = mp3.after_tags(fd, position, size)
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
    end = mp3.after_tags(fd, position, size)
    if size - end < _MOST_JUNK and b"OggS" not in read_at(fd, _MOST_JUNK, end):
        return None
    return "truncated", f"{size - end} of {size} bytes follow the end of the Ogg stream"


# ---- FLAC ----


def _flac(fd: int, size: int, start: int) -> Container:
    """Build the `Container` of a FLAC file: patch a low STREAMINFO total, cut at a second file."""
    found = flac.scan_frames(fd, size, start)
    n_unread = size - found.end
    if found.after and not any(_few_or_tags(fd, found.end, at) for at in found.after):
        n_unread += found.end - found.after[0]
    if found.patch or start or found.end < size:
        return Container("flac", start, found.end, found.patch or (0, b""), n_unread=n_unread)
    return Container("flac", n_unread=n_unread)
