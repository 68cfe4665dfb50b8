"""Arrays by name from an HDF5 file that nobody vouches for.

Every group and array is reached by hard links only; an array is plain (in this file,
contiguous, uncompressed, complete) and has the type and shape asked for, and all of that
is known before a byte of it is read. Attributes are never read.
"""

import contextlib
import io

import h5py
import numpy as np

from artist_features.errors import WeightsError

_LINKS = {h5py.h5l.TYPE_SOFT: "soft", h5py.h5l.TYPE_EXTERNAL: "external"}
# h5py passes on what its own Python trips over, too
_TRIPS = (
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
def opened(data, path):
    """Open the bytes of an HDF5 file for reading.

    Raises:
        WeightsError: `damaged`, also for whatever HDF5 trips over inside the block.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield file
    except _TRIPS as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise WeightsError("damaged", f"not a readable HDF5 file ({reason}).", path) from None


def check_group(item, path):
    """Return the item if it is a group; `damaged` otherwise."""
    if not isinstance(item, h5py.Group):
        raise WeightsError("damaged", f"{item.name!r} is not a group.", path)
    return item


def member(group, name, path):
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


def collect(file, path):
    """Return {path inside the file: `h5py.Dataset`} of all its arrays, none of them read."""
    found, groups, n_seen = {}, [("", file)], 0
    while groups:
        prefix, group = groups.pop()
        for name in group:
            n_seen += 1
            where = prefix + name
            # hard links may form circles, or share groups so that names multiply
            if n_seen > _MAX_MEMBERS or len(where) > _MAX_NAME:
                raise WeightsError("damaged", "holds more members than any model of ours.", path)
            item = member(group, name, path)
            if isinstance(item, h5py.Group):
                groups.append((f"{where}/", item))
            else:
                found[where] = item
    return found


def read(dataset, shape, path):
    """Read a float32 array of a known shape.

    Raises:
        WeightsError: `incompatible` (type or shape) or `damaged` (not plain, not whole).
    """
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


def check_values(layer, arrays, path):
    """Refuse weights with values that no training leaves behind (`incompatible`).

    Args:
        layer: name for messages.
        arrays: in Keras' order: kernel, bias; or gamma, beta, mean, variance.
        path: file, for messages.
    """
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
