"""Strict reader for untrusted HDF5 weights.

Every group and array is reached by hard links only; an array is plain (in this file,
contiguous, uncompressed, complete) and has the type and shape asked for, and all of that
is known before a byte of it is read. Attributes are never read.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

from artist_features.errors import WeightsError

Shape: TypeAlias = tuple[int, ...]
Layout: TypeAlias = dict[str, tuple[str, list[Shape]]]  # layer -> (its group, shapes of 0, 1, ...)
Item: TypeAlias = h5py.Group | h5py.Dataset
Arrays: TypeAlias = list[npt.NDArray[np.float32]]

_LINKS = {h5py.h5l.TYPE_SOFT: "soft", h5py.h5l.TYPE_EXTERNAL: "external"}
# what h5py raises, and lets through from its own Python code, on a damaged file
_H5PY_ERRORS = (
    OSError,
    LookupError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)
_MAX_MEMBERS = 2000  # groups and arrays; the largest `Network` has fewer
_MAX_NAME = 1000  # characters of a whole path


@contextlib.contextmanager
def open_hdf5(data: bytes, path: Path) -> Iterator[h5py.File]:
    """Open the bytes of an HDF5 file for reading.

    Raises:
        WeightsError: `damaged`, also for whatever HDF5 trips over inside the block.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield file
    except _H5PY_ERRORS as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise WeightsError("damaged", f"not a readable HDF5 file ({reason}).", path) from None


def read_layers(data: bytes, layout: Layout, path: Path) -> dict[str, Arrays]:
    """Read the weights of all layers from the bytes of an HDF5 file that holds nothing else.

    Args:
        layout: where the arrays of each layer are, and their shapes.
        path: for messages, as in all functions of this module.

    Returns:
        {layer: arrays}.

    Raises:
        WeightsError: `damaged` or `incompatible`.
    """
    wanted = {f"{group}/{n}" for group, shapes in layout.values() for n in range(len(shapes))}
    with open_hdf5(data, path) as file:
        found = _all_arrays(file, path)
        if odd := sorted(set(found) ^ wanted):
            state = "missing" if odd[0] in wanted else "not expected"
            raise WeightsError("incompatible", f"tensor {odd[0]!r} is {state}.", path)
        return {
            layer: read_layer(
                layer, [found[f"{group}/{n}"] for n in range(len(shapes))], shapes, path
            )
            for layer, (group, shapes) in layout.items()
        }


def _all_arrays(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """Return {path inside the file: array} of all its arrays, none of them read."""
    found, groups, n_seen = {}, [("", file)], 0
    while groups:
        prefix, group = groups.pop()
        for name in group:
            n_seen += 1
            where = prefix + name
            # hard links may form circles, or share groups so that names multiply
            if n_seen > _MAX_MEMBERS or len(where) > _MAX_NAME:
                raise WeightsError("damaged", "holds more members than any model of ours.", path)
            item = get_member(group, name, path)
            if isinstance(item, h5py.Group):
                groups.append((f"{where}/", item))
            else:
                found[where] = item
    return found


def get_member(group: Item, name: str, path: Path) -> Item | None:
    """Return a group or array of `group` by name, or None if it has no such member.

    Raises:
        WeightsError: `damaged`: a link to elsewhere, or neither group nor array.
    """
    links, encoded = check_group(group, path).id.links, name.encode("utf-8", "surrogateescape")
    if not links.exists(encoded):
        return None
    link = links.get_info(encoded).type
    if link != h5py.h5l.TYPE_HARD:
        raise WeightsError(
            "damaged",
            f"{name[:100]!r} is a link ({_LINKS.get(link, 'user-defined')}); "
            "allowed are arrays of the file itself.",
            path,
        )
    item = group[name]
    if not isinstance(item, (h5py.Group, h5py.Dataset)):
        raise WeightsError("damaged", f"{name[:100]!r} is not an array.", path)
    return item


def check_group(item: Item, path: Path) -> h5py.Group:
    """Return the item if it is a group; `damaged` otherwise."""
    if not isinstance(item, h5py.Group):
        raise WeightsError("damaged", f"{item.name!r} is not a group.", path)
    return item


def read_layer(
    layer: str, datasets: Sequence[h5py.Dataset], shapes: Sequence[Shape], path: Path
) -> Arrays:
    """Read the arrays of a layer, and refuse values that no training leaves behind.

    Args:
        layer: name for messages.
        datasets: in Keras' order: kernel, bias; or gamma, beta, mean, variance.
        shapes: they must have.

    Raises:
        WeightsError: `incompatible` (type, shape, values) or `damaged` (not plain, not whole).
    """
    arrays = [_read(dataset, shape, path) for dataset, shape in zip(datasets, shapes, strict=True)]
    norm = ("gamma", "beta", "moving mean", "moving variance")
    names = norm if len(arrays) == len(norm) else ("kernel", "bias")
    for name, array in zip(names, arrays, strict=True):
        problem = None
        if not np.isfinite(array).all():
            problem = f"has {np.sum(~np.isfinite(array))} NaN or infinite values; needed is none"
        elif name in ("kernel", "gamma", "moving variance") and not array.any():
            problem = "is all zeros; needed are trained values"
        elif name == "moving variance" and (array < 0).any():
            problem = f"has a negative value {array.min():g}; needed is 0 or more"
        if problem:
            raise WeightsError("incompatible", f"{layer} {name} {problem}.", path)
    return arrays


def _read(dataset: h5py.Dataset, shape: Shape, path: Path) -> npt.NDArray[np.float32]:
    """Read a plain float32 array of a known shape."""
    if dataset.is_virtual or dataset.external:
        raise WeightsError("damaged", f"{dataset.name} points to another file.", path)
    # a chunk may be far larger than its array, and inflate to gigabytes
    if dataset.chunks is not None:
        raise WeightsError(
            "damaged", f"{dataset.name} is chunked or compressed; allowed are plain arrays.", path
        )
    stored = dataset.id.get_storage_size()
    if stored < dataset.nbytes:
        raise WeightsError(
            "damaged", f"{dataset.name} stores {stored} of {dataset.nbytes} bytes.", path
        )
    if dataset.dtype != np.float32 or dataset.shape != tuple(shape):
        raise WeightsError(
            "incompatible",
            f"{dataset.name} is {dataset.dtype} {dataset.shape}; needed is float32 {tuple(shape)}.",
            path,
        )
    return dataset[()]
