"""`AudioStream`: one open recording (file or array) as mono float32 blocks at one sample rate.

The order is fixed: open without following special files, recognise the bytes, check the header's
ranges, decode in blocks, mix to mono, check every sample, resample, look for a missing end.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from artist_features.audio import containers
from artist_features.audio.decoders import (
    REAL_NUMBERS,
    WHOLE,
    AvDecoder,
    Decoder,
    Samples,
    SoundFileDecoder,
    Span,
    av_installed,
    blocks_of,
)
from artist_features.audio.file_bytes import opened, os_error
from artist_features.audio.formats import Container, format_of
from artist_features.config import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from artist_features.errors import AnyPath, AudioError, shortened

OpenDecoder = Callable[[int, Container, AnyPath], Decoder]
_MAX_AMPLITUDE = 16.0  # 24 dB above full scale; more is a scaling mistake
_CODEC_SLACK_S = 0.25  # headers count the delay and padding that decoders cut off


def open_file(
    path: AnyPath,
    *,
    target_rate: int,
    span: Span = WHOLE,
    decoder: str | OpenDecoder = "auto",
) -> "AudioStream":
    """Open an audio file; recognise it and check its header.

    Args:
        path: `str`, `bytes` or path-like, any file name the system allows.
        target_rate: sample rate of the blocks in Hz.
        span: part to read; what is outside is not decoded.
        decoder: "auto" (libsndfile, then FFmpeg where installed), "soundfile", "av", or
            a function (file descriptor, `Container`, path) to a `decoders.Decoder`.

    Raises:
        AudioError: with one of its codes; see `artist_features.errors`.
    """
    started = time.perf_counter()
    with contextlib.ExitStack() as held:
        fd, status = held.enter_context(opened(path))
        container = containers.identify(fd, status.st_size, path)
        source = _open_decoder(fd, container, path, decoder)
        held.callback(source.close)
        stream = AudioStream(source, target_rate, span, path, (fd, status, container))
        stream._held = held.pop_all()
    stream.decode_s += time.perf_counter() - started
    return stream


def open_array(
    samples: npt.ArrayLike, *, sample_rate: float, target_rate: int, span: Span = WHOLE
) -> "AudioStream":
    """Open an array of samples.

    Args:
        samples: `(n_samples,)` or `(n_samples, n_channels)`. Floats are taken as they
            are, in [-1, 1]; int16, int32 and uint8 are divided by their full scale.
        sample_rate: of `samples`, in Hz, 4000 to 384000.
        target_rate: sample rate of the blocks in Hz.
        span: part to use.

    Raises:
        ValueError, TypeError: not an audio array, or no valid sample rate.
    """
    source = _ArrayDecoder(check_array(samples, sample_rate), int(sample_rate))
    return AudioStream(source, target_rate, span)


class AudioStream:
    """One open recording: iterate it once for its blocks, float32 `(n,)` at the target rate.

    Made by `open_file` or `open_array`; a context manager that closes the file. Iterating raises
    `AudioError` (`damaged`, `empty`, `not_finite`, `out_of_range`).

    Attributes:
        path: the file, or None for an array.
        container: what the file's bytes are, as `containers.identify` names it; "" for an array.
        decoder: which decoder delivers the samples.
        sample_rate: of the recording, in Hz.
        declared_s: seconds that the file's header promises, or None.
        duration_s: seconds decoded; valid after the last block, as are those below.
        flaws: list of (code, text): what is wrong though an embedding is possible.
        decode_s, resample_s: seconds of work that decoding with mixing, and resampling took.
    """

    def __init__(
        self,
        source: Decoder,
        target_rate: int,
        span: Span,
        path: AnyPath | None = None,
        file: tuple[int, os.stat_result, Container] | None = None,
    ) -> None:
        self._source, self._target_rate, self._span = source, target_rate, span
        self._file = file
        self._held = contextlib.ExitStack()  # what `close` closes
        self.path = path
        self.container = file[2].kind if file else ""
        self.decoder = source.name
        self.sample_rate = source.sample_rate
        self.declared_s = source.declared_s
        self.duration_s = 0.0
        self.flaws: list[tuple[str, str]] = []
        self.decode_s = self.resample_s = 0.0

    def __enter__(self) -> "AudioStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._held.close()

    def __iter__(self) -> Iterator[Samples]:
        try:
            yield from self._resampled(self._checked(self._source.blocks(self._span)))
            started = time.perf_counter()
            self._check_unchanged()
            self.check_end()
            self.decode_s += time.perf_counter() - started
        except OSError as error:
            raise os_error(error, self.path) from None

    def read(self) -> Samples:
        """Return all blocks as one array, float32 `(n_samples,)`."""
        return np.concatenate(list(self))

    def read_ranges(self, frame_ranges: Iterable[tuple[int, int]]) -> Iterator[Samples]:
        """Read some stretches by seeking, in place of iterating: libsndfile only.

        Args:
            frame_ranges: (first frame, number of frames) at the recording's own rate, rising.

        Yields:
            mono float32 `(n,)` at the recording's own rate, shorter at the file's end; ranges
            after it are left out.
        """
        if not isinstance(self._source, SoundFileDecoder):
            raise TypeError(f"decoder {self.decoder!r} cannot read ranges")
        try:
            yield from self._checked(self._source.read_ranges(frame_ranges))
        except OSError as error:
            raise os_error(error, self.path) from None

    def _checked(self, blocks: Iterable[npt.NDArray[Any]]) -> Iterator[Samples]:
        """Downmix to mono; validate samples (NaN, infinity, range), detect digital silence."""
        n_samples, n_bad, first_bad, peak = 0, 0, None, 0.0
        for block in self._timed(mix(block) for block in blocks):
            if not len(block):
                continue
            low, high = float(block.min()), float(block.max())  # NaN wins in both
            if np.isfinite(low) and np.isfinite(high):
                peak = max(peak, high, -low)
            else:
                bad = np.flatnonzero(~np.isfinite(block))
                n_bad += len(bad)
                first_bad = n_samples + int(bad[0]) if first_bad is None else first_bad
            n_samples += len(block)
            if first_bad is None and peak <= _MAX_AMPLITUDE:
                yield block
        self.duration_s = n_samples / self.sample_rate
        if first_bad is not None:
            raise AudioError(
                "not_finite",
                f"{n_bad} of {n_samples} samples are NaN or infinite, the first at "
                f"{first_bad / self.sample_rate:.3f} s (sample {first_bad}). Replace them first.",
                self.path,
            )
        if peak > _MAX_AMPLITUDE:
            raise AudioError(
                "out_of_range",
                f"amplitude reaches {peak:g}; full scale is 1 and up to {_MAX_AMPLITUDE:g} is "
                "allowed. Divide integer samples by their full scale (32768 for 16 bits).",
                self.path,
            )
        if not n_samples:
            raise AudioError("empty", "the file opens but holds no samples.", self.path)
        if peak == 0:
            self.flaws.append(("silent", f"all {self.duration_s:.1f} s are digital silence"))

    def _timed(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """Time the decoder: add to `decode_s` what each block takes, not what its consumer does."""
        while True:
            started = time.perf_counter()
            block = next(blocks, None)
            self.decode_s += time.perf_counter() - started
            if block is None:
                return
            yield block

    def _resampled(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Resample a stream with soxr HQ; equal to resampling it whole, bit for bit."""
        if self.sample_rate == self._target_rate:
            yield from blocks
            return
        resampler = soxr.ResampleStream(
            self.sample_rate, self._target_rate, 1, dtype="float32", quality="HQ"
        )
        for block in itertools.chain(blocks, [None]):
            started = time.perf_counter()
            last = block is None
            chunk = np.empty(0, np.float32) if block is None else block
            resampled = resampler.resample_chunk(chunk, last=last)
            self.resample_s += time.perf_counter() - started
            yield resampled

    def _check_unchanged(self) -> None:
        if self._file is None:
            return
        fd, before, _ = self._file
        after = os.fstat(fd)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise AudioError(
                "damaged",
                f"the file changed while it was read ({before.st_size} bytes before, "
                f"{after.st_size} after); read it again when it is finished.",
                self.path,
            )

    def check_end(self) -> None:
        """Note a missing end as the flaw `truncated`, where the decoder reports none.

        Raises:
            AudioError: `damaged`: audio is missing before the end.
        """
        span, asked_s = self._span, self._span.duration_s
        if self._file is None or (
            asked_s is not None and self.duration_s >= asked_s - _CODEC_SLACK_S
        ):
            return  # the end was not asked for
        fd, status, container = self._file
        decoded = f"{self.duration_s:.2f} s were decoded"
        if container.n_unread:
            text = f"{container.n_unread} of {status.st_size} bytes were not read as audio"
            self.flaws.append(("truncated", f"{text}; {decoded}"))
            return
        first_only = self.decoder == "soundfile"  # of Ogg streams in a chain; FFmpeg reads all
        found = containers.find_damage(
            fd, status.st_size, container.kind, first_only=first_only, start=container.start
        )
        if found is not None:
            code, text = found
            if code == "damaged":
                raise AudioError(code, f"{text}; audio is missing. Restore the file.", self.path)
            self.flaws.append((code, f"{text}; {decoded}"))
            return
        declared_s = self.declared_s
        # FLAC counts samples, and a decoder delivers all of them
        least_s = (declared_s or 0.0) * 0.99 - _CODEC_SLACK_S
        if container.kind == "flac" and declared_s:
            least_s = declared_s - 2 / self.sample_rate
        if declared_s and span.offset_s + self.duration_s < least_s:
            text = f"{decoded}, the header declares {declared_s:.2f} s"
            self.flaws.append(("truncated", text))


