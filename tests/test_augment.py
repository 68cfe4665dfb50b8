"""Augmentation: shares, levels, frequencies; and nothing where nothing is asked."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from artist_features.training import augment
from artist_features.training.cache import AudioCache
from artist_features.training.learner import _mel_centres
from artist_features.training.recipes import DEFAULT, Augmentation
from artist_features.zoo import networks

RATE, N = 22050, 8000
TRACKS = np.array([0, 1])


@pytest.fixture
def cache():
    t = np.arange(3 * RATE) / RATE
    tones = [np.rint(8000 * np.sin(2 * np.pi * f * t)).astype("<i2") for f in (440, 3000)]
    return AudioCache(np.concatenate(tones), [0, 3 * RATE], [3 * RATE] * 2, RATE)


def draws(n=1, seed=0, **shares):
    return augment.draw(n, Augmentation(**shares), TRACKS, np.random.default_rng(seed))


def level_at(samples, frequency_hz):
    """Amplitude of a sine in the samples, in units of int16."""
    t = np.arange(len(samples)) / RATE
    return 2 * abs(np.mean(samples * np.exp(-2j * np.pi * frequency_hz * t)))


def test_nothing_asked_nothing_done(cache):
    found = draws(4)
    for row in range(4):
        crop = augment.read_crop(cache, 0, found, row, N)
        start = int(found.position[row, 0] * (3 * RATE - N + 1))
        np.testing.assert_array_equal(crop, cache.track(0)[start : start + N])
    assert not found.gain_db.any()
    np.testing.assert_array_equal(augment.mel_curve(found.eq_db, 128), 1)
    np.testing.assert_array_equal(
        augment.band_mask(found.low_hz, found.high_hz, np.linspace(0, 11025, 128)), 1
    )


def test_shares_and_ranges():
    found = augment.draw(20_000, DEFAULT.augmentation, TRACKS, np.random.default_rng(0))
    asked = DEFAULT.augmentation
    shares = {
        "mixing": ~np.isnan(found.mix_db),
        "noise": ~np.isnan(found.noise_db),
        "speed": found.speed != 1,
        "codec": found.codec > 0,
        "equaliser": found.eq_db.any(1),
        "band_limit": np.isfinite(found.high_hz),
    }
    for name, hits in shares.items():
        assert hits.mean() == pytest.approx(getattr(asked, name), abs=0.01), name
    assert asked.gain_db[0] <= found.gain_db.min() < found.gain_db.max() <= asked.gain_db[1]
    assert np.abs(found.eq_db).max() <= 9
    assert 2 ** (-1 / 12) <= found.speed.min() < found.speed.max() <= 2 ** (1 / 12)
    cutoffs = found.high_hz[np.isfinite(found.high_hz)]
    assert (cutoffs == 4000).mean() == pytest.approx(1 / 3, abs=0.02)
    assert (cutoffs == 8000).mean() == pytest.approx(1 / 3, abs=0.02)
    assert cutoffs.min() >= 3400


def test_mixing_adds_the_other_track_softer(cache):
    found = dataclasses.replace(draws(mixing=1.0), mix_track=np.array([1]))
    crop = augment.read_crop(cache, 0, found, 0, N)
    assert level_at(crop, 440) == pytest.approx(8000, rel=0.05)
    assert level_at(crop, 3000) == pytest.approx(8000 * 10 ** (found.mix_db[0] / 20), rel=0.05)


def test_noise_has_the_level_it_says(cache):
    found = dataclasses.replace(draws(noise=1.0), noise_db=np.array([-40.0], np.float32))
    plain = augment.read_crop(cache, 0, dataclasses.replace(found, noise_db=[np.nan]), 0, N)
    noise = augment.read_crop(cache, 0, found, 0, N).astype(float) - plain
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(32767 * 0.01, rel=0.05)


def test_speed_moves_the_pitch(cache):
    found = dataclasses.replace(draws(speed=1.0), speed=np.array([1.05], np.float32))
    crop = augment.read_crop(cache, 0, found, 0, N)
    assert crop.shape == (N,)
    assert level_at(crop, 440 * 1.05) > 7000
    assert level_at(crop, 440) < 1000


@pytest.mark.parametrize("codec", [1, 2])
def test_codecs_are_real_and_keep_the_music(cache, codec):
    found = dataclasses.replace(draws(), codec=np.array([codec]))
    crop = augment.read_crop(cache, 0, found, 0, 3 * N)
    plain = augment.read_crop(cache, 0, draws(), 0, 3 * N)
    assert crop.shape == plain.shape
    assert (crop != plain).any()
    assert level_at(crop, 440) > 4000


def test_loud_sum_is_clipped_not_wrapped(cache):
    cache.samples[:] = 32767
    found = dataclasses.replace(draws(), mix_db=np.array([-3.0], np.float32))
    assert augment.read_crop(cache, 0, found, 0, N).min() == 32767


def test_equaliser_goes_through_its_points():
    eq_db = np.array([[0, 6, -6, 3, 0, 9]], np.float32)
    curve = 20 * np.log10(np.asarray(augment.mel_curve(eq_db, 126))[0, 0])
    np.testing.assert_allclose(curve[::25], eq_db[0], atol=1e-3)
    assert curve[12] == pytest.approx(6 * 12 / 25, abs=1e-3)


def test_band_limit_silences_mel_bands_outside():
    centres = _mel_centres(networks.backbone())
    assert (np.diff(centres) > 0).all()
    low, high = np.array([300, 0], np.float32), np.array([4000, np.inf], np.float32)
    mask = np.asarray(augment.band_mask(low, high, centres))[:, 0]
    np.testing.assert_array_equal(mask[0], (centres >= 300) & (centres <= 4000))
    assert mask[1].all()
    assert 0.5 < mask[0].mean() < 0.9


def test_mel_centres_are_where_a_tone_lands():
    """A sine at a band's centre is loudest in that band, in the real front end."""
    model = networks.backbone()
    front = tf.keras.Model(model.input, model.get_layer("drop_channel").output)
    centres = _mel_centres(model)
    for band in (40, 80, 120):
        t = np.arange(66560) / RATE
        tone = np.sin(2 * np.pi * centres[band] * t).astype(np.float32)[None, :, None]
        assert abs(int(np.asarray(front(tone))[0, 60].argmax()) - band) <= 1
