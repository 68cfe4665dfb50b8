"""tensorflow-io as decoder: the same vectors as the default decoder."""

import importlib.util

import numpy as np
import pytest
from conftest import music, write_audio

from artist_features import AudioError, AudioWarning, Extractor

installed = importlib.util.find_spec("tensorflow_io") is not None
needs_tfio = pytest.mark.skipif(not installed, reason="tensorflow-io is not installed")
pytestmark = pytest.mark.tfio


@needs_tfio
@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("16.wav", "PCM_16"),
        ("24.wav", "PCM_24"),
        ("8.wav", "PCM_U8"),
        ("float.wav", "FLOAT"),
        ("16.flac", "PCM_16"),
        ("24.flac", "PCM_24"),
        ("a.ogg", "VORBIS"),
        ("a.mp3", "MPEG_LAYER_III"),
    ],
)
def test_same_vector_as_the_default_decoder(tmp_path, authors_folder, name, subtype):
    path = write_audio(tmp_path / name, music(10), subtype=subtype)
    for offset in (0.0, 2.5):
        ours = Extractor(authors_folder).extract(path, offset=offset)
        theirs = Extractor(authors_folder, decoder="tfio").extract(path, offset=offset)
        cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
        assert cosine >= 0.999


@needs_tfio
def test_one_bad_file_costs_itself_alone(tmp_path, tiny_folder):
    good = write_audio(tmp_path / "a.flac", music())
    (tmp_path / "bad.mp3").write_text("these are words, not music")
    flac = bytearray(good.read_bytes())
    flac[len(flac) // 2 :] = bytes(len(flac) - len(flac) // 2)
    (tmp_path / "cut.flac").write_bytes(flac)
    wav32 = write_audio(tmp_path / "32.wav", music(), subtype="PCM_32")
    extractor = Extractor(tiny_folder, decoder="tfio")
    bad = [tmp_path / "bad.mp3", tmp_path / "none.ogg", wav32, tmp_path / "cut.flac"]
    with pytest.warns(AudioWarning) as caught:
        rows = extractor.extract([good, *bad, good], on_error="nan")
    assert np.isfinite(rows).all(axis=1).tolist() == [True, *[False] * 4, True]
    for name, code in [
        ("bad.mp3", "unsupported"),
        ("none.ogg", "not_found"),
        ("32.wav", "unsupported"),
        ("cut.flac", "damaged"),
    ]:
        assert any(f"{name}: a row of NaN, {code}" in str(w.message) for w in caught)
    np.testing.assert_allclose(rows[0], extractor.extract(good), atol=1e-6)
    with pytest.raises(AudioError, match="no known audio format"):
        extractor.extract(tmp_path / "bad.mp3")


@pytest.mark.skipif(installed, reason="tensorflow-io is installed")
def test_missing_extra_is_named(tiny_folder):
    with pytest.raises(ImportError, match=r"pip install 'artist-features\[tfio\]'"):
        Extractor(tiny_folder, decoder="tfio")