class _ArrayDecoder:
    """The samples of an array; a `Decoder`."""

    name = "array"
    declared_s: float | None = None

    def __init__(self, samples: npt.NDArray[Any], sample_rate: int) -> None:
        self._samples, self.sample_rate = samples, sample_rate

    def close(self) -> None:
        """No-op: an array holds no file (`Decoder` interface)."""

    def blocks(self, span: Span) -> Iterator[Samples]:
        if not len(self._samples):
            raise AudioError("empty", f"array of shape {self._samples.shape}: no samples.")
        if self._samples.dtype == np.int32:
            _refuse_16_bits(self._samples)
        yield from blocks_of(self._samples, self.sample_rate, span, None)


def _refuse_16_bits(samples: npt.NDArray[np.int32]) -> None:
    """Raise `AudioError` for 16-bit samples in 32 bits.

    A recording so soft, under -96 dB, has 24 bits: the lowest 8 are zeros.
    """
    peak = max(int(samples.max(initial=0)), -int(samples.min(initial=0)))
    if 0 < peak <= 1 << 15 and (samples & 0xFF).any():
        text = f"int32 samples reach {peak} of 2147483648: 16-bit samples? Give them as int16."
        raise AudioError("out_of_range", text)


def _open_decoder(
    fd: int, container: Container, path: AnyPath, decoder: str | OpenDecoder
) -> Decoder:
    """Choose the decoder: FFmpeg for Opus, and where libsndfile cannot open the file.

    libsndfile 1.2.2 fails in the middle of half the Opus files that FFmpeg has written.
    """
    if callable(decoder):
        return decoder(fd, container, path)
    is_opus = container.kind == "opus"
    if decoder == "av" or (decoder == "auto" and is_opus and av_installed()):
        return AvDecoder(fd, container, path)
    try:
        return SoundFileDecoder(fd, container, path)
    except AudioError as error:
        unreadable = decoder == "auto" and error.code in ("unsupported", "damaged")
        if not (unreadable and format_of(container.kind).demuxer and av_installed()):
            raise
    return AvDecoder(fd, container, path)


