"""Data augmentation: random parameters, waveform effects on crops, and mel-band gains.

The draws are made for a whole step, whatever part of it one replica reads, and from
(seed, step) alone. Gain, equaliser and band limit act in the graph (`learner.py`); mixing,
noise, speed and codec here, on the samples, inside tf.data.
"""

import functools
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from artist_features.training.cache import FULL_SCALE, AudioCache
from artist_features.training.recipes import Augmentation

if TYPE_CHECKING:
    import tensorflow as tf

N_EQ_POINTS = 6
_EQ_DB = 9.0
_MIX_DB = (-18.0, -3.0)
_NOISE_DB = (-80.0, -35.0)
_SPEED = 2 ** (1 / 12)
# telephone and wideband speech channels, then anything up to the top of the front end
_CUTOFFS_HZ = (4000.0, 8000.0)
_CUTOFF_RANGE_HZ = (3400.0, 11025.0)
_LOW_CUT_HZ = 300.0
# name: (libsndfile container, subtype)
_CODECS = {"mp3": ("MP3", "MPEG_LAYER_III"), "vorbis": ("OGG", "VORBIS")}
_NOISE_SAMPLES = 1 << 20


@dataclass(frozen=True)
class Draws:
    """Random augmentation parameters of a batch, one row per crop (NaN or 1.0: not applied).

    Attributes:
        gain_db: float32 `(n,)`.
        mix_db: float32 `(n,)`, level of the other track, or NaN.
        mix_track: int64 `(n,)`.
        noise_db: float32 `(n,)` under full scale, or NaN.
        speed: float32 `(n,)`, 1.0 means as it is.
        codec: int64 `(n,)`, 0 none, 1 MP3, 2 Ogg Vorbis.
        eq_db: float32 `(n, 6)`, gains at equal steps over the mel bands.
        low_hz, high_hz: float32 `(n,)`, what is outside is silenced.
        position: float64 `(n, 2)` in [0, 1): where in its track the crop begins, and
            where in its own the other track's does.
    """

    gain_db: np.ndarray
    mix_db: np.ndarray
    mix_track: np.ndarray
    noise_db: np.ndarray
    speed: np.ndarray
    codec: np.ndarray
    eq_db: np.ndarray
    low_hz: np.ndarray
    high_hz: np.ndarray
    position: np.ndarray

    def take(self, rows: np.ndarray) -> "Draws":
        """Return the draws of some rows."""
        return Draws(**{name: values[rows] for name, values in vars(self).items()})


def draw(n: int, augmentation: Augmentation, tracks: np.ndarray, rng: np.random.Generator) -> Draws:
    """Draw the augmentation of `n` crops.

    Args:
        n: rows of the step.
        augmentation: probabilities and the range of the gain.
        tracks: int array, what may be mixed in.
        rng: of the step.
    """

    def chance(share: float) -> np.ndarray:
        return rng.random(n) < share

    def sometimes(
        share: float, low_high: tuple[float, float], otherwise: float = np.nan
    ) -> np.ndarray:
        hit, values = chance(share), rng.uniform(*low_high, n)
        return np.where(hit, values, otherwise).astype(np.float32)

    eq = rng.uniform(-_EQ_DB, _EQ_DB, (n, N_EQ_POINTS)) * chance(augmentation.equaliser)[:, None]
    limited = chance(augmentation.band_limit)
    kind = rng.integers(0, 3, n)
    cutoff = np.select([kind == 0, kind == 1], _CUTOFFS_HZ, rng.uniform(*_CUTOFF_RANGE_HZ, n))
    telephone = limited & chance(1 / 3)
    return Draws(
        gain_db=rng.uniform(*augmentation.gain_db, n).astype(np.float32),
        mix_db=sometimes(augmentation.mixing, _MIX_DB),
        mix_track=rng.choice(tracks, n),
        noise_db=sometimes(augmentation.noise, _NOISE_DB),
        speed=sometimes(augmentation.speed, (1 / _SPEED, _SPEED), 1.0),
        codec=np.where(chance(augmentation.codec), rng.integers(1, 1 + len(_CODECS), n), 0),
        eq_db=eq.astype(np.float32),
        low_hz=np.where(telephone, _LOW_CUT_HZ, 0.0).astype(np.float32),
        high_hz=np.where(limited, cutoff, np.inf).astype(np.float32),
        position=rng.random((n, 2)),
    )


