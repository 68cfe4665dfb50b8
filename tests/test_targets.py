"""Another model's vectors as targets: read, standardised, picked, and learned from."""

import csv

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from training_data import SPLITS, write_data_set

from artist_features.cli.main import main
from artist_features.errors import ManifestError
from artist_features.training import targets
from artist_features.training.manifest import Track, read_manifest


def write(path, names, vectors):
    np.savez(path, paths=np.array(names, np.str_), embeddings=np.asarray(vectors, np.float32))
    return path


def load(path, tracks):
    return targets.read(path).of_tracks(tracks)


def tracks(*names):
    return [Track(name, "", "", {}) for name in names]


def test_vectors_come_in_the_order_of_the_tracks_and_standardised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # 1 and 3 have mean 2, deviation 1; a dimension that never varies stays 0
    path = write("v.npz", ["b.wav", "other.wav", "a.wav"], [[1, 7], [50, 50], [3, 7]])
    found = load(path, tracks(tmp_path / "a.wav", "none.wav", "b.wav"))
    scale = (0.1 * 1 + 0.9 * 0.5) ** -0.5  # of variance 1, drawn to the mean of 1 and 0
    np.testing.assert_allclose(found, [[[scale, 0]], [[0, 0]], [[-scale, 0]]], rtol=1e-6)


