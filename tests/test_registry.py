"""Names, paths and Hub ids to models; rows 77 and 80 through the public `load_model`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import artist_features as af
from artist_features.errors import WeightsError
from artist_features.zoo import hub, registry


@pytest.fixture
def bundle(tiny_folder, tmp_path, monkeypatch):
    """A bundle of two models, whatever the checkout holds."""
    for name in ("siamese", "basic"):
        shutil.copytree(tiny_folder, tmp_path / "weights" / name)
    (tmp_path / "weights" / "notes").mkdir()  # no card: not a model
    monkeypatch.setattr(registry, "bundled_folder", lambda: tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "weights"


def noise(n_segments=2):
    return np.random.default_rng(0).normal(0, 0.1, (n_segments, 66560, 1)).astype("float32")


def test_names_and_cards(bundle):
    assert registry.bundled_names() == ["basic", "siamese"]
    cards = af.list_models()
    assert sorted(cards) == ["basic", "siamese"]
    assert (cards["basic"].embedding_dim, cards["basic"].license) == (8, "MIT")


def test_every_model_of_the_checkout_is_whole():
    """The folders that the wheel carries."""
    for name in registry.bundled_names():
        card, weights = registry.read_model(name)
        assert card.name == name
        assert weights


def test_the_same_model_by_name_and_path(bundle, monkeypatch):
    model = af.load_model()
    expected = model(noise()).numpy()
    for spec in ("siamese", str(bundle / "siamese"), bundle / "siamese", "weights/siamese/"):
        np.testing.assert_array_equal(af.load_model(spec)(noise()).numpy(), expected)
    monkeypatch.chdir(bundle)
    (bundle / "siamese").rename(bundle / "renamed")
    np.testing.assert_array_equal(af.load_model("renamed")(noise()).numpy(), expected)


def test_loaded_model_trains(tiny_folder):
    import keras

    model = af.load_model(tiny_folder)
    before = [w.numpy() for w in model.trainable_weights]
    n_layers = 3
    assert len(before) == 4 * n_layers  # kernel, bias, gamma, beta
    model.compile(keras.optimizers.SGD(0.1), "mse")
    loss = model.train_on_batch(noise(4), np.ones((4, 8), "float32"))
    assert np.isfinite(loss)
    after = [w.numpy() for w in model.trainable_weights]
    assert all(np.any(a != b) for a, b in zip(after, before, strict=True) if a.ndim == 3)
    # the next caller gets the weights of the file, not of this training
    for a, b in zip(af.load_model(tiny_folder).trainable_weights, before, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("siamise", " Did you mean 'siamese'?"),
        ("Basic", " Did you mean 'basic'?"),
        ("xyzzy", ""),
        ("", ""),
        ("x" * 5000, ""),
    ],
)
def test_unknown_name_lists_the_known_ones(bundle, name, hint):
    with pytest.raises(ValueError, match=r"^unknown model .*Available: basic, siamese; ") as caught:
        af.load_model(name)
    assert str(caught.value).endswith(f"or a path of a model folder, or hf://owner/name.{hint}")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("spec", [None, 5, b"siamese", ["siamese"]])
def test_other_types_are_refused(bundle, spec):
    with pytest.raises(TypeError, match="allowed are a name, a path, a Hub id or a Keras model"):
        af.load_model(spec)


@pytest.mark.parametrize(
    "handle",
    ["hf://", "hf://name", "hf://a/b/c", "hf://a/b@", "hf://a/b@x@y", "hf:///b", "hf://a/b c"],
)
def test_malformed_hub_id(handle):
    with pytest.raises(ValueError, match="not a Hub id; allowed is hf://owner/name or"):
        af.load_model(handle)


def test_hub_id_parts():
    assert hub.parse_handle("hf://me/a-model_1.0") == ("me/a-model_1.0", None)
    assert hub.parse_handle("hf://me/a@v1.0") == ("me/a", "v1.0")
    assert hub.parse_handle("hf://me/a@refs/pr/1") == ("me/a", "refs/pr/1")
    assert hub.parse_handle(f"hf://me/a@{'0' * 40}")[1] == "0" * 40


@pytest.mark.parametrize(
    ("name", "code", "match"),
    [
        ("missing/folder", "unavailable", "missing/folder: no such folder; a folder as `artist-"),
        ("/" + "x" * 5000, "unavailable", "no such folder"),
        (
            "./a.keras",
            "incompatible",
            r"is not a folder; a single Keras file is not read .*keras.saving.load_model",
        ),
        ("./a.h5", "incompatible", "a single Keras file .*import-authors"),
        ("./plain.txt", "incompatible", "is not a folder; a folder as"),
        ("./empty", "unavailable", r"artist_features\.json: cannot be read .No such file"),
    ],
)
def test_path_that_is_no_model(bundle, tmp_path, name, code, match):
    for file in ("a.keras", "a.h5", "plain.txt"):
        (tmp_path / file).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=match) as caught:
        af.load_model(name)
    assert caught.value.code == code


def lambda_model(path):
    """Save a model whose Lambda layer leaves a file behind wherever it is deserialised."""
    import keras

    # the marker is a global of no other process: the bytecode opens it by its text
    layer = keras.layers.Lambda(lambda x: (open("ran", "w").close(), x)[1])
    inputs = keras.Input((66560, 1))
    keras.Model(inputs, layer(inputs)).save(path)
    assert Path("ran").exists(), "the layer does nothing, the test would prove nothing"
    Path("ran").unlink()


def test_row77_keras_file_with_a_lambda_is_refused(bundle, tmp_path):
    lambda_model(tmp_path / "evil.keras")
    with pytest.raises(WeightsError, match="it can carry code") as caught:
        af.load_model(tmp_path / "evil.keras")
    assert caught.value.code == "incompatible"
    assert not Path("ran").exists()


def test_row77_os_system_in_a_card_is_only_text(bundle):
    card = bundle / "siamese" / "artist_features.json"
    record = json.loads(card.read_text())
    record["training"] = {"module": "os", "class_name": "system", "args": ["touch ran"]}
    card.write_text(json.dumps(record))
    af.load_model("siamese")
    assert not Path("ran").exists()


def test_reading_a_model_needs_no_tensorflow(tiny_folder):
    code = (
        "import sys; from artist_features.zoo import registry; registry.read_model(sys.argv[1]);"
        "bad = {'tensorflow', 'keras', 'huggingface_hub'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_folder)], check=True, timeout=240)
