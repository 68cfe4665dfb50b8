"""The common API of HEAR: what its validator asks, and what the numbers are."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import music
from hypothesis import given, settings
from hypothesis import strategies as st

import artist_features as af
from artist_features import hear
from artist_features.errors import AudioError, WeightsError

RATE = 22050


@pytest.fixture(scope="module")
def model(tiny_folder):
    return hear.load_model(str(tiny_folder))


def sounds(seconds, n_sounds=2):
    return np.stack(
        [music(seconds, RATE, n_channels=1, seed=seed)[:, 0] for seed in range(n_sounds)]
    )


def test_model_tells_what_hear_asks():
    model = hear.load_model()  # as the validator calls it
    assert isinstance(model, tf.Module)
    assert model.sample_rate == RATE
    sizes = model.scene_embedding_size, model.timestamp_embedding_size
    assert sizes == (256, 256)
    assert all(isinstance(size, int) for size in sizes)
    assert sum(int(tf.size(weight)) for weight in model.variables) == 265_984
    assert hear.load_model("basic").keras_model.name == "basic"


@pytest.mark.parametrize(("seconds", "n_sounds"), [(0.001, 1), (0.5, 0), (2.0, 1), (3.74, 5)])
def test_checks_of_the_validator(model, seconds, n_sounds):
    """Those of hearvalidator 2021.0.2, which needs PyTorch and so is not always here."""
    audio = tf.random.uniform((n_sounds, int(seconds * RATE)), -1, 1)
    scenes = hear.get_scene_embeddings(audio, model)
    assert scenes.dtype == tf.float32
    assert scenes.shape == (n_sounds, model.scene_embedding_size)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    assert embeddings.dtype == tf.float32
    assert embeddings.shape[:2] == timestamps.shape
    assert embeddings.shape[0] == n_sounds
    assert embeddings.shape[2] == model.timestamp_embedding_size
    assert np.isfinite(embeddings).all()
    assert np.isfinite(scenes).all()


@pytest.mark.slow
def test_validator_itself():
    if importlib.util.find_spec("hearvalidator") is None:
        pytest.skip("hearvalidator is not installed (it needs PyTorch)")
    command = [Path(sys.executable).with_name("hear-validator"), "artist_features.hear"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Looks good!\n")
    assert "suggest" not in done.stderr  # its warning of a hop above 50 ms


@given(n_samples=st.integers(1, 60 * 60 * RATE))
@settings(max_examples=50, deadline=None)
def test_timestamps_are_regular_and_inside_the_sound(model, n_samples):
    n_timestamps = n_samples // 512 // 2 + 1
    times = model.timestamps_ms(n_timestamps)
    assert times[0] == 0
    assert times[-1] <= 1000 * n_samples / RATE < times[-1] + 50
    steps = np.diff(times)
    np.testing.assert_allclose(steps, 1000 * 1024 / RATE, atol=1e-6, rtol=0)


def test_scene_is_what_extract_gives(model, tiny_folder):
    audio = sounds(7.3, 3)
    scenes = hear.get_scene_embeddings(tf.constant(audio), model).numpy()
    for scene, samples in zip(scenes, audio, strict=True):
        expected = af.extract(samples, sample_rate=RATE, model=tiny_folder)
        np.testing.assert_allclose(scene, expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(scenes, axis=0).max() > 0.01


@pytest.mark.filterwarnings("ignore::artist_features.AudioWarning")
def test_short_scene_is_what_extract_gives(model, tiny_folder):
    (samples,) = audio = sounds(0.7, 1)
    expected = af.extract(samples, sample_rate=RATE, model=tiny_folder)
    found = hear.get_scene_embeddings(audio, model).numpy()[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_timestamp_is_the_middle_of_its_segment(model, tiny_folder):
    audio = sounds(13)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    # a segment is 129 frames of 512 samples: its middle is frame 64, timestamps are 2 apart
    for number, index in {0: 32, 2: 32 + 129}.items():
        middle_s = (number * 129 + 64) * 512 / RATE
        assert float(timestamps[0, index]) == pytest.approx(1000 * middle_s, abs=1e-9)
        for row, samples in zip(embeddings, audio, strict=True):
            expected = af.extract(samples, sample_rate=RATE, model=tiny_folder, pool=None)
            np.testing.assert_allclose(row[index], expected[number], rtol=1e-5, atol=1e-6)


def test_log_mel_is_that_of_the_whole_clip(model):
    """The pieces join without a seam: frames 129 and 258 are the first of a piece."""
    import librosa

    samples = sounds(7, 1)[0]
    found = model.log_mel(samples)
    magnitude = np.abs(librosa.stft(samples, n_fft=1024, hop_length=512, pad_mode="reflect"))
    mel = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=128) @ magnitude
    front_end = model.front_end
    expected = (np.log10(1 + 10 * mel.T) - front_end.mean) / front_end.std
    assert found.shape == expected.shape == (302, 128)
    np.testing.assert_allclose(found, expected, atol=5e-4)


def test_a_click_is_heard_where_it_is(model):
    """Only timestamps within half a segment of a click differ from silence."""
    audio = np.zeros((1, 12 * RATE), np.float32)
    audio[0, 6 * RATE] = 1
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    changed = np.abs(embeddings[0] - embeddings[0, 0]).max(axis=1) > 1e-6
    heard_s = timestamps[0].numpy()[changed] / 1000
    assert heard_s.min() == pytest.approx(6 - 1.5, abs=0.1)
    assert heard_s.max() == pytest.approx(6 + 1.5, abs=0.1)


def test_company_and_batches_change_nothing(model, monkeypatch):
    audio = sounds(5, 3)
    scenes = hear.get_scene_embeddings(audio, model).numpy()
    embeddings, _ = hear.get_timestamp_embeddings(audio, model)
    alone, _ = hear.get_timestamp_embeddings(audio[1:2], model)
    np.testing.assert_array_equal(alone[0], embeddings[1])
    np.testing.assert_array_equal(hear.get_scene_embeddings(audio[2:], model)[0], scenes[2])
    monkeypatch.setattr(hear, "_BATCH", 7)
    again, _ = hear.get_timestamp_embeddings(audio[::-1], model)
    np.testing.assert_allclose(again[::-1], embeddings, rtol=1e-5, atol=1e-6)


def test_no_call_of_the_network_grows_with_the_clip(model, monkeypatch):
    sizes = []
    for name in ("embed", "_log_mel_of", "_embed_log_mel"):
        function = getattr(model, name)
        monkeypatch.setattr(
            model, name, lambda rows, call=function: sizes.append(rows.shape) or call(rows)
        )
    audio = np.zeros((1, 90 * RATE), np.float32)
    monkeypatch.setattr(hear, "_BATCH", 16)
    hear.get_scene_embeddings(audio, model)
    model.log_mel(audio[0])
    model.embed_timestamps(np.zeros((200, 128), np.float32))
    assert {shape[0] for shape in sizes} <= {*range(17), *range(129, 129 + 31)}


def test_errors_say_what_is_allowed(model, tmp_path):
    good = np.zeros((2, RATE), np.float32)
    with pytest.raises(TypeError, match=r"audio of dtype int16; allowed are floats in \[-1, 1\]"):
        hear.get_scene_embeddings(good.astype("int16"), model)
    with pytest.raises(ValueError, match=r"shape \(22050,\); allowed is \(n_sounds, n_samples\)"):
        hear.get_scene_embeddings(good[0], model)
    with pytest.raises(ValueError, match=r"shape \(2, 0\); .* n_samples >= 1"):
        hear.get_timestamp_embeddings(good[:, :0], model)
    with pytest.raises(TypeError, match=r"model is Functional; allowed is what .*load_model"):
        hear.get_scene_embeddings(good, model.keras_model)
    bad = good.copy()
    bad[1, 5] = np.nan
    with pytest.raises(AudioError, match=r"sound 1: 1 of 22050 samples are NaN") as caught:
        hear.get_timestamp_embeddings(bad, model)
    assert caught.value.code == "not_finite"
    with pytest.raises(WeightsError, match=r"is not a folder|no such folder"):
        hear.load_model(str(tmp_path / "weights.pt"))
