"""Checkpoints: all that a run needs to go on, in one file that is whole or absent."""

import json
import zipfile
from pathlib import Path

import numpy as np

from artist_features.errors import OutputError
from artist_features.files import atomic_file

_STATE = "state"


def save(path, arrays, state):
    """Write arrays and a JSON state; a reader sees the old file or the new one.

    Args:
        path: of the `.npz`.
        arrays: {name: array}.
        state: plain data for JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    try:
        with atomic_file(path) as file:
            np.savez(file, **arrays, **{_STATE: text})
    except OutputError as error:
        text = f"checkpoint cannot be written ({error.message}) the run goes on from the last one."
        raise OutputError(error.code, text, path) from None


def load(path):
    """Read a checkpoint.

    Returns:
        (arrays, state) as given to `save`, or None where there is no file.

    Raises:
        OutputError: `damaged`.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        # numpy leaves a damaged file open that it has opened itself
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as parts:
            arrays = {name: parts[name] for name in parts.files}
        state = json.loads(arrays.pop(_STATE).tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        text = f"not a checkpoint of a training run ({error}). Delete it to start from step 0."
        raise OutputError("damaged", text, path) from None
    return arrays, state


def restore(variables, arrays, path):
    """Set Keras variables from a checkpoint's arrays.

    Args:
        variables: {name: variable}.
        arrays: {name: array}, from `load`.
        path: for the message.

    Raises:
        OutputError: `mismatch`: names or shapes are not the same.
    """
    if set(variables) != set(arrays):
        odd = sorted(set(variables) ^ set(arrays))[0]
        text = f"{odd!r} is in one of checkpoint and model only; delete it to start from step 0."
        raise OutputError("mismatch", text, path)
    for name, variable in variables.items():
        if tuple(variable.shape) != arrays[name].shape:
            text = f"{name}: shape {arrays[name].shape}, the model has {tuple(variable.shape)}."
            raise OutputError("mismatch", text, path)
        variable.assign(arrays[name])
