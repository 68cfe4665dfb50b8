"""Model folders: what is written is read back, and nothing else is ever read.

Ids name the rows of the fault table. Where a row is about the inside of the HDF5 file,
the card states the hash of the hostile file, so that the strict reader itself is tested.
"""

import ctypes
import dataclasses
import errno
import hashlib
import json
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from artist_features.config import ModelCard, Network
from artist_features.errors import OutputError, WeightsError
from artist_features.zoo import folder as model_folder

NETWORK = Network(filters=(8, 4), kernel_sizes=(2, 1), pool_sizes=(4, 1))
KERNEL = "layers/conv1d/vars/0"  # float32 (2, 128, 8)
GAMMA, VARIANCE = (f"layers/batch_normalization_1/vars/{n}" for n in (0, 3))
CASES = []


def case(row, code, match):
    """Register a function that breaks a model folder, and how it must be refused."""

    def register(function):
        name = f"row{row}-{function.__name__}"
        CASES.append(pytest.param(function, code, match, id=name))
        return function

    return register


@pytest.fixture
def folder(tmp_path):
    """A whole folder of a small network, written without Keras."""
    path = tmp_path / "model"
    path.mkdir()
    rng = np.random.default_rng(0)
    with h5py.File(path / "model.weights.h5", "w") as file:
        for group, shapes in model_folder.expected_weights(NETWORK, 128).values():
            for number, shape in enumerate(shapes):
                file[f"{group}/{number}"] = rng.uniform(0.1, 1, shape).astype("float32")
    fields = {"name": "small", "kind": "basic", "description": "x", "license": "x", "credit": "x"}
    card = ModelCard(**fields, weights_sha256="0" * 64, network=NETWORK)
    (path / "artist_features.json").write_text(card.to_json())
    for name in ("config.json", "metadata.json", "README.md"):
        (path / name).write_text("{}")
    seal(path)
    return path


def edit_card(path, **changes):
    file = path / "artist_features.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def seal(path):
    """Make the card state the hash of the weights as they now are."""
    data = (path / "model.weights.h5").read_bytes()
    edit_card(path, weights_sha256=hashlib.sha256(data).hexdigest())


def edit_weights(path, change):
    with h5py.File(path / "model.weights.h5", "r+") as file:
        change(file)
    seal(path)


def replace(path, name, make):
    """Take an array out of the weights and let `make(group, name)` put something there."""

    def change(file):
        del file[name]
        group, _, last = name.rpartition("/")
        make(file[group], last)

    edit_weights(path, change)


def set_array(path, name, array):
    replace(path, name, lambda group, last: group.create_dataset(last, data=array))


def read(path):
    card = model_folder.read_card(path)
    return card, model_folder.read_weights(path, card)


class Watch:
    """Count how often a file, or files of a folder, are opened (Linux inotify)."""

    def __init__(self, path):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        in_open = 0x20
        assert self._libc.inotify_add_watch(self._fd, os.fsencode(path), in_open) > 0

    def names(self):
        """Return the names opened since the last call; "" stands for the file itself."""
        try:
            events = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return set()
        found = set()
        while events:
            length = int.from_bytes(events[12:16], sys.byteorder)
            found.add(os.fsdecode(events[16 : 16 + length].rstrip(b"\0")))
            events = events[16 + length :]
        return found


# 73: names that lead out of the folder


@case(73, "damaged", r"weights file is '\.\./\.\./x\.h5'; allowed is 'model\.weights\.h5'")
def weights_named_above(path, outside):
    edit_card(path, weights="../../x.h5")


@case(73, "damaged", "weights file is '/.*allowed is")
def weights_named_absolutely(path, outside):
    edit_card(path, weights=str(outside))


@case(73, "damaged", "weights file is")
def weights_name_is_huge(path, outside):
    edit_card(path, weights=["x" * 1000] * 1000)


