"""Exported models give the embeddings of Keras, say what they are, and appear whole or not."""

import json
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import music

from artist_features.cli.main import main
from artist_features.config import FrontEnd
from artist_features.errors import OutputError
from artist_features.export import export_model
from artist_features.export.check import compare, probes
from artist_features.export.plain import fourier, log_mel_function

VARIANTS = [
    (name, precision, least)
    for name in ("onnx", "tflite")
    for precision, least in (("float32", 0.999999), ("float16", 0.9999), ("int8", 0.99))
]
LARGEST_DIFFERENCE = 1e-3  # float32, of embeddings up to about 15


def segments_of(waveform):
    """Cut mono samples as `extract` does."""
    from artist_features.audio.segments import Segmenter

    segmenter = Segmenter(FrontEnd())
    return np.concatenate([segmenter.push(waveform), segmenter.finish()])


def run_of(path):
    """Return a function that runs a file with the runtime that its users have."""
    if path.suffix == ".onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(str(path))
        return lambda waveform: session.run(None, {"waveform": waveform})[0]
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    runner = litert.Interpreter(str(path)).get_signature_runner()
    return lambda waveform: runner(waveform=waveform)["embedding"]


@pytest.fixture(scope="module")
def siamese():
    from artist_features import load_model

    return load_model("siamese")


