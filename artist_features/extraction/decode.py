"""Decode a recording to waveform segments, in whatever thread or process. No TensorFlow."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from artist_features.audio.decoders import Samples, Span
from artist_features.audio.segments import Segmenter, sampled_segments
from artist_features.audio.stream import AudioStream, OpenDecoder, open_array, open_file
from artist_features.config import FrontEnd
from artist_features.errors import AnyPath, AudioError, checked_int, shortened
from artist_features.files import file_sha256

DecoderName: TypeAlias = Literal["auto", "soundfile", "av", "tfio"]
DECODERS: tuple[DecoderName, ...] = get_args(DecoderName)


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Span):
    """Reading options of a recording: offset, duration, number of segments, decoder.

    They go whole from `extract` and the command line to decode processes and into tables, and
    from an index to the reading of queries. A field added here, or in `Span` if `audio` is to
    know it, goes along. Its default is None, for what was read before there was the field: a
    table that says nothing of an option had its default.

    Attributes:
        n_segments: read only so many segments, spread over a whole file; None reads all.
        decoder: "auto", "soundfile", "av" or "tfio".

    Raises:
        TypeError, ValueError: a value that is not allowed, or two that exclude each other.
    """

    n_segments: int | None = None
    decoder: DecoderName = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_segments is not None:
            object.__setattr__(self, "n_segments", checked_int("n_segments", self.n_segments))
            if not self.whole:
                raise ValueError("n_segments spreads over whole files; leave offset and duration.")
        if not isinstance(self.decoder, str) or self.decoder not in DECODERS:
            given = shortened(repr(self.decoder))
            raise ValueError(f"decoder {given}; allowed are {', '.join(DECODERS)}.")

    def to_record(self) -> dict[str, Any]:
        """Return the options as a dict for JSON, named as in the `made_with` of a table."""
        record = dict(vars(self))
        record["segments"] = record.pop("n_segments")
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ReadingOptions":
        """Build from `to_record` or a whole `made_with`; an option not in it has its default.

        So has the decoder where it is none of ours: a page's vectors are a browser's.
        """
        given = {**record, "n_segments": record.get("segments")}
        if given.get("decoder") not in DECODERS:
            given["decoder"] = None
        names = [option.name for option in dataclasses.fields(cls)]
        return cls(**{name: given[name] for name in names if given.get(name) is not None})


DEFAULT_READING = ReadingOptions()


@dataclass(frozen=True)
class EncodedAudio:
    """An audio file in memory; decoders get it as a private file.

    Attributes:
        data: the file's bytes.
        name: for messages, or None.
    """

    data: bytes = field(repr=False)
    name: str | os.PathLike[str] | None = None


@dataclass(frozen=True)
class Source:
    """Recording to decode, and how.

    Attributes:
        audio: path of a file, `EncodedAudio`, array `(n_samples,)` or
            `(n_samples, n_channels)`, or why an item of a list is no recording.
        sample_rate: of an array in Hz; None for a file.
        reading: `ReadingOptions`.
        hashed: whether the sha256 of the file's bytes is wanted.
    """

    audio: AnyPath | EncodedAudio | npt.NDArray[Any] | AudioError
    sample_rate: int | None = None
    reading: ReadingOptions = DEFAULT_READING
    hashed: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.reading, ReadingOptions):
            named = type(self.reading).__name__
            raise TypeError(f"reading is {named}; allowed are ReadingOptions.")

    @property
    def path(self) -> AnyPath | None:
        """The file as the caller named it, or None where it has no name."""
        if isinstance(self.audio, EncodedAudio):
            return self.audio.name
        if isinstance(self.audio, (np.ndarray, AudioError)) or self.sample_rate is not None:
            return None
        return self.audio

    def to_record(self) -> dict[str, Any]:
        """Return a source with a path as a dict for JSON; any file name survives."""
        if self.path is None or isinstance(self.audio, EncodedAudio):
            raise TypeError("only a source with a path has a record")
        reading = self.reading.to_record()
        return {**vars(self), "audio": os.fsdecode(self.path), "reading": reading}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Source":
        """Build from `to_record`, after JSON."""
        return cls(**{**record, "reading": ReadingOptions.from_record(record["reading"])})


@dataclass(frozen=True)
class Facts:
    """Decoding metadata of a recording: length, sample rate, container, flaws, times.

    Attributes:
        n_segments: segments delivered, >= 1.
        duration_s: seconds decoded.
        sample_rate: of the recording, in Hz.
        decoder: "soundfile", "av", "tfio" or "array".
        flaws: tuple of (code, text); codes `truncated`, `short`, `silent`.
        container: what the file's bytes are ("mp3", "flac", ...), "" for an array.
        decode_s, resample_s: seconds that decoding with mixing, and resampling took.
        content_sha256: of the file's bytes, "" if it was not asked for.
    """

    n_segments: int
    duration_s: float
    sample_rate: int
    decoder: str
    flaws: tuple[tuple[str, str], ...] = ()
    container: str = ""
    decode_s: float = 0.0
    resample_s: float = 0.0
    content_sha256: str = ""

    def to_record(self) -> dict[str, Any]:
        """Return the facts as a dict for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Facts":
        """Build from `to_record`, after JSON."""
        return cls(**{**record, "flaws": tuple((code, text) for code, text in record["flaws"])})


