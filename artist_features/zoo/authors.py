"""Convert the authors' released Keras 2 weights (`.h5`) to a model folder.

Source: `jongpillee/ismir2018-artist` (MIT, Copyright (c) 2018 Jongpil Lee), `models/`.
Only arrays are read, by name: the file's `model_config` is never parsed.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import h5py

from artist_features.config import ModelCard, Network
from artist_features.errors import WeightsError
from artist_features.zoo import folder as model_folder
from artist_features.zoo import untrusted_hdf5

_MAX_BYTES = 1 << 30
_RELEASED = {  # sha256 of a released file -> number of artists it was trained on, by its name
    "3b3ad09c321786c8ea388269ee3c35ab540734ce5209f40a430f1c9b0a25f753": 10_000,  # siamese
}
_ARRAYS = {  # kind of layer -> its arrays, in Keras' order
    "conv1d": ("kernel:0", "bias:0"),
    "batch_normalization": ("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0"),
}
_LAYER = re.compile(r"(conv1d|batch_normalization|dense)_(\d+)")


def import_authors(
    weights_path: model_folder.Folder, out: model_folder.Folder, *, name: str | None = None
) -> ModelCard:
    """Convert one of the authors' `.h5` files to a model folder.

    Both kinds are read: the Siamese model, and the basic one, whose Dense layer over
    artists is left out (an embedding needs none of it).

    Args:
        weights_path: the authors' file.
        out: folder to write.
        name: of the model; None takes the file's name, other characters than letters,
            digits, "_", "." and "-" replaced.

    Returns:
        The `ModelCard` written.

    Raises:
        WeightsError: `unavailable`, `damaged` (not HDF5, links to elsewhere) or
            `incompatible` (a layer is missing, of another shape, or not finite).
        ValueError: the name has other characters.
    """
    path = Path(weights_path)
    data = model_folder.read_bytes(path, _MAX_BYTES)
    if not data.startswith(b"\x89HDF"):
        raise WeightsError(
            "damaged",
            f"not an HDF5 file ({len(data)} bytes, starts with {data[:16]!r}); the authors' "
            "model_*.h5 is needed.",
            path,
        )
    weights, n_artists = _read_layers(data, path)
    kind = "siamese" if n_artists is None else "basic"
    name = name or re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem)[:100].lstrip("_.-") or "authors"
    fields = _card_fields(kind, name, n_artists, hashlib.sha256(data).hexdigest())
    model = model_folder.build(ModelCard(**fields, weights_sha256="0" * 64), weights)
    return model_folder.write_folder(out, model, fields)


def _read_layers(data: bytes, path: Path) -> tuple[model_folder.Weights, int | None]:
    """Return ({our layer name: arrays}, number of artists or None)."""
    with untrusted_hdf5.open_hdf5(data, path) as file:
        root = untrusted_hdf5.get_member(file, "model_weights", path)
        root = file if root is None else untrusted_hdf5.check_group(root, path)
        layers = _layers_by_kind(root)
        for kind in _ARRAYS:
            if len(layers.get(kind, [])) != 5:
                raise WeightsError(
                    "incompatible",
                    f"has {len(layers.get(kind, []))} {kind} layers; the authors' network has 5.",
                    path,
                )
        weights = {}
        for name, (_, shapes) in model_folder.expected_weights(Network(), 128).items():
            kind = "batch_normalization" if name.endswith("norm") else "conv1d"
            layer = layers[kind][int(name[len("block") :][0]) - 1]
            datasets = [_dataset(root, layer, array, path) for array in _ARRAYS[kind]]
            weights[name] = untrusted_hdf5.read_layer(layer, datasets, shapes, path)
        if not (dense := layers.get("dense")):
            return weights, None
        shape = _dataset(root, dense[-1], "kernel:0", path).shape
        if not shape or len(shape) != 2 or shape[0] != 256 or shape[1] < 2:
            raise WeightsError(
                "incompatible", f"{dense[-1]} kernel is {shape}; needed is (256, n_artists).", path
            )
        return weights, int(shape[1])


def _layers_by_kind(root: h5py.Group) -> dict[str, list[str]]:
    """Return {kind: names of its layers}, in the order of their numbers."""
    layers: dict[str, list[tuple[int, str]]] = {}
    for name in root:
        if match := _LAYER.fullmatch(name):
            layers.setdefault(match[1], []).append((int(match[2]), name))
    return {kind: [name for _, name in sorted(found)] for kind, found in layers.items()}


def _dataset(root: h5py.Group, layer: str, name: str, path: Path) -> h5py.Dataset:
    """Return the array that Keras 2 keeps at `layer/layer/name`."""
    item: untrusted_hdf5.Item | None = root
    for part in (layer, layer, name):
        item = untrusted_hdf5.get_member(item, part, path)
        if item is None:
            raise WeightsError("incompatible", f"array {layer}/{name} is missing.", path)
    if not isinstance(item, h5py.Dataset):
        raise WeightsError("damaged", f"{layer}/{name} is not an array.", path)
    return item


def _card_fields(kind: str, name: str, n_artists: int | None, digest: str) -> dict[str, Any]:
    training: dict[str, Any]
    if known := _RELEASED.get(digest):
        origin = "Its sha256 is that of a released file."
        training = {
            "data": "Million Song Dataset, 30 s previews, 15 training tracks an artist",
            "n_artists": known,
            "recipe": "the paper's; see arXiv 1710.06648",
        }
    else:
        origin = (
            "The file is in the layout of that release, but its sha256 is not one that this "
            "package knows: who made it is not verified."
        )
        training = {"data": "not verified", "n_artists": n_artists or "unknown"}
    return {
        "name": name,
        "kind": kind,
        "description": "Weights in the layout of the authors' release, converted; not trained by "
        "this package.",
        "license": "MIT",
        "credit": (
            "Weights by Jongpil Lee, Jiyoung Park and co-authors, released with the code of "
            "Park et al., ISMIR 2018 (jongpillee/ismir2018-artist, MIT licence, Copyright (c) "
            f"2018 Jongpil Lee). The licence file does not mention the weights separately. {origin}"
        ),
        "training": training
        | {"source_file_sha256": digest, "converted_by": "artist-features import-authors"},
    }
