"""The front end against librosa, in values, in every way TensorFlow can run it."""

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from artist_features.audio.segments import Segmenter
from artist_features.config import FrontEnd
from artist_features.zoo import networks
from artist_features.zoo.frontend import (
    LevelNormalisation,
    LogCompression,
    Standardisation,
    front_end_of,
    log_mel,
)

FRONT_END = FrontEnd()
OTHER = FrontEnd(
    sample_rate=16000,
    n_fft=512,
    hop_length=160,
    n_mels=40,
    f_min_hz=60.0,
    f_max_hz=7000.0,
    segment_frames=130,
    log_scale=1000.0,
    mean=0.5,
    std=2.0,
)


def clips(n_samples, sample_rate):
    """Return unlike clips by name, float32 `(n_samples,)`."""
    t = np.arange(n_samples) / sample_rate
    rng = np.random.default_rng(0)
    sweep = 2 * np.pi * (50 * t + 0.5 * (sample_rate / 2 - 50) / t[-1] * t**2)
    waves = {
        "noise": 0.3 * rng.standard_normal(n_samples),
        "chirp": 0.5 * np.sin(sweep),
        "silence": np.zeros(n_samples),
        "clipped square": np.clip(5 * np.sign(np.sin(2 * np.pi * 220 * t)), -1, 1),
        "quiet": 1e-4 * rng.standard_normal(n_samples),
    }
    return {name: wave.astype(np.float32) for name, wave in waves.items()}


def librosa_log_mel(clip, front_end):
    """Return log10(1 + c x) of librosa's mel spectrogram, float64 `(n_frames, n_mels)`."""
    magnitude = np.abs(
        librosa.stft(
            clip.astype(np.float64),
            n_fft=front_end.n_fft,
            hop_length=front_end.hop_length,
            window="hann",
            center=True,
            pad_mode="reflect",
        )
    )
    bank = librosa.filters.mel(
        sr=front_end.sample_rate,
        n_fft=front_end.n_fft,
        n_mels=front_end.n_mels,
        fmin=front_end.f_min_hz,
        fmax=front_end.f_max_hz,
        htk=False,
        norm="slaney",
        dtype=np.float64,
    )
    return np.log10(1 + front_end.log_scale * (bank @ magnitude).T)


def front_end_model(front_end=FRONT_END):
    waveform = keras.Input((front_end.segment_samples, 1), dtype="float32")
    return keras.Model(waveform, log_mel(waveform, front_end))


def padded(clip, front_end=FRONT_END):
    """Return a clip as model input `(n_segments, segment_samples, 1)`."""
    segmenter = Segmenter(front_end)
    return np.concatenate([segmenter.push(clip), segmenter.finish()])[..., np.newaxis]


@pytest.fixture(scope="module")
def batch():
    """Seven unlike segments, float32 `(7, segment_samples, 1)`: the third is silence."""
    n_samples = FRONT_END.segment_samples - 2 * FRONT_END.pad_samples
    waves = list(clips(n_samples, FRONT_END.sample_rate).values())
    return np.concatenate([padded(wave) for wave in [*waves, waves[0][::-1], 0.1 * waves[1]]])


@pytest.fixture(scope="module")
def model():
    return front_end_model()


@pytest.fixture
def mixed_float16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("front_end", [FRONT_END, OTHER], ids=["authors", "other"])
@pytest.mark.parametrize("name", ["noise", "chirp", "silence", "clipped square", "quiet"])
def test_values_equal_librosa(front_end, name):
    n_samples = front_end.segment_samples - 2 * front_end.pad_samples
    clip = clips(n_samples, front_end.sample_rate)[name]
    (found,) = front_end_model(front_end)(padded(clip, front_end)).numpy()
    expected = librosa_log_mel(clip, front_end)
    assert found.shape == expected.shape == (front_end.segment_frames, front_end.n_mels)
    np.testing.assert_allclose(found * front_end.std + front_end.mean, expected, atol=1e-4, rtol=0)


