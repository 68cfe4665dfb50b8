"""The authors' `.h5` files: converted by name, checked as strictly as any other file."""

import hashlib
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

import artist_features as af
from artist_features.config import FrontEnd, Network
from artist_features.errors import WeightsError
from artist_features.zoo.authors import import_authors
from artist_features.zoo.folder import expected_weights

CONV = ("kernel:0", "bias:0")
NORM = ("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0")
HOSTILE = '{"class_name": "Lambda", "config": {"function": "os.system"}, "unfinished": ['


def write_authors_file(path, n_artists=None, root="model_weights", first_number=1):
    """Write random weights as Keras 2 did; return {our layer name: arrays}."""
    rng, weights = np.random.default_rng(0), {}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = HOSTILE
        file.attrs["keras_version"] = "2.1.1"
        group = file.require_group(root)
        group.attrs["layer_names"] = [b"../../etc/passwd"]
        for ours, (_, shapes) in expected_weights(Network(), 128).items():
            kind = "batch_normalization" if ours.endswith("norm") else "conv1d"
            layer = f"{kind}_{int(ours[5]) + first_number - 1}"
            names = NORM if ours.endswith("norm") else CONV
            weights[ours] = [rng.uniform(0.01, 0.1, shape).astype("float32") for shape in shapes]
            for name, array in zip(names, weights[ours], strict=True):
                group[f"{layer}/{layer}/{name}"] = array
        group.require_group("global_average_pooling1d_1")
        if n_artists:
            group["dense_1/dense_1/kernel:0"] = np.zeros((256, n_artists), "float32")
            group["dense_1/dense_1/bias:0"] = np.zeros(n_artists, "float32")
    return weights


@pytest.fixture
def authors_file(tmp_path):
    path = tmp_path / "model_siamese_500.h5"
    write_authors_file(path)
    return path


