"""The prepared-audio cache: decoded once, crops from where they belong."""

import numpy as np
import pytest
from conftest import music, write_audio

from artist_features.training.cache import AudioCache


@pytest.fixture
def paths(tmp_path):
    samples = [music(4, 22050, 1, seed=1), music(5, 22050, 1, seed=2)]
    good = [write_audio(tmp_path / f"{n}.wav", s, 22050) for n, s in enumerate(samples)]
    (tmp_path / "bad.mp3").write_text("these are words, not music")
    return [good[0], tmp_path / "bad.mp3", good[1]]


def test_tracks_lie_behind_each_other_and_bad_ones_are_empty(paths, tmp_path):
    cache = AudioCache.build(paths, tmp_path / "cache", 22050)
    assert [cache.length(n) for n in range(3)] == [4 * 22050, 0, 5 * 22050]
    assert [(path.name, error.code) for path, error in cache.failures] == [
        ("bad.mp3", "unsupported")
    ]
    expected = music(5, 22050, 1, seed=2)[:, 0]
    np.testing.assert_allclose(cache.samples[4 * 22050 :] / 32767, expected, atol=1e-4)


def test_second_build_decodes_nothing(paths, tmp_path):
    first = AudioCache.build(paths, tmp_path / "cache", 22050)
    for path in paths:
        path.unlink()
    again = AudioCache.build(paths, tmp_path / "cache", 22050)
    np.testing.assert_array_equal(first.samples, again.samples)


def test_crops_come_from_their_track(paths, tmp_path):
    cache = AudioCache.build(paths, tmp_path / "cache", 22050)
    rng = np.random.default_rng(0)
    track = cache.samples[4 * 22050 :]
    for _ in range(20):
        crop = np.rint(cache.crop(2, 2000, rng) * 32767).astype(np.int16)
        windows = np.lib.stride_tricks.sliding_window_view(track, 2000)
        starts = np.flatnonzero(windows[:, 0] == crop[0])
        assert any((windows[s] == crop).all() for s in starts)
    short = cache.crop(0, 5 * 22050, rng)
    assert short.shape == (5 * 22050,)
    assert not short[4 * 22050 :].any()