def test_segments_of_a_long_clip_are_frames_of_its_whole_spectrogram(model):
    clip = clips(200_000, FRONT_END.sample_rate)["noise"]
    found = model(padded(clip)).numpy() * FRONT_END.std + FRONT_END.mean
    expected = librosa_log_mel(clip, FRONT_END)[: 3 * FRONT_END.segment_frames]
    assert found.shape == (3, 129, 128)
    np.testing.assert_allclose(found.reshape(-1, 128), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_batch_mates_do_not_matter(model, batch, size):
    together = model(batch).numpy()
    apart = [model(batch[start : start + size]).numpy() for start in range(0, 7, size)]
    np.testing.assert_allclose(np.concatenate(apart), together, atol=1e-6, rtol=0)


def test_graph_tf_data_and_predict_equal_eager(model, batch):
    eager = model(batch).numpy()
    (mapped,) = tf.data.Dataset.from_tensors(batch).map(model)
    for found in (tf.function(model)(batch), mapped, model.predict(batch, verbose=0)):
        np.testing.assert_allclose(found, eager, atol=1e-6, rtol=0)


def test_xla_equals_eager(model, batch):
    compiled = tf.function(model, jit_compile=True)
    np.testing.assert_allclose(compiled(batch), model(batch), atol=1e-4, rtol=0)


def test_float32_under_a_mixed_policy(mixed_float16, model, batch):
    loud = 1000 * batch  # its magnitudes overflow float16
    mixed = front_end_model()
    assert {layer.compute_dtype for layer in mixed.layers[1:]} == {"float32"}
    found = mixed(loud)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, model(loud))


@pytest.mark.parametrize(
    "layer",
    [
        LogCompression(3.0, name="c"),
        Standardisation(0.1, 0.2, dtype="float32"),
        LevelNormalisation(-20.0, -60.0, name="level"),
    ],
)
def test_layers_survive_their_config(layer):
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == f"artist_features>{type(layer).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    x = np.array([[0.0, 0.5, 7.0]], np.float32)
    np.testing.assert_array_equal(again(x), layer(x))
    assert layer.compute_output_shape((None, 3)) == (None, 3)


def test_level_by_hand():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (3, 999, 1)).astype(np.float32) * [[[0.9]], [[0.01]], [[1e-5]]]
    found = LevelNormalisation(-17.0, -70.0)(x.astype(np.float32)).numpy()
    level_db = 10 * np.log10(np.mean(found**2, axis=(1, 2)))
    np.testing.assert_allclose(level_db[:2], -17, atol=1e-3)
    soft_db = 10 * np.log10(np.mean(x[2] ** 2))
    assert level_db[2] == pytest.approx(soft_db + 53, abs=1e-3)  # no more than -70 dB would get
    assert not LevelNormalisation()(np.zeros((1, 9, 1), np.float32)).numpy().any()


@given(st.floats(-40, 20), st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_a_levelled_model_does_not_hear_gain(levelled, gain_db, seed):
    wave = 0.1 * np.random.default_rng(seed).standard_normal((1, levelled.input_shape[1], 1))
    soft = (wave * 10 ** (gain_db / 20)).astype(np.float32)
    expected = levelled(wave.astype(np.float32)).numpy()
    np.testing.assert_allclose(levelled(soft).numpy(), expected, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def levelled():
    return networks.backbone(front_end=FrontEnd(level_db=-17.0))


@pytest.mark.parametrize(
    "front_end",
    [FRONT_END, OTHER, FrontEnd(level_db=-20.0, level_floor_db=-65.0)],
    ids=["authors", "other", "levelled"],
)
def test_front_end_is_read_back_from_a_model(front_end):
    tower = networks.backbone(front_end=front_end)
    head = keras.layers.Dense(3)(tower(tower.input))  # the backbone as one nested layer
    for model in (tower, networks.basic(2, tower=tower), keras.Model(tower.input, head)):
        assert front_end_of(model) == front_end


def test_a_model_that_takes_no_segments_is_refused() -> None:
    foreign = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)], name="mine")
    backbone = networks.backbone()
    twice = keras.Model(backbone.input, {"a": backbone.output, "b": backbone.output}, name="two")
    frames = keras.Model(backbone.input, backbone.get_layer("block1_conv").output, name="frames")
    for model, text in (
        (foreign, r"model 'mine': no STFT layer found\. extract\(\) needs"),
        (twice, r"model 'two': .* shapes \(None, 256\), \(None, 256\)"),
        (frames, r"model 'frames': .* needs one of \(batch, dim\)"),
        (networks.siamese(), r"model 'siamese': it has 3 inputs.*get_layer\('backbone'\)"),
    ):
        with pytest.raises(ValueError, match=text):
            front_end_of(model)
