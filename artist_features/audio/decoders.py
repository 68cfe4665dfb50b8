"""Decoders: libsndfile and FFmpeg, each an open file that gives blocks of float32 samples.

libsndfile reads wav, flac, ogg (Vorbis, Opus), mp3, aiff, au, caf and w64; FFmpeg (PyAV, the
extra `[av]`) also reads what `formats` says. `Decoder` is the interface of both.
"""

import contextlib
import os
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from artist_features.audio.containers import describe_head
from artist_features.audio.file_bytes import CorrectedFile
from artist_features.audio.formats import HEADER_BYTES, Container, check_format, format_of
from artist_features.errors import AnyPath, AudioError, counted, shortened

Samples = npt.NDArray[np.float32]
_BLOCK_FRAMES = 65536
_MEMORY_BLOCK = 1 << 18  # frames of samples that are in memory already
MAX_SECONDS = 1e7  # 115 days; what is longer is a wrong unit
REAL_NUMBERS = (int, float, np.integer, np.floating)
_INT16_SCALE = np.float32(1 / 32768)  # exact: as libsndfile's own
_UNKNOWN_FRAMES = 2**62  # libsndfile gives so many or more where a header is silent


@dataclass(frozen=True)
class Span:
    """Time range of a recording to read: offset and duration in seconds (None: to the end).

    Numbers of NumPy become `float`: they go to other processes as JSON.
    """

    offset_s: float = 0.0
    duration_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("offset", self.offset_s), ("duration", self.duration_s)):
            if name == "duration" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, REAL_NUMBERS):
                given = shortened(reprlib.repr(value))
                raise TypeError(f"{name} is {given}; allowed is a number of seconds.")
            if not (0 <= value <= MAX_SECONDS) or (name == "duration" and value == 0):
                raise ValueError(
                    f"{name} is {shortened(value)} s; allowed is a number of seconds from 0 to "
                    f"{MAX_SECONDS:g}{', not 0' if name == 'duration' else ''}."
                )
            object.__setattr__(self, f"{name}_s", float(value))

    @property
    def whole(self) -> bool:
        """True if it reaches from the first sample to the last."""
        return self.offset_s == 0 and self.duration_s is None

    def frames(self, sample_rate: int) -> tuple[int, int | None]:
        """Return (first frame, number of frames or None) at a sample rate in Hz."""
        count = None if self.duration_s is None else max(1, round(self.duration_s * sample_rate))
        return round(self.offset_s * sample_rate), count


WHOLE = Span()


class Decoder(Protocol):
    """An open recording at its own sample rate; `close` frees it.

    Attributes:
        name: "soundfile", "av", "tfio" or "array".
        sample_rate: in Hz.
        declared_s: length that the file promises, in seconds, or None.
    """

    name: str
    sample_rate: int
    declared_s: float | None

    def blocks(self, span: Span) -> Iterator[npt.NDArray[Any]]:
        """Yield blocks float32 `(n_frames, n_channels)` of a part; each may be overwritten later.

        Raises:
            AudioError: `damaged`, `empty`, or `out_of_range` where the part begins after the end.
        """
        ...

    def close(self) -> None:
        """Release the decoder's resources."""
        ...


# ---- libsndfile ----


class _SequentialSoundFile(soundfile.SoundFile):  # type: ignore[misc]  # without type hints
    """libsndfile without the seek that soundfile adds after each read.

    That seek costs a fifth of the decoding time and fails on a FLAC whose header does
    not know its length, as any encoder that writes to a pipe leaves it.
    """

    def seekable(self) -> bool:
        return False


