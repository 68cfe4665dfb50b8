"""The decoders: an open file to blocks of float32 samples at the file's own rate.

Each decoder is a generator function `(fd, container, path, span)` that yields
`Decoded` once, as soon as the format is known, then blocks float32
`(n_frames, n_channels)`. libsndfile reads wav, flac, ogg (Vorbis, Opus), mp3, aiff,
au, caf and w64, and is here; FFmpeg, in `ffmpeg.py`, also reads m4a, mp4, aac, wma and
matroska.
"""

import contextlib
import os
from dataclasses import dataclass

import numpy as np
import soundfile

from artist_features.errors import AudioError
from artist_features.signal.containers import HEADER_BYTES, check_format, describe_head
from artist_features.signal.mp3 import CorrectedFile

BLOCK_FRAMES = 65536
_INT16_SCALE = np.float32(1 / 32768)  # exact: as libsndfile's own
MAX_SECONDS = 1e7  # 115 days; what is longer is a wrong unit
_ONLY_AV = {
    "mp4": "MP4/AAC",
    "asf": "Windows Media (WMA)",
    "aac": "AAC",
    "matroska": "Matroska/WebM",
}


@dataclass(frozen=True)
class Decoded:
    """Facts known before the first block.

    Attributes:
        sample_rate: in Hz.
        n_channels: channels in each block.
        declared_s: length that the file promises, in seconds, or None.
        decoder: "soundfile" or "av".
    """

    sample_rate: int
    n_channels: int
    declared_s: float | None
    decoder: str


@dataclass(frozen=True)
class Span:
    """Part of a file, in seconds; duration None means up to the end."""

    offset_s: float = 0.0
    duration_s: float | None = None

    def __post_init__(self):
        for name, value in (("offset", self.offset_s), ("duration", self.duration_s)):
            if name == "duration" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                raise TypeError(f"{name} is {value!r}; allowed is a number of seconds.")
            if not (0 <= value <= MAX_SECONDS) or (name == "duration" and value == 0):
                raise ValueError(
                    f"{name} is {value} s; allowed is a number of seconds from 0 to "
                    f"{MAX_SECONDS:g}{', not 0' if name == 'duration' else ''}."
                )

    @property
    def whole(self):
        """True if nothing is left out."""
        return self.offset_s == 0 and self.duration_s is None

    def frames(self, sample_rate):
        """Return (first frame, number of frames or None) at a sample rate in Hz."""
        count = None if self.duration_s is None else max(1, round(self.duration_s * sample_rate))
        return round(self.offset_s * sample_rate), count


WHOLE = Span()


class _SequentialSoundFile(soundfile.SoundFile):
    """libsndfile without the seek that soundfile adds after each read.

    That seek costs a fifth of the decoding time and fails on a FLAC whose header does
    not know its length, as any encoder that writes to a pipe leaves it.
    """

    def seekable(self):
        return False


@contextlib.contextmanager
def _opened(fd, container, path):
    """Open a file with libsndfile, its format checked."""
    file = fd
    if container.end is not None:
        file = CorrectedFile(fd, container.start, container.end, container.patch, container.gaps)
    os.lseek(fd, container.start, os.SEEK_SET)
    try:
        sound = _SequentialSoundFile(file, closefd=False)
    except soundfile.LibsndfileError as error:
        raise open_error(fd, container, path, error.error_string) from None
    with sound:
        check_format(sound.samplerate, sound.channels, path)
        yield sound


