"""Whitening: the matrix, the new last block against its formula, what it may hear."""

import keras
import numpy as np
import pytest
from conftest import write_audio
from hypothesis import given, settings
from hypothesis import strategies as st
from training_data import SPLITS, Deaf, artist_track, write_data_set

from artist_features.cli.main import main
from artist_features.config import Network
from artist_features.errors import ManifestError, WeightsError
from artist_features.training import data
from artist_features.training import whiten as whitening
from artist_features.training.inputs import read_splits
from artist_features.training.whiten import SHRINKAGE, whiten, whitening_matrix
from artist_features.zoo import folder as model_folder
from artist_features.zoo import networks
from artist_features.zoo.registry import load_model, read_model

NETWORK = Network(filters=(8, 8, 16), kernel_sizes=(4, 2, 1), pool_sizes=(4, 4, 1))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_data_set(tmp_path_factory.mktemp("music"), splits=SPLITS)


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    keras.utils.set_random_seed(1)
    fields = {"name": "before", "kind": "basic", "description": "Random.", "license": "MIT"}
    fields |= {"credit": "Nobody.", "network": NETWORK, "scores": {"map": 0.5}}
    path = tmp_path_factory.mktemp("models") / "before"
    model_folder.write_folder(path, networks.backbone(network=NETWORK), fields)
    return path


@pytest.fixture(scope="module")
def after(before, manifest, tmp_path_factory):
    path = tmp_path_factory.mktemp("whitened") / "after"
    whiten(before, [manifest], path)
    return path


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 99))
def test_the_matrix_is_symmetric_and_whitens(dim, seed):
    vectors = np.random.default_rng(seed).standard_normal((200, dim)) ** 3
    covariance = np.atleast_2d(np.cov(vectors.T))
    matrix = whitening_matrix(covariance, 0.0)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    np.testing.assert_allclose(matrix @ covariance @ matrix, np.eye(dim), atol=1e-7)


def test_a_wholly_shrunk_covariance_only_scales():
    covariance = np.array([[5.0, 2.0], [2.0, 3.0]])
    np.testing.assert_allclose(whitening_matrix(covariance, 1.0), np.eye(2) / 2, atol=1e-12)


def layer_of(model, name, waveforms):
    return np.asarray(keras.Model(model.input, model.get_layer(name).output)(waveforms), float)


def test_the_new_block_is_its_formula_over_the_tracks_to_train_on(before, after, manifest):
    old, new = load_model(before), load_model(after)
    front_end = read_model(after)[0].front_end
    found = data.load(read_splits([manifest]), after / "cache", front_end)
    assert {found.tracks[row].extra["split"] for row in found.training} == {"train"}
    # 5 s hold one segment of 3.02 s: `places` puts it in the middle
    crops = np.stack([found.cache.read(row, 0.5, 66560) for row in found.training])
    waveforms = (crops / 32767).astype(np.float32)[..., None]
    h = layer_of(old, "block2_pool", waveforms)
    np.testing.assert_array_equal(layer_of(new, "block2_pool", waveforms), h)  # as it was
    rows = h.reshape(-1, 8)
    values, directions = np.linalg.eigh(np.cov(rows.T, bias=True))
    values = (1 - SHRINKAGE) * values + SHRINKAGE * values.mean()
    z = (h - rows.mean(0)) @ directions @ np.diag(values**-0.5) @ directions.T
    expected = np.concatenate([np.maximum(z, 0), np.maximum(-z, 0)], axis=-1).mean(axis=1)
    np.testing.assert_allclose(new(waveforms), expected, atol=1e-4)
    # whoever trains on finds the statistics that the normalisation was given
    made = layer_of(new, "block3_conv", waveforms).reshape(-1, 16)
    norm = new.get_layer("block3_norm")
    np.testing.assert_allclose(norm.moving_mean, made.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, made.var(axis=0), rtol=1e-3)


def test_the_card_says_so_and_keeps_no_scores(before, after):
    (old, _), (new, _) = read_model(before), read_model(after)
    facts = new.training["whitened"]
    assert facts["n_tracks"] == facts["n_segments"] == 14
    assert facts["before"] == f"before, sha256 {old.weights_sha256}"
    assert (new.name, new.scores, new.network) == ("after", {}, old.network)


def test_long_tracks_count_no_more_than_forty_segments(before, tmp_path):
    minutes = np.random.default_rng(0).uniform(-0.1, 0.1, 22050 * 150)
    write_audio(tmp_path / "long.wav", minutes, 22050)
    (tmp_path / "m.csv").write_text("file,artist,title,split\nlong.wav,,,train\n")
    card = whiten(before, [tmp_path / "m.csv"], tmp_path / "out", name="other")
    assert (card.name, card.training["whitened"]["n_segments"]) == ("other", 40)


def said(caplog):
    """Return our messages; TensorFlow logs that it compiles often."""
    return [r.getMessage() for r in caplog.records if r.name.startswith("artist_features")]


