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

from artist_features.errors import AnyPath, AudioError
from artist_features.signal import mp3

HEADER_BYTES = 4096  # a file this small that does not decode is "header only"
_MOST_TAGS, _MOST_PADDING = 64, 16 << 20  # bytes of zeros after a tag
_STREAM_HEAD = 1 << 16  # bytes in which the first whole frame of a stream begins
_STREAMED_BITS = 0x7FFF0000  # set in the sizes that writers to a pipe put

# (offset, magic bytes, kind)
_AUDIO_MAGIC = (
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (8, b"WAVE", "wav"),
    (8, b"AIFF", "aiff"),
    (8, b"AIFC", "aiff"),
    (0, b"caff", "caf"),
    (0, b".snd", "au"),
    (0, b"riff", "w64"),
    (4, b"ftyp", "mp4"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
)
_BOXES = (*(b"moov", b"mdat", b"wide", b"skip", b"free"), *(b"styp", b"moof", b"sidx", b"pnot"))
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
        kind: "wav", "flac", "mp3", ..., or "unknown".
        start: byte at which a decoder should begin (after junk).
        end: byte after the audio, where the header is wrong about the length; None
            where a decoder may read the file as it is.
        patch: (position, bytes) that a decoder must see in place of the file's, or None.
        declared_s: length in seconds that the header promises, if worth believing.
        n_unread: bytes at the end in which no audio was found, and that are no tag, or that
            are beyond what the decoder can reach.
        gaps: (first byte, byte after the last) of what a decoder must not see.
    """

    kind: str
    start: int = 0
    end: int | None = None
    patch: tuple[int, bytes] | None = None
    declared_s: float | None = None
    n_unread: int = 0
    gaps: tuple[tuple[int, int], ...] = ()


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
    head = os.pread(fd, 64, start)
    # decoders do not see the tag
    whole: tuple[int, int, tuple[int, bytes]] | tuple[()] = (start, size, (0, b"")) if start else ()
    for offset, magic, kind in _AUDIO_MAGIC:
        if head[offset : offset + len(magic)] == magic:
            if kind == "wav":
                return _wav(fd, size, start, path)
            if kind == "flac" and (patch := flac_patch(fd, size, start)):
                return Container("flac", start, size, patch)
            return Container(kind, *whole)
    if head[4:8] in _BOXES and _is_box(head, size - start):
        return Container("mp4", *whole)
    if _adts_bytes(head):
        return Container("aac", *whole)
    if mp3.parse_frame(head):
        return _mp3(fd, size, start, path)
    for magic, name in _OTHER_MAGIC:
        if head.lstrip()[: len(magic)].lower() == magic.lower():
            raise AudioError(
                "unsupported", f"the file starts like {name}; an audio file is needed.", path
            )
    frames = mp3.find_frames(fd, start)
    if frames is not None:
        return _mp3(fd, size, frames, path)
    frames = _find_adts(fd, start)
    if frames is not None:
        return Container("aac", frames, size, (0, b""))
    return Container("unknown", start)


def describe_head(fd: int, start: int = 0) -> str:
    """Return the first bytes of a file as text for an error message."""
    head = os.pread(fd, 16, start)
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
    if kind == "ogg":
        return _ogg_damage(fd, first_only, start)
    if kind in _LAYOUTS or kind == "au":
        return _chunk_damage(fd, size, kind, start)
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


def _chunks(fd: int, kind: str, start: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield (id, position of the body, declared size) of each chunk."""
    position, layout, counted, alignment, _ = _LAYOUTS[kind]
    position += start
    head = struct.Struct(">4sI" if os.pread(fd, 4, start) == b"RIFX" else layout)
    for _ in range(256):
        data = os.pread(fd, head.size, position)
        if len(data) < head.size:
            return
        name, size = head.unpack(data)
        size -= counted
        position += head.size
        yield name, position, size
        if not 0 <= size < 2**62:  # up to the end of the file, or nonsense
            return
        position += size + -size % alignment


def _wav(fd: int, size: int, start: int, path: AnyPath) -> Container:
    """Refuse what no decoder reads; mend a size of the samples that is too small.

    A writer that was killed, or one that wrote more than 4 GiB, leaves such a size. Samples go on
    after it where no chunk begins.
    """
    _check_wav(fd, size, start, path)
    as_it_is = Container("wav", start, size, (0, b"")) if start else Container("wav")
    if os.pread(fd, 4, start) not in (b"RIFF", b"RIFX"):
        return as_it_is  # RF64 has 64 bits for it
    place, end = 0, None
    for name, position, length in _chunks(fd, "wav", start):
        if name == b"data" and end is None:
            place, end = position - 4, position + length
        elif end is not None and _is_chunk(name, position, length, size):
            return as_it_is
        elif end is not None:
            break
    if end is None or size - end < max(HEADER_BYTES, 0.01 * size):
        return as_it_is
    if os.pread(fd, 8, end).startswith(mp3.TAGS):
        return as_it_is
    # up to the end of the file, or as far as 32 bits reach
    beyond = max(0, size - place - 4 - 0xFFFFFFFF)
    return Container("wav", start, size, (place, b"\xff" * 4), n_unread=beyond)


def _is_chunk(name: bytes, position: int, length: int, size: int) -> bool:
    """Return True for a plausible chunk header whose body lies inside the file."""
    letters = name.strip(b" \0").replace(b"_", b"").replace(b"-", b"")
    return letters.isalnum() and position + length <= size + 1


def _check_wav(fd: int, size: int, start: int, path: AnyPath) -> None:
    order = ">" if os.pread(fd, 4, start) == b"RIFX" else "<"
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
        body = os.pread(fd, 16, position)
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


def _chunk_damage(fd: int, size: int, kind: str, start: int) -> tuple[str, str] | None:
    if os.pread(fd, 4, start) == b"RF64":
        return None
    if kind == "au":
        head = os.pread(fd, 8, start + 4)
        sizes = [struct.unpack(">II", head)] if len(head) == 8 else []
    else:
        samples = _LAYOUTS[kind][-1]
        sizes = [chunk[1:] for chunk in _chunks(fd, kind, start) if chunk[0] == samples]
    for position, length in sizes:
        if position + length > size and length & _STREAMED_BITS != _STREAMED_BITS:
            return "truncated", (
                f"header declares {length} bytes of samples, the file holds {size - position}"
            )
    return None


def check_format(sample_rate: int, n_channels: int, path: AnyPath) -> None:
    """Refuse a sample rate or channel count that no recording has (`out_of_range`)."""
    if not 4000 <= sample_rate <= 384_000:
        raise AudioError(
            "out_of_range",
            f"sample rate is {sample_rate} Hz; allowed is 4000 to 384000 Hz. "
            "The header is wrong or this is not audio.",
            path,
        )
    if not 1 <= n_channels <= 32:
        raise AudioError(
            "out_of_range", f"{n_channels} channels; allowed is 1 to 32 channels.", path
        )


# ---- MP3 ----


def _mp3(fd: int, size: int, start: int, path: AnyPath) -> Container:
    """Find out whether a decoder may be handed the file as it is."""
    found = mp3.survey(fd, size, start)
    if found.changes_at_s is not None:
        raise AudioError(
            "damaged",
            f"the audio format changes at {found.changes_at_s:.1f} s: several mp3 files in one. "
            "Split them.",
            path,
        )
    patch: tuple[int, bytes] | None = found.patch
    end: int | None = found.end
    if found.trusted:
        hidden = found.gaps or found.n_unread  # which a decoder would stop at
        patch, end = ((0, b""), end) if hidden else (None, None)
    return Container("mp3", start, end, patch, found.declared_s, found.n_unread, found.gaps)


# ---- tags before the audio, AAC ----


def _after_tags(fd: int, size: int, path: AnyPath) -> int:
    """Return where the audio begins: after ID3 tags, and the zeros that pad them."""
    start = 0
    for _ in range(_MOST_TAGS):
        head = os.pread(fd, 10, start)
        if not head.startswith(b"ID3") or len(head) < 10:
            break
        start = end = _id3_end(head, start, size, path)
        while start < min(size, end + _MOST_PADDING):
            block = os.pread(fd, 1 << 20, start)
            n_zeros = len(block) - len(block.lstrip(b"\0"))
            start += n_zeros
            if n_zeros < len(block):
                break
    if start == size:
        raise _only_a_tag(size, path)
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


def _adts_bytes(head: bytes) -> int:
    """Return the length of the AAC frame whose ADTS header these bytes begin with, or 0."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def _find_adts(fd: int, position: int) -> int | None:
    """Return where three ADTS frames follow each other, as in a recording of a stream; or None."""
    data = os.pread(fd, _STREAM_HEAD, position)
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
    ended = False
    next_number: dict[int, int] = {}  # of each stream, by its serial
    with open(os.dup(fd), "rb", buffering=1 << 20) as stream:
        stream.seek(start)
        position = start
        while head := stream.read(27):
            if head[:4] != b"OggS"[: len(head)] or (len(head) == 27 and head[4] != 0):
                if ended:
                    return None  # something appended after the end of the stream
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
            if not head[5] & 2 and number != next_number.get(serial, number):
                return "damaged", f"an Ogg page is missing at byte {position}"
            next_number[serial] = number + 1
            ended = bool(head[5] & 4)
            position += 27 + len(lacing) + len(body)
    return None if ended else ("truncated", "the Ogg stream has no end page")


# ---- FLAC: the number of samples, from the header of the last frame ----

# Decoders stop at the total that STREAMINFO states. A writer that was killed, or that joined
# recordings, leaves a total that is too small. Source: RFC 9639, sections 8.2 and 9.1.
_FLAC_TAIL = 1 << 18  # more than any frame of a recording with up to 8 channels
_FLAC_INFO = 8  # byte at which its body begins
_FLAC_TOTAL = 21  # byte that holds the upper 4 of the 36 bits of the total
_FLAC_BLOCKS = {1: 192, **{n: 144 << n for n in range(2, 6)}, **{n: 1 << n for n in range(8, 16)}}


def flac_patch(fd: int, size: int, start: int = 0) -> tuple[int, bytes] | None:
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
    stated = (head[_FLAC_TOTAL] & 0x0F) << 32 | int.from_bytes(head[_FLAC_TOTAL + 1 : 26], "big")
    largest = int.from_bytes(head[_FLAC_INFO + 2 : _FLAC_INFO + 4], "big")
    found = _flac_samples(os.pread(fd, _FLAC_TAIL, max(start, size - _FLAC_TAIL)), largest)
    if not stated or found is None or not stated < found < 1 << 36:
        return None
    bits = bytes([head[_FLAC_TOTAL] & 0xF0 | found >> 32]) + (found & 0xFFFFFFFF).to_bytes(4, "big")
    return start + _FLAC_TOTAL, bits


def _flac_samples(tail: bytes, largest: int) -> int | None:
    """Return at which sample the last frame ends; two frames in a row must agree."""
    frames: list[tuple[int, int]] = []  # (first sample, number of samples), from the end
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0 and len(frames) < 8:
        if (frame := _flac_frame(tail[at : at + 16], largest)) is not None:
            frames.append(frame)
    for later, (first, count) in enumerate(frames):
        if any(before + n == first for before, n in frames[later + 1 :]):
            return first + count
    return None


def _flac_frame(head: bytes, largest: int) -> tuple[int, int] | None:
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
    count = _FLAC_BLOCKS.get(size_code)
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
