"""Model folders: what is written is read back, and nothing else is ever read.

Ids name the rows of the fault table. Where a row is about the inside of the HDF5 file,
the card states the hash of the hostile file, so that the strict reader itself is tested.
"""

import contextlib
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

import artist_features as af
from artist_features import hear
from artist_features.config import ModelCard, Network
from artist_features.errors import AudioError, OutputError, WeightsError
from artist_features.zoo import folder as model_folder

NETWORK = Network(filters=(8, 4), kernel_sizes=(2, 1), pool_sizes=(4, 1))
CARD, WEIGHTS = model_folder.CARD_FILE, model_folder.WEIGHTS_FILE
KERNEL = "layers/conv1d/vars/0"  # float32 (2, 128, 8)
GAMMA, VARIANCE = (f"layers/batch_normalization_1/vars/{n}" for n in (0, 3))


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
        make(file[group or "/"], last)

    edit_weights(path, change)


def set_array(path, name, array):
    replace(path, name, lambda group, last: group.create_dataset(last, data=array))


def read(path):
    return model_folder.read_folder(path)


class Watch:
    """Count how often a file, or files of a folder, are opened (Linux inotify)."""

    def __init__(self, path):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        in_open = 0x20
        assert self._libc.inotify_add_watch(self._fd, os.fsencode(path), in_open) > 0

    def __del__(self):
        os.close(self._fd)  # a user may have 128 of them

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


def rewrite(name, change):
    """Return a function that writes `change(bytes)`, or these bytes, into a file."""

    def spoil(path, outside):
        file = path / name
        file.write_bytes(change(file.read_bytes()) if callable(change) else change)

    return spoil


def put(name, make):
    """Return a function that lets `make(path)` take the place of a file."""

    def spoil(path, outside):
        (path / name).unlink()
        make(path / name)

    return spoil


def link_out(name):
    def spoil(path, outside):
        (path / name).unlink()
        (path / name).symlink_to(outside)

    return spoil


def card_with(**changes):
    return lambda path, outside: edit_card(path, **changes)


def with_array(name, array):
    return lambda path, outside: set_array(path, name, array)


def with_value(name, value, where=slice(0, 1)):
    return lambda path, outside: spoiled(path, name, value, where)


def spoiled(path, name, value, where=slice(0, 1)):
    with h5py.File(path / WEIGHTS) as file:
        array = file[name][()]
    array[where] = value
    set_array(path, name, array)


def created(name, *shape_and_type, **options):
    """Return a function that puts a data set of h5py in the place of an array."""

    def make(group, last):
        group.create_dataset(last, *shape_and_type, **options)

    return lambda path, outside: replace(path, name, make)


def zeros_of_the_stated_hash(path, outside):
    (path / WEIGHTS).write_bytes(bytes(20_000))
    seal(path)


def nested_nearly_too_deeply(data):
    return re.sub(rb'"sample_rate": \d+', b'"sample_rate": ' + b"[" * 900 + b"]" * 900, data)


def external_data(path, outside):
    where = [(str(outside), 0, h5py.h5f.UNLIMITED)]
    created(KERNEL, (2, 128, 8), "float32", external=where)(path, outside)


def external_link(path, outside):
    replace(path, KERNEL, lambda group, name: link(group, name, h5py.ExternalLink(outside, "x")))


def link(group, name, target):
    group[name] = target


def soft_link(target):
    return lambda path, outside: replace(
        path, KERNEL, lambda group, name: link(group, name, h5py.SoftLink(target))
    )


def virtual(path, outside):
    def make(group, name):
        layout = h5py.VirtualLayout((2, 128, 8), "float32")
        layout[:] = h5py.VirtualSource(str(outside), "x", (2, 128, 8))
        group.create_virtual_dataset(name, layout)

    replace(path, KERNEL, make)


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


def group_inside_itself(path, outside):
    edit_weights(path, lambda file: link(file, "layers/again", file["layers"]))


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


def names_that_add_up(path, outside):
    edit_weights(path, lambda file: file.create_group("/".join(["x" * 200] * 20)))


def named_type_for_an_array(path, outside):
    replace(path, KERNEL, lambda group, name: link(group, name, np.dtype("float32")))


def tensor_missing(path, outside):
    edit_weights(path, lambda file: file.__delitem__(KERNEL))


def tensor_too_many(path, outside):
    edit_weights(path, lambda file: file.create_dataset("layers/conv1d/vars/2", data=[1.0]))


