"""The second teacher's network, in ONNX Runtime, against plain convolutions of TensorFlow."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("onnx")
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
EPSILON = 1e-3
FRONT = (
    (7, 38, 16),
    (7, 67, 8),
    (128, 1, 4),
    (64, 1, 4),
    (32, 1, 4),
)  # as musicnn's, but for filters


@pytest.fixture
def musicnn(monkeypatch):
    monkeypatch.syspath_prepend(str(WEIGHTS))
    monkeypatch.delitem(sys.modules, "musicnn", raising=False)
    import musicnn

    return musicnn


@pytest.fixture
def values():
    """Random numbers of a checkpoint; some filters answer nothing, some norms are negative."""
    rng = np.random.default_rng(0)
    n_front = sum(n for *_, n in FRONT)
    shapes = [*((t, m, 1, n) for t, m, n in FRONT), *((7, n_in, 1, 8) for n_in in (n_front, 8, 8))]
    found = {}
    for number, shape in enumerate(shapes):
        name = f"conv2d_{number}" if number else "conv2d"
        scale = 1 / np.sqrt(np.prod(shape[:3]))
        found[f"{name}/kernel"] = (scale * rng.standard_normal(shape)).astype(np.float32)
        found[f"{name}/bias"] = (0.1 * rng.standard_normal(shape[-1])).astype(np.float32)
    found["conv2d/bias"][:4] = -100  # never above zero
    for number in range(len(shapes) + 1):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        n = shapes[number - 1][-1] if number else 1
        for part in ("moving_mean", "beta", "gamma"):
            found[f"{name}/{part}"] = rng.standard_normal(n).astype(np.float32)
        found[f"{name}/moving_variance"] = rng.uniform(0.5, 2, n).astype(np.float32)
    return found


def reference(values, mel):
    """The layers of the package musicnn, one after another."""

    def norm(x, number):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        parts = ("moving_mean", "moving_variance", "beta", "gamma")
        return tf.nn.batch_normalization(x, *(values[f"{name}/{p}"] for p in parts), EPSILON)

    def conv(x, number, padding):
        name = f"conv2d_{number}" if number else "conv2d"
        x = tf.nn.conv2d(x, values[f"{name}/kernel"], 1, padding) + values[f"{name}/bias"]
        return norm(tf.nn.relu(x), number + 1)

    image = norm(mel[..., None], 0)
    padded = tf.pad(image, [[0, 0], [3, 3], [0, 0], [0, 0]])
    front = [tf.reduce_max(conv(padded, n, "VALID"), axis=2) for n in (0, 1)]
    front += [tf.reduce_max(conv(image, n, "SAME"), axis=2) for n in (2, 3, 4)]
    rows = [tf.concat(front, -1)]
    for number in (5, 6, 7):
        padded = tf.pad(rows[-1], [[0, 0], [3, 3], [0, 0]])[..., None]
        found = conv(padded, number, "VALID")[:, :, 0]
        rows.append(found + rows[-1] if number > 5 else found)
    return tf.reduce_mean(tf.concat(rows, -1), axis=1).numpy()


def test_vectors_are_those_of_plain_convolutions(musicnn, values, monkeypatch):
    monkeypatch.setattr(musicnn, "_read_checkpoint", lambda wheel: values)
    mel = np.random.default_rng(1).uniform(0, 3, (6, 187, 96)).astype(np.float32)
    network = musicnn.Musicnn("no wheel")
    expected = reference(values, mel)
    np.testing.assert_allclose(network(mel), expected, atol=2e-5)
    network.prune(mel)
    assert len(network._kept[0]) <= 12  # four of sixteen answer nothing
    np.testing.assert_allclose(network(mel), expected, atol=2e-5)


def test_log_mel_is_librosas(musicnn):
    import librosa

    samples = np.random.default_rng(2).uniform(-0.5, 0.5, 48000).astype(np.float32)
    expected = librosa.feature.melspectrogram(
        y=samples, sr=16000, n_fft=512, hop_length=256, n_mels=96, center=False
    ).T
    np.testing.assert_allclose(musicnn.log_mel(samples), np.log10(1 + 10000 * expected), atol=1e-4)