def test_directions_that_vary_more_are_drawn_to_the_others(tmp_path, monkeypatch):
    """Two equal dimensions and one for itself: variance 2 along (1, 1, 0), 0, and 1."""
    monkeypatch.chdir(tmp_path)
    names = [f"{n}.wav" for n in range(4)]
    path = write("v.npz", names, [[1, 1, 1], [1, 1, -1], [-1, -1, 1], [-1, -1, -1]])
    found = load(path, tracks(*names))[:, 0]
    pair, alone = (0.1 * 2 + 0.9) ** -0.5, 1.0
    expected = [[x * pair, x * pair, y * alone] for x in (1, -1) for y in (1, -1)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_vectors_of_parts_are_standardised_together_and_all_or_none_count(tmp_path):
    # the parts of a and c: 0, 2, 2, 4, mean 2, deviation sqrt 2
    path = write(tmp_path / "v.npz", ["/a", "/b", "/c"], [[[0], [2]], [[9], [np.nan]], [[2], [4]]])
    found = load(path, tracks("/a", "/b", "/c"))
    root = 2**0.5
    np.testing.assert_allclose(found[..., 0], [[-root, 0], [0, 0], [0, root]], atol=1e-6)


def test_a_crop_gets_the_part_that_begins_nearest():
    rows = np.arange(2 * 3 * 2, dtype=np.float32).reshape(2, 3, 2)
    places = np.array([0, 0.24, 0.26, 0.74, 0.76, 1], np.float32)
    found = targets.pick(tf.constant(rows), np.array([0, 0, 0, 1, 1, 1], np.int32), places)
    expected = [rows[0, 0], rows[0, 0], rows[0, 1], rows[1, 1], rows[1, 2], rows[1, 2]]
    np.testing.assert_array_equal(found, expected)
    one = targets.pick(tf.constant(rows[:, :1]), np.array([1, 1], np.int32), places[[0, 5]])
    np.testing.assert_array_equal(one, rows[[1, 1], 0])


def test_failed_rows_of_extract_are_no_vectors(tmp_path):
    path = write(tmp_path / "v.npz", ["/a", "/b", "/c"], [[1, 2], [np.nan, 5], [3, 4]])
    found = load(path, tracks("/a", "/b", "/c"))
    assert not found[1].any()
    scale = (0.1 * 2 + 0.9 * 1) ** -0.5  # both vary as one: variance 2 along their diagonal
    np.testing.assert_allclose(found[[0, 2], 0], [[-scale, -scale], [scale, scale]], rtol=1e-6)


@given(hnp.arrays(np.float32, st.tuples(st.integers(2, 20), st.just(3)),
                  elements=st.floats(-1000, 1000, width=32)))  # fmt: skip
def test_dimensions_are_centred(tmp_path_factory, vectors):
    vectors[0] += 1 + np.abs(vectors).max()  # something varies
    names = [f"/{n}" for n in range(len(vectors))]
    path = write(tmp_path_factory.mktemp("t") / "v.npz", names, vectors)
    found = load(path, tracks(*names))[:, 0]
    assert np.isfinite(found).all()
    scale = np.abs(found).max(axis=0).clip(1)
    assert (np.abs(found.mean(axis=0)) <= 0.01 * scale).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"paths": np.array(["/a"])}, "is no .npz with `paths` and `embeddings`"),
        ({"paths": np.array(["/a"]), "embeddings": np.zeros((2, 3))}, "(2, 3) embeddings"),
        ({"paths": np.array(["/z"]), "embeddings": np.zeros((1, 3))}, "no vector of any track"),
        ({"paths": np.array([7]), "embeddings": np.zeros((1, 3))}, "(1,) paths (int64)"),
        ({"paths": np.array(["/a"]), "embeddings": np.zeros((1, 0))}, "(1, 0) embeddings"),
        ({"paths": np.array(["/a", "/a"]), "embeddings": np.eye(2)}, "names /a 2 times"),
        ({"paths": np.array(["/a", "/b"]), "embeddings": np.ones((2, 3))}, "the same numbers"),
        (
            {"paths": np.array([{}], object), "embeddings": np.zeros((1, 3))},
            "is no .npz with `paths` and `embeddings`",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(ManifestError) as caught:
        load(tmp_path / "v.npz", tracks("/a", "/b"))
    assert message in str(caught.value)
    assert "v.npz" in str(caught.value)


def test_damaged_files_are_named(tmp_path):
    whole = write(tmp_path / "whole.npz", ["/a", "/b"], np.eye(2)).read_bytes()
    path = tmp_path / "v.npz"
    np.save(tmp_path / "array.npy", np.eye(2))
    changed = bytearray(whole)
    changed[len(whole) // 3] ^= 0xFF
    for data in (b"paths", b"", whole[:-30], whole[:40], bytes(changed)):
        path.write_bytes(data)
        with pytest.raises(ManifestError, match=r"is no \.npz"):
            targets.read(path)
    with pytest.raises(ManifestError, match=r"is no \.npz"):
        targets.read(tmp_path / "array.npy")
    with pytest.raises(ManifestError, match="cannot be read"):
        targets.file_sha256(tmp_path / "none.npz")


@pytest.mark.slow
def test_targets_alone_are_learned_and_the_head_is_not_shipped(tmp_path):
    manifest = write_data_set(tmp_path / "music", splits=SPLITS, n_tracks=2)
    found = read_manifest(manifest)
    # each artist's own direction; one track has none
    vectors = [np.eye(6)[int(track.path.name[0]) if track.artist else 5] for track in found]
    path = write(tmp_path / "v.npz", [t.path for t in found[1:]], vectors[1:])
    words = ["train", "siamese", str(manifest), "--out", str(tmp_path / "run")]
    changes = ("n_steps=24", "check_every=8", "n_warmup=1", "n_free=16", "n_anchors=8")
    words += [w for c in (*changes, "label_weight=0") for w in ("--set", c)]
    assert main([*words, "--targets", str(path)]) == 0
    with open(tmp_path / "run" / "log.csv", encoding="utf-8", newline="") as file:
        learned = [float(row["train_targets"]) for row in csv.DictReader(file)]
    assert learned[-1] > learned[0] + 0.1
    model = (tmp_path / "run" / "config.json").read_text()
    assert "targets" not in model
    card = (tmp_path / "run" / "artist_features.json").read_text()
    assert '"targets": "v.npz, sha256 ' in card
    write(tmp_path / "v.npz", [t.path for t in found], vectors)
    assert main([*words, "--targets", str(path)]) == 2
