"""A model folder: write it, verify it, read numbers (and nothing else) from it.

The same five files are bundled in the wheel, lie in a local folder, and are published
on the Hub. Reading trusts two of them: `artist_features.json`, which says how to build
the graph, and `model.weights.h5`, whose sha256 that file states. The bytes that were
hashed are the bytes that are parsed. No pickle, no code, no class name from a file.
"""

import hashlib
import json
import math
import os
import zipfile
from pathlib import Path

from artist_features.config import SCHEMA_VERSION, ModelCard, shown
from artist_features.errors import OutputError, WeightsError
from artist_features.files import partial_name
from artist_features.zoo import card_text, overflow, tensors

CARD_FILE = "artist_features.json"
WEIGHTS_FILE = "model.weights.h5"
KERAS_FILES = ("config.json", "metadata.json", WEIGHTS_FILE)
FILES = (CARD_FILE, *KERAS_FILES, "README.md")
_MAX_BYTES = 1 << 20  # of a file that is not the weights
_MAX_WEIGHTS_BYTES = 1 << 28


def read_card(folder, *, root=None):
    """Read and check `artist_features.json`.

    Args:
        folder: path of a model folder.
        root: folder that the files may really lie in (the Hub cache links into its
            blob store); None means the folder itself.

    Returns:
        `ModelCard`.

    Raises:
        WeightsError: `unavailable`, `hash`, `damaged` or `incompatible`.
    """
    path = Path(folder) / CARD_FILE
    text = read_file(folder, CARD_FILE, root=root)
    try:
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("not a JSON object")
    except (ValueError, RecursionError) as error:
        raise WeightsError("damaged", f"not a model card ({error}).", path) from None
    version = record.get("schema_version")
    if type(version) is not int or version < 1:
        raise WeightsError(
            "incompatible",
            f"schema_version is {shown(version)}; a whole number is needed. "
            "Was this folder written by artist_features?",
            path,
        )
    if version > SCHEMA_VERSION:
        raise WeightsError(
            "incompatible",
            f"made by a newer version: schema {shown(version)}, this version reads up "
            f"to {SCHEMA_VERSION}. Run `pip install -U artist-features`.",
            path,
        )
    if record.get("weights") != WEIGHTS_FILE:
        raise WeightsError(
            "damaged",
            f"weights file is {shown(record.get('weights'))}; "
            f"allowed is {WEIGHTS_FILE!r} beside the card.",
            path,
        )
    try:
        card = ModelCard.from_record(record)
    except (ValueError, TypeError) as error:
        raise WeightsError("incompatible", f"{error}", path) from None
    if record.get("graph_sha256", card.graph_sha256) != card.graph_sha256:
        raise WeightsError(
            "hash",
            f"graph_sha256 is {shown(record['graph_sha256'])}, front_end, network and "
            f"pooling give {card.graph_sha256[:12]}. The file was changed; fetch it again, or, "
            "if you changed it, remove graph_sha256.",
            path,
        )
    return card


def read_weights(folder, card, *, root=None):
    """Verify and read `model.weights.h5`.

    Args:
        folder: path of a model folder.
        card: its `ModelCard`.
        root: see `read_card`.

    Returns:
        dict from layer name to its list of float32 arrays, in Keras' order.

    Raises:
        WeightsError: `unavailable`, `hash`, `damaged` or `incompatible`.
    """
    path = Path(folder) / WEIGHTS_FILE
    data = read_file(folder, WEIGHTS_FILE, root=root)
    expected = expected_weights(card.network, card.front_end.n_mels)
    least = 4 * sum(math.prod(shape) for _, shapes in expected.values() for shape in shapes)
    if len(data) < least:
        raise WeightsError(
            "damaged",
            f"{len(data)} bytes that start with {data[:16]!r}; needed is an HDF5 file of at least "
            f"{least} bytes. Fetch the folder again.",
            path,
        )
    digest = hashlib.sha256(data).hexdigest()
    if digest != card.weights_sha256:
        raise WeightsError(
            "hash",
            f"sha256 starts {digest[:12]}, the card says {card.weights_sha256[:12]}. "
            "The file is incomplete or changed; delete it and fetch it again.",
            path,
        )
    weights = _parse_weights(data, expected, path)
    overflow.check_no_overflow(weights, card.front_end, path)
    return weights


def build(card, weights):
    """Build the backbone of a card and set its verified weights.

    Returns:
        `keras.Model`, trainable, named after the card.
    """
    from artist_features.zoo import devices, models

    devices.configure_devices()
    model = models.backbone(front_end=card.front_end, network=card.network, name=card.name)
    for layer, arrays in weights.items():
        model.get_layer(layer).set_weights(arrays)
    return model