def segment_of_26_gb(path, outside):
    card = json.loads((path / CARD).read_text())
    large = {"n_fft": 65536, "hop_length": 1, "segment_frames": 100_000}
    edit_card(path, front_end=card["front_end"] | large, graph_sha256=None)


ONES, GIB_64 = np.ones((2, 128, 8), "float32"), ((1 << 34,), "float32")
GZIP = {"compression": "gzip"}
D, X = "damaged", "incompatible"  # codes
HTML = b"<!DOCTYPE html>"
LONG_NUMBER = b'{"schema_version": ' + b"9" * 5000 + b"}"
HASH_DIFFERS = "sha256 starts [0-9a-f]{12}, the card says [0-9a-f]{12}"
NO_CARD = "not a model card"


def linked_to_itself(file):
    file.symlink_to(file.name)


def changed_mean(data):
    return data.replace(b"0.22620339", b"0.23620339")


def longer_than_allowed(path, outside):
    os.truncate(path / WEIGHTS, (1 << 28) + 1)


CASES = {  # row of the fault table -> (name, how to spoil a folder, code, text)
    73: [  # names that lead out of the folder
        ("weights-above", card_with(weights="../../x.h5"), D, r"is '\.\./\.\./x\.h5'; allowed is "),
        ("weights-absolute", card_with(weights="/x.h5"), D, "weights file is '/.*allowed is"),
        ("weights-name-huge", card_with(weights=["x" * 1000] * 999), D, "weights file is"),
        ("weights-linked-out", link_out(WEIGHTS), D, "is a link out of its folder, to /"),
        ("card-linked-out", link_out(CARD), D, "is a link out of its folder, to /"),
        ("linked-to-itself", put(WEIGHTS, linked_to_itself), "unavailable", "read .*symbolic link"),
        ("weights-are-a-fifo", put(WEIGHTS, os.mkfifo), D, "not a regular file"),
        ("card-is-a-folder", put(CARD, Path.mkdir), D, "not a regular file"),
    ],
    74: [  # bytes that are not what the name says
        ("no-weights", put(WEIGHTS, bool), "unavailable", "No such file.* Needed are artist_featu"),
        ("no-card", put(CARD, bool), "unavailable", "No such file"),
        ("weights-empty", rewrite(WEIGHTS, b""), D, "^[^:]*: 0 bytes .*at least 8560 bytes"),
        ("weights-html", rewrite(WEIGHTS, HTML), D, "start with b'<!DOCTYPE html>'; needed .* 856"),
        ("weights-cut", rewrite(WEIGHTS, lambda data: data[:8000]), D, r"b'\\x89HDF.*at least 856"),
        ("weights-a-byte-less", rewrite(WEIGHTS, lambda data: data[:-1]), "hash", HASH_DIFFERS),
        ("weights-are-zeros", zeros_of_the_stated_hash, D, "not a readable HDF5 file"),
        ("weights-huge", longer_than_allowed, D, "268435457 bytes; allowed is up to 268435456 byt"),
        ("card-empty", rewrite(CARD, b""), D, NO_CARD),
        ("card-is-html", rewrite(CARD, HTML), D, NO_CARD),
        ("card-is-a-list", rewrite(CARD, b"[1]"), D, "not a model card .not a JSON object"),
        ("card-nested", rewrite(CARD, b"[" * 500_000), D, "not a model card .*recursion"),
        ("card-nested-less", rewrite(CARD, nested_nearly_too_deeply), X, "must be an obj|_rate = "),
        ("card-huge", rewrite(CARD, b" " * 2_000_000), D, "2000000 bytes; allowed is up to 104857"),
        ("card-of-5000-digits", rewrite(CARD, LONG_NUMBER), D, "not a model card .*integer string"),
        ("card-not-utf8", rewrite(CARD, b'{"x": "\xff"}'), D, "card .*codec can't decode"),
    ],
    75: [  # changed bytes (weights: test_row75_any_flipped_byte_is_a_wrong_hash)
        ("another-mean", rewrite(CARD, changed_mean), "hash", "_sha256 is '.*network and pooling "),
    ],
    76: [  # HDF5 that is more than arrays
        ("external-data", external_data, D, "points to another file"),
        ("external-link", external_link, D, r"'0' is a link \(external\)"),
        ("soft-link", soft_link("/" + GAMMA), D, r"'0' is a link \(soft\)"),
        ("virtual", virtual, D, "points to another file"),
        ("claims-64-gib", created(KERNEL, *GIB_64), D, "stores 0 of 68719476736 bytes"),
        ("compressed", created(KERNEL, data=0 * ONES, **GZIP), D, "chunked or compressed"),
        ("inflates", chunk_that_inflates_to_256_mib, D, "chunked or compressed"),
        ("group-inside-itself", group_inside_itself, D, "more members than any model"),
        ("groups-that-multiply", shared_groups_that_multiply, D, "more members than any model"),
        ("names-that-add-up", names_that_add_up, D, "more members than any model"),
        ("named-type", named_type_for_an_array, D, "'0' is not an array"),
    ],
    79: [  # arrays that no training leaves behind
        ("nan", with_value(KERNEL, np.nan), X, "block1_conv kernel has 1024 NaN or infinite value"),
        ("infinite", with_value(GAMMA, -np.inf), X, "block2_norm gamma has 1 NaN or infinite"),
        ("zero-kernel", with_value(KERNEL, 0, ...), X, "block1_conv kernel is all zeros"),
        ("zero-variance", with_value(VARIANCE, 0, ...), X, "moving variance is all zeros"),
        ("negative", with_value(VARIANCE, -0.5), X, "moving variance has a negative value -0.5"),
        ("float64", with_array(KERNEL, ONES.astype(float)), X, r"is float64 \(2, 128, 8\); needed"),
        ("big-endian", with_array(KERNEL, ONES.astype(">f4")), X, "is >f4 "),
        ("transposed", with_array(KERNEL, ONES.T), X, r"\(8, 128, 2\); needed is float32 \(2, 128"),
        ("no-shape", created(KERNEL, data=h5py.Empty("f4")), f"{D}|{X}", "HDF5|needed is float32"),
        ("missing", tensor_missing, X, "tensor 'layers/conv1d/vars/0' is missing"),
        ("too-many", tensor_too_many, X, "tensor 'layers/conv1d/vars/2' is not expected"),
        ("array-for-a-group", created("layers/conv1d/vars", data=[1]), X, "d/vars' is not expecte"),
    ],
    80: [  # other schemas
        ("newer", card_with(schema_version=99), X, "schema 99.*pip install -U artist-features"),
        ("none", card_with(schema_version=None), X, "schema_version is None; a whole number is ne"),
        ("text", card_with(schema_version="1"), X, "schema_version is '1'"),
        ("unknown-field", card_with(extra=1), X, "ModelCard: unknown field 'extra'"),
        ("unknown-kind", card_with(kind="other"), X, "kind 'other'; allowed is 'basic' or 'siames"),
        ("26-gb", segment_of_26_gb, X, "a segment becomes 100000 frames of 32769 values; allowed "),
        ("name-that-keras-refuses", card_with(name="a/b"), X, "ModelCard: name 'a/b'"),
    ],
}


