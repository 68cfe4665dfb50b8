"""Stress crops: strongly transformed excerpts, which student and teachers of distillation hear.

A crop depends on the seed and its number alone, and comes at the sample rates that the student
and each teacher need. weights/make_crops.py stores them as a `DistillationSet`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.fft
import soxr

from artist_features.config import LEVEL_DB, FrontEnd
from artist_features.training.cache import FULL_SCALE, AudioCache

SAMPLE_RATE = FrontEnd().sample_rate  # Hz, of the audio cache and of our models
# 70,560 samples at 22,050 Hz are 51,200 at 16,000 Hz: both rates come from one Fourier transform
_N_SAMPLES = 70560
_MAX_TRACK_S = 90.0  # a longer track is drawn no more often
_MAX_ARTIST_SHARE = 0.02  # of all crops

# How often a transformation happens and how strong it is. Source: trials of distillation
# (docs/training.md); a third of the crops is band-limited, half of these like a telephone,
# because recordings at 8 kHz were what students of fewer such crops heard worst.
_SPEED = (0.35, 3.0)  # share; semitones up or down
_MIX = (0.55, -12.0, 1.0)  # share; dB of the other track relative to the crop
_SECOND_MIX = 0.33  # share of mixed crops with a second other track
_EQUALISER = (0.5, 5.0, 7)  # share; deviation of each point in dB; points
_BAND_LIMIT = (0.33, 0.5)  # share; share of these at telephone bandwidth
_TELEPHONE_HZ = (3400.0, 4000.0)
_CUTOFF_HZ = (3000.0, 11000.0)
_HIGH_PASS = (0.06, 60.0, 500.0)  # share; Hz
_TELEPHONE_HIGH_PASS = (0.33, 200.0, 400.0)
_NOISE = (0.15, -70.0, -30.0)  # share; dB re the crop
_SATURATION = (0.15, 1.0, 6.0)  # share; gain in front of tanh, crop at RMS 0.14
_SILENCE = 1e-4  # RMS under which a crop is drawn again
_TRIES = 20


@dataclass(frozen=True)
class StressCrop:
    """Augmented crop of 3.2 s, rendered at several sample rates.

    Attributes:
        track: index of the main track.
        low_pass_hz: highest frequency kept; infinity if it was not band-limited.
        mix_db: level of the loudest other track relative to the main one; -infinity if none.
        samples: {sample rate in Hz: float32 `(n,)`}, the same 3.2 s at each rate.
    """

    track: int
    low_pass_hz: float
    mix_db: float
    samples: Mapping[int, np.ndarray]


class StressCrops:
    """Deterministic generator of strongly augmented crops for distillation.

    Args:
        cache: `AudioCache` at 22,050 Hz.
        tracks: int array `(n_tracks,)`, indices into the cache that crops are taken from.
        artists: artist of each of them, or any name of its source; no artist gives more than
            2 % of the crops (where there are 50 artists or more).
        seed: of all draws.
    """

    def __init__(
        self, cache: AudioCache, tracks: np.ndarray, artists: list[str], seed: int
    ) -> None:
        if not len(tracks):
            raise ValueError("0 tracks; stress crops need at least one readable track of 3 s.")
        self._cache, self._seed = cache, seed
        self._tracks = np.asarray(tracks, np.int64)
        self._weights = track_weights(cache.lengths[self._tracks] / cache.sample_rate, artists)

    def crop(self, number: int, sample_rates: tuple[int, ...] = (22050, 16000)) -> StressCrop:
        """Make a crop.

        Args:
            number: 0, 1, ...
            sample_rates: in Hz; each must make 3.2 s a whole number of samples.
        """
        rng = np.random.default_rng([self._seed, number])
        semitones = rng.uniform(-_SPEED[1], _SPEED[1]) if rng.random() < _SPEED[0] else 0.0
        track, samples = self._draw(rng, 2 ** (semitones / 12))
        mix_db = -np.inf
        if rng.random() < _MIX[0]:
            for _ in range(1 + (rng.random() < _SECOND_MIX)):
                level = rng.uniform(*_MIX[1:])
                samples = samples + 10 ** (level / 20) * self._draw(rng)[1]
                mix_db = max(mix_db, level)
        if rng.random() < _NOISE[0]:
            level = rng.uniform(*_NOISE[1:])
            noise = rng.standard_normal(len(samples), np.float32)
            samples = samples + 10 ** (level / 20) * noise
        if rng.random() < _SATURATION[0]:
            samples = np.tanh(0.14 * rng.uniform(*_SATURATION[1:]) * samples)
        spectrum = scipy.fft.rfft(samples)
        frequencies = np.arange(len(spectrum)) * (SAMPLE_RATE / _N_SAMPLES)
        gains, low_pass_hz = _draw_filter(frequencies, rng)
        spectrum *= gains
        power = 2 * np.sum(np.abs(spectrum) ** 2) / _N_SAMPLES**2
        spectrum *= 10 ** (LEVEL_DB / 20) / np.sqrt(max(power, 1e-20))
        found = {rate: _at_rate(spectrum, rate) for rate in sample_rates}
        return StressCrop(track, low_pass_hz, mix_db, found)

    def _draw(self, rng: np.random.Generator, speed: float = 1.0) -> tuple[int, np.ndarray]:
        """Return a track and 3.2 s of it at RMS 1, float32."""
        for _ in range(_TRIES):
            track = int(rng.choice(self._tracks, p=self._weights))
            crop = self._cache.read(track, rng.random(), round(_N_SAMPLES * speed) + 1)
            samples = crop.astype(np.float32) / FULL_SCALE
            rms = float(np.sqrt(np.mean(samples**2)))
            if rms > _SILENCE:
                break
        if speed != 1.0:
            samples = soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE, quality="MQ")
        samples = np.pad(samples, (0, max(0, _N_SAMPLES - len(samples))))[:_N_SAMPLES]
        return track, samples / max(rms, _SILENCE)


def track_weights(seconds: np.ndarray, artists: list[str]) -> np.ndarray:
    """Compute how often each track is drawn.

    Args:
        seconds: `(n,)`, length of each track.
        artists: artist of each; "" counts as an artist of its own.

    Returns:
        float64 `(n,)`, sum 1: in proportion to length, at most 90 s; artists above 2 % of the
        whole are scaled down to it; fewer than 50 artists get the same share each.
    """
    weights = np.minimum(np.asarray(seconds, np.float64), _MAX_TRACK_S)
    names = np.array([name or f"\0{row}" for row, name in enumerate(artists)])
    _, index = np.unique(names, return_inverse=True)
    limit = max(_MAX_ARTIST_SHARE, 1 / (index.max() + 1))
    for _ in range(100):  # scaling one artist down raises the share of the others
        weights /= weights.sum()
        shares = np.bincount(index, weights)
        if shares.max() <= limit * 1.0001:
            break
        weights *= np.minimum(1.0, limit / shares)[index]
    return weights / weights.sum()


def _draw_filter(frequencies: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return gains float32 `(n_frequencies,)` and the highest frequency kept in Hz."""
    gains = np.ones(len(frequencies), np.float32)
    if rng.random() < _EQUALISER[0]:
        points = rng.normal(0, _EQUALISER[1], _EQUALISER[2])
        # points at equal distances on a scale that is linear below, logarithmic above 700 Hz
        place = np.log1p(frequencies / 700)
        at = np.linspace(0, place[-1], _EQUALISER[2])
        gains *= (10 ** (_smooth(place, at, points) / 20)).astype(np.float32)
    low_pass_hz = np.inf
    high_pass = _HIGH_PASS
    if rng.random() < _BAND_LIMIT[0]:
        telephone = rng.random() < _BAND_LIMIT[1]
        low_pass_hz = rng.uniform(*(_TELEPHONE_HZ if telephone else _CUTOFF_HZ))
        width = rng.uniform(0.01, 0.1) * low_pass_hz
        gains *= np.clip((low_pass_hz - frequencies) / width, 0, 1)
        if telephone:
            high_pass = _TELEPHONE_HIGH_PASS
    if rng.random() < high_pass[0]:
        edge = rng.uniform(*high_pass[1:])
        gains *= np.clip(frequencies / edge, 0, 1) ** 2
    return gains, low_pass_hz


def _smooth(place: np.ndarray, at: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Interpolate between points by raised cosines."""
    step = (place - at[0]) / (at[1] - at[0])
    low = np.minimum(step.astype(int), len(points) - 2)
    blend = (1 - np.cos(np.pi * np.clip(step - low, 0, 1))) / 2
    return points[low] * (1 - blend) + points[low + 1] * blend


def _at_rate(spectrum: np.ndarray, rate: int) -> np.ndarray:
    """Resample by FFT: truncate the spectrum of 3.2 s and transform back at another rate."""
    n = _N_SAMPLES * rate // SAMPLE_RATE
    if n * SAMPLE_RATE != _N_SAMPLES * rate:
        raise ValueError(f"sample rate {rate} Hz: 3.2 s are no whole number of samples.")
    part = spectrum[: n // 2 + 1] * np.float32(n / _N_SAMPLES)
    return scipy.fft.irfft(part, n).astype(np.float32)