@np.errstate(over="ignore", invalid="ignore")  # what comes of it, `_checked` refuses
def mix(block: npt.NDArray[Any]) -> Samples:
    """Downmix to mono: average the channels of `(n, n_channels)`; `(n,)` passes.

    Adding columns takes 0.6 ms where `mean(axis=1)` takes 20 ms for 30 s of stereo.
    """
    if block.ndim == 1:
        return block
    mono: Samples = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        mono += block[:, channel]
    mono *= np.float32(1.0 / block.shape[1])
    return mono


def check_array(samples: npt.ArrayLike, sample_rate: float | None) -> npt.NDArray[Any]:
    """Return samples as an array, or refuse what is no audio or has no valid sample rate.

    Raises:
        ValueError, TypeError: as for `open_array`.
    """
    samples = np.asarray(samples)
    if samples.dtype.kind != "f" and samples.dtype.name not in ("int16", "int32", "uint8"):
        raise TypeError(
            f"array of dtype {samples.dtype}; allowed are floats in [-1, 1], and int16, int32 "
            "and uint8, which are divided by their full scale."
        )
    if sample_rate is None:
        raise ValueError("sample_rate is missing: an array needs its sample rate in Hz.")
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, REAL_NUMBERS):
        named = shortened(repr(sample_rate))
        raise TypeError(f"sample_rate is {named}; allowed is a number of Hz.")
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ or sample_rate != int(sample_rate):
        raise ValueError(
            f"sample_rate is {shortened(sample_rate)} Hz; allowed is a whole number from "
            f"{MIN_RATE_HZ} to {MAX_RATE_HZ} Hz."
        )
    if samples.ndim not in (1, 2):
        raise ValueError(
            f"array of shape {samples.shape}; allowed is (n_samples,) or (n_samples, n_channels)."
        )
    if samples.ndim == 2 and not 1 <= samples.shape[1] <= MAX_CHANNELS:
        raise ValueError(
            f"array of shape {samples.shape} has {samples.shape[1]} channels; allowed is 1 to "
            f"{MAX_CHANNELS} in the second axis. Transpose an array of shape (n_channels, "
            "n_samples)."
        )
    return samples