@case(73, "damaged", "is a link out of its folder, to /")
def weights_linked_out(path, outside):
    (path / "model.weights.h5").unlink()
    (path / "model.weights.h5").symlink_to(outside)


@case(73, "damaged", "is a link out of its folder, to /")
def card_linked_out(path, outside):
    (path / "artist_features.json").unlink()
    (path / "artist_features.json").symlink_to(outside)


@case(73, "unavailable", "cannot be read .*symbolic links")
def weights_linked_to_themselves(path, outside):
    (path / "model.weights.h5").unlink()
    (path / "model.weights.h5").symlink_to("model.weights.h5")


@case(73, "damaged", "not a regular file")
def weights_are_a_fifo(path, outside):
    (path / "model.weights.h5").unlink()
    os.mkfifo(path / "model.weights.h5")


@case(73, "damaged", "not a regular file")
def card_is_a_folder(path, outside):
    (path / "artist_features.json").unlink()
    (path / "artist_features.json").mkdir()


# 74: bytes that are not what the name says


@case(74, "unavailable", "No such file.* Needed are artist_features.json, config.json")
def weights_missing(path, outside):
    (path / "model.weights.h5").unlink()


@case(74, "unavailable", "No such file")
def card_missing(path, outside):
    (path / "artist_features.json").unlink()


@case(74, "damaged", "^[^:]*: 0 bytes .*at least 8560 bytes")
def weights_empty(path, outside):
    (path / "model.weights.h5").write_bytes(b"")


@case(74, "damaged", "15 bytes that start with b'<!DOCTYPE html>'; needed .* 8560 bytes")
def weights_are_html(path, outside):
    (path / "model.weights.h5").write_bytes(b"<!DOCTYPE html>")


@case(74, "damaged", r"\d+ bytes that start with b'\\x89HDF.*at least 8560 bytes")
def weights_cut(path, outside):
    data = (path / "model.weights.h5").read_bytes()
    (path / "model.weights.h5").write_bytes(data[:8000])


@case(74, "hash", "sha256 starts [0-9a-f]{12}, the card says [0-9a-f]{12}")
def weights_cut_a_little(path, outside):
    data = (path / "model.weights.h5").read_bytes()
    (path / "model.weights.h5").write_bytes(data[:-1])


@case(74, "damaged", "not a readable HDF5 file")
def weights_are_zeros_of_the_stated_hash(path, outside):
    (path / "model.weights.h5").write_bytes(bytes(20_000))
    seal(path)


@case(74, "damaged", "268435457 bytes; allowed is up to 268435456 bytes")
def weights_huge(path, outside):
    os.truncate(path / "model.weights.h5", (1 << 28) + 1)


@case(74, "damaged", "not a model card")
def card_empty(path, outside):
    (path / "artist_features.json").write_bytes(b"")


