"""The authors' released Keras 2 weights (`.h5`) to a model folder.

Source: `jongpillee/ismir2018-artist` (MIT, Copyright (c) 2018 Jongpil Lee), `models/`.
Only arrays are read, by name: the file's `model_config` is never parsed.
"""

import hashlib
import re
from pathlib import Path

import numpy as np

from artist_features.config import Network
from artist_features.errors import WeightsError
from artist_features.zoo import folder as model_folder

_CONV = ("kernel:0", "bias:0")
_NORM = ("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0")
_LAYER = re.compile(r"(conv1d|batch_normalization|dense)_(\d+)")


def import_authors(weights_path, out, *, name=None):
    """Convert one of the authors' `.h5` files to a model folder.

    Both kinds are read: the Siamese model, and the basic one, whose Dense layer over
    artists is left out (an embedding needs none of it).

    Args:
        weights_path: the authors' file.
        out: folder to write.
        name: of the model; None takes the file's name.

    Returns:
        The `ModelCard` written.

    Raises:
        WeightsError: `unavailable`, `damaged` (not HDF5) or `incompatible` (a layer is
            missing, of another shape, or not finite).
    """
    path = Path(weights_path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError("unavailable", f"cannot be read ({error.strerror}).", path) from None
    if not data.startswith(b"\x89HDF"):
        raise WeightsError(
            "damaged",
            f"not an HDF5 file ({len(data)} bytes, starts with {data[:16]!r}); the authors' "
            "model_*.h5 is needed.",
            path,
        )
    weights, n_artists = _read_layers(path)
    kind = "siamese" if n_artists is None else "basic"
    fields = _card_fields(kind, name or path.stem, n_artists, hashlib.sha256(data).hexdigest())
    model = model_folder.build_from_fields(fields, weights)
    return model_folder.write_folder(out, model, fields)


def _read_layers(path):
    """Return ({our layer name: arrays}, number of artists or None)."""
    import h5py

    expected = model_folder.expected_weights(Network(), 128)
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            layers = _numbered(root)
            weights, dense = {}, layers.get("dense", [])
            for ours, (_, shapes) in expected.items():
                is_norm = ours.endswith("norm")
                theirs = layers.get("batch_normalization" if is_norm else "conv1d", [])
                index = int(ours[len("block")]) - 1
                if index >= len(theirs):
                    raise WeightsError(
                        "incompatible",
                        f"has {len(theirs)} {'BatchNormalization' if is_norm else 'Conv1D'} "
                        "layers; the authors' network has 5.",
                        path,
                    )
                arrays = _arrays(root, theirs[index], _NORM if is_norm else _CONV, h5py, path)
                model_folder.check_arrays(theirs[index] + _role(is_norm), arrays, shapes, path)
                weights[ours] = arrays
            for kind in ("conv1d", "batch_normalization"):
                if len(layers.get(kind, [])) > 5:
                    raise WeightsError(
                        "incompatible",
                        f"has {len(layers[kind])} {kind} layers; the authors' network has 5.",
                        path,
                    )
            n_artists = None
            if dense:
                kernel = _arrays(root, dense[-1], ("kernel:0",), h5py, path)[0]
                if kernel.ndim != 2 or kernel.shape[0] != 256:
                    raise WeightsError(
                        "incompatible",
                        f"{dense[-1]} kernel is {kernel.shape}; needed is (256, n_artists).",
                        path,
                    )
                n_artists = int(kernel.shape[1])
            return weights, n_artists
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError("damaged", f"not a readable HDF5 file ({error}).", path) from None


def _role(is_norm):
    return " (norm)" if is_norm else " (conv)"


def _numbered(root):
    """Group layer names by kind, in the order of their numbers."""
    layers = {}
    for name in root:
        if match := _LAYER.fullmatch(name):
            layers.setdefault(match[1], []).append((int(match[2]), name))
    return {kind: [name for _, name in sorted(found)] for kind, found in layers.items()}


def _arrays(root, layer, names, h5py, path):
    arrays = []
    for name in names:
        group = root
        for part in (layer, layer, name):
            link = group.get(part, getlink=True) if part in group else None
            if link is None:
                raise WeightsError("incompatible", f"array {layer}/{name} is missing.", path)
            if not isinstance(link, h5py.HardLink):
                raise WeightsError("damaged", f"{part!r} is a {type(link).__name__}.", path)
            group = group[part]
        if not isinstance(group, h5py.Dataset) or group.is_virtual or group.external:
            raise WeightsError("damaged", f"{layer}/{name} is not a plain array.", path)
        if group.nbytes > 1 << 28 or group.id.get_storage_size() < group.nbytes:
            raise WeightsError(
                "damaged", f"{layer}/{name} claims {group.nbytes} bytes of {group.shape}.", path
            )
        arrays.append(np.asarray(group[()]))
    return arrays


def _card_fields(kind, name, n_artists, digest):
    trained_on = re.search(r"(\d{3,})", name)
    artists = n_artists or (int(trained_on[1]) if trained_on else None)
    return {
        "name": name,
        "kind": kind,
        "description": "The authors' own released weights, converted; not trained by this package.",
        "license": "MIT",
        "credit": (
            "Weights by Jongpil Lee, Jiyoung Park and co-authors, released with the code of "
            "Park et al., ISMIR 2018 (jongpillee/ismir2018-artist, MIT licence, Copyright (c) "
            "2018 Jongpil Lee). The licence file does not mention the weights separately."
        ),
        "training": {
            "data": "Million Song Dataset, 30 s previews, 15 training tracks an artist",
            "n_artists": artists,
            "recipe": "the paper's; see arXiv 1710.06648",
            "source_file_sha256": digest,
            "converted_by": "artist-features import-authors",
        },
    }
