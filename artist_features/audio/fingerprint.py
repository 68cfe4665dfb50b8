"""Audio fingerprint: signs of energy differences along time and frequency, and how two agree.

After J. Haitsma and T. Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002: energy
of bands between 300 and 2,000 Hz in windows of 0.37 s at 5.5 kHz; a bit is the sign of the
difference between neighbouring bands and between two times. Here 17 bands and a window every
23 ms are enough, since whole recordings are compared, not 3 s of one; energies are logarithmic,
and where nothing changes (silence, a held tone of a chip) there is no bit.
"""

import functools
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features.audio.decoders import Samples

Fingerprint: TypeAlias = npt.NDArray[np.uint8]
Lags: TypeAlias = npt.NDArray[np.int64]
_Signs: TypeAlias = npt.NDArray[np.float32]

SAMPLE_RATE = 5512
_WINDOW, _HOP = 2048, 128  # samples
_BLOCK = 512  # windows at once: 4 MB
_N_BITS = 16
_LOW_HZ, _HIGH_HZ = 300.0, 2000.0
_LAG_FRAMES = 8  # between the two times: 0.19 s
_FLOOR = 1e-4  # energy of a band of 16-bit noise, 94 dB below that of a full-scale sine
_LEAST_CHANGE = 0.01  # of the logarithm, for a bit
_LEAST_S, _LEAST_OF_SHORT_S = 5.0, 0.5  # of sound in common
FRAMES_PER_S = SAMPLE_RATE / _HOP


def fingerprint(samples: Samples) -> Fingerprint:
    """Return the fingerprint of a recording, or of its beginning.

    Args:
        samples: mono float32 `(n,)` in [-1, 1] at `SAMPLE_RATE`.

    Returns:
        uint8 `(n_frames, 4)`: 16 signs, and 16 bits that say which of them count; no frames
        from less than 0.56 s.
    """
    if len(samples) < _WINDOW:
        return np.empty((0, 2 * _N_BITS // 8), np.uint8)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    blocks = (frames[start : start + _BLOCK] * window for start in range(0, len(frames), _BLOCK))
    energy = np.log10(np.concatenate([_energies(block) for block in blocks]) + _FLOOR)
    slope = energy[:, :-1] - energy[:, 1:]
    change = slope[_LAG_FRAMES:] - slope[:-_LAG_FRAMES]
    parts = (change > 0, np.abs(change) > _LEAST_CHANGE)
    return np.packbits(np.concatenate(parts, axis=1), axis=1)


def _energies(block: Samples) -> Samples:
    """Return the energy of each band, `(n, 17)`, of windows `(n, 2048)`."""
    first, bands = _bands()
    spectrum = np.fft.rfft(block)[:, first : first + len(bands)]
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ bands


@functools.cache
def _bands() -> tuple[int, Samples]:
    """Filterbank of 17 log-spaced bands, 300-2000 Hz: (first FFT bin, weights)."""
    edges_hz = np.geomspace(_LOW_HZ, _HIGH_HZ, _N_BITS + 2)
    frequencies_hz = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)[:, None]
    bands = (frequencies_hz >= edges_hz[:-1]) & (frequencies_hz < edges_hz[1:])
    inside = np.flatnonzero(bands.any(axis=1))
    return int(inside[0]), bands[inside].astype(np.float32)


def bit_agreement(a: Fingerprint, b: Fingerprint, lags: Lags) -> tuple[float, int]:
    """Return the highest bit agreement of two fingerprints over given lags, and its lag.

    Args:
        a, b: of `fingerprint`.
        lags: int `(n,)`: frames of `a` before the first of `b` (after it, if negative), to be
            tried.

    Returns:
        (agreement, lag): 1 if all bits are equal, 0 if half of them are, as by chance; 0 where
        they have less than 5 s of sound in common (three quarters of a shorter one, and 0.5 s).
    """
    lags = lags[(lags < len(a)) & (lags > -len(b))]
    signs = [_signs(a), _signs(b)]
    counted = [np.abs(sign) for sign in signs]
    common = _correlation(*counted)[lags]
    least = min(_LEAST_S * FRAMES_PER_S * _N_BITS, *(0.75 * count.sum() for count in counted))
    enough = common >= max(least, _LEAST_OF_SHORT_S * FRAMES_PER_S * _N_BITS)
    if not enough.any():
        return 0.0, 0
    equal = _correlation(*signs)[lags]
    agreements = np.where(enough, equal / np.maximum(common, 1), 0)
    best = int(agreements.argmax())
    return float(agreements[best]), int(lags[best])


def _correlation(a: _Signs, b: _Signs) -> npt.NDArray[np.floating]:
    """FFT cross-correlation of two bit-sign sequences at all lags, summed over bands."""
    n = 1 << (a.shape[1] + b.shape[1] - 1).bit_length()
    product = np.fft.rfft(a, n) * np.fft.rfft(b, n).conj()
    return np.fft.irfft(product.sum(axis=0), n)


def _signs(packed: Fingerprint) -> _Signs:
    """Return 1, -1, or 0 where there is no bit: float32 `(16, n_frames)`."""
    bits = np.unpackbits(packed, axis=1).T.astype(np.float32)
    return np.ascontiguousarray((2 * bits[:_N_BITS] - 1) * bits[_N_BITS:])
