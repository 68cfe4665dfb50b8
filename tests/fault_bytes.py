"""Good audio files as bytes, and what it takes to spoil them."""

import functools
import io
import struct
from collections.abc import Iterable
from types import SimpleNamespace

import numpy as np
import soundfile
from conftest import SAMPLE_RATE, music

SECONDS = 8.0


def encode(samples, audio_format, sample_rate=SAMPLE_RATE, subtype=None, **options):
    """Return a whole file written by libsndfile as bytes."""
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(
        buffer, "w", sample_rate, channels, subtype, format=audio_format, **options
    ) as sound:
        for start in range(0, len(samples), 8192):  # longer Vorbis writes crash libsndfile
            sound.write(samples[start : start + 8192])
    return buffer.getvalue()


def encode_av(
    samples,
    container,
    codec,
    sample_rate=SAMPLE_RATE,
    *,
    bit_rate=None,
    codec_options=None,
    container_options=None,
    path=None,
):
    """Return a whole file written by FFmpeg as bytes, or write it to `path`."""
    import av

    buffer = io.BytesIO()
    layout = "mono" if samples.ndim == 1 else "stereo"
    with av.open(path or buffer, "w", format=container, options=container_options) as target:
        stream = target.add_stream(codec, rate=sample_rate, layout=layout, options=codec_options)
        if bit_rate:
            stream.bit_rate = bit_rate
        planar = np.ascontiguousarray(np.atleast_2d(samples.T))
        frame = av.AudioFrame.from_ndarray(planar, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = sample_rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            target.mux(packet)
    return buffer.getvalue()


@functools.lru_cache(maxsize=1)
def good_files():
    """Return the same 8 s of music in each format, as bytes, by format name."""
    samples, pcm = music(SECONDS), {"subtype": "PCM_16"}
    return SimpleNamespace(
        wav=encode(samples, "WAV", **pcm),
        flac=encode(samples, "FLAC", **pcm),
        ogg=encode(samples, "OGG", subtype="VORBIS"),
        opus=encode(music(SECONDS, 48000), "OGG", 48000, "OPUS"),
        mp3=encode(samples, "MP3"),
        aiff=encode(samples, "AIFF", **pcm),
        au=encode(samples, "AU", **pcm),
        caf=encode(samples, "CAF", **pcm),
        w64=encode(samples, "W64", **pcm),
        m4a=encode_av(samples, "ipod", "aac"),
    )


def wav(data, *, rate=SAMPLE_RATE, channels=1, bits=16, tag=1, size=None):
    """Return a WAV file with a 44-byte header that may lie."""
    size = len(data) if size is None else size
    frame_bytes = min(channels * bits // 8, 0xFFFF)
    riff_size, byte_rate = min(36 + size, 0xFFFFFFFF), min(rate * frame_bytes, 0xFFFFFFFF)
    head = struct.pack("<4sI4s", b"RIFF", riff_size, b"WAVE")
    body = struct.pack("<HHIIHH", tag, channels, rate, byte_rate, frame_bytes, bits)
    return (
        head + struct.pack("<4sI", b"fmt ", 16) + body + struct.pack("<4sI", b"data", size) + data
    )


def pcm(seconds=4.0):
    """Return mono 16-bit samples as bytes."""
    return (music(seconds, n_channels=1)[:, 0] * 32767).astype("<i2").tobytes()


def float_wav(changes: Iterable[tuple[int | slice, float]], seconds: float = 4.0) -> bytes:
    """Return a mono float WAV of samples with other values at some places."""
    samples = music(seconds, n_channels=1)[:, 0]
    for place, value in changes:
        samples[place] = value
    return wav(samples.astype("<f4").tobytes(), bits=32, tag=3)


def put(data, position, new):
    """Return `data` with `new` written over it."""
    return data[:position] + new + data[position + len(new) :]


def noise(n_bytes, seed=0):
    """Return random bytes."""
    return np.random.default_rng(seed).bytes(n_bytes)


def inverted(data, n_bytes=4096):
    """Return `data` with bytes in the middle inverted."""
    middle = len(data) // 2
    return put(data, middle, bytes(b ^ 0xFF for b in data[middle : middle + n_bytes]))


def zeroed(data, n_bytes=65536):
    """Return `data` with bytes in the middle set to zero."""
    return put(data, (len(data) - n_bytes) // 2, bytes(n_bytes))


def xing(data, n_frames):
    """Return an mp3 whose length frame says `n_frames`."""
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    return put(data, tag + 8, struct.pack(">I", n_frames))


def flac_total(data, n_samples):
    """Return a FLAC whose STREAMINFO says `n_samples` (36 bits)."""
    return put(
        data, 21, bytes([data[21] & 0xF0 | n_samples >> 32]) + n_samples.to_bytes(5, "big")[1:]
    )


def ape_tag():
    """Return an APEv2 tag with one field, as players append it."""
    item = struct.pack("<II", 5, 0) + b"Title\0Alone"
    footer = struct.pack("<8sIIII8x", b"APETAGEX", 2000, len(item) + 32, 1, 0)
    return item + footer


def id3_tag(n_bytes):
    """Return an ID3v2.3 tag whose body is `n_bytes` of a picture-like noise."""
    size = bytes(n_bytes >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + noise(n_bytes, 3)
