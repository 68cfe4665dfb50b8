"""What soxr's quality costs and changes: time, samples, embeddings."""

import time

import numpy as np
import soundfile
import soxr
from measure import Figure, interleaved
from segment_sampling import cosines

from artist_features.audio.stream import open_file
from artist_features.extraction.extractor import Extractor

QUALITIES = ("QQ", "LQ", "MQ", "HQ", "VHQ")  # the package takes HQ
_BEST = "VHQ"


def table(paths, model, repeats):
    """Compare soxr's qualities on the same decoded, mixed blocks.

    The package is not changed: files are decoded at their own rate, resampled here in the
    package's blocks, and the samples are given to it as arrays at the model's rate.

    Args:
        paths: list of files at another rate than the model's.
        model: name or folder.
        repeats: rounds.

    Returns:
        list of `Figure`, one for each quality.
    """
    extractor = Extractor(model, isolated=False)
    rate = extractor.front_end.sample_rate
    decoded = [_decoded(path) for path in paths]

    def resample(quality):
        return [_resampled(blocks, own, rate, quality) for own, blocks in decoded]

    variants = {quality: lambda quality=quality: resample(quality) for quality in QUALITIES}
    rounds = interleaved(variants, repeats, time.process_time)
    samples = {quality: resample(quality) for quality in QUALITIES}
    vectors = {
        quality: extractor.extract(samples[quality], sample_rate=rate) for quality in QUALITIES
    }
    audio_s = sum(len(row) for row in samples[_BEST]) / rate
    figures = []
    for quality in QUALITIES:
        found = cosines(vectors[_BEST], vectors[quality])
        of_vectors = np.abs(vectors[quality] - vectors[_BEST]).max()
        of_samples = max(
            np.abs(row - best).max()
            for row, best in zip(samples[quality], samples[_BEST], strict=True)
        )
        figures.append(
            Figure(
                f"soxr {quality}, CPU time for 30 s of mono, 44.1 to {rate / 1000:.5g} kHz",
                1000 * rounds.median_s(quality) * 30 / audio_s,
                "ms",
                detail=f"cosine of the embedding to {_BEST}: mean {found.mean():.7f}, least "
                f"{found.min():.7f}; largest difference of an embedding {of_vectors:.2g} (its "
                f"largest number {np.abs(vectors[_BEST]).max():.2g}), of a sample "
                f"{of_samples:.2g}; {len(paths)} files",
            )
        )
    return figures


def _decoded(path):
    """Return (sample rate, mono blocks at that rate) of a file."""
    own = soundfile.info(path).samplerate
    return own, [block.copy() for block in open_file(path, target_rate=own)]


def _resampled(blocks, own, rate, quality):
    stream = soxr.ResampleStream(own, rate, 1, dtype="float32", quality=quality)
    parts = [stream.resample_chunk(block) for block in blocks]
    return np.concatenate([*parts, stream.resample_chunk(np.empty(0, np.float32), last=True)])
