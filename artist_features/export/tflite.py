"""Write and run TFLite (LiteRT) files."""

import io
import json
import warnings
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from artist_features.export.check import Runner

FACTS_FILE = "artist_features.json"


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
