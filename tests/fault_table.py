"""Rows 1 to 35 of the fault table: bytes of bad files, and what must become of each."""

from collections.abc import Callable
from dataclasses import dataclass

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
    make: Callable
    status: str | tuple
    texts: tuple = ()
    like: str | None = None

    @property
    def id(self):
        return f"row{self.row:02d}-{self.name}"

    @property
    def statuses(self):
        return (self.status,) if isinstance(self.status, str) else self.status


def _first(fmt, n_bytes):
    return lambda good: getattr(good, fmt)[:n_bytes]


def _constant(data):
    return lambda good: data


def _clip(n_samples):
    return lambda good: wav(np.full(n_samples, 8000, "<i2").tobytes(), rate=22050)


def _rows():
    """Yield every `Fault`, in the order of the table."""
    for fmt in ("mp3", "wav", "flac"):
        yield Fault(1, fmt, f".{fmt}", _constant(b""), "empty", (r"\b0 bytes",))
    for fmt in HEADER_FORMATS:
        for n in (1, 64, 1024):
            header_only = ("empty", "short", "truncated")
            yield Fault(2, f"{fmt}-{n}", f".{fmt}", _first(fmt, n), header_only)
    for suffix in (".mp3", ".wav"):
        text = (r"only zero bytes",)
        yield Fault(3, suffix[1:], suffix, _constant(bytes(4096)), "unsupported", text)
    html = b"<!DOCTYPE html>\n<title>404 Not Found</title>\n" * 40
    yield Fault(4, "html", ".mp3", _constant(html), "unsupported", (r"starts like HTML",))
    jpeg = b"\xff\xd8\xff\xe0" + noise(20_000)
    yield Fault(5, "jpeg", ".mp3", _constant(jpeg), "unsupported", (r"starts like a JPEG",))
    for magic, kind in ((b"OggS", "ogg"), (b"fLaC", "flac")):
        text = (rf"starts like {kind}",)
        yield Fault(6, kind, f".{kind}", _constant(magic + noise(200_000)), "damaged", text)
    yield Fault(
        7,
        "mp3-cut-half",
        ".mp3",
        lambda good: good.mp3[: len(good.mp3) // 2],
        "truncated",
        (r"\b[34]\.\d\d s were decoded, the header declares 8\.0\d s",),
    )
    yield Fault(
        8,
        "wav-cut-half",
        ".wav",
        lambda good: good.wav[: len(good.wav) // 2],
        "truncated",
        (r"declares 1411200 bytes of samples, the file holds 705578", r"4\.00 s were decoded"),
    )
    for fmt in ("aiff", "au", "caf", "w64"):

        def cut(good, fmt=fmt):
            return getattr(good, fmt)[:-700_000]

        text = (r"declares 14112\d\d bytes of samples, the file holds 7112\d\d",)
        yield Fault(8, f"{fmt}-cut-half", f".{fmt}", cut, "truncated", text)
    for fmt in ("ogg", "opus"):

        def half(good, fmt=fmt):
            return getattr(good, fmt)[: len(getattr(good, fmt)) // 2]

        yield Fault(9, fmt, f".{fmt}", half, "truncated", (r"Ogg", r"\b[23]\.\d\d s were decoded"))
    yield Fault(
        10,
        "flac-cut-half",
        ".flac",
        lambda good: good.flac[: len(good.flac) // 2],
        "damaged",
        (r"between [34]\.\d and [45]\.\d s",),
    )
    for row, change in ((11, inverted), (12, zeroed)):
        for fmt in ("mp3", "ogg", "opus", "flac"):

            def middle(good, fmt=fmt, change=change):
                return change(getattr(good, fmt))

            yield Fault(
                row, f"{fmt}-{change.__name__}", f".{fmt}", middle, ("damaged", "truncated")
            )
    lie = b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f"
    text = (r"ID3 tag claims 256\.0 MiB, the file has 0\.1 MiB",)
    yield Fault(13, "id3-lie", ".mp3", lambda good: lie + good.mp3, "damaged", text)
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)
    yield Fault(14, "id3-alone", ".mp3", _constant(tag), "empty", (r"267 bytes hold an ID3 tag",))
    yield Fault(15, "xing-2e31", ".mp3", lambda good: xing(good.mp3, 2**31 - 1), "ok", like="mp3")
    yield Fault(16, "xing-10", ".mp3", lambda good: xing(good.mp3, 10), "ok", like="mp3")
    yield Fault(
        17,
        "flac-total-2e36",
        ".flac",
        lambda good: flac_total(good.flac, 2**36 - 1),
        "truncated",
        (r"8\.00 s were decoded, the header declares 1558264\.78 s",),
        like="flac",
    )
    yield Fault(
        18, "flac-total-0", ".flac", lambda good: flac_total(good.flac, 0), "ok", like="flac"
    )
    for fmt in ("ogg", "opus"):

        def no_end(good, fmt=fmt):
            return getattr(good, fmt)[:-3072]

        yield Fault(19, fmt, f".{fmt}", no_end, "truncated", (r"Ogg", r"[78]\.\d\d s were decoded"))
    streamed = {"size": 0xFFFFFFF0, "channels": 2}
    yield Fault(
        20, "wav-streamed", ".wav", lambda good: wav(good.wav[44:], **streamed), "ok", like="wav"
    )
    text = (r"header says 0 bytes of samples, the file holds 352800",)
    yield Fault(21, "wav-size-0", ".wav", lambda good: wav(pcm(), size=0), "empty", text)
    for rate in (0, 1, 2**32 - 1):
        text = (rf"sample rate is {rate} Hz", r"4000 to 384000 Hz")
        data = wav(bytes(4096), rate=rate)
        yield Fault(22, f"rate-{rate}", ".wav", _constant(data), "out_of_range", text)
    for channels in (0, 1024, 65535):
        text = (rf"\b{channels} channels", r"1 to 32 channels")
        data = wav(bytes(4096), channels=channels)
        yield Fault(23, f"channels-{channels}", ".wav", _constant(data), "out_of_range", text)
    for name, fields in (("bits-0", {"bits": 0}), ("adpcm", {"tag": 2, "bits": 4})):
        text = (rf"{fields.get('tag', 1):#x} with {fields['bits']} bits",)
        data = wav(bytes(4096), **fields)
        yield Fault(24, name, ".wav", _constant(data), "unsupported", text)
    yield from _sample_rows()
    yield from _name_rows()


def _sample_rows():
    """Yield rows 25 to 28: what the samples hold, and how many there are."""

    def all_nan(samples):
        samples[:] = np.nan

    def one_of_each(samples):
        samples[100_000], samples[120_000] = np.nan, np.inf

    def loud(samples):
        samples[5] = 1e30

    def quiet(samples):
        samples[:] = 1e-40

    text = (r"176400 of 176400 samples", r"0\.000 s \(sample 0\)")
    yield Fault(25, "all-nan", ".wav", lambda good: float_wav(all_nan), "not_finite", text)
    text = (r"\b2 of 176400 samples", r"2\.268 s \(sample 100000\)")
    yield Fault(25, "nan-and-inf", ".wav", lambda good: float_wav(one_of_each), "not_finite", text)
    text = (r"amplitude reaches 1e\+30",)
    yield Fault(26, "1e30", ".wav", lambda good: float_wav(loud), "out_of_range", text)
    yield Fault(26, "1e-40", ".wav", lambda good: float_wav(quiet), "ok")
    silence, constant = bytes(4 * 2 * SAMPLE_RATE), b"\xff\x7f" * 4 * SAMPLE_RATE
    text = (r"all 4\.0 s are digital silence",)
    yield Fault(27, "silence", ".wav", _constant(wav(silence)), "silent", text)
    yield Fault(27, "constant", ".wav", _constant(wav(constant)), "ok")
    text = (r"clip is 0\.00 s, one segment needs 2\.97 s; looped",)
    yield Fault(28, "1-sample", ".wav", _clip(1), "short", text)
    yield Fault(28, "65535-samples", ".wav", _clip(65535), "short", (r"clip is 2\.97 s",))
    for n_samples in (65536, 66559, 66560, 66561):
        yield Fault(28, f"{n_samples}-samples", ".wav", _clip(n_samples), "ok")


def _name_rows():
    """Yield rows 31 to 35: files that are something else than they seem."""
    for fmt, suffix in (("mp3", ".wav"), ("ogg", ".flac"), ("wav", ".mp3"), ("flac", "")):
        name = f"{fmt}-as-{suffix[1:] or 'nothing'}"
        yield Fault(31, name, suffix, lambda good, fmt=fmt: getattr(good, fmt), "ok", like=fmt)
    yield Fault(32, "m4a-as-mp3", ".mp3", lambda good: good.m4a, "ok", like="m4a")
    yield Fault(
        33,
        "mp3-format-change",
        ".mp3",
        lambda good: good.mp3[:100_000] + encode(music(4.0, 48000, 1), "MP3", 48000),
        ("truncated", "damaged"),
    )
    yield Fault(
        33,
        "mp3-of-another-format-behind",
        ".mp3",
        lambda good: good.mp3 + encode(music(4.0, 48000, 1), "MP3", 48000),
        "damaged",
        (r"format changes at 8\.0 s",),
    )
    for n in (16_384, 70_000):
        yield Fault(
            34, f"junk-{n}-before", ".mp3", lambda good, n=n: noise(n) + good.mp3, "ok", like="mp3"
        )
    yield Fault(
        34, "cover-before", ".mp3", lambda good: id3_tag(70_000) + good.mp3, "ok", like="mp3"
    )
    yield Fault(34, "junk-after", ".mp3", lambda good: good.mp3 + noise(16_384), "ok", like="mp3")
    yield Fault(34, "ape-tag-after", ".mp3", lambda good: good.mp3 + ape_tag(), "ok", like="mp3")
    id3v1 = b"TAG" + bytes(125)
    yield Fault(34, "id3v1-after", ".mp3", lambda good: good.mp3 + id3v1, "ok", like="mp3")
    for fmt in ("flac", "ogg", "wav", "aiff"):

        def tagged(good, fmt=fmt):
            return getattr(good, fmt) + id3v1

        yield Fault(34, f"{fmt}-id3v1-after", f".{fmt}", tagged, "ok", like=fmt)
    yield Fault(
        34, "flac-id3v2-before", ".flac", lambda good: id3_tag(500) + good.flac, "ok", like="flac"
    )

    def between(good):
        half = len(good.mp3) // 2
        return good.mp3[:half] + noise(16_384) + good.mp3[half:]

    yield Fault(34, "junk-between", ".mp3", between, "truncated")
    m3u = b"#EXTM3U\n#EXTINF:8,x\nsecret.mp3\n"
    yield Fault(35, "m3u", ".mp3", _constant(m3u), "unsupported", (r"an M3U playlist",))
    concat = b"ffconcat version 1.0\nfile 'secret.mp3'\n"
    yield Fault(
        35, "ffconcat", ".mp3", _constant(concat), "unsupported", (r"an ffconcat playlist",)
    )


FAULTS = tuple(_rows())
