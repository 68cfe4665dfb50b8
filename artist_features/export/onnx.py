"""Write and run ONNX files (extra `[onnx]`)."""

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

from artist_features import optional
from artist_features.devices import prepare_onnxruntime
from artist_features.export.check import Runner
from artist_features.export.plain import TensorFunction
from artist_features.extraction.onnx_engine import UNSEALED, sealed

_OPSET = 17  # ONNX 1.12 of 2022; nothing newer is used
_LEAST_NUMBERS = 1024  # of a constant that is worth halving


def require_onnx() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Return the packages onnx, onnxruntime and tf2onnx.

    Raises:
        ImportError: one is missing; the text says what to do.
    """
    prepare_onnxruntime()
    onnx, onnxruntime, tf2onnx = (
        optional.require(package, "the format onnx", "onnx")
        for package in ("onnx", "onnxruntime", "tf2onnx")
    )
    return onnx, onnxruntime, tf2onnx


def onnx_bytes(
    function: TensorFunction, spec: tf.TensorSpec, precision: str, facts: dict[str, str]
) -> bytes:
    """Convert a function of plain operations to ONNX.

    Args:
        function: from `plain_function`.
        spec: of its input.
        precision: "float32"; "float16": the weights of the convolutions are kept in 16 bits and
            computed with in 32; "int8": the convolutions in 8 bits, scaled at run time, but the
            first and the last, which are kept as for float16.
        facts: {name: text}, for the file's metadata, which gets the file's own sha256, too.
    """
    onnx, _, tf2onnx = require_onnx()
    model, _ = tf2onnx.convert.from_function(function, [spec], opset=_OPSET)
    if precision == "float16":
        _halve_weights(onnx, model)
    elif precision == "int8":
        model = _quantised(onnx, model)
        _halve_weights(onnx, model)
    model.producer_name = "artist_features"
    onnx.helper.set_model_props(model, {**facts, "file_sha256": UNSEALED})
    onnx.checker.check_model(model)
    return sealed(model.SerializeToString())


def run_onnx(data: bytes) -> Runner:
    """Return a function that runs the bytes of an ONNX file."""
    _, onnxruntime, _ = require_onnx()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda waveform: session.run(["embedding"], {"waveform": waveform})[0]


def _halve_weights(onnx: ModuleType, model: Any) -> None:
    """Keep the convolutions' weights as float16, with a cast to float32 before their use.

    The front end stays: rounded sines and cosines would leak from loud into quiet bands.
    """
    graph = model.graph
    weights = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    casts = []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.name in weights and values.size >= _LEAST_NUMBERS:
            name, half = tensor.name, f"{tensor.name}_float16"
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), half))
            to = onnx.TensorProto.FLOAT
            casts.append(onnx.helper.make_node("Cast", [half], [name], name=f"{half}_cast", to=to))
    nodes = [*casts, *graph.node]  # before what uses them
    del graph.node[:]
    graph.node.extend(nodes)


def _quantised(onnx: ModuleType, model: Any) -> Any:
    """Quantise the convolutions and nothing else, dynamically; not the first and the last.

    8 bits are few for a log-mel with its loud and quiet bands, and the last block whitens: it
    makes much of small numbers and of their errors.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        # ONNX Runtime has convolutions of unsigned weights only
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[names[0], names[-1]],
            weight_type=QuantType.QUInt8,
        )
        return onnx.load(path)
