"""The bundled models give the committed vectors, whatever Python and TensorFlow they run on."""

import golden_vectors
import numpy as np
import pytest


def test_the_clip_is_always_the_same():
    clip = golden_vectors.clip()
    assert clip.shape == (308700, 2)
    assert clip.dtype == np.float32
    assert np.max(np.abs(clip)) < 1
    # these have gone through every step of the generator
    np.testing.assert_allclose(clip[-1], [0.01600999, -0.00337036], atol=1e-7)


@pytest.mark.parametrize("runtime", ["onnx", "tensorflow"])
def test_bundled_models_give_the_golden_vectors(runtime):
    found = golden_vectors.differences(runtime)
    assert sorted(found) == ["basic", "siamese"]
    for name, difference in found.items():
        assert difference <= golden_vectors.TOLERANCE, name


def test_vectors_of_other_weights_are_not_compared(tmp_path, monkeypatch):
    text = golden_vectors.FILE.read_text().replace('"weights_sha256": "', '"weights_sha256": "0')
    other = tmp_path / "golden_vectors.json"
    other.write_text(text)
    monkeypatch.setattr(golden_vectors, "FILE", other)
    monkeypatch.setattr(
        golden_vectors, "embeddings", lambda _: {"basic": ("1f", np.zeros(256, np.float32))}
    )
    with pytest.raises(ValueError, match="of other weights than the bundled"):
        golden_vectors.differences()
