"""The bundled models by ONNX Runtime have TensorFlow's vectors, on every format."""

import numpy as np
import pytest
from conftest import music
from fault_bytes import encode_av, good_files

from artist_features import Extractor
from artist_features.extraction import onnx_engine

FORMATS = (*vars(good_files()), "webm", "wma", "adts")


@pytest.fixture(scope="module")
def by_both(tmp_path_factory):
    """{format: (embedding by ONNX Runtime, by TensorFlow)} of the same music."""
    pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("formats")
    files = dict(vars(good_files()))
    files["webm"] = encode_av(music(8, 48000), "webm", "libopus", 48000, bit_rate=96_000)
    files["wma"] = encode_av(music(8), "asf", "wmav2", bit_rate=128_000)
    files["adts"] = encode_av(music(8), "adts", "aac", bit_rate=128_000)
    for name, data in files.items():
        (folder / f"song.{name}").write_bytes(data)
    paths = [folder / f"song.{name}" for name in FORMATS]
    options = {"model": "siamese", "isolated": False, "batch_size": 16}
    onnx, keras = (
        Extractor(runtime=runtime, **options).extract(paths) for runtime in ("onnx", "tensorflow")
    )
    return dict(zip(FORMATS, zip(onnx, keras, strict=True), strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_vectors_of_every_format_are_those_of_tensorflow(by_both, name):
    onnx, keras = by_both[name]
    assert np.ptp(keras) > 1
    np.testing.assert_allclose(onnx, keras, atol=1e-4)


def test_which_runtime_is_chosen(tiny_folder, monkeypatch):
    chosen = onnx_engine.chosen_runtime
    monkeypatch.setattr(onnx_engine, "may_use_gpu", lambda: True)
    assert chosen("siamese", "auto") == "tensorflow"
    assert chosen("siamese", "onnx") == "onnx"
    monkeypatch.setattr(onnx_engine, "may_use_gpu", lambda: False)
    assert chosen("siamese", "auto") == "onnx"
    assert chosen("siamese", "tensorflow") == "tensorflow"
    assert chosen(tiny_folder, "auto") == chosen(object(), "auto") == "tensorflow"
    with pytest.raises(
        ValueError, match=r"runs the bundled models \(basic, siamese\); .*tiny needs"
    ):
        Extractor(str(tiny_folder), runtime="onnx")
    with pytest.raises(ValueError, match="runtime 'torch'; allowed are auto, tensorflow, onnx"):
        Extractor(runtime="torch")
    monkeypatch.setattr(onnx_engine.importlib.util, "find_spec", lambda name: None)
    assert chosen("siamese", "auto") == "tensorflow"