@pytest.fixture(scope="module")
def clip(request):
    """Segments float32 `(n, 66560)` of a real clip, or of a synthetic one where none lies."""
    from conftest import REFERENCE

    path = REFERENCE / "clip_22k_mono.flac"
    if path.is_file():
        return segments_of(soundfile.read(path, dtype="float32")[0])
    return segments_of(music(12, 22050, 1)[:, 0])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function that exports `siamese` once for each format and precision."""
    folder, made = tmp_path_factory.mktemp("exported"), {}

    def export(name, precision="float32"):
        if name == "onnx":
            pytest.importorskip("tf2onnx")
            pytest.importorskip("onnxruntime")
        if (name, precision) not in made:
            path = folder / f"{precision}{'.' + name if name != 'saved_model' else ''}"
            made[name, precision] = export_model("siamese", path, format=name, precision=precision)
        return made[name, precision]

    return export


@pytest.mark.parametrize("n", [1024, 24, 15, 7, 4])
def test_fourier_transform_is_numpys(n):
    frames = np.random.default_rng(n).standard_normal((5, n))
    transform = fourier(n)
    n1, n2 = transform.shape
    x = transform.first @ frames.reshape(5, n1, n2)
    x = x.reshape(5, transform.n_rows, 2 * n2, 1)
    x = (transform.second @ x)[..., 0]
    magnitude = np.hypot(x[..., :n2], x[..., n2:]).reshape(5, -1)
    expected = np.abs(np.fft.rfft(frames))
    np.testing.assert_allclose(magnitude, expected[:, transform.frequency], atol=1e-4)
    filters = np.random.default_rng(0).random((n // 2 + 1, 3)).astype(np.float32)
    found = magnitude @ transform.permute(filters).T
    np.testing.assert_allclose(found, expected @ filters, rtol=1e-5, atol=1e-4)


def test_a_transform_too_large_is_refused():
    with pytest.raises(ValueError, match=r"n_fft 65521: its transform takes 17\d+ constants"):
        fourier(65521)


@pytest.mark.parametrize(
    "front_end",
    [
        FrontEnd(),
        FrontEnd(n_fft=24, hop_length=10, n_mels=4, segment_frames=6, mean=0.0, std=0.003),
        FrontEnd(n_fft=17, hop_length=17, n_mels=2, segment_frames=3, log_scale=9.0, std=0.003),
        FrontEnd(level_db=-17.0),
    ],
    ids=["authors", "overlap-not-whole", "prime", "levelled"],
)
def test_log_mel_is_that_of_kapre(front_end):
    import keras
    import tensorflow as tf

    from artist_features.zoo.frontend import log_mel

    given = keras.Input((front_end.segment_samples, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mel bands that hold no bin
        model = keras.Model(given, log_mel(given, front_end))
    waveform = probes(front_end)
    plain = log_mel_function(model.get_layer("mel").filterbank, front_end)
    found, expected = plain(tf.constant(waveform)).numpy(), model(waveform[..., None]).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize(("name", "precision", "least"), VARIANTS)
def test_embeddings_are_those_of_keras(exported, siamese, clip, name, precision, least):
    done = exported(name, precision)
    run, expected = run_of(done.path), siamese(clip[..., None], training=False).numpy()
    found = run(clip)
    assert found.dtype == np.float32
    agreement = compare(expected, found)
    assert agreement.cosine >= least
    if precision == "float32":
        assert agreement.max_difference <= LARGEST_DIFFERENCE
        assert expected.max() > 1
    else:
        assert done.n_bytes < exported(name, "float32").n_bytes
        assert agreement.max_difference > 0
    # any batch, and no influence of the others in it
    np.testing.assert_allclose(run(clip[3:4]), found[3:4], atol=2e-4 if precision != "int8" else 1)


def test_saved_model_is_served(exported, siamese, clip):
    import tensorflow as tf

    done = exported("saved_model")
    loaded = tf.saved_model.load(str(done.path))
    expected = siamese(clip[..., None], training=False).numpy()
    for found in (loaded.serve(clip), loaded.signatures["serving_default"](waveform=clip)):
        np.testing.assert_allclose(found["embedding"], expected, atol=1e-4)
    assert done.n_bytes > 1_000_000
    facts = json.loads((done.path / "assets.extra/artist_features.json").read_text())
    assert facts["name"] == "siamese"


def test_files_say_what_they_are(exported):
    from artist_features import list_models

    card = list_models()["siamese"]
    expected = {
        "name": "siamese",
        "license": card.license,
        "weights_sha256": card.weights_sha256,
        "sample_rate": "22050",
        "segment_samples": "66560",
        "segment_hop_samples": "66048",
        "pad_samples": "512",
        "embedding_dim": "256",
        "precision": "float32",
    }
    with zipfile.ZipFile(exported("tflite").path) as archive:
        facts = json.loads(archive.read("artist_features.json"))
    assert facts.items() >= expected.items()
    path = exported("onnx").path
    import onnx
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    own = session.get_modelmeta().custom_metadata_map
    assert len(own.pop("file_sha256")) == 64
    assert own == facts
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("waveform", "tensor(float)", [66560])
    assert (made.name, made.shape[1:]) == ("embedding", [256])
    assert isinstance(given.shape[0], str), "the batch is not fixed"
    assert {opset.domain for opset in onnx.load(path).opset_import} <= {"", "ai.onnx.ml"}


@pytest.mark.parametrize("name", ["tflite", "saved_model"])
def test_a_wrong_model_is_not_written(tiny_folder, tmp_path, monkeypatch, capsys, name):
    """A converter that loses accuracy, or an error in our own graph."""
    from artist_features.export import formats

    real = getattr(formats, f"run_{name}")

    def wrong(data):
        return lambda waveform: real(data)(waveform) * np.linspace(1, 1.02, 8, dtype=np.float32)

    monkeypatch.setattr(formats, f"run_{name}", wrong)
    out = tmp_path / ("x.tflite" if name == "tflite" else "x")
    assert main(["export", str(tiny_folder), "--format", name, "-o", str(out)]) == 2
    message = capsys.readouterr().err
    assert "the converted model differs from Keras: least cosine 0.99" in message
    assert "Nothing was written" in message
    assert not list(tmp_path.iterdir())


def test_command(tiny_folder, tmp_path, capsys):
    out = tmp_path / "tiny.tflite"
    command = ["export", str(tiny_folder), "--format", "tflite", "-o", str(out)]
    assert main(command) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "tiny: tflite, float32, 0." in stderr
    assert "least cosine 1.0000000, largest difference" in stderr
    n_bytes = out.stat().st_size
    assert main(command) == 2
    assert "exists; --force" in capsys.readouterr().err
    out.write_bytes(b"other")
    assert main([*command, "--force"]) == 0
    assert out.stat().st_size == n_bytes
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.tflite"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--format", "tflite", "-o", "x.onnx"], "tflite is written to a file that ends in"),
        (["--format", "saved_model", "-o", "x.tflite"], "written to a folder of another name"),
        (["--format", "saved_model", "-o", "x", "--precision", "int8"], "saved_model is float32."),
        (["--format", "saved_model", "-o", "full", "--force"], "full: exists and is no file"),
        (["--format", "saved_model", "-o", "file", "--force"], "file: exists; --force replaces"),
        (["--format", "saved_model", "-o", "/"], "names no file or folder"),
        (["--format", "saved_model", "-o", ""], "names no file or folder"),
        (["--format", "tflite", "-o", "no/x.tflite"], "its folder does not exist"),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "file").touch()
    assert main(["export", "siamese", *arguments]) == 2
    assert text in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_without_the_extra(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    out = tmp_path / "x.onnx"
    assert main(["export", "siamese", "--format", "onnx", "-o", str(out)]) == 2
    message = capsys.readouterr().err
    assert "the format onnx needs tf2onnx" in message
    assert "pip install 'artist-features[onnx]'" in message


@pytest.mark.parametrize("from_tensorflow", [True, False])
def test_a_full_disk_leaves_nothing(tiny_folder, tmp_path, monkeypatch, from_tensorflow):
    import tensorflow as tf

    def full(_, folder, **options):
        Path(folder).mkdir()
        (Path(folder) / "saved_model.pb").write_text("half of it")
        if from_tensorflow:
            raise tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OutputError, match="no space") as caught:
        export_model(tiny_folder, tmp_path / "x", format="saved_model")
    assert caught.value.code == "no_space"
    assert not list(tmp_path.iterdir())


def test_compare_sees_scale_direction_and_zeros():
    rows = np.float32([[3, 4], [0, 0], [1, 0]])
    assert compare(rows, rows).allows("float32")
    assert not compare(rows, 1.01 * rows).allows("float32")  # a cosine of 1 all the same
    assert compare(rows, np.float32([[3, 4], [0, 1e-9], [1, 0]])).cosine == 0
    assert compare(rows, np.float32([[3, 4], [0, 0], [0, 1]])).cosine == 0
    assert not compare(rows, rows * np.float32(np.nan)).allows("int8")
    with pytest.raises(ValueError, match=r"shape \(2, 2\); expected are \(3, 2\)"):
        compare(rows, rows[:2])
