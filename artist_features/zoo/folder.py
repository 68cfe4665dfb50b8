"""A model folder: write it, verify it, read numbers (and nothing else) from it.

The same five files are bundled in the wheel, lie in a local folder, and are published
on the Hub. Reading trusts two of them: `artist_features.json`, which says how to build
the graph, and `model.weights.h5`, whose sha256 that file states. The bytes that were
hashed are the bytes that are parsed. No pickle, no code, no class name from a file.
"""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np

from artist_features.config import SCHEMA_VERSION, ModelCard
from artist_features.errors import WeightsError
from artist_features.zoo import card_text

CARD_FILE = "artist_features.json"
WEIGHTS_FILE = "model.weights.h5"
KERAS_FILES = ("config.json", "metadata.json", WEIGHTS_FILE)
FILES = (CARD_FILE, *KERAS_FILES, "README.md")
_MAX_CARD_BYTES = 1 << 20
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
        WeightsError: `unavailable`, `damaged` or `incompatible`.
    """
    path = Path(folder) / CARD_FILE
    text = _read_bytes(path, _MAX_CARD_BYTES, root)
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
            f"schema_version is {version!r}; a whole number is needed. "
            "Was this folder written by artist_features?",
            path,
        )
    if version > SCHEMA_VERSION:
        raise WeightsError(
            "incompatible",
            f"made by a newer version: schema {version}, this version reads up to "
            f"{SCHEMA_VERSION}. Run `pip install -U artist-features`.",
            path,
        )
    if record.get("weights") != WEIGHTS_FILE:
        raise WeightsError(
            "damaged",
            f"weights file is {str(record.get('weights'))[:80]!r}; "
            f"allowed is {WEIGHTS_FILE!r} beside the card.",
            path,
        )
    try:
        return ModelCard.from_record(record)
    except (ValueError, TypeError) as error:
        raise WeightsError("incompatible", f"{error}", path) from None


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
    data = _read_bytes(path, _MAX_WEIGHTS_BYTES, root)
    if not data.startswith(b"\x89HDF"):
        raise WeightsError(
            "damaged",
            f"{len(data)} bytes that start with {data[:16]!r}; an HDF5 file is needed. "
            "Fetch the folder again.",
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
    return _parse_weights(data, card.network, card.front_end.n_mels, path)


def build(card, weights):
    """Build the backbone of a card and set its verified weights.

    Returns:
        `keras.Model`, trainable, named after the card.
    """
    from artist_features.zoo import models

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
    """
    folder = Path(folder)
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
    contents[CARD_FILE] = card.to_json().encode()
    contents["README.md"] = card_text.model_card(card).encode()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
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


def check_arrays(layer, arrays, shapes, path):
    """Refuse weights of the wrong type, shape or value (`incompatible`).

    Args:
        layer: name for messages; "conv" or "norm" in it decides what zeros mean.
        arrays: in Keras' order: kernel, bias; or gamma, beta, mean, variance.
        shapes: expected shapes, in that order.
        path: file, for messages.
    """
    is_norm = "norm" in layer
    names = ("gamma", "beta", "moving mean", "moving variance") if is_norm else ("kernel", "bias")
    for name, array, shape in zip(names, arrays, shapes, strict=True):
        problem = None
        if array.dtype != np.float32 or array.shape != tuple(shape):
            problem = f"is {array.dtype} {array.shape}; needed is float32 {tuple(shape)}"
        elif not np.isfinite(array).all():
            problem = f"has {np.sum(~np.isfinite(array))} NaN or infinite values; needed is none"
        elif name in ("kernel", "gamma", "moving variance") and not array.any():
            problem = "is all zeros; needed are trained values"
        elif name == "moving variance" and (array < 0).any():
            problem = f"has a negative value {array.min():g}; needed is 0 or more"
        if problem:
            raise WeightsError("incompatible", f"{layer} {name} {problem}.", path)


def _read_bytes(path, limit, root):
    root = Path(root if root is not None else path.parent).resolve()
    real = path.resolve()
    if not real.is_relative_to(root):
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
            return file.read(limit + 1)
    except OSError as error:
        raise WeightsError(
            "unavailable",
            f"cannot be read ({error.strerror}). A model folder holds {', '.join(FILES)}.",
            path,
        ) from None


def _parse_weights(data, network, n_mels, path):
    import h5py

    expected = expected_weights(network, n_mels)
    wanted = {
        f"{group}/{number}": layer
        for layer, (group, shapes) in expected.items()
        for number in range(len(shapes))
    }
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            found = {}
            _collect(file, "", found, h5py, path)
            if set(found) != set(wanted):
                odd = sorted(set(found) ^ set(wanted))[0]
                state = "missing" if odd in wanted else "not expected"
                raise WeightsError("incompatible", f"tensor {odd!r} is {state}.", path)
            weights = {}
            for layer, (group, shapes) in expected.items():
                datasets = [found[f"{group}/{n}"] for n in range(len(shapes))]
                for dataset, shape in zip(datasets, shapes, strict=True):
                    _check_dataset(dataset, shape, path)
                weights[layer] = [dataset[()] for dataset in datasets]
                check_arrays(layer, weights[layer], shapes, path)
            return weights
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise WeightsError("damaged", f"not a readable HDF5 file ({error}).", path) from None


def _collect(group, prefix, found, h5py, path):
    """Gather datasets reached by hard links only; refuse every other kind of link."""
    for name in group:
        where = f"{prefix}{name}"
        if len(found) > 1000 or where.count("/") > 8:
            raise WeightsError("damaged", "holds more tensors than any model of ours.", path)
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise WeightsError(
                "damaged", f"{where!r} is a {type(link).__name__}; allowed are arrays.", path
            )
        item = group[name]
        if isinstance(item, h5py.Group):
            _collect(item, f"{where}/", found, h5py, path)
        elif isinstance(item, h5py.Dataset):
            found[where] = item
        else:
            raise WeightsError("damaged", f"{where!r} is not an array.", path)


def _check_dataset(dataset, shape, path):
    """Refuse, before a byte of it is read, a dataset that is not plain and complete."""
    if dataset.is_virtual or dataset.external:
        raise WeightsError("damaged", f"{dataset.name} points to another file.", path)
    if dataset.dtype != np.float32 or dataset.shape != tuple(shape):
        raise WeightsError(
            "incompatible",
            f"{dataset.name} is {dataset.dtype} {dataset.shape}; needed is float32 {tuple(shape)}.",
            path,
        )
    if dataset.id.get_storage_size() < dataset.nbytes:
        raise WeightsError(
            "damaged",
            f"{dataset.name} stores {dataset.id.get_storage_size()} of {dataset.nbytes} bytes.",
            path,
        )