@case(74, "damaged", "not a model card")
def card_cut(path, outside):
    data = (path / "artist_features.json").read_bytes()
    (path / "artist_features.json").write_bytes(data[: len(data) // 2])


@case(74, "damaged", "not a model card")
def card_is_html(path, outside):
    (path / "artist_features.json").write_bytes(b"<!DOCTYPE html>")


@case(74, "damaged", "not a model card .not a JSON object")
def card_is_a_list(path, outside):
    (path / "artist_features.json").write_bytes(b"[1]")


@case(74, "damaged", "not a model card .*recursion")
def card_nested_deeply(path, outside):
    (path / "artist_features.json").write_bytes(b"[" * 500_000)


@case(74, "incompatible", "front_end must be an object|sample_rate = ")
def card_nested_nearly_too_deeply(path, outside):
    deep = "[" * 900 + "]" * 900
    text = (path / "artist_features.json").read_text()
    text = re.sub(r'"sample_rate": \d+', f'"sample_rate": {deep}', text)
    (path / "artist_features.json").write_text(text)


@case(74, "damaged", "2000000 bytes; allowed is up to 1048576 bytes")
def card_huge(path, outside):
    (path / "artist_features.json").write_bytes(b" " * 2_000_000)


@case(74, "damaged", "not a model card .*integer string")
def card_with_a_number_of_5000_digits(path, outside):
    (path / "artist_features.json").write_text('{"schema_version": ' + "9" * 5000 + "}")


@case(74, "damaged", "not a model card .*codec can't decode")
def card_not_utf8(path, outside):
    (path / "artist_features.json").write_bytes(b'{"schema_version": "\xff"}')


# 75: changed bytes (weights: test_any_flipped_byte_is_a_wrong_hash)


@case(75, "hash", "graph_sha256 is '.*front_end, network and pooling give")
def card_with_another_mean(path, outside):
    text = (path / "artist_features.json").read_text()
    (path / "artist_features.json").write_text(text.replace("0.22620339", "0.23620339"))


# 76: HDF5 that is more than arrays


@case(76, "damaged", "points to another file")
def external_data(path, outside):
    def make(group, name):
        where = [(str(outside), 0, h5py.h5f.UNLIMITED)]
        group.create_dataset(name, (2, 128, 8), "float32", external=where)

    replace(path, KERNEL, make)


@case(76, "damaged", r"'0' is a link \(external\)")
def external_link(path, outside):
    def make(group, name):
        group[name] = h5py.ExternalLink(str(outside), "x")

    replace(path, KERNEL, make)


@case(76, "damaged", r"'layers' is a link \(external\)")
def external_link_to_a_group(path, outside):
    def make(file):
        del file["layers"]
        file["layers"] = h5py.ExternalLink(str(outside), "/")

    edit_weights(path, make)


@case(76, "damaged", r"'0' is a link \(soft\)")
def soft_link(path, outside):
    def make(group, name):
        group[name] = h5py.SoftLink("/" + GAMMA)

    replace(path, KERNEL, make)


@case(76, "damaged", r"'0' is a link \(soft\)")
def soft_link_to_nothing(path, outside):
    def make(group, name):
        group[name] = h5py.SoftLink("/nothing")

    replace(path, KERNEL, make)


@case(76, "damaged", "points to another file")
def virtual(path, outside):
    def make(group, name):
        layout = h5py.VirtualLayout((2, 128, 8), "float32")
        layout[:] = h5py.VirtualSource(str(outside), "x", (2, 128, 8))
        group.create_virtual_dataset(name, layout)

    replace(path, KERNEL, make)


@case(76, "damaged", "stores 0 of 68719476736 bytes")
def claims_64_gib(path, outside):
    replace(path, KERNEL, lambda group, name: group.create_dataset(name, (1 << 34,), "float32"))


@case(76, "damaged", "chunked or compressed")
def claims_64_gib_in_chunks(path, outside):
    def make(group, name):
        group.create_dataset(name, (1 << 34,), "float32", chunks=(1 << 20,), compression="gzip")

    replace(path, KERNEL, make)


@case(76, "damaged", "stores 0 of 8192 bytes")
def nothing_stored(path, outside):
    def make(group, name):
        group.create_dataset(name, (2, 128, 8), "float32", fillvalue=0.5)

    replace(path, KERNEL, make)


@case(76, "damaged", "chunked or compressed")
def zeros_compressed(path, outside):
    def make(group, name):
        group.create_dataset(name, data=np.zeros((2, 128, 8), "float32"), compression="gzip")

    replace(path, KERNEL, make)


@case(76, "damaged", "chunked or compressed")
def chunk_that_inflates_to_256_mib(path, outside):
    """The right shape, and more bytes stored than the shape needs: only the chunk is large."""

    def make(group, name):
        chunk = (256, 512, 512)
        array = group.create_dataset(
            name, (2, 128, 8), "float32", maxshape=(None,) * 3, chunks=chunk, compression="gzip"
        )
        packer = zlib.compressobj(1)
        packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(16)) + packer.flush()
        array.id.write_direct_chunk((0, 0, 0), packed)
        assert array.id.get_storage_size() > array.nbytes

    replace(path, KERNEL, make)


@case(76, "damaged", "more members than any model")
def group_inside_itself(path, outside):
    def make(file):
        file["layers/again"] = file["layers"]

    edit_weights(path, make)


@case(76, "damaged", "more members than any model")
def shared_groups_that_multiply(path, outside):
    """Ten levels of fifty names for one next level: 50^10 paths in 100 kB."""

    def make(file):
        group = file.create_group("level0")
        for level in range(10):
            below = file.create_group(f"level{level + 1}")
            for name in range(50):
                group[str(name)] = below
            group = below

    edit_weights(path, make)


@case(76, "damaged", "more members than any model")
def names_that_add_up(path, outside):
    edit_weights(path, lambda file: file.create_group("/".join(["x" * 200] * 20)))


@case(76, "damaged", "'0' is not an array")
def named_type_for_an_array(path, outside):
    def make(group, name):
        group[name] = np.dtype("float32")

    replace(path, KERNEL, make)


# 79: arrays that no training leaves behind


def spoiled(path, name, value, where=slice(0, 1)):
    with h5py.File(path / "model.weights.h5") as file:
        array = file[name][()]
    array[where] = value
    set_array(path, name, array)


@case(79, "incompatible", "block1_conv kernel has 1024 NaN or infinite values")
def not_a_number(path, outside):
    spoiled(path, KERNEL, np.nan)


@case(79, "incompatible", "block2_norm gamma has 1 NaN or infinite")
def infinite(path, outside):
    spoiled(path, GAMMA, -np.inf)


@case(79, "incompatible", "block1_conv kernel is all zeros")
def zero_kernel(path, outside):
    spoiled(path, KERNEL, 0, ...)


@case(79, "incompatible", "block2_norm gamma is all zeros")
def zero_gamma(path, outside):
    spoiled(path, GAMMA, 0, ...)


@case(79, "incompatible", "block2_norm moving variance is all zeros")
def zero_variance(path, outside):
    spoiled(path, VARIANCE, 0, ...)


@case(79, "incompatible", "block2_norm moving variance has a negative value -0.5")
def negative_variance(path, outside):
    spoiled(path, VARIANCE, -0.5)


@case(79, "incompatible", "block1_conv could reach .*; allowed is up to 1e.30, so that every emb")
def finite_weights_that_overflow(path, outside):
    spoiled(path, KERNEL, 3e38)


@case(79, "incompatible", "block2_norm could reach")
def gamma_that_overflows(path, outside):
    spoiled(path, GAMMA, 1e38)


@case(79, "incompatible", r"is float64 \(2, 128, 8\); needed is float32 \(2, 128, 8\)")
def float64(path, outside):
    set_array(path, KERNEL, np.ones((2, 128, 8)))


@case(79, "incompatible", r"is int32 \(2, 128, 8\); needed is float32")
def int32(path, outside):
    set_array(path, KERNEL, np.ones((2, 128, 8), "int32"))


@case(79, "incompatible", "is >f4 ")
def big_endian(path, outside):
    set_array(path, KERNEL, np.ones((2, 128, 8), ">f4"))


@case(79, "incompatible", r"is float32 \(8, 128, 2\); needed is float32 \(2, 128, 8\)")
def transposed(path, outside):
    set_array(path, KERNEL, np.ones((8, 128, 2), "float32"))


@case(79, "incompatible", r"is float32 \(\); needed")
def scalar(path, outside):
    set_array(path, KERNEL, np.float32(1))


@case(79, "incompatible", "is object ")
def text(path, outside):
    replace(path, GAMMA, lambda group, name: group.create_dataset(name, data=["a", "b"]))


@case(79, "damaged|incompatible", "HDF5|needed is float32")
def array_of_no_shape(path, outside):
    replace(path, KERNEL, lambda group, name: group.create_dataset(name, data=h5py.Empty("f4")))


@case(79, "incompatible", "tensor 'layers/conv1d/vars/0' is missing")
def tensor_missing(path, outside):
    edit_weights(path, lambda file: file.__delitem__(KERNEL))


@case(79, "incompatible", "tensor 'layers/conv1d/vars/2' is not expected")
def tensor_too_many(path, outside):
    edit_weights(path, lambda file: file.create_dataset("layers/conv1d/vars/2", data=[1.0]))


@case(79, "incompatible", "tensor 'layers/conv1d/vars' is not expected")
def array_for_a_group(path, outside):
    replace(path, "layers/conv1d/vars", lambda group, name: group.create_dataset(name, data=[1]))


# 80: other schemas


@case(80, "incompatible", "made by a newer version: schema 99.*pip install -U artist-features")
def schema_99(path, outside):
    edit_card(path, schema_version=99)


@case(80, "incompatible", "schema_version is None; a whole number is needed")
def schema_missing(path, outside):
    edit_card(path, schema_version=None)


@case(80, "incompatible", "schema_version is '1'")
def schema_text(path, outside):
    edit_card(path, schema_version="1")


@case(80, "incompatible", "schema_version is True")
def schema_true(path, outside):
    edit_card(path, schema_version=True)


@case(80, "incompatible", "ModelCard: unknown field 'extra'")
def field_unknown(path, outside):
    edit_card(path, extra=1)


@case(80, "incompatible", "ModelCard: kind 'other'; allowed is 'basic' or 'siamese'")
def kind_unknown(path, outside):
    edit_card(path, kind="other")


@case(80, "incompatible", "FrontEnd: a segment becomes 100000 frames of 32769 values; allowed are")
def front_end_that_takes_26_gb_a_segment(path, outside):
    card = json.loads((path / "artist_features.json").read_text())
    large = {"n_fft": 65536, "hop_length": 1, "segment_frames": 100_000}
    edit_card(path, front_end=card["front_end"] | large, graph_sha256=None)


@case(80, "incompatible", "ModelCard: name 'a/b'")
def name_that_keras_refuses(path, outside):
    edit_card(path, name="a/b")


@pytest.mark.parametrize(("spoil", "code", "match"), CASES)
def test_fault_is_refused_by_name(folder, tmp_path, spoil, code, match):
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as file:
        file["x"] = np.ones((2, 128, 8), "float32")
    spoil(folder, outside)
    watch, started = Watch(outside), time.monotonic()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=match) as caught:
        read(folder)
    assert re.fullmatch(code, caught.value.code)
    assert str(caught.value).startswith(f"{folder}/")
    assert len(str(caught.value)) < len(str(folder)) + 400
    assert "\n" not in str(caught.value)
    assert not watch.names(), "a file outside the folder was opened"
    assert time.monotonic() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100_000  # kB