def read_crop(cache: AudioCache, track: int, draws: Draws, row: int, n_samples: int) -> np.ndarray:
    """Read one crop from the cache as its draws say.

    Args:
        cache: `AudioCache`.
        track: the track's number in it.
        draws, row: the crop's row of the draws.
        n_samples: length of the crop.

    Returns:
        int16 `(n_samples,)`; before gain, equaliser and band limit.
    """
    speed = float(draws.speed[row])
    crop = cache.read(track, draws.position[row, 0], round(n_samples * speed))
    mixed, noisy = not np.isnan(draws.mix_db[row]), not np.isnan(draws.noise_db[row])
    if speed == 1.0 and not (mixed or noisy or draws.codec[row]):
        return crop
    crop = crop.astype(np.float32)
    if len(crop) != n_samples:
        crop = np.interp(np.linspace(0, len(crop) - 1, n_samples), np.arange(len(crop)), crop)
    if mixed:
        other = cache.read(draws.mix_track[row], draws.position[row, 1], n_samples)
        crop = crop + 10 ** (draws.mix_db[row] / 20) * other
    if noisy:
        crop = crop + FULL_SCALE * 10 ** (draws.noise_db[row] / 20) * _noise(
            draws.position[row, 1], n_samples
        )
    if codec := draws.codec[row]:
        crop = _coded(crop, list(_CODECS.values())[codec - 1], cache.sample_rate)
    return np.clip(np.rint(crop), -FULL_SCALE, FULL_SCALE).astype(np.int16)


def mel_curve(eq_db: "tf.Tensor", n_mels: int) -> "tf.Tensor":
    """Return the equaliser's factor per mel band, float32 tensor `(n, 1, n_mels)`.

    The points lie at equal steps from the first band to the last, with straight lines
    in dB between them.
    """
    import tensorflow as tf

    place = np.linspace(0, N_EQ_POINTS - 1, n_mels)
    left = np.minimum(place.astype(int), N_EQ_POINTS - 2)
    mix = np.zeros((N_EQ_POINTS, n_mels), np.float32)
    mix[left, np.arange(n_mels)] = 1 - (place - left)
    mix[left + 1, np.arange(n_mels)] += place - left
    return tf.pow(10.0, tf.matmul(eq_db, mix) / 20)[:, None, :]


def band_mask(low_hz: "tf.Tensor", high_hz: "tf.Tensor", centres_hz: np.ndarray) -> "tf.Tensor":
    """Return 1.0 for the mel bands between two frequencies, `(n, 1, n_mels)`."""
    import tensorflow as tf

    inside = (centres_hz >= low_hz[:, None]) & (centres_hz <= high_hz[:, None])
    return tf.cast(inside, tf.float32)[:, None, :]


def _noise(position: float, n_samples: int) -> np.ndarray:
    """Return a stretch of one fixed run of white noise: drawing anew costs more than a crop."""
    start = int(position * (_NOISE_SAMPLES - n_samples))
    return _noise_bank()[start : start + n_samples]


@functools.cache
def _noise_bank() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(_NOISE_SAMPLES).astype(np.float32)


def _coded(crop: np.ndarray, codec: tuple[str, str], sample_rate: int) -> np.ndarray:
    """Encode a crop with a lossy codec and decode it again."""
    container, subtype = codec
    file = io.BytesIO()
    scaled = np.clip(crop / FULL_SCALE, -1, 1).astype(np.float32)
    soundfile.write(
        file, scaled, sample_rate, format=container, subtype=subtype, compression_level=0.95
    )
    file.seek(0)
    read, _ = soundfile.read(file, dtype="float32")
    if len(read) < len(crop):
        read = np.pad(read, (0, len(crop) - len(read)))
    return read[: len(crop)] * FULL_SCALE
