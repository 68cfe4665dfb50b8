"""weights/stress_crops.py: transformed crops for distillation, drawn by seed and number."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artist_features.training.cache import AudioCache

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "weights"))
stress_crops = pytest.importorskip("stress_crops")
StressCrops, track_weights = stress_crops.StressCrops, stress_crops.track_weights

SECONDS = 30


@pytest.fixture(scope="module")
def cache() -> AudioCache:
    """Three tracks of 30 s: a tone, noise, and a soft tone."""
    t = np.arange(SECONDS * 22050) / 22050
    noise = np.random.default_rng(0).standard_normal(len(t)) / 4
    waves = [0.5 * np.sin(2 * np.pi * 440 * t), noise, 0.003 * np.sin(2 * np.pi * 3000 * t)]
    samples = np.concatenate([np.clip(w, -1, 1) * 32767 for w in waves]).astype("<i2")
    lengths = [len(t)] * 3
    return AudioCache(samples, np.cumsum([0, *lengths[:-1]]), lengths, 22050)


@pytest.fixture(scope="module")
def source(cache: AudioCache) -> Any:
    return StressCrops(cache, np.arange(3), ["a", "b", "c"], seed=7)


def test_a_crop_depends_on_seed_and_number_alone(cache: AudioCache, source: Any) -> None:
    again = StressCrops(cache, np.arange(3), ["a", "b", "c"], seed=7)
    np.testing.assert_array_equal(source.crop(5).samples[22050], again.crop(5).samples[22050])
    other = StressCrops(cache, np.arange(3), ["a", "b", "c"], seed=8)
    assert not np.array_equal(source.crop(5).samples[22050], other.crop(5).samples[22050])
    assert not np.array_equal(source.crop(5).samples[22050], source.crop(6).samples[22050])


def test_every_crop_has_the_level_and_is_finite(source: Any) -> None:
    for number in range(60):
        samples = source.crop(number).samples[22050]
        assert samples.shape == (70560,)
        assert samples.dtype == np.float32
        assert 10 * np.log10(np.mean(samples**2)) == pytest.approx(-17, abs=0.05)


def test_both_sample_rates_hold_the_same_sound(source: Any) -> None:
    crop = next(c for c in map(source.crop, range(99)) if c.low_pass_hz < 7000)
    slow, fast = crop.samples[16000], crop.samples[22050]
    assert len(slow) == 51200
    bands = [np.abs(np.fft.rfft(x))[:16000] / len(x) for x in (slow, fast)]  # both 0.3125 Hz apart
    np.testing.assert_allclose(bands[0], bands[1], atol=2e-4)


def test_band_limits_silence_what_is_above(source: Any) -> None:
    crops = [source.crop(number) for number in range(120)]
    limited = [crop for crop in crops if np.isfinite(crop.low_pass_hz)]
    assert 20 < len(limited) < 60  # a third
    assert 8 < sum(crop.low_pass_hz <= 4000 for crop in limited) < 35  # half of them
    for crop in limited:
        power = np.abs(np.fft.rfft(crop.samples[22050])) ** 2
        edge = int(crop.low_pass_hz / 22050 * 70560) + 2
        assert power[edge:].sum() < 1e-9 * power.sum()


def test_speed_and_mixing_happen(source: Any) -> None:
    mixed = [source.crop(number).mix_db for number in range(100)]
    assert 40 < np.isfinite(mixed).sum() < 70
    assert max(mixed) <= 1


def test_weights_of_tracks() -> None:
    weights = track_weights(np.array([30.0, 90.0, 900.0]), ["a", "a", "b"])  # no 50 artists
    np.testing.assert_allclose(weights, [1 / 8, 3 / 8, 1 / 2], rtol=1e-3)
    artists = ["much"] * 60 + [f"artist {n}" for n in range(90)]
    weights = track_weights(np.full(150, 60.0), artists)
    assert weights.sum() == pytest.approx(1)
    assert weights[:60].sum() <= 0.0201
    assert len(set(weights[60:].round(12))) == 1
    # some fifty uneven artists: the limit is met slowly, the sum is 1 all the same
    rng = np.random.default_rng(0)
    seconds, numbers = rng.uniform(3, 90, 300), rng.integers(0, 51, 300) ** 2 // 51
    weights = track_weights(seconds, [f"artist {n}" for n in numbers])
    assert weights.sum() == pytest.approx(1, abs=1e-12)


def test_no_tracks_are_refused(cache: AudioCache) -> None:
    with pytest.raises(ValueError, match="0 tracks"):
        StressCrops(cache, np.arange(0), [], seed=0)
