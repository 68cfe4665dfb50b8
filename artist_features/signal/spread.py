"""Some segments of a file, spread over it and read by seeking."""

import math
import time

import numpy as np
import soxr

from artist_features.errors import AudioError
from artist_features.signal import audio, containers, decoders

# the resampler hears as much on both sides of a segment; soxr HQ reaches some 3 ms far
_MARGIN_S = 0.05


def read_segments(path, clip, front_end, n):
    """Yield segments spread over a file, equal to those that the whole file gives there.

    The file's declared length is cut into `n` equal parts, and the segment in the middle
    of each is read.

    Args:
        path: of the file.
        clip: a new `Clip` to fill; its duration is the declared one.
        front_end: `FrontEnd`.
        n: number of segments, >= 1.

    Yields:
        float32 `(1, segment_samples)`; or nothing where the file cannot be sampled: its
        length is not declared, it holds hardly more segments than `n`, or libsndfile
        cannot open it.

    Raises:
        AudioError: as `read_file` raises it.
    """
    clip.path = path
    with audio.opened(path) as (fd, before):
        container = containers.identify(fd, before.st_size, path)
        clip.container = container.kind
        places = []
        parts = decoders.read_places(fd, container, path, places)
        try:
            decoded = next(parts)
        except AudioError:
            return  # reading the whole file tells what is wrong, or falls back
        places += _places(decoded, front_end, n)
        if not places:
            return
        clip.sample_rate, clip.decoder = decoded.sample_rate, decoded.decoder
        n_read = 0
        for mono in audio.checked((audio.mix(part) for part in parts), clip):
            segment = _cut(mono, places[n_read][2], clip, front_end)
            n_read += len(segment)
            if not len(segment):
                break  # behind the real end
            yield segment
        clip.declared_s = clip.duration_s = decoded.declared_s
        if n_read < len(places):
            clip.flaws.append(
                (
                    "truncated",
                    f"{n_read} of {len(places)} segments could be read, the header declares "
                    f"{clip.declared_s:.2f} s",
                )
            )
        audio.note_damage(fd, before.st_size, container, clip, decoders.WHOLE)


def _places(decoded, front_end, n):
    """Return (first frame, number of frames, samples to drop) of each segment."""
    n_samples = int((decoded.declared_s or 0.0) * front_end.sample_rate)
    span = n_samples + 2 * front_end.pad_samples - front_end.segment_samples
    total = span // front_end.segment_hop_samples + 1
    if total < n + 2:  # the first and the last segment are padded: they are not taken
        return []
    common = math.gcd(decoded.sample_rate, front_end.sample_rate)
    theirs, ours = decoded.sample_rate // common, front_end.sample_rate // common
    margin = math.ceil(_MARGIN_S * front_end.sample_rate)
    count = math.ceil((front_end.segment_samples + 2 * margin + ours) / ours) * theirs
    found = []
    for part in range(n):
        number = min(max(1, int((part + 0.5) * total / n)), total - 2)
        begin = number * front_end.segment_hop_samples - front_end.pad_samples
        # frames of the file and samples of the segment coincide every `ours` samples
        step = max(0, begin - margin) // ours
        found.append((step * theirs, count, begin - step * ours))
    return found


def _cut(mono, drop, clip, front_end):
    """Resample a stretch of audio and cut the segment out of it, `(1, n)` or `(0, n)`."""
    if clip.sample_rate != front_end.sample_rate:
        started = time.perf_counter()
        mono = soxr.resample(mono, clip.sample_rate, front_end.sample_rate, quality="HQ")
        clip.resample_s += time.perf_counter() - started
    segment = mono[drop : drop + front_end.segment_samples]
    whole = len(segment) == front_end.segment_samples
    return segment[None] if whole else np.empty((0, front_end.segment_samples), np.float32)
