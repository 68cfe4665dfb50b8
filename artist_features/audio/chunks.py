"""WAV, AIFF, CAF, W64 and AU: files of chunks, and the sizes that they state.

A writer that was killed, or one that wrote more than 4 GiB, leaves a size that is too small.
"""

import struct
from collections.abc import Iterator

from artist_features.audio import mp3
from artist_features.audio.file_bytes import read_at
from artist_features.audio.formats import (
    HEADER_BYTES,
    MAGIC,
    OTHER_MAGIC,
    Container,
    check_format,
)
from artist_features.audio.tags import few_or_tags
from artist_features.errors import AnyPath, AudioError

_DS64_DATA = 28  # byte of an RF64 file at which the 64-bit size of the samples stands
_STREAMED_BITS = 0x7FFF0000  # set in the sizes that writers to a pipe put
# position of the first chunk, layout of a chunk's head, bytes of it that its size counts,
# alignment, id of the chunk that holds the samples
_LAYOUTS = {
    "wav": (12, "<4sI", 0, 2, b"data"),
    "aiff": (12, ">4sI", 0, 2, b"SSND"),
    "caf": (8, ">4sq", 0, 1, b"data"),
    "w64": (40, "<16sQ", 24, 8, bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")),
}
KINDS = (*_LAYOUTS, "au")


def find_cut(kind: str, fd: int, size: int, start: int) -> str | None:
    """Return in words that a file has fewer samples than it states, or None."""
    for _, first, length in _stated_samples(kind, fd, start):
        if first + length > size and length & _STREAMED_BITS != _STREAMED_BITS:
            return f"header declares {length} bytes of samples, the file holds {size - first}"
    return None


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


def identify_chunks(kind: str, fd: int, size: int, whole: tuple[int, int | None]) -> Container:
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
    if few_or_tags(fd, size, after):
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
    marks += [(0, magic) for magic, _ in OTHER_MAGIC] + [(0, b"RIFF"), (0, b"RF64"), (0, b"ID3")]
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


def check_wav(fd: int, size: int, start: int, path: AnyPath) -> None:
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
