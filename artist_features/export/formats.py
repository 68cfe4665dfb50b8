"""Write and run the files of other runtimes: ONNX (extra `[onnx]`), TFLite, SavedModel."""

import errno
import io
import json
import os
import tempfile
import warnings
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from artist_features import optional
from artist_features.config import FrontEnd
from artist_features.devices import prepare_onnxruntime
from artist_features.export.check import Runner
from artist_features.export.plain import TensorFunction, signature
from artist_features.extraction.onnx_engine import UNSEALED, sealed

FACTS_FILE = "artist_features.json"  # in the zip archive at the end of a TFLite file
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


def tflite_bytes(
    function: tf.types.experimental.GenericFunction, precision: str, facts: dict[str, str]
) -> bytes:
    """Convert a function of plain operations to TFLite's built-in operations.

    Args:
        function: from `plain_function`.
        precision: "float32"; "float16": weights are kept in 16 bits; "int8": the
            convolutions' weights in 8 bits, their inputs scaled to 8 bits at run time.
        facts: {name: text}; in a zip archive at the end of the file, as TFLite's metadata
            has associated files, which `zipfile` and `unzip` read.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()],
        tf.Module(),  # some owner: without one the names of input and output are lost
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    file = io.BytesIO(converter.convert())
    with zipfile.ZipFile(file, "a") as archive:
        text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        entry = zipfile.ZipInfo(FACTS_FILE)
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, text.encode())
    return file.getvalue()


def run_tflite(data: bytes) -> Runner:
    """Return a function that runs the bytes of a TFLite file."""
    interpreter = _interpreter(data)
    (input_,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        interpreter.resize_tensor_input(input_["index"], waveform.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(input_["index"], waveform)
        interpreter.invoke()
        return interpreter.get_tensor(output["index"])

    return run


def _interpreter(data: bytes) -> Any:
    """Return an interpreter of LiteRT, or of TensorFlow, which has it by its older name."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"(?s).*(tf\.lite\.Interpreter|LiteRT)")
            return tf.lite.Interpreter(model_content=data)
    return Interpreter(model_content=data)


def save_model(folder: Path, model: keras.Model, front_end: FrontEnd) -> None:
    """Write a model with Kapre's own layers as a SavedModel."""
    module = tf.Module(name="artist_features")
    module.weights = [variable.value for variable in model.variables]  # so that tf finds them

    @tf.function(input_signature=[signature(front_end)])
    def embed(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": model(waveform[..., tf.newaxis], training=False)}

    module.serve = embed
    try:
        tf.saved_model.save(module, str(folder), signatures={"serving_default": embed})
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, error.message) from None
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message) from None


def run_saved_model(folder: str | os.PathLike[str]) -> Runner:
    """Return a function that runs a SavedModel folder."""
    loaded = tf.saved_model.load(str(folder))

    def run(waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        embed = loaded.signatures["serving_default"]
        return embed(waveform=tf.constant(waveform))["embedding"].numpy()

    return run