def test_the_watch_sees_what_it_must(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    watch, of_folder = Watch(tmp_path / "a"), Watch(tmp_path)
    assert not watch.names()
    (tmp_path / "a").read_bytes()
    assert watch.names() == {""}
    assert of_folder.names() == {"a"}


def test_row75_any_flipped_byte_is_a_wrong_hash(folder):
    path = folder / "model.weights.h5"
    data, rng = path.read_bytes(), random.Random(75)
    for offset in [0, 8, len(data) - 1, *rng.sample(range(len(data)), 60)]:
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 0x40]) + data[offset + 1 :])
        with pytest.raises(WeightsError, match="sha256 starts") as caught:
            read(folder)
        assert caught.value.code == "hash"


def test_only_the_card_and_the_weights_are_opened(folder):
    """Rows 77 and 80: hostile Keras files and scripts beside them are not looked at."""
    for name in ("config.json", "metadata.json", "README.md", "extra.py", "conftest.py"):
        (folder / name).write_text('raise SystemExit("opened")')
    (folder / "assets").mkdir()
    watch = Watch(folder)
    card, weights = read(folder)
    assert watch.names() == {"artist_features.json", "model.weights.h5"}
    assert set(weights) == set(model_folder.expected_weights(card.network, 128))


def test_attributes_of_the_weights_are_not_read(folder, monkeypatch):
    def change(file):
        file.attrs["model_config"] = '{"class_name": "Lambda"}'
        file[KERNEL].attrs["x"] = "y"

    edit_weights(folder, change)
    monkeypatch.setattr(h5py.AttributeManager, "__getitem__", None)
    monkeypatch.setattr(h5py.AttributeManager, "get", None)
    read(folder)


