"""Files to measure on: music-like clips made here, encoded by libsndfile, kept in a folder."""

import os
import tempfile
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 44100
CLIP_S = 30
_N_VOICES = 6
_N_PARTIALS = 8
_BEAT_S = 0.5
# libsndfile's Vorbis and mp3 encoders take a whole block on the stack: keep blocks small
_BLOCK_FRAMES = 4096
_MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III"}
_MP3_RATES_KBPS = (320, 32)  # of compression levels 0 and 1 at 44,100 Hz; linear between


def mp3_cbr(kbps):
    """Return ending and keywords of `SoundFile` for mp3 at a constant bit rate in kbit/s."""
    high, low = _MP3_RATES_KBPS
    level = (high - kbps) / (high - low)
    return ".mp3", {**_MP3, "bitrate_mode": "CONSTANT", "compression_level": level}


ENCODINGS = {  # name -> (ending, keywords of SoundFile)
    "mp3 CBR": mp3_cbr(160),
    "mp3 VBR": (".mp3", {**_MP3, "bitrate_mode": "VARIABLE", "compression_level": 0.4}),
    "flac": (".flac", {"format": "FLAC", "subtype": "PCM_16"}),
    "ogg Vorbis": (".ogg", {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.5}),
}


def clip(seed, seconds=CLIP_S):
    """Return music-like stereo float32 `(n_frames, 2)`: chords, plucked voices, drums, hiss."""
    random = np.random.default_rng(seed)
    n_frames = round(seconds * SAMPLE_RATE)
    time_s = np.arange(n_frames, dtype=np.float32) / np.float32(SAMPLE_RATE)
    beat = time_s % np.float32(_BEAT_S)
    mixed = np.zeros((n_frames, 2), np.float32)
    for _ in range(_N_VOICES):
        pitch_hz = 110.0 * 2 ** (random.integers(0, 36) / 12)
        decay = np.exp(-beat * random.uniform(2, 8)).astype(np.float32)
        voice = np.zeros(n_frames, np.float32)
        for partial in range(1, _N_PARTIALS + 1):
            phase = np.float32(2 * np.pi * pitch_hz * partial * random.uniform(0.999, 1.001))
            voice += np.sin(phase * time_s) / np.float32(partial)
        pan = random.uniform(0.2, 0.8)
        mixed += (voice * decay)[:, None] * np.array([pan, 1 - pan], np.float32)
    noise = random.standard_normal((n_frames, 2)).astype(np.float32)
    mixed += noise * (0.02 + 0.8 * np.exp(-beat * 30))[:, None].astype(np.float32)
    return mixed * np.float32(0.5) / np.abs(mixed).max()


def encode(samples, path, keywords):
    """Write float32 `(n_frames, 2)` to `path` in small blocks."""
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, samples.shape[1], **keywords) as file:
        for start in range(0, len(samples), _BLOCK_FRAMES):
            file.write(samples[start : start + _BLOCK_FRAMES])


def synthetic_files(n_clips, encodings=tuple(ENCODINGS)):
    """Return {encoding: list of `n_clips` paths}; what was made before is used again."""
    folder = Path(tempfile.gettempdir()) / f"artist_features_benchmark_{os.getuid()}"
    folder.mkdir(exist_ok=True)
    files = {name: [] for name in encodings}
    for seed in range(n_clips):
        samples = None
        for name in encodings:
            ending, keywords = ENCODINGS[name]
            path = folder / f"{seed:03d} {name}{ending}"
            if not path.exists():
                samples = clip(seed) if samples is None else samples
                partial = path.with_name("partial" + ending)
                encode(samples, partial, keywords)
                partial.replace(path)
            files[name].append(path)
    return files


def long_mp3(path, seconds):
    """Write a constant-rate mp3 of about `seconds`: the frames of one clip, repeated.

    Encoding hours would take minutes. The first frame of the clip, which states its
    length, is left out.
    """
    from artist_features.audio.mp3 import parse_frame

    source = synthetic_files(1, ["mp3 CBR"])["mp3 CBR"][0]
    data = source.read_bytes()
    frames = data[parse_frame(data[:4]).n_bytes :]
    with open(path, "wb") as file:
        for _ in range(round(seconds / CLIP_S)):
            file.write(frames)


def long_wav(path, seconds):
    """Write a 16-bit stereo WAV of about `seconds`: one clip, repeated."""
    samples = clip(0)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 2, "PCM_16") as file:
        for _ in range(round(seconds / CLIP_S)):
            file.write(samples)