def read_places(fd, container, path, places):
    """Read some places of a file by seeking, through libsndfile.

    Args:
        fd, container, path: as for the decoders.
        places: list of (first frame, number of frames, ...) in rising order; it may be
            filled when `Decoded` is known.

    Yields:
        `Decoded`, then for each place float32 `(n, n_channels)`, shorter at the file's end;
        places behind it are left out.
    """
    with _opened(fd, container, path) as sound:
        declared = _declared(sound, container)
        yield Decoded(sound.samplerate, sound.channels, declared, "soundfile")
        for first, count, *_ in places:
            if not _reach(sound, first):
                return
            try:
                yield sound.read(count, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                cause = error.error_string.rstrip(".") or "invalid data"
                text = f"decoding failed at {first / sound.samplerate:.1f} s ({cause})."
                raise AudioError("damaged", f"{text} Restore the file.", path) from None


def decode_soundfile(fd, container, path, span):
    """Decode through libsndfile; see the module docstring for what is yielded."""
    with _opened(fd, container, path) as sound:
        yield Decoded(sound.samplerate, sound.channels, _declared(sound, container), "soundfile")
        first, count = span.frames(sound.samplerate)
        if sound.format == "FLAC" and count is None:
            # reading past the declared end turns a tag appended there into an error
            count = max(0, sound.frames - first)
        if first:
            _seek(sound, first, span, container, path)
        buffer = np.empty((BLOCK_FRAMES, sound.channels), np.float32)
        # of such files libsndfile makes floats slowly: 6.0 ms instead of 1.0 for 30 s of stereo
        whole = sound.subtype == "PCM_16" and sound.format != "FLAC"
        raw = np.empty(buffer.shape, np.int16) if whole else buffer
        done = 0
        while count is None or done < count:
            wanted = BLOCK_FRAMES if count is None else min(BLOCK_FRAMES, count - done)
            try:
                block = sound.read(out=raw[:wanted])
            except soundfile.LibsndfileError as error:
                if not done and os.fstat(fd).st_size <= HEADER_BYTES:
                    raise _header_only(fd, path) from None
                start = (first + done) / sound.samplerate
                end = (first + done + wanted) / sound.samplerate
                raise AudioError(
                    "damaged",
                    f"decoding failed between {start:.1f} and {end:.1f} s "
                    f"({error.error_string.rstrip('.') or 'invalid data'}). "
                    "Restore the file, or pass a duration that ends before.",
                    path,
                ) from None
            if not len(block):
                break
            if whole:
                block = np.multiply(block, _INT16_SCALE, out=buffer[: len(block)])
            done += len(block)
            yield block
        if first and not done:
            raise past_end(span.offset_s, _declared(sound, container), path)


def _declared(sound, container):
    if sound.format == "MP3":  # libsndfile guesses where the header is silent
        return container.declared_s
    return None if sound.frames >= 2**62 else sound.frames / sound.samplerate


def _seek(sound, first, span, container, path):
    if not _reach(sound, first):
        raise past_end(span.offset_s, _declared(sound, container), path)


def _reach(sound, first):
    """Go to a frame; False where the file ends before."""
    lead = _lead(sound, first)
    try:
        return sound.seek(first - lead) + len(sound.read(lead, dtype="float32")) == first
    except soundfile.LibsndfileError:
        return False


def _lead(sound, first):
    """Return how many frames to decode and drop, so that the ones from `first` on are exact."""
    seconds = 0
    if sound.format == "MP3":  # a frame draws on the bits of many frames before it
        seconds = 1
    elif sound.format == "OGG" and sound.frames - first < 10 * sound.samplerate:
        seconds = 10  # libsndfile lands some samples off in the last page
    return min(first, seconds * sound.samplerate)


def past_end(offset_s, length_s, path):
    """Return the error for an offset behind the last sample; length None if unknown."""
    end = "before that" if length_s is None else f"at {length_s:.1f} s"
    return AudioError(
        "out_of_range",
        f"offset is {offset_s:g} s, the recording ends {end}; pass an offset inside it.",
        path,
    )


def _header_only(fd, path):
    size = os.fstat(fd).st_size
    return AudioError("empty", f"{size} bytes, no audio in them; the file is incomplete.", path)


def open_error(fd, container, path, cause, *, tried_ffmpeg=False):
    """Return the error for a file that a decoder could not open, for the reason `cause`."""
    size = os.fstat(fd).st_size
    cause = cause.rstrip(".") or "no details"
    if container.kind in _ONLY_AV and not tried_ffmpeg:
        remedy = "install it with `pip install 'artist-features[av]'`"
        if av_installed():
            remedy = "pass decoder='auto'"
        text = f"{_ONLY_AV[container.kind]} needs the FFmpeg decoder; {remedy}."
        return AudioError("unsupported", text, path)
    if size < 12 or (container.kind != "unknown" and size <= HEADER_BYTES):
        return _header_only(fd, path)
    if container.kind == "unknown":
        return AudioError(
            "unsupported",
            f"no known audio format; the file starts with {describe_head(fd, container.start)}. "
            "Readable are wav, flac, ogg, opus, mp3, aiff, au, caf, and with the extra [av] "
            "m4a, mp4, aac, wma, webm.",
            path,
        )
    return AudioError(
        "damaged", f"the file starts like {container.kind} but cannot be opened ({cause}).", path
    )


# sample formats of FFmpeg: numpy dtype -> (offset, scale) to [-1, 1]
_FULL_SCALE = {
    "uint8": (128.0, 1 / 128),
    "int16": (0.0, 1 / 2**15),
    "int32": (0.0, 1 / 2**31),
    "int64": (0.0, 1 / 2**63),
}


@np.errstate(over="ignore")  # a float64 too large becomes infinite, which is refused later
def to_float(samples):
    """Convert integer PCM to float32 in [-1, 1) by its full scale; floats pass.

    uint8 is centred at 128; int16 divides by 2^15, int32 by 2^31, int64 by 2^63.
    """
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    offset, scale = _FULL_SCALE[samples.dtype.name]
    return ((samples - np.float32(offset)) * np.float32(scale)).astype(np.float32, copy=False)


def av_installed():
    """True if PyAV, the extra `[av]`, can be imported."""
    try:
        import av
    except ImportError:
        return False
    return bool(av.__version__)
