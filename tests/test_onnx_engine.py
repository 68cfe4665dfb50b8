"""The bundled models by ONNX Runtime have TensorFlow's vectors, on every format."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import music
from fault_bytes import encode_av, good_files

from artist_features import Extractor
from artist_features.audio.containers import identify
from artist_features.audio.formats import FORMATS
from artist_features.extraction import onnx_engine

ENCODED = {  # container and codec of FFmpeg
    "webm": ("webm", "libopus"),
    "wma": ("asf", "wmav2"),
    "adts": ("adts", "aac"),
    "wv": ("wv", "wavpack"),
    "tta": ("tta", "tta"),
    "ts": ("mpegts", "mp2"),
    "ac3": ("ac3", "ac3"),
    "eac3": ("eac3", "eac3"),
}
NAMES = (*vars(good_files()), *ENCODED)


@pytest.fixture(scope="module")
def by_both(tmp_path_factory):
    """{format: (embedding by ONNX Runtime, by TensorFlow)} of the same music."""
    pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("formats")
    files = dict(vars(good_files()))
    for name, (container, codec) in ENCODED.items():
        files[name] = encode_av(music(8, 48000), container, codec, 48000, bit_rate=128_000)
    for name, data in files.items():
        (folder / f"song.{name}").write_bytes(data)
    paths = [folder / f"song.{name}" for name in NAMES]
    kinds = set()
    for path in paths:
        with open(path, "rb") as file:
            kinds.add(identify(file.fileno(), path.stat().st_size, path).kind)
    assert kinds == set(FORMATS) - {"ape"}  # for which FFmpeg has no encoder
    options = {"model": "siamese", "isolated": False, "batch_size": 16}
    onnx, keras = (
        Extractor(runtime=runtime, **options).extract(paths) for runtime in ("onnx", "tensorflow")
    )
    return dict(zip(NAMES, zip(onnx, keras, strict=True), strict=True))


@pytest.mark.parametrize("name", NAMES)
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


FORKED = """
import os, signal, sys
from artist_features.extraction import onnx_engine
onnx_engine.usable_cores = lambda: 4  # sessions with threads of their own
import numpy as np
from artist_features import Extractor
from artist_features.audio.containers import identify
from artist_features.audio.formats import FORMATS
wave = np.sin(np.arange(22050 * 4) / 9).astype("float32") / 2
extractor = Extractor(batch_size=8, runtime="onnx")
expected = extractor.extract(wave, 22050)
for used in (True, False):
    child = os.fork()
    if not child:
        signal.alarm(30)
        if used:
            np.testing.assert_allclose(extractor.extract(wave, 22050), expected, atol=1e-5)
        sys.exit(0)
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_works_ends_and_leaves_nothing_in_the_home(tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    env |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    # Python 3.12 and later warn of any fork beside threads
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED]
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=480)
    assert (done.stdout.split(), done.stderr) == (["0", "0"], "")
    assert list(tmp_path.rglob("*onnxruntime*")) == []


def test_another_backend_is_told_before_tensorflow_is_loaded():
    code = """
import sys
from artist_features import Extractor
from artist_features.audio.containers import identify
from artist_features.audio.formats import FORMATS
from artist_features.errors import ModelError
try:
    Extractor(runtime="onnx").model
except ModelError as error:
    print(str(error).startswith("the variable KERAS_BACKEND says"), "tensorflow" in sys.modules)
"""
    env = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.stdout.split(), done.stderr) == (["True", "False"], "")
