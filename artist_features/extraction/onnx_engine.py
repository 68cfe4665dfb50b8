"""ONNX Runtime inference backend: the bundled models' ONNX files, verified, as functions.

`artist-features export NAME --format onnx -o weights/NAME/model.onnx` makes such a file. It holds
the sha256 of the weights that it was made of, of the graph's description, and of itself.
"""

import ctypes
import functools
import hashlib
import importlib.util
import os
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artist_features.config import ModelCard
from artist_features.devices import may_use_gpu, prepare_onnxruntime, usable_cores
from artist_features.errors import WeightsError, shortened
from artist_features.extraction.recordings import RUNTIMES, Model, RuntimeName
from artist_features.zoo import folder, registry

Floats = npt.NDArray[np.float32]

ONNX_FILE = "model.onnx"
UNSEALED = "0" * 64  # in place of the file's own sha256 while that is computed
_CALL_ROWS = 8  # segments; more are no faster, and take 2.5 MB each
_MOST_BYTES = 1 << 24
# ONNX's metadata (protobuf) as it lies in a file: name, tag, length 64 ("@"), text
_FACT = re.compile(rb"(weights|graph|file)_sha256\x12@([0-9a-f]{64})")


def chosen_runtime(model: Model, runtime: RuntimeName) -> RuntimeName:
    """Return "onnx" or "tensorflow", as `Extractor` documents it for `runtime`.

    Raises:
        ValueError: an unknown runtime, or "onnx" for a model that has no ONNX file.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime {shortened(repr(runtime))}; allowed are {', '.join(RUNTIMES)}.")
    bundled = isinstance(model, str) and model in registry.bundled_names()
    if runtime == "onnx" and not bundled:
        name = shortened(model) if isinstance(model, str) else type(model).__name__
        raise ValueError(
            f"runtime 'onnx' runs the bundled models ({', '.join(registry.bundled_names())}); "
            f"{name} needs 'tensorflow'."
        )
    if runtime == "auto":
        by_onnx = bundled and importlib.util.find_spec("onnxruntime") and not may_use_gpu()
        return "onnx" if by_onnx else "tensorflow"
    return runtime


def sealed(data: bytes) -> bytes:
    """Embed an ONNX file's own sha256 checksum in place of the placeholder `UNSEALED`."""
    return data.replace(UNSEALED.encode(), hashlib.sha256(data).hexdigest().encode())


def onnx_function(card: ModelCard, batch_size: int) -> tuple[Callable[[Floats], Floats], int, int]:
    """Return a bundled model as a function: float32 `(rows, n_samples)` to `(rows, dim)`.

    Args:
        card: of the model.
        batch_size: segments at once at most.

    Returns:
        (function, segments in a call, calls at once).

    Raises:
        WeightsError: the file is missing, damaged, or made of other weights than the card's.
    """
    n_rows = min(_CALL_ROWS, batch_size)
    n_calls = min(usable_cores(), batch_size // n_rows)
    made_of = card.name, card.weights_sha256, card.graph_sha256, usable_cores() // n_calls
    _session(*made_of, os.getpid())

    def embed(segments: Floats) -> Floats:
        # a forked child makes its own: it has none of the threads of its parent's
        session = _session(*made_of, os.getpid())
        return session.run(["embedding"], {"waveform": segments})[0]

    return embed, n_rows, n_calls


@functools.lru_cache(maxsize=4)
def _session(name: str, weights_sha256: str, graph_sha256: str, n_threads: int, _: int) -> Any:
    path = registry.bundled_folder() / name / ONNX_FILE
    data = folder.read_bytes(path, _MOST_BYTES)
    _verify(data, weights_sha256, graph_sha256, path)
    prepare_onnxruntime()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    _sessions.add(session)
    return session


_sessions: "weakref.WeakSet[Any]" = weakref.WeakSet()


def _keep_sessions() -> None:
    """Leak the parent's ONNX sessions in a forked child: their destructor would deadlock."""
    for session in list(_sessions):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_sessions)


def _verify(data: bytes, weights_sha256: str, graph_sha256: str, path: Path) -> None:
    """Refuse a file of other weights, of another graph, or with a changed byte."""
    facts = {name.decode(): digest.decode() for name, digest in _FACT.findall(data)}
    own = facts.get("file", "")
    unsealed = data.replace(own.encode(), UNSEALED.encode()) if own else data
    expected = {
        "file": hashlib.sha256(unsealed).hexdigest(),
        "weights": weights_sha256,
        "graph": graph_sha256,
    }
    for name, digest in expected.items():
        if facts.get(name) != digest:
            raise WeightsError(
                "hash",
                f"{name}_sha256 starts {str(facts.get(name))[:12]}, needed is {digest[:12]}. The "
                "file is damaged or of other weights; install the package anew.",
                path,
            )