@pytest.mark.parametrize(
    ("file_name", "n_artists", "root", "first", "kind", "name", "artists"),
    [
        ("siamese_500.h5", None, "model_weights", 1, "siamese", "siamese_500", "unknown"),
        ("model_basic_1000.h5", 700, "model_weights", 1, "basic", "model_basic_1000", 700),
        ("weights.h5", 2, "/", 8, "basic", "weights", 2),  # save_weights, second model built
        ("_caf\u00e9 (1).h5", None, "/", 1, "siamese", "caf___1_", "unknown"),
    ],
)
def test_both_kinds_are_converted(tmp_path, file_name, n_artists, root, first, kind, name, artists):
    path, out = tmp_path / file_name, tmp_path / "out"
    weights = write_authors_file(path, n_artists, root, first)
    card = import_authors(path, out)
    assert (card.kind, card.name, card.training["n_artists"]) == (kind, name, artists)
    assert card.license == "MIT"
    assert card.training["source_file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    model = af.load_model(out)
    assert model.count_params() == 265_984
    assert model.name == name
    assert model.input_shape == (None, 66560, 1)
    assert model.output_shape == (None, 256)
    for layer, arrays in weights.items():
        for ours, theirs in zip(model.get_layer(layer).get_weights(), arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_name_can_be_given(authors_file, tmp_path):
    assert import_authors(authors_file, tmp_path / "out", name="mine").name == "mine"
    with pytest.raises(ValueError, match="ModelCard: name 'not mine'; allowed are"):
        import_authors(authors_file, tmp_path / "out", name="not mine")


def test_row78_attributes_are_never_read(authors_file, tmp_path, monkeypatch):
    """`model_config` is not even fetched from the file, so nothing can parse it."""
    monkeypatch.setattr(h5py.AttributeManager, "__getitem__", None)
    monkeypatch.setattr(h5py.AttributeManager, "get", None)
    monkeypatch.setattr(h5py.AttributeManager, "__iter__", None)
    import_authors(authors_file, tmp_path / "out")


def change_array(layer, name, make):
    def change(file, outside):
        group = file[f"model_weights/{layer}/{layer}"]
        array = group[name][()]
        del group[name]
        make(group, name, array, outside)

    return change


def stored(array):
    return lambda group, name, old, outside: group.create_dataset(name, data=array(old))


def external(group, name, old, outside):
    group[name] = h5py.ExternalLink(str(outside), "x")


def array_for_root(file, outside):
    del file["model_weights"]
    file["model_weights"] = np.ones(3)


def group_for_array(file, outside):
    del file["model_weights/conv1d_1/conv1d_1/kernel:0"]
    file.create_group("model_weights/conv1d_1/conv1d_1/kernel:0")


def dense_of_one_axis(file, outside):
    file["model_weights/dense_1/dense_1/kernel:0"] = np.ones(256, "float32")


def dense_without_kernel(file, outside):
    file.create_group("model_weights/dense_1/dense_1")


def sixth_layer(file, outside):
    file["model_weights/conv1d_6/conv1d_6/kernel:0"] = np.ones(3)


def without(name):
    return lambda file, outside: file.__delitem__(name)


def nothing(group, name, old, outside):
    """Leave out an array."""


FIRST = ("conv1d_1", "kernel:0")
CASES = [
    (76, change_array(*FIRST, external), "damaged", r"'kernel:0' is a link \(external\)"),
    (78, array_for_root, "damaged", "is not a group"),
    (78, group_for_array, "damaged", "conv1d_1/kernel:0 is not an array"),
    (79, change_array(*FIRST, stored(lambda a: a.T)), "incompatible", r"\(128, 128, 4\); needed"),
    (79, change_array("conv1d_3", "bias:0", nothing), "incompatible", "conv1d_3/bias:0 is missing"),
    (79, without("model_weights/conv1d_4"), "incompatible", "has 4 conv1d layers; .* has 5"),
    (79, without("model_weights"), "incompatible", "has 0 conv1d layers"),
    (79, sixth_layer, "incompatible", "has 6 conv1d layers; the authors' network has 5"),
    (79, dense_of_one_axis, "incompatible", r"dense_1 kernel is \(256,\); needed is \(256, n_art"),
    (79, dense_without_kernel, "incompatible", "array dense_1/kernel:0 is missing"),
]


@pytest.mark.parametrize(
    ("change", "code", "match"),
    [
        pytest.param(*rest, id=f"row{row}-{re.sub('[^a-z0-9]+', '-', rest[-1].lower())}")
        for row, *rest in CASES
    ],
)
def test_fault_is_refused_by_name(authors_file, tmp_path, change, code, match):
    outside, out = tmp_path / "outside.h5", tmp_path / "out"
    write_authors_file(outside, root="/")
    with h5py.File(outside, "r+") as file:
        file["x"] = np.ones((4, 128, 128), "float32")
    with h5py.File(authors_file, "r+") as file:
        change(file, outside)
    with pytest.raises(WeightsError, match=match) as caught:
        import_authors(authors_file, out)
    assert caught.value.code == code
    assert str(caught.value).startswith(f"{authors_file}: ")
    assert not out.exists()


@pytest.mark.parametrize(
    ("data", "code", "match"),
    [
        (None, "unavailable", "cannot be read .No such file"),
        (b"", "damaged", r"not an HDF5 file .0 bytes"),
        (b"<!DOCTYPE html>", "damaged", "15 bytes, starts with b'<!DOCTYPE html>'"),
        (b"\x89HDF\r\n\x1a\n" + bytes(5000), "damaged", "not a readable HDF5 file"),
        (slice(300_000), "damaged", "not a readable HDF5 file .*truncated"),
        (Path.mkdir, "damaged", "is not a regular file"),
    ],
    ids=["missing", "empty", "html", "header-only", "cut", "folder"],
)
def test_row74_not_hdf5(authors_file, tmp_path, data, code, match):
    path = tmp_path / "model.h5"
    if callable(data):
        data(path)
    elif data is not None:
        path.write_bytes(authors_file.read_bytes()[data] if isinstance(data, slice) else data)
    with pytest.raises(WeightsError, match=match) as caught:
        import_authors(path, tmp_path / "out")
    assert caught.value.code == code


# the authors' own file against arrays computed by others (contract, section 7)


def cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.fixture(scope="module")
def golden(reference):
    with np.load(reference / "golden_siamese_10000.npz", allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays}


@pytest.fixture(scope="module")
def segments(reference):
    """The ten segments of the clip, cut here by the contract's words: float32 (10, 66560, 1)."""
    clip, sample_rate = soundfile.read(reference / "clip_22k_mono.flac", dtype="float32")
    front_end = FrontEnd()
    assert sample_rate == front_end.sample_rate
    padded = np.pad(clip, 512, mode="reflect")
    starts = range(0, len(padded) - 66560 + 1, 129 * 512)
    return np.stack([padded[start : start + 66560] for start in starts])[..., None]


@pytest.mark.parametrize(
    ("layer", "name", "tolerance"),
    [
        ("log_mel", "log_mel", 1e-4),
        ("block1_pool", "block1", 1e-3),
        ("block5", "block5", 1e-3),
        ("embedding", "segment_embeddings", 1e-3),
    ],
)
def test_golden_arrays_block_by_block(authors_folder, golden, segments, layer, name, tolerance):
    import keras

    model = af.load_model(authors_folder)
    part = keras.Model(model.input, model.get_layer(layer).output)
    ours, theirs = part(segments).numpy(), golden[name]
    if name == "log_mel":  # golden: the whole clip; the last two frames fill no segment
        theirs = theirs[: 10 * 129].reshape(10, 129, 128)
    assert ours.shape == theirs.shape
    assert np.ptp(theirs) > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
    for mine, golden_one in zip(ours, theirs, strict=True):
        assert cosine(mine.ravel(), golden_one.ravel()) >= 0.99999


def test_golden_clip_through_extract(authors_folder, golden, reference):
    extractor = af.Extractor(authors_folder)
    clip = extractor.extract(str(reference / "clip_22k_mono.flac"))
    rows = extractor.extract(str(reference / "clip_22k_mono.flac"), pool=None)
    for ours, theirs in ((clip, golden["clip_embedding"]), (rows, golden["segment_embeddings"])):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)
        assert cosine(ours.ravel(), theirs.ravel()) >= 0.99999


@pytest.mark.parametrize("file_name", ["clip_44k_stereo.mp3", "clip_44k_stereo.ogg"])
def test_golden_clip_from_lossy_stereo(authors_folder, golden, reference, file_name):
    clip = af.Extractor(authors_folder).extract(str(reference / file_name))
    assert cosine(clip, golden["clip_embedding"]) >= 0.995