class SegmentStream:
    """Waveform segments of one source, made by `decode_segments`: iterate once, then read `facts`.

    Iterating opens the recording, yields float32 `(k, segment_samples)`, k >= 1, and closes it.

    Attributes:
        facts: `Facts` once the last segment was taken, None before.
    """

    def __init__(self, source: Source, front_end: FrontEnd) -> None:
        self._source, self._front_end = source, front_end
        self.facts: Facts | None = None

    def __iter__(self) -> Iterator[Samples]:
        source = self._source
        try:
            n_segments, decoder = source.reading.n_segments, source.reading.decoder
            if n_segments and source.path is not None and decoder in ("auto", "soundfile"):
                yield from self._sampled(source.path, n_segments)
            if self.facts is None:
                yield from self._whole()
        except MemoryError:
            text = "decoding it needs more memory than is allowed."
            raise AudioError("out_of_memory", text, source.path) from None
        except (RuntimeError, OSError, ValueError, EOFError) as error:
            # a decoder library gave up in a way of its own; arguments were checked before
            text = f"the decoder failed ({type(error).__name__}: {error})."
            raise AudioError("damaged", text, source.path) from error

    def _sampled(self, path: AnyPath, n: int) -> Iterator[Samples]:
        """Read `n` segments by seeking; yield none where the whole file must be decoded."""
        n_read = 0
        try:
            rate = self._front_end.sample_rate
            with open_file(path, target_rate=rate, decoder="soundfile") as stream:
                if stream.container == "opus":  # see `stream._open_decoder`
                    return
                for segments in sampled_segments(stream, self._front_end, n):
                    n_read += len(segments)
                    yield segments
        except AudioError:
            if n_read:
                raise
        if n_read:
            self._finish(stream, n_read)

    def _whole(self) -> Iterator[Samples]:
        front_end, segmenter = self._front_end, Segmenter(self._front_end)
        with _open(self._source, front_end.sample_rate) as stream:
            for block in stream:
                segments = segmenter.push(block)
                if len(segments):
                    yield segments
        segments = segmenter.finish()
        if len(segments):
            yield segments
        if segmenter.short:
            needed_s = front_end.segment_samples - 2 * front_end.pad_samples
            text = f"clip is {stream.duration_s:.2f} s, one segment needs "
            text += f"{needed_s / front_end.sample_rate:.2f} s; looped"
            stream.flaws.append(("short", text))
        self._finish(stream, segmenter.n_segments)

    def _finish(self, stream: AudioStream, n_segments: int) -> None:
        digest = ""
        if self._source.hashed and self._source.path is not None:
            digest = file_sha256(self._source.path)
        self.facts = Facts(
            n_segments=n_segments,
            duration_s=stream.duration_s,
            sample_rate=stream.sample_rate,
            decoder=stream.decoder,
            flaws=tuple(stream.flaws),
            container=stream.container,
            decode_s=stream.decode_s,
            resample_s=stream.resample_s,
            content_sha256=digest,
        )


def decode_segments(source: Source, front_end: FrontEnd) -> SegmentStream:
    """Cut a recording into a model's waveform segments, without the model.

    Args:
        source: `Source` of a local file or an array.
        front_end: `FrontEnd` of the model, see `front_end_of`.

    Returns:
        `SegmentStream`, which yields float32 `(k, segment_samples)` and then has `facts`.

    Raises:
        AudioError: while iterating: whatever goes wrong with this recording, and only that.

    Example:
        >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 22050 * 7)
        >>> stream = decode_segments(Source(noise, 22050), FrontEnd())
        >>> np.concatenate(list(stream)).shape
        (2, 66560)
        >>> stream.facts.duration_s
        7.0
    """
    return SegmentStream(source, front_end)


def _open(source: Source, target_rate: int) -> AudioStream:
    if isinstance(source.audio, AudioError):
        raise source.audio
    if source.sample_rate is not None:
        return open_array(
            np.asarray(source.audio),
            sample_rate=source.sample_rate,
            target_rate=target_rate,
            span=source.reading,
        )
    if isinstance(source.audio, (np.ndarray, EncodedAudio)):
        raise TypeError("an array needs its sample_rate, audio in memory a file (remote.fetched)")
    decoder: str | OpenDecoder = source.reading.decoder
    if decoder == "tfio":
        from artist_features.extraction.tfio_decoder import TfioDecoder as decoder
    return open_file(source.audio, target_rate=target_rate, span=source.reading, decoder=decoder)