def test_links_within_the_folder_are_followed(folder):
    (folder / "model.weights.h5").rename(folder / "blob")
    (folder / "model.weights.h5").symlink_to("blob")
    read(folder)


def test_folder_behind_a_link_is_read(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    read(tmp_path / "link")


def test_unreadable_file_says_so():
    path = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    user = os.geteuid()
    try:
        path.chmod(0o755)
        (path / "artist_features.json").touch(mode=0o000)
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(WeightsError, match=r"cannot be read .Permission denied") as caught:
            model_folder.read_card(path)
    finally:
        if user == 0:
            os.seteuid(0)
        shutil.rmtree(path)
    assert caught.value.code == "unavailable"


def test_card_of_another_writer_needs_no_graph_hash(folder):
    record = json.loads((folder / "artist_features.json").read_text())
    del record["graph_sha256"]
    (folder / "artist_features.json").write_text(json.dumps(record))
    assert read(folder)[0].name == "small"


def test_written_folder_gives_the_same_model(tiny_folder, tmp_path):
    import keras

    card, weights = read(tiny_folder)
    model = model_folder.build(card, weights)
    again = model_folder.write_folder(
        tmp_path / "new" / "folder",
        model,
        {
            f.name: getattr(card, f.name)
            for f in dataclasses.fields(card)
            if f.name != "weights_sha256"
        },
    )
    assert sorted(p.name for p in (tmp_path / "new/folder").iterdir()) == sorted(model_folder.FILES)
    assert dataclasses.replace(again, weights_sha256=card.weights_sha256) == card
    other = model_folder.build(*read(tmp_path / "new" / "folder"))
    plain = keras.saving.load_model(tmp_path / "new" / "folder")
    audio = np.random.default_rng(0).normal(0, 0.1, (3, 66560, 1)).astype("float32")
    expected = model(audio).numpy()
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(other(audio).numpy(), expected)
    np.testing.assert_array_equal(plain(audio).numpy(), expected)


def test_a_model_whose_successor_does_not_fit_stays_whole(tiny_folder, tmp_path, monkeypatch):
    """The disk is full at the last file."""
    target = tmp_path / "model"
    card, weights = read(tiny_folder)
    model = model_folder.build(card, weights)
    fields = {f.name: getattr(card, f.name) for f in dataclasses.fields(card)}
    del fields["weights_sha256"]
    model_folder.write_folder(target, model, fields)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    model.set_weights([values + 1 for values in model.get_weights()])
    real, n_written = Path.write_bytes, []

    def write_bytes(path, data):
        n_written.append(path)
        if len(n_written) == len(model_folder.FILES):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OutputError, match="No space left"):
        model_folder.write_folder(target, model, fields)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before


def test_any_text_can_be_written_and_printed(tiny_folder, tmp_path):
    """A training record may hold a path that is not UTF-8; a card may try to be a terminal."""
    card, weights = read(tiny_folder)
    fields = {
        "name": "odd",
        "kind": "basic",
        "description": "clear \x1b[2J screen \u202e",
        "license": "MIT",
        "credit": "x",
        "network": card.network,
        "training": {"command": "train caf\udce9.csv"},
    }
    model_folder.write_folder(tmp_path, model_folder.build(card, weights), fields)
    assert model_folder.read_card(tmp_path).training == fields["training"]
    page = (tmp_path / "README.md").read_text()
    assert "\x1b" not in page
    assert r"clear \x1b[2J screen \u202e" in page
