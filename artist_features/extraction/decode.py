"""One source to waveform segments: what a decode thread or process does. No TensorFlow."""

import os
import time
from dataclasses import asdict, dataclass, field

import numpy as np

from artist_features.errors import AudioError
from artist_features.files import file_sha256
from artist_features.signal.audio import Clip, read_array, read_file
from artist_features.signal.decoders import WHOLE, Span
from artist_features.signal.segments import Segmenter
from artist_features.signal.spread import read_segments


@dataclass(frozen=True)
class EncodedAudio:
    """An audio file in memory; decoders get it as a private file.

    Attributes:
        data: the file's bytes.
        name: for messages, or None.
    """

    data: bytes = field(repr=False)
    name: str | os.PathLike | None = None


@dataclass(frozen=True)
class Source:
    """What to decode.

    Attributes:
        audio: path of a file, `EncodedAudio`, or array `(n_samples,)` or
            `(n_samples, n_channels)`.
        sample_rate: of an array in Hz; None for a file.
        span: part to read.
        decoder: "auto", "soundfile", "av" or "tfio".
        hashed: whether the sha256 of the file's bytes is wanted.
        n_sampled: read only so many segments, spread over a whole file; None reads all.
    """

    audio: object
    sample_rate: int | None = None
    span: Span = WHOLE
    decoder: str = "auto"
    hashed: bool = False
    n_sampled: int | None = None

    @property
    def path(self):
        """The file as the caller named it, or None where it has no name."""
        if isinstance(self.audio, EncodedAudio):
            return self.audio.name
        return None if self.sample_rate is not None else self.audio


@dataclass(frozen=True)
class Facts:
    """What was found while decoding one source.

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
    flaws: tuple = ()
    container: str = ""
    decode_s: float = 0.0
    resample_s: float = 0.0
    content_sha256: str = ""

    def to_record(self):
        """Return the facts as a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record):
        """Build from `to_record`, after JSON."""
        return cls(**{**record, "flaws": tuple(tuple(flaw) for flaw in record["flaws"])})


def decode_segments(source, front_end):
    """Yield float32 `(k, segment_samples)`, k >= 1, then, last, the `Facts`.

    Raises:
        AudioError: whatever goes wrong with this recording, and only that.
    """
    clip, segmenter, clock = Clip(), Segmenter(front_end), _Clock()
    digest, n_sampled = "", 0
    try:
        if source.n_sampled and source.sample_rate is None:
            try:
                for segments in clock.timed(_sampled(source, clip, front_end)):
                    n_sampled += len(segments)
                    yield segments
            except AudioError:
                if n_sampled:
                    raise
                # reading it whole tells what is wrong, or where it ends
        if not n_sampled:
            clip = Clip()
            yield from _whole(source, clip, segmenter, clock, front_end.sample_rate)
        if source.hashed:
            digest = file_sha256(source.audio)
    except MemoryError:
        raise AudioError(
            "out_of_memory", "decoding it needs more memory than is allowed.", source.path
        ) from None
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        # a decoder library gave up in a way of its own; arguments were checked before
        text = f"the decoder failed ({type(error).__name__}: {error})."
        raise AudioError("damaged", text, source.path) from error
    if not n_sampled and segmenter.short:
        needed = front_end.segment_samples - 2 * front_end.pad_samples
        clip.flaws.append(
            (
                "short",
                f"clip is {clip.duration_s:.2f} s, one segment needs "
                f"{needed / front_end.sample_rate:.2f} s; looped",
            )
        )
    yield Facts(
        n_sampled or segmenter.n_segments,
        clip.duration_s,
        clip.sample_rate,
        clip.decoder,
        tuple(clip.flaws),
        clip.container,
        clock.seconds - clip.resample_s,
        clip.resample_s,
        digest,
    )


class _Clock:
    """Adds up the time that an iterator takes, without that of its user."""

    def __init__(self):
        self.seconds = 0.0

    def timed(self, iterator):
        """Yield what the iterator yields."""
        while True:
            started = time.perf_counter()
            item = next(iterator, None)
            self.seconds += time.perf_counter() - started
            if item is None:
                return
            yield item


def _whole(source, clip, segmenter, clock, target_rate):
    for block in clock.timed(_blocks(source, clip, target_rate)):
        segments = segmenter.push(block)
        if len(segments):
            yield segments
    segments = segmenter.finish()
    if len(segments):
        yield segments


def _sampled(source, clip, front_end):
    if source.decoder in ("auto", "soundfile"):
        yield from read_segments(source.audio, clip, front_end, source.n_sampled)


def _blocks(source, clip, target_rate):
    if source.sample_rate is not None:
        return read_array(
            np.asarray(source.audio),
            clip,
            sample_rate=source.sample_rate,
            target_rate=target_rate,
            span=source.span,
        )
    decoder = source.decoder
    if decoder == "tfio":
        from artist_features.extraction.tfio_decoder import decode_tfio as decoder
    return read_file(source.audio, clip, target_rate=target_rate, span=source.span, decoder=decoder)