def build_from_fields(card_fields, weights):
    """Build a backbone that has no folder yet; arguments as `write_folder`, `build`."""
    return build(ModelCard(**card_fields, weights_sha256="0" * 64), weights)


def write_folder(folder, model, card_fields):
    """Write a backbone as a model folder, files of plain Keras included.

    Args:
        folder: created if missing; existing files of these names are replaced.
        model: `keras.Model` from `models.backbone()`, trained.
        card_fields: keywords of `ModelCard`, without the hash.

    Returns:
        The `ModelCard` written.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        return _write_folder(folder, model, card_fields)
    except OSError as error:
        text = f"cannot be written ({error.strerror or error}); choose another folder."
        raise OutputError("not_writable", text, folder) from None


def _write_folder(folder, model, card_fields):
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "model.partial.keras"
    try:
        model.save(archive)
        with zipfile.ZipFile(archive) as parts:
            contents = {name: parts.read(name) for name in KERAS_FILES}
    finally:
        archive.unlink(missing_ok=True)
    digest = hashlib.sha256(contents[WEIGHTS_FILE]).hexdigest()
    card = ModelCard(**card_fields, weights_sha256=digest)
    # a path in the training record may not be UTF-8: its bytes become JSON escapes
    contents["README.md"] = card_text.model_card(card, f"path/to/{card.name}").encode()
    contents[CARD_FILE] = card.to_json().encode("utf-8", "backslashreplace")
    partial = {name: partial_name(folder / name) for name in contents}
    try:
        for name, data in contents.items():
            partial[name].write_bytes(data)
        for name in contents:  # a disk that is full has said so by now: the old model is whole
            os.replace(partial[name], folder / name)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    return card


def expected_weights(network, n_mels):
    """Return {layer name: (path in Keras' HDF5 file, shapes)} for a `Network`."""
    expected, n_in = {}, n_mels
    for index, (n_out, size) in enumerate(zip(network.filters, network.kernel_sizes, strict=True)):
        suffix = f"_{index}" if index else ""
        conv, norm = f"block{index + 1}_conv", f"block{index + 1}_norm"
        expected[conv] = (f"layers/conv1d{suffix}/vars", [(size, n_in, n_out), (n_out,)])
        expected[norm] = (f"layers/batch_normalization{suffix}/vars", [(n_out,)] * 4)
        n_in = n_out
    return expected


def read_file(folder, name, *, root=None):
    """Return the bytes of one of a folder's `FILES`; arguments and errors as `read_card`."""
    hint = f"Needed are {', '.join(FILES)}."
    return read_bytes(Path(folder) / name, largest(name), root or folder, hint)


def largest(name):
    """Return how many bytes one of `FILES` may have."""
    return _MAX_WEIGHTS_BYTES if name == WEIGHTS_FILE else _MAX_BYTES


def read_bytes(path, limit, root=None, hint=""):
    """Read a regular file of limited size.

    Args:
        path: of the file; links are followed.
        limit: of its size in bytes.
        root: folder that it must really lie in, or None.
        hint: added to the message where it cannot be read.

    Raises:
        WeightsError: `unavailable` or `damaged`.
    """
    real = Path(os.path.realpath(path))
    if root is not None and not real.is_relative_to(os.path.realpath(root)):
        raise WeightsError("damaged", f"is a link out of its folder, to {real}.", path)
    try:
        size = real.stat().st_size
        if not real.is_file():
            raise WeightsError("damaged", "is not a regular file.", path)
        if size > limit:
            raise WeightsError(
                "damaged", f"{size} bytes; allowed is up to {limit} bytes for this file.", path
            )
        with open(real, "rb") as file:
            return file.read(min(size, limit) + 1)  # what is asked for is reserved at once
    except OSError as error:
        message = f"cannot be read ({error.strerror}). {hint}".rstrip()
        raise WeightsError("unavailable", message, path) from None


def _parse_weights(data, expected, path):
    wanted = {f"{group}/{n}" for group, shapes in expected.values() for n in range(len(shapes))}
    with tensors.opened(data, path) as file:
        found = tensors.collect(file, path)
        if odd := sorted(set(found) ^ wanted):
            state = "missing" if odd[0] in wanted else "not expected"
            raise WeightsError("incompatible", f"tensor {odd[0]!r} is {state}.", path)
        weights = {}
        for layer, (group, shapes) in expected.items():
            arrays = [
                tensors.read(found[f"{group}/{n}"], shape, path) for n, shape in enumerate(shapes)
            ]
            tensors.check_values(layer, arrays, path)
            weights[layer] = arrays
        return weights