def test_one_bad_file_costs_itself_alone(before, manifest, tmp_path, caplog):
    other = write_data_set(tmp_path, splits=SPLITS)
    (tmp_path / "0_0.wav").write_bytes(b"no audio")
    caplog.set_level("INFO", "artist_features")
    card = whiten(before, [other], tmp_path / "out")
    assert card.training["whitened"]["n_tracks"] == 13
    line, _ = said(caplog)  # and that there is little music
    assert line.startswith("left out: ")
    assert "0_0.wav" in line


def test_what_cannot_be_whitened_is_refused(before, manifest, tiny_folder, tmp_path):
    with pytest.raises(WeightsError, match=r"makes 8 numbers of 16.*twice as many") as caught:
        whiten(tiny_folder, [manifest], tmp_path / "out")
    assert caught.value.code == "incompatible"
    short = tmp_path / "short"
    short.mkdir()
    write_audio(short / "a.wav", np.zeros(22050), 22050)
    (short / "m.csv").write_text("file,artist,title\na.wav,,\n")
    with pytest.raises(ManifestError, match="no track to train on"):
        whiten(before, [short / "m.csv"], tmp_path / "out")
    assert not (tmp_path / "out" / "model.weights.h5").exists()


def write_tracks(folder, *tracks):
    """Return the path of a manifest of unlabelled tracks."""
    folder.mkdir()
    names = [f"{number}.wav" for number in range(len(tracks))]
    for name, samples in zip(names, tracks, strict=True):
        write_audio(folder / name, samples, 22050)
    (folder / "m.csv").write_text("".join(["file,artist,title\n", *(f"{n},,\n" for n in names)]))
    return folder / "m.csv"


def test_segments_that_sound_alike_are_refused(tmp_path):
    silence = np.zeros(5 * 22050)
    manifest = write_tracks(tmp_path / "same", silence, silence)
    with pytest.raises(ManifestError, match="its 2 segments all sound alike"):
        whiten("siamese", [manifest], tmp_path / "out")
    assert not (tmp_path / "out" / "model.weights.h5").exists()


def test_a_number_that_never_varies_makes_no_negative_variance():
    model = networks.backbone(network=NETWORK)
    covariance = np.diag([1.0] * 7 + [-1e-40])  # as rounding leaves it
    whitening._replace(model, model.get_layer("block3_conv"), np.ones(8), covariance)
    variance = np.asarray(model.get_layer("block3_norm").moving_variance)
    assert variance.min() == 0
    assert np.isfinite(model(np.zeros((1, 66560, 1)))).all()


def test_little_music_brings_a_warning(before, tmp_path, caplog):
    manifest = write_tracks(tmp_path / "few", artist_track(0, 0), artist_track(1, 0))
    whiten(before, [manifest], tmp_path / "out")
    assert said(caplog) == ["2 segments say little about 8 numbers; add music"]


def test_whitened_twice_is_whitened_once(after, manifest, tmp_path):
    card = whiten(after, [manifest], tmp_path / "twice")
    (old, weights), (new, again) = read_model(after), read_model(tmp_path / "twice")
    assert new.description == old.description == "Random; last block whitened."
    assert card.training["whitened"]["before"].startswith("after, ")
    np.testing.assert_allclose(again["block3_conv"][0], weights["block3_conv"][0], atol=1e-5)


@pytest.mark.parametrize("place", ["a file", "the model", "a stranger's", "read-only"])
def test_a_folder_that_is_not_free_is_left_as_it_was(before, manifest, tmp_path, place):
    out = {"the model": before, "read-only": "/proc/no"}.get(place, tmp_path / "out")
    if place == "a file":
        out.write_text("mine")
    if place == "a stranger's":
        out.mkdir()
        (out / "README.md").write_text("mine")
    words = ["whiten", str(before), str(manifest), "--out", str(out), "--cache", str(tmp_path)]
    kept = read_model(before)[0].to_json()
    assert main(words) == 2
    assert read_model(before)[0].to_json() == kept
    if place == "a stranger's":
        assert (out / "README.md").read_text() == "mine"
        assert main([*words, "--force"]) == 0
        assert load_model(out).output_shape == (None, 16)


def test_the_command_writes_a_model_that_extracts(before, manifest, tmp_path, capsys):
    out = tmp_path / "new"
    words = ["whiten", str(before), str(manifest), "--out", str(out), "--cache", str(tmp_path)]
    assert main(words) == 0
    assert "new: last block whitened over 14 segments of 14 tracks" in capsys.readouterr().err
    assert load_model(out).output_shape == (None, 16)
    assert not (out / "cache").exists()
    assert main(["whiten", "no-such", str(manifest), "--out", str(out)]) == 2
    assert "no-such" in capsys.readouterr().err


def test_a_signal_that_got_lost_ends_it_after_the_batch(before, manifest, tmp_path, monkeypatch):
    def places(*args, **_):
        Deaf()
        return args[0]

    out = tmp_path / "new"
    monkeypatch.setattr(whitening, "progress_bar", places)
    assert main(["whiten", str(before), str(manifest), "--out", str(out)]) == 143
    assert [path.name for path in out.iterdir()] == ["cache"]
