"""Table of the audio formats: magic bytes, file endings, FFmpeg's name and what decoders need.

A row is all that a new format needs, but for a codec that `decoders` does not allow yet (`_CODECS`)
and for checks of damage in `containers`. A `Container` is what a file turned out to be.
"""

from dataclasses import dataclass

from artist_features.config import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from artist_features.errors import AnyPath, AudioError

HEADER_BYTES = 4096  # a file this small that does not decode is "header only"


@dataclass(frozen=True)
class Format:
    """Audio container format.

    Attributes:
        kind: as in `Container` and in results.
        magic: (offset, bytes) pairs, one of which a file of this kind has; none where
            `containers` recognises frames.
        endings: of file names that a folder search takes, in lower case.
        demuxer: FFmpeg's name, given so that FFmpeg never guesses; None if it is not asked.
        needs_ffmpeg: what messages call a format that libsndfile does not read; "" where it does.
        exact_seek: FFmpeg seeks to the sample, as the container lists or computes the place of
            each frame.
        lossless: copies of this kind rank first; WAV and its relatives nearly always hold PCM.
    """

    kind: str
    magic: tuple[tuple[int, bytes], ...] = ()
    endings: tuple[str, ...] = ()
    demuxer: str | None = None
    needs_ffmpeg: str = ""
    exact_seek: bool = False
    lossless: bool = False


# the first whose magic is there counts
_ROWS = (
    Format("flac", ((0, b"fLaC"),), (".flac",), "flac", exact_seek=True, lossless=True),
    # after the head of an Ogg page with one packet (RFC 7845)
    Format("opus", ((28, b"OpusHead"),), (".opus",), "ogg"),
    Format("ogg", ((0, b"OggS"),), (".ogg", ".oga"), "ogg"),
    Format(
        "wav", ((8, b"WAVE"),), (".wav", ".wave", ".rf64"), "wav", exact_seek=True, lossless=True
    ),
    Format(
        "aiff",
        ((8, b"AIFF"), (8, b"AIFC")),
        (".aif", ".aiff", ".aifc"),
        "aiff",
        exact_seek=True,
        lossless=True,
    ),
    Format("caf", ((0, b"caff"),), (".caf",), "caf", exact_seek=True, lossless=True),
    Format("au", ((0, b".snd"),), (".au", ".snd"), lossless=True),
    Format("w64", ((0, b"riff"),), (".w64",), lossless=True),
    Format("wavpack", ((0, b"wvpk"),), (".wv",), "wv", "WavPack", lossless=True),
    Format("tta", ((0, b"TTA1"),), (".tta",), "tta", "True Audio", lossless=True),
    Format("ape", ((0, b"MAC "),), (".ape",), "ape", "Monkey's Audio", lossless=True),
    Format("mp4", ((4, b"ftyp"),), (".m4a", ".m4b", ".mp4"), "mp4", "MP4/AAC", exact_seek=True),
    Format(
        "asf",
        ((0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),),
        (".wma", ".asf"),
        "asf",
        "Windows Media (WMA)",
    ),
    Format("matroska", ((0, b"\x1a\x45\xdf\xa3"),), (".mka", ".webm"), "matroska", "Matroska/WebM"),
    Format("mp3", (), (".mp3", ".mp2"), "mp3"),
    Format("aac", (), (".aac",), "aac", "AAC"),
    Format("mpegts", (), (), "mpegts", "MPEG transport stream"),
    Format("ac3", (), (".ac3",), "ac3", "AC-3"),
    Format("eac3", (), (".eac3", ".ec3"), "eac3", "E-AC-3"),
)
FORMATS = {row.kind: row for row in _ROWS}
_UNKNOWN = Format("unknown")
MAGIC = tuple((offset, magic, row.kind) for row in _ROWS for offset, magic in row.magic)
# what is no audio: (first bytes, name)
OTHER_MAGIC = (
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
AUDIO_ENDINGS = tuple(ending for row in _ROWS for ending in row.endings)


def format_of(kind: str) -> Format:
    """Look up a format; one of an unknown kind has no properties."""
    return FORMATS.get(kind, _UNKNOWN)


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
