"""Rows 1 to 35 of the fault table: bytes of bad files, and what must become of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from conftest import SAMPLE_RATE, music
from fault_bytes import (
    ape_tag,
    encode,
    flac_total,
    float_wav,
    id3_tag,
    inverted,
    noise,
    pcm,
    wav,
    xing,
    zeroed,
)

FLAWS = ("truncated", "short", "silent")  # statuses that come with a vector
HEADER_FORMATS = ("wav", "flac", "ogg", "opus", "mp3", "aiff", "au", "caf", "w64")


@dataclass(frozen=True)
class Fault:
    """One file and what must become of it.

    Attributes:
        row: of the fault table.
        name: tells the cases of a row apart.
        suffix: of the file name, with its dot, or "".
        make: function of the good files, gives the bytes.
        status: "ok", a flaw, an error code, or a tuple of what is allowed.
        texts: regular expressions that the message must hold.
        like: format of the good file whose vector must come out, or None.
    """

    row: int
    name: str
    suffix: str
    make: Callable[[SimpleNamespace], bytes]
    status: str | tuple[str, ...]
    texts: tuple[str, ...] = ()
    like: str | None = None

    @property
    def id(self) -> str:
        return f"row{self.row:02d}-{self.name}"

    @property
    def statuses(self) -> tuple[str, ...]:
        return (self.status,) if isinstance(self.status, str) else self.status


def _spoilt(
    row: int,
    name: str,
    fmt: str,
    change: Callable[[bytes], bytes],
    status: str | tuple[str, ...],
    *texts: str,
    like: str | None = None,
) -> Fault:
    """Return the `Fault` of a good file whose bytes were changed."""
    return Fault(row, name, f".{fmt}", lambda good: change(getattr(good, fmt)), status, texts, like)


def _made(
    row: int, name: str, suffix: str, data: bytes, status: str | tuple[str, ...], *texts: str
) -> Fault:
    """Return the `Fault` of given bytes."""
    return Fault(row, name, suffix, lambda _: data, status, texts)


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _clip(n_samples: int) -> bytes:
    return wav(np.full(n_samples, 8000, "<i2").tobytes(), rate=22050)


def _rows() -> Iterator[Fault]:
    """Yield every `Fault`, in the order of the table."""
    for fmt in ("mp3", "wav", "flac"):
        yield _made(1, fmt, f".{fmt}", b"", "empty", r"\b0 bytes")
    header_only = ("empty", "short", "truncated")
    for fmt in HEADER_FORMATS:
        for n in (1, 64, 1024):
            yield _spoilt(2, f"{fmt}-{n}", fmt, lambda data, n=n: data[:n], header_only)
    for suffix in (".mp3", ".wav"):
        yield _made(3, suffix[1:], suffix, bytes(4096), "unsupported", "only zero bytes")
    html = b"<!DOCTYPE html>\n<title>404 Not Found</title>\n" * 40
    yield _made(4, "html", ".mp3", html, "unsupported", "starts like HTML")
    jpeg = b"\xff\xd8\xff\xe0" + noise(20_000)
    yield _made(5, "jpeg", ".mp3", jpeg, "unsupported", "starts like a JPEG")
    for magic, kind in ((b"OggS", "ogg"), (b"fLaC", "flac")):
        data = magic + noise(200_000)
        yield _made(6, kind, f".{kind}", data, "damaged", f"starts like {kind}")
    text = r"\b[34]\.\d\d s were decoded, the header declares 8\.0\d s"
    yield _spoilt(7, "mp3-cut-half", "mp3", _half, "truncated", text)
    text = "declares 1411200 bytes of samples, the file holds 705578"
    yield _spoilt(8, "wav-cut-half", "wav", _half, "truncated", text, r"4\.00 s were decoded")
    text = r"declares 14112\d\d bytes of samples, the file holds 7112\d\d"
    for fmt in ("aiff", "au", "caf", "w64"):
        yield _spoilt(8, f"{fmt}-cut-half", fmt, lambda data: data[:-700_000], "truncated", text)
    for fmt in ("ogg", "opus"):
        yield _spoilt(9, fmt, fmt, _half, "truncated", "Ogg", r"\b[23]\.\d\d s were decoded")
    text = r"between [34]\.\d and [45]\.\d s"
    yield _spoilt(10, "flac-cut-half", "flac", _half, "damaged", text)
    for row, change in ((11, inverted), (12, zeroed)):
        for fmt in ("mp3", "ogg", "opus", "flac"):
            name = f"{fmt}-{change.__name__}"
            yield _spoilt(row, name, fmt, change, ("damaged", "truncated"))
    lie = b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f"
    text = r"ID3 tag claims 256\.0 MiB, the file has 0\.1 MiB"
    yield _spoilt(13, "id3-lie", "mp3", lambda data: lie + data, "damaged", text)
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)
    yield _made(14, "id3-alone", ".mp3", tag, "empty", "267 bytes hold an ID3 tag")
    for row, name, n_frames in ((15, "xing-2e31", 2**31 - 1), (16, "xing-10", 10)):
        yield _spoilt(row, name, "mp3", lambda data, n=n_frames: xing(data, n), "ok", like="mp3")
    text = r"8\.00 s were decoded, the header declares 1558264\.78 s"
    for row, name, n, status, texts in (
        (17, "flac-total-2e36", 2**36 - 1, "truncated", (text,)),
        (18, "flac-total-0", 0, "ok", ()),
    ):
        yield _spoilt(
            row, name, "flac", lambda data, n=n: flac_total(data, n), status, *texts, like="flac"
        )
    text = r"[78]\.\d\d s were decoded"
    for fmt in ("ogg", "opus"):
        yield _spoilt(19, fmt, fmt, lambda data: data[:-3072], "truncated", "Ogg", text)
    streamed = {"size": 0xFFFFFFF0, "channels": 2}
    yield _spoilt(
        20, "wav-streamed", "wav", lambda data: wav(data[44:], **streamed), "ok", like="wav"
    )
    text = "header says 0 bytes of samples, the file holds 352800"
    yield _made(21, "wav-size-0", ".wav", wav(pcm(), size=0), "empty", text)
    for rate in (0, 1, 2**32 - 1):
        texts = f"sample rate is {rate} Hz", "4000 to 384000 Hz"
        data = wav(bytes(4096), rate=rate)
        yield _made(22, f"rate-{rate}", ".wav", data, "out_of_range", *texts)
    for channels in (0, 1024, 65535):
        texts = rf"\b{channels} channels", "1 to 32 channels"
        data = wav(bytes(4096), channels=channels)
        yield _made(23, f"channels-{channels}", ".wav", data, "out_of_range", *texts)
    for name, fields in (("bits-0", {"bits": 0}), ("adpcm", {"tag": 2, "bits": 4})):
        text = f"{fields.get('tag', 1):#x} with {fields['bits']} bits"
        yield _made(24, name, ".wav", wav(bytes(4096), **fields), "unsupported", text)
    yield from _sample_rows()
    yield from _name_rows()


def _sample_rows() -> Iterator[Fault]:
    """Yield rows 25 to 28: what the samples hold, and how many there are."""
    everywhere = slice(None)
    nan_and_inf = [(100_000, np.nan), (120_000, np.inf)]
    at_once = "176400 of 176400 samples", r"0\.000 s \(sample 0\)"
    two = r"\b2 of 176400 samples", r"2\.268 s \(sample 100000\)"
    for row, name, changes, status, *texts in (
        (25, "all-nan", [(everywhere, np.nan)], "not_finite", *at_once),
        (25, "nan-and-inf", nan_and_inf, "not_finite", *two),
        (26, "1e30", [(5, 1e30)], "out_of_range", r"amplitude reaches 1e\+30"),
        (26, "1e-40", [(everywhere, 1e-40)], "ok"),
    ):
        yield _made(row, name, ".wav", float_wav(changes), status, *texts)
    silence, constant = bytes(4 * 2 * SAMPLE_RATE), b"\xff\x7f" * 4 * SAMPLE_RATE
    text = r"all 4\.0 s are digital silence"
    yield _made(27, "silence", ".wav", wav(silence), "silent", text)
    yield _made(27, "constant", ".wav", wav(constant), "ok")
    text = r"clip is 0\.00 s, one segment needs 2\.97 s; looped"
    yield _made(28, "1-sample", ".wav", _clip(1), "short", text)
    yield _made(28, "65535-samples", ".wav", _clip(65535), "short", r"clip is 2\.97 s")
    for n_samples in (65536, 66559, 66560, 66561):
        yield _made(28, f"{n_samples}-samples", ".wav", _clip(n_samples), "ok")


def _name_rows() -> Iterator[Fault]:
    """Yield rows 31 to 35: files that are something else than they seem."""
    for row, fmt, suffix in (
        *((31, "mp3", ".wav"), (31, "ogg", ".flac"), (31, "wav", ".mp3"), (31, "flac", "")),
        (32, "m4a", ".mp3"),
    ):
        name = f"{fmt}-as-{suffix[1:] or 'nothing'}"
        yield Fault(row, name, suffix, lambda good, fmt=fmt: getattr(good, fmt), "ok", like=fmt)
    other = encode(music(4.0, 48000, 1), "MP3", 48000)
    for name, end, status, *texts in (
        ("mp3-format-change", 100_000, ("truncated", "damaged")),
        ("mp3-of-another-format-behind", None, "damaged", r"format changes at 8\.0 s"),
    ):
        yield _spoilt(33, name, "mp3", lambda data, n=end: data[:n] + other, status, *texts)
    id3v1 = b"TAG" + bytes(125)
    for name, fmt, before, after in (
        ("junk-16384-before", "mp3", noise(16_384), b""),
        ("junk-70000-before", "mp3", noise(70_000), b""),
        ("cover-before", "mp3", id3_tag(70_000), b""),
        ("junk-after", "mp3", b"", noise(16_384)),
        ("ape-tag-after", "mp3", b"", ape_tag()),
        ("id3v1-after", "mp3", b"", id3v1),
        *((f"{fmt}-id3v1-after", fmt, b"", id3v1) for fmt in ("flac", "ogg", "wav", "aiff")),
        ("flac-id3v2-before", "flac", id3_tag(500), b""),
    ):
        yield _spoilt(34, name, fmt, lambda data, a=before, b=after: a + data + b, "ok", like=fmt)

    def between(data: bytes) -> bytes:
        return _half(data) + noise(16_384) + data[len(data) // 2 :]

    yield _spoilt(34, "junk-between", "mp3", between, "truncated")
    m3u = b"#EXTM3U\n#EXTINF:8,x\nsecret.mp3\n"
    yield _made(35, "m3u", ".mp3", m3u, "unsupported", "an M3U playlist")
    concat = b"ffconcat version 1.0\nfile 'secret.mp3'\n"
    yield _made(35, "ffconcat", ".mp3", concat, "unsupported", "an ffconcat playlist")


FAULTS = tuple(_rows())
