"""Read, verify and write model folders; nothing but numbers is read from them.

The same five files are bundled in the wheel, lie in a local folder, and are published
on the Hub. Reading trusts two of them: `artist_features.json`, which says how to build
the graph, and `model.weights.h5`, whose sha256 that file states. The bytes that were
hashed are the bytes that are parsed. No pickle, no code, no class name from a file.
"""

import contextlib
import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features import devices
from artist_features.config import SCHEMA_VERSION, ModelCard, Network, shown
from artist_features.errors import WeightsError
from artist_features.files import atomic_file, output_error, writable
from artist_features.zoo.card import model_card

if TYPE_CHECKING:  # imported when a model is built, or its weights are read
    import keras

    from artist_features.zoo.untrusted_hdf5 import Layout

Folder: TypeAlias = str | os.PathLike[str]
Weights: TypeAlias = dict[str, list[npt.NDArray[np.float32]]]  # by layer, in Keras' order

CARD_FILE = "artist_features.json"
WEIGHTS_FILE = "model.weights.h5"
KERAS_FILES = ("config.json", "metadata.json", WEIGHTS_FILE)
FILES = (CARD_FILE, *KERAS_FILES, "README.md")
NEEDED_FILES = (CARD_FILE, WEIGHTS_FILE)
_MAX_BYTES = 1 << 20  # of a file that is not the weights
_MAX_WEIGHTS_BYTES = 1 << 28


def read_folder(folder: Folder) -> tuple[ModelCard, Weights]:
    """Read and verify a model folder.

    Returns:
        (`ModelCard`, weights) for `build`.

    Raises:
        WeightsError: `unavailable`, `hash`, `damaged` or `incompatible`.
    """
    contents = read_files(folder, NEEDED_FILES)
    return parse_files(contents, folder)


def read_card(folder: Folder) -> ModelCard:
    """Read and check `artist_features.json`; errors as `read_folder`."""
    return _parse_card(read_files(folder, [CARD_FILE])[CARD_FILE], Path(folder) / CARD_FILE)


def read_files(
    folder: Folder, names: Iterable[str], *, root: Folder | None = None
) -> dict[str, bytes]:
    """Read files of a model folder, each of limited size.

    Args:
        names: of `FILES`.
        root: folder that the files must really lie in (the Hub cache links into its blob
            store); None means the folder itself.

    Raises:
        WeightsError: `unavailable` or `damaged`.
    """
    hint = f"Needed are {', '.join(FILES)}."
    return {
        name: read_bytes(Path(folder) / name, max_bytes(name), root or folder, hint)
        for name in names
    }


def max_bytes(name: str) -> int:
    """Return the size limit of one of `FILES`."""
    return _MAX_WEIGHTS_BYTES if name == WEIGHTS_FILE else _MAX_BYTES


def read_bytes(path: Path, limit: int, root: Folder | None = None, hint: str = "") -> bytes:
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


def parse_files(contents: Mapping[str, bytes], folder: Folder) -> tuple[ModelCard, Weights]:
    """Verify and parse the card and the weights of a model folder.

    Args:
        contents: bytes of `NEEDED_FILES`, as `read_files` gives them for `folder`.

    Raises:
        WeightsError: `hash`, `damaged` or `incompatible`.
    """
    card = _parse_card(contents[CARD_FILE], Path(folder) / CARD_FILE)
    return card, _parse_weights(contents[WEIGHTS_FILE], card, Path(folder) / WEIGHTS_FILE)


def _parse_card(data: bytes, path: Path) -> ModelCard:
    try:
        record = json.loads(data)
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


def _parse_weights(data: bytes, card: ModelCard, path: Path) -> Weights:
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
    from artist_features.zoo import untrusted_hdf5  # imports h5py, 0.1 s

    return untrusted_hdf5.read_layers(data, expected, path)


def expected_weights(network: Network, n_mels: int) -> "Layout":
    """Return {layer name: (path in Keras' HDF5 file, shapes)} for a `Network`."""
    expected: Layout = {}
    n_in = n_mels
    for index, (n_out, size) in enumerate(zip(network.filters, network.kernel_sizes, strict=True)):
        suffix = f"_{index}" if index else ""
        conv, norm = f"block{index + 1}_conv", f"block{index + 1}_norm"
        expected[conv] = (f"layers/conv1d{suffix}/vars", [(size, n_in, n_out), (n_out,)])
        expected[norm] = (f"layers/batch_normalization{suffix}/vars", [(n_out,)] * 4)
        n_in = n_out
    return expected


def build(card: ModelCard, weights: Weights) -> "keras.Model":
    """Build the backbone of a card and set its verified weights.

    Returns:
        `keras.Model`, trainable, named after the card.
    """
    from artist_features.zoo import networks

    devices.configure_devices()
    model = networks.backbone(front_end=card.front_end, network=card.network, name=card.name)
    for layer, arrays in weights.items():
        model.get_layer(layer).set_weights(arrays)
    return model


def write_folder(folder: Folder, model: "keras.Model", card_fields: Mapping[str, Any]) -> ModelCard:
    """Write a backbone as a model folder, files of plain Keras included.

    Args:
        folder: created if missing; existing files of these names are replaced, all or none.
        model: from `networks.backbone()`, trained.
        card_fields: keywords of `ModelCard`, without the hash.

    Returns:
        The `ModelCard` written.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = make_folder(folder)
    contents = _keras_files(model, folder)
    digest = hashlib.sha256(contents[WEIGHTS_FILE]).hexdigest()
    card = ModelCard(**card_fields, weights_sha256=digest)
    contents["config.json"] = keras_config(model, card)
    contents["README.md"] = model_card(card, f"path/to/{card.name}").encode()
    # a path in the training record may not be UTF-8: its bytes become JSON escapes
    contents[CARD_FILE] = card.to_json().encode("utf-8", "backslashreplace")
    with contextlib.ExitStack() as stack:
        for name, data in contents.items():
            file = stack.enter_context(atomic_file(folder / name, len(data)))
            file.write(data)
            file.flush()  # a full disk says so now, before any file is replaced
    return card


def make_folder(folder: Folder) -> Path:
    """Make a folder that is to be written, unless it is there.

    Raises:
        OutputError: `not_writable` or `no_space`.
    """
    with writable(folder, "choose another folder"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


def _keras_files(model: "keras.Model", folder: Path) -> dict[str, bytes]:
    """Return the bytes of `KERAS_FILES`, by way of a temporary file in a folder."""
    archive = folder / "model.partial.keras"
    try:
        model.save(archive)
        with zipfile.ZipFile(archive) as parts:
            return {name: parts.read(name) for name in KERAS_FILES}
    except OSError as error:
        raise output_error(error, folder) from None
    finally:
        with contextlib.suppress(OSError):
            archive.unlink(missing_ok=True)


def keras_config(model: "keras.Model", card: ModelCard) -> bytes:
    """Return the `config.json` by which plain Keras builds the model of a card.

    That of `model.save` is another one in each process: it numbers what layers share by
    addresses in memory.
    """
    record = json.loads(model.to_json())
    record["config"]["name"] = card.name
    return json.dumps(record).encode()