@pytest.mark.parametrize(
    ("spoil", "code", "match"),
    [
        pytest.param(*rest, id=f"row{row}-{name}")
        for row, cases in CASES.items()
        for name, *rest in cases
    ],
)
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


def test_links_within_the_folder_and_to_it_are_followed(folder, tmp_path):
    (folder / "model.weights.h5").rename(folder / "blob")
    (folder / "model.weights.h5").symlink_to("blob")
    read(folder)
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


@pytest.mark.parametrize("array", [KERNEL, GAMMA])
def test_row79_finite_weights_that_overflow_give_no_embedding(tiny_folder, tmp_path, array):
    """Whatever reaches float32's end is refused where an embedding appears."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    spoiled(folder, array, 3e38, ...)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * 22050).astype("float32")
    for pool in ("mean", None):
        with pytest.raises(AudioError, match="the model gives NaN or infinite numbers") as caught:
            af.extract(noise, 22050, model=folder, pool=pool)
        assert caught.value.code == "not_finite"
    with pytest.warns(af.AudioWarning, match="a row of NaN, not_finite"):
        (row,) = af.extract([noise], 22050, model=folder, on_error="nan")
    assert np.isnan(row).all()
    model = hear.load_model(str(folder))
    for embed in (hear.get_scene_embeddings, hear.get_timestamp_embeddings):
        with pytest.raises(AudioError, match=r"^sound 0: the model gives NaN"):
            embed(noise[None], model)


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
    real, n_written = model_folder.atomic_file, []

    @contextlib.contextmanager
    def atomic_file(path, n_bytes):
        n_written.append(path)
        with real(path, n_bytes) as file:
            if len(n_written) == len(model_folder.FILES):
                raise OSError(errno.ENOSPC, "No space left on device")
            yield file

    monkeypatch.setattr(model_folder, "atomic_file", atomic_file)
    with pytest.raises(OutputError, match="no space for"):
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
