"""The fallback decoder: FFmpeg, through PyAV (extra `[av]`).

Its form is that of all decoders, see `decoders.py`. It is used for what libsndfile does
not know, or where the caller wants it.
"""

import os

from artist_features.errors import AudioError
from artist_features.signal.containers import check_format
from artist_features.signal.decoders import Decoded, open_error, past_end, to_float
from artist_features.signal.mp3 import CorrectedFile

AV_FORMATS = {  # our container -> FFmpeg demuxer, named so that FFmpeg never guesses
    "mp4": "mp4",
    "asf": "asf",
    "aac": "aac",
    "matroska": "matroska",
    "ogg": "ogg",
    "mp3": "mp3",
    "flac": "flac",
    "wav": "wav",
    "aiff": "aiff",
    "caf": "caf",
}
# where FFmpeg seeks to the sample: these containers list or compute the place of each frame
_EXACT_SEEK = ("mp4", "flac", "wav", "aiff", "caf")
# FFmpeg has hundreds of decoders; a file must not choose one that nobody looks after
_CODECS = (
    *("aac", "alac", "mp3", "mp3float", "mp2", "mp2float", "flac", "vorbis", "opus", "libopus"),
    *("ac3", "eac3", "wmav1", "wmav2", "wmapro", "wmalossless", "adpcm_ms", "adpcm_ima_wav"),
    *("pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw"),
)


def decode_av(fd, container, path, span):
    """Decode through FFmpeg; see `decoders.py` for what is yielded."""
    import av

    if container.kind not in AV_FORMATS:
        raise open_error(fd, container, path, "no FFmpeg format", tried_ffmpeg=True)
    failed = (av.error.FFmpegError, ValueError, IndexError)
    with _from_start(fd, container) as stream:
        try:
            source = av.open(
                stream,
                format=AV_FORMATS[container.kind],
                options={"codec_whitelist": ",".join(_CODECS)},
            )
        except failed as error:
            raise open_error(fd, container, path, _cause(error), tried_ffmpeg=True) from None
        with source:
            if not source.streams.audio:
                raise AudioError("unsupported", "the file has no audio track.", path)
            track = source.streams.audio[0]
            codec = "unknown" if track.codec_context is None else track.codec_context.name
            if codec not in _CODECS:
                text = f"its audio codec is {codec}; convert it to wav, flac, ogg, mp3 or m4a."
                raise AudioError("unsupported", text, path)
            check_format(track.rate or 0, track.channels or 0, path)
            declared = None if source.duration is None else source.duration / av.time_base
            if container.kind in ("mp3", "aac"):  # FFmpeg guesses what the header leaves open
                declared = container.declared_s
            yield Decoded(track.rate, track.channels, declared, "av")
            exact = container.kind in _EXACT_SEEK
            yield from _blocks(source, track, span, exact, path, failed)


def _from_start(fd, container):
    """Open the bytes that are audio as a file of their own."""
    if not container.start and container.end is None:
        os.lseek(fd, 0, os.SEEK_SET)
        return open(os.dup(fd), "rb")
    end = container.end or os.fstat(fd).st_size
    return CorrectedFile(fd, container.start, end, container.patch or (0, b""), container.gaps)


def _blocks(source, track, span, exact_seek, path, failed):
    rate = track.rate
    first, count = span.frames(rate)
    position = 0
    if exact_seek and span.offset_s > 1:
        # a second early: the decoder needs frames before the first exact one
        source.seek(int((span.offset_s - 1.0) * 1_000_000))
        position = None
    done = 0
    frames = source.decode(track)
    while count is None or done < count:
        try:
            frame = next(frames, None)
        except failed as error:
            at = (first + done) / rate
            raise AudioError(
                "damaged", f"decoding failed at {at:.1f} s ({_cause(error)}).", path
            ) from None
        if frame is None:
            break
        if frame.rate != rate or frame.layout.nb_channels != track.channels:
            raise AudioError(
                "damaged",
                f"format changes at {(first + done) / rate:.1f} s from {rate} Hz, "
                f"{track.channels} channels to {frame.rate} Hz, "
                f"{frame.layout.nb_channels} channels.",
                path,
            )
        samples = frame.to_ndarray()
        if not frame.format.is_planar:
            samples = samples.reshape(-1, track.channels).T
        if position is None:
            if frame.pts is None:
                raise AudioError(
                    "damaged", "frames have no time stamps, offset cannot be found.", path
                )
            start = track.start_time or 0
            position = round((frame.pts - start) * frame.time_base * rate)
        block = to_float(samples.T)
        skip = max(0, first - position)
        position += len(block)
        block = block[skip : None if count is None else skip + count - done]
        done += len(block)
        if len(block):
            yield block
    if first and not done:
        raise past_end(span.offset_s, position / rate if position else None, path)


def _cause(error):
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
