"""The prepared-audio cache: decoded once, crops from where they belong."""

import os

import numpy as np
import pytest
from conftest import music, write_audio

from artist_features.errors import AudioError
from artist_features.training.cache import AudioCache

RATE = 22050


@pytest.fixture
def paths(tmp_path):
    samples = [music(4, RATE, 1, seed=1), music(5, RATE, 1, seed=2)]
    good = [write_audio(tmp_path / f"{n}.wav", s, RATE) for n, s in enumerate(samples)]
    (tmp_path / "bad.mp3").write_text("these are words, not music")
    return [good[0], tmp_path / "bad.mp3", good[1]]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def samples_file(folder):
    return folder / f"{RATE}hz" / "samples.int16"


def listing(folder):
    return folder / f"{RATE}hz" / "tracks.jsonl"


def test_tracks_keep_their_order_and_bad_ones_are_empty(paths, folder):
    cache = AudioCache.build(paths, folder, RATE)
    assert cache.lengths.tolist() == [4 * RATE, 0, 5 * RATE]
    assert [(path.name, error.code) for path, error in cache.failures] == [
        ("bad.mp3", "unsupported")
    ]
    expected = music(5, RATE, 1, seed=2)[:, 0]
    np.testing.assert_allclose(cache.track(2) / 32767, expected, atol=1e-4)
    backwards = AudioCache.build(paths[::-1], folder, RATE)
    np.testing.assert_array_equal(backwards.track(0), cache.track(2))


def test_second_build_decodes_nothing(paths, folder, monkeypatch):
    first = AudioCache.build(paths[::2], folder, RATE)
    monkeypatch.setattr("artist_features.training.cache.open_file", None)
    again = AudioCache.build(paths[::2], folder, RATE)
    np.testing.assert_array_equal(first.samples, again.samples)


def test_what_failed_is_tried_again(paths, folder, monkeypatch):
    def no_memory(path, *_, **__):
        raise AudioError("out_of_memory", "no memory just now.", path)

    with monkeypatch.context() as patch:
        patch.setattr("artist_features.training.cache.open_file", no_memory)
        cache = AudioCache.build(paths, folder, RATE)
        assert [error.code for _, error in cache.failures] == ["out_of_memory"] * 3
    cache = AudioCache.build(paths, folder, RATE)
    assert [error.code for _, error in cache.failures] == ["unsupported"]
    assert cache.lengths.tolist() == [4 * RATE, 0, 5 * RATE]


def test_new_and_changed_files_are_added(paths, folder, tmp_path):
    AudioCache.build(paths[:1], folder, RATE)
    write_audio(paths[0], music(6, RATE, 1, seed=3), RATE)
    os.utime(paths[0], ns=(1, 1))
    cache = AudioCache.build(paths, folder, RATE)
    assert cache.lengths.tolist() == [6 * RATE, 0, 5 * RATE]
    expected = music(6, RATE, 1, seed=3)[:, 0]
    np.testing.assert_allclose(cache.track(0) / 32767, expected, atol=1e-4)


@pytest.mark.parametrize("left", [0, 1, 30, -1, -40])
def test_build_goes_on_after_a_kill(paths, folder, left):
    """Whatever the listing lost, and with half a track behind it, the rest is read again."""
    whole = AudioCache.build(paths, folder, RATE)
    expected = [np.array(whole.track(n)) for n in range(3)]
    text = listing(folder).read_bytes()
    listing(folder).write_bytes(text[:left])
    with open(samples_file(folder), "ab") as file:
        file.write(b"half a track and one byte"[:25])
    cache = AudioCache.build(paths, folder, RATE)
    for number in range(3):
        np.testing.assert_array_equal(cache.track(number), expected[number])


def test_samples_that_never_reached_the_disk_are_decoded_again(paths, folder):
    whole = AudioCache.build(paths, folder, RATE)
    expected = np.array(whole.track(2))
    os.truncate(samples_file(folder), 1000)
    cache = AudioCache.build(paths, folder, RATE)
    np.testing.assert_array_equal(cache.track(2), expected)


def test_crops_come_from_their_track(paths, folder):
    cache = AudioCache.build(paths, folder, RATE)
    track, rng = cache.track(2), np.random.default_rng(0)
    for position in [0.0, *rng.random(20), np.nextafter(1, 0)]:
        start = int(position * (len(track) - 2000 + 1))
        np.testing.assert_array_equal(cache.read(2, position, 2000), track[start : start + 2000])
    short = cache.read(0, 0.7, 5 * RATE)
    assert short.shape == (5 * RATE,)
    assert short[: 4 * RATE].any()
    assert not short[4 * RATE :].any()