class SoundFileDecoder:
    """Decode through libsndfile; a `Decoder`.

    Args:
        fd: file descriptor of the file, open for reading; it stays open.
        container: from `containers.identify`.
        path: for messages.

    Raises:
        AudioError: libsndfile cannot open the file, or its format is `out_of_range`.
    """

    name = "soundfile"

    def __init__(self, fd: int, container: Container, path: AnyPath) -> None:
        self._fd, self._path = fd, path
        file: Any = fd
        if container.end is not None:
            file = CorrectedFile(
                fd,
                container.start,
                container.end,
                container.patch,
                container.gaps,
                endless=container.endless,
            )
        os.lseek(fd, container.start, os.SEEK_SET)
        try:
            self._sound = sound = _SequentialSoundFile(file, closefd=False)
        except soundfile.LibsndfileError as error:
            raise open_error(fd, container, path, error.error_string) from None
        try:
            check_format(sound.samplerate, sound.channels, path)
        except AudioError:
            sound.close()
            raise
        self.sample_rate: int = sound.samplerate
        self.declared_s: float | None = None
        if sound.format == "MP3":  # libsndfile guesses where the header is silent
            self.declared_s = container.declared_s
        elif sound.frames < _UNKNOWN_FRAMES:
            self.declared_s = sound.frames / sound.samplerate

    def close(self) -> None:
        self._sound.close()

    def blocks(self, span: Span) -> Iterator[Samples]:
        sound, rate = self._sound, self.sample_rate
        first, count = span.frames(rate)
        if sound.format == "FLAC" and count is None:
            # reading past the declared end turns a tag appended there into an error
            count = max(0, sound.frames - first)
        if first and not self._seek_exact(first):
            raise past_end(span.offset_s, self.declared_s, self._path)
        buffer = np.empty((_BLOCK_FRAMES, sound.channels), np.float32)
        # of such files libsndfile makes floats slowly: 6.0 ms instead of 1.0 for 30 s of stereo
        integers = sound.subtype == "PCM_16" and sound.format != "FLAC"
        raw = np.empty(buffer.shape, np.int16) if integers else buffer
        done = 0
        while count is None or done < count:
            wanted = _BLOCK_FRAMES if count is None else min(_BLOCK_FRAMES, count - done)
            try:
                block = sound.read(out=raw[:wanted])
            except soundfile.LibsndfileError as error:
                if not done and os.fstat(self._fd).st_size <= HEADER_BYTES:
                    raise _header_only(self._fd, self._path) from None
                where = (
                    f"between {(first + done) / rate:.1f} and {(first + done + wanted) / rate:.1f}"
                )
                text = f"decoding failed {where} s ({_cause_of(error)}). "
                if sound.subtype == "OPUS" and not av_installed():
                    text += "FFmpeg may read it: `pip install 'artist-features[av]'`."
                else:
                    text += "Restore the file, or pass a duration that ends before."
                raise AudioError("damaged", text, self._path) from None
            if not len(block):
                break
            if integers:
                block = np.multiply(block, _INT16_SCALE, out=buffer[: len(block)])
            done += len(block)
            yield block
        if first and not done:
            raise past_end(span.offset_s, self.declared_s, self._path)

    def read_ranges(self, frame_ranges: Iterable[tuple[int, int]]) -> Iterator[Samples]:
        """Yield float32 `(n, n_channels)` of each (first frame, number of frames).

        Fewer frames at the file's end; the first range after it ends the reading.

        Raises:
            AudioError: `damaged`.
        """
        for first, count in frame_ranges:
            if not self._seek_exact(first):
                return
            try:
                samples: Samples = self._sound.read(count, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                text = f"decoding failed at {first / self.sample_rate:.1f} s ({_cause_of(error)})."
                raise AudioError("damaged", f"{text} Restore the file.", self._path) from None
            yield samples

    def _seek_exact(self, first: int) -> bool:
        """Seek sample-exactly to a frame; return False after the file's end."""
        sound, seconds = self._sound, 0
        if sound.format == "MP3":  # a frame draws on the bits of many frames before it
            seconds = 1
        elif sound.format == "OGG" and sound.frames - first < 10 * self.sample_rate:
            seconds = 10  # libsndfile lands some samples off in the last page
        lead = min(first, seconds * self.sample_rate)
        try:
            return bool(sound.seek(first - lead) + len(sound.read(lead, dtype="float32")) == first)
        except soundfile.LibsndfileError:
            return False


def _cause_of(error: soundfile.LibsndfileError) -> str:
    return error.error_string.rstrip(".") or "invalid data"


# ---- FFmpeg ----

# FFmpeg has hundreds of decoders; a file must not choose one that nobody looks after
_CODECS = (
    *("aac", "alac", "mp3", "mp3float", "mp2", "mp2float", "flac", "vorbis", "opus", "libopus"),
    *("wavpack", "tta", "ape"),
    *("ac3", "eac3", "wmav1", "wmav2", "wmapro", "wmalossless", "adpcm_ms", "adpcm_ima_wav"),
    *("pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw"),
)
# each block has a checksum of what it must decode to
_CHECKED_CODECS = ("wavpack", "tta")


class AvDecoder:
    """Decode through FFmpeg (PyAV): a `Decoder` for what libsndfile does not know.

    Args:
        fd, container, path: as for `SoundFileDecoder`.

    Raises:
        AudioError: FFmpeg cannot open the file, its codec is not one of ours (`unsupported`), or
            its format is `out_of_range`.
        ImportError: PyAV is not installed.
    """

    name = "av"

    def __init__(self, fd: int, container: Container, path: AnyPath) -> None:
        import av

        audio_format = format_of(container.kind)
        self._path, self._exact_seek = path, audio_format.exact_seek
        self._failed = (av.error.FFmpegError, ValueError, IndexError)
        if audio_format.demuxer is None:
            raise open_error(fd, container, path, "no FFmpeg format", tried_ffmpeg=True)
        with contextlib.ExitStack() as opened:
            stream = opened.enter_context(_from_start(fd, container))
            try:
                source = av.open(
                    stream,
                    format=audio_format.demuxer,
                    options={"codec_whitelist": ",".join(_CODECS)},
                    metadata_errors="replace",  # tags are not read: Latin-1 in them is no damage
                )
            except self._failed as error:
                raise open_error(fd, container, path, _av_cause(error), tried_ffmpeg=True) from None
            self._source = opened.enter_context(source)
            if not source.streams.audio:
                raise AudioError("unsupported", "the file has no audio track.", path)
            self._track = track = source.streams.audio[0]
            codec = "unknown" if track.codec_context is None else track.codec_context.name
            if codec not in _CODECS:
                text = f"its audio codec is {codec}; convert it to wav, flac, ogg, mp3 or m4a."
                raise AudioError("unsupported", text, path)
            check_format(track.rate or 0, track.channels or 0, path)
            if codec in _CHECKED_CODECS:  # an error; FFmpeg alone would put noise or silence there
                track.codec_context.options = {"err_detect": "crccheck+explode"}
            self.sample_rate: int = track.rate
            self.declared_s = None if source.duration is None else source.duration / av.time_base
            if container.kind in ("mp3", "aac"):  # FFmpeg guesses what the header leaves open
                self.declared_s = container.declared_s
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    def blocks(self, span: Span) -> Iterator[Samples]:
        track, rate = self._track, self.sample_rate
        first, count = span.frames(rate)
        position: int | None = 0
        if self._exact_seek and span.offset_s > 1:
            # a second early: the decoder needs frames before the first exact one
            self._source.seek(int((span.offset_s - 1.0) * 1_000_000))
            position = None
        done = 0
        frames = self._source.decode(track)
        while count is None or done < count:
            at_s = (first + done) / rate
            try:
                frame = next(frames, None)
            except self._failed as error:
                text = f"decoding failed at {at_s:.1f} s ({_av_cause(error)})."
                raise AudioError("damaged", text, self._path) from None
            if frame is None:
                break
            if frame.rate != rate or frame.layout.nb_channels != track.channels:
                raise AudioError(
                    "damaged",
                    f"format changes at {at_s:.1f} s from {rate} Hz, {track.channels} channels to "
                    f"{frame.rate} Hz, {frame.layout.nb_channels} channels.",
                    self._path,
                )
            if position is None:
                position = self._position_of(frame)
            samples = frame.to_ndarray()
            if not frame.format.is_planar:
                samples = samples.reshape(-1, track.channels).T
            block = to_float(samples.T)
            skip = max(0, first - position)
            position += len(block)
            block = block[skip : None if count is None else skip + count - done]
            done += len(block)
            if len(block):
                yield block
        if first and not done:
            raise past_end(span.offset_s, position / rate if position else None, self._path)

    def _position_of(self, frame: Any) -> int:
        """Return the number of a frame's first sample, from its time stamp."""
        if frame.pts is None:
            text = "frames have no time stamps, offset cannot be found."
            raise AudioError("damaged", text, self._path)
        start = self._track.start_time or 0
        return round((frame.pts - start) * frame.time_base * self.sample_rate)


def _from_start(fd: int, container: Container) -> Any:
    """Open the bytes that are audio as a file of their own."""
    if not container.start and container.end is None:
        os.lseek(fd, 0, os.SEEK_SET)
        return open(os.dup(fd), "rb")
    end = container.end or os.fstat(fd).st_size
    return CorrectedFile(fd, container.start, end, container.patch, container.gaps)


def _av_cause(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def av_installed() -> bool:
    """True if PyAV, the extra `[av]`, can be imported."""
    try:
        import av
    except ImportError:
        return False
    return bool(av.__version__)


# ---- what decoders share ----


def blocks_of(
    samples: npt.NDArray[Any], sample_rate: int, span: Span, path: AnyPath | None
) -> Iterator[Samples]:
    """Yield a part of samples that are all in memory, as `Decoder.blocks` does."""
    first, count = span.frames(sample_rate)
    if first >= len(samples) > 0:
        raise past_end(span.offset_s, len(samples) / sample_rate, path)
    samples = samples[first : None if count is None else first + count]
    for start in range(0, len(samples), _MEMORY_BLOCK):
        yield to_float(samples[start : start + _MEMORY_BLOCK])


def past_end(offset_s: float, length_s: float | None, path: AnyPath | None) -> AudioError:
    """Return the error for an offset after the last sample; length None if unknown."""
    end = "before that" if length_s is None else f"at {length_s:.1f} s"
    return AudioError(
        "out_of_range",
        f"offset is {offset_s:g} s, the recording ends {end}; pass an offset inside it.",
        path,
    )


def _header_only(fd: int, path: AnyPath) -> AudioError:
    size = counted(os.fstat(fd).st_size, "byte")
    return AudioError("empty", f"{size}, no audio in them; the file is incomplete.", path)


def open_error(
    fd: int, container: Container, path: AnyPath, cause: str, *, tried_ffmpeg: bool = False
) -> AudioError:
    """Return the error for a file that a decoder could not open, for the reason `cause`."""
    size = os.fstat(fd).st_size
    cause = cause.rstrip(".") or "no details"
    name = format_of(container.kind).needs_ffmpeg
    if name and not tried_ffmpeg:
        remedy = "install it with `pip install 'artist-features[av]'`"
        if av_installed():
            remedy = "pass decoder='auto'"
        text = f"{name} needs the FFmpeg decoder; {remedy}."
        return AudioError("unsupported", text, path)
    if size < 12 or (container.kind != "unknown" and size <= HEADER_BYTES):
        return _header_only(fd, path)
    if container.kind == "unknown":
        return AudioError(
            "unsupported",
            f"no known audio format; the file starts with {describe_head(fd, container.start)}. "
            "Readable are wav, flac, ogg, opus, mp3, aiff, au, caf, and with the extra [av] "
            "m4a, mp4, aac, wma, webm, wv, tta, ape, ac3.",
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
def to_float(samples: npt.NDArray[Any]) -> Samples:
    """Convert integer PCM to float32 in [-1, 1) by its full scale; floats pass.

    uint8 is centred at 128; int16 divides by 2^15, int32 by 2^31, int64 by 2^63.
    """
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    offset, scale = _FULL_SCALE[samples.dtype.name]
    return ((samples - np.float32(offset)) * np.float32(scale)).astype(np.float32, copy=False)
