"""A model as a TFLite (LiteRT) file, and how such a file is run."""

import io
import json
import warnings
import zipfile

import tensorflow as tf

FACTS_FILE = "artist_features.json"


def tflite_bytes(function, precision, facts):
    """Convert a function of plain operations; only built-in operations of TFLite are used.

    Args:
        function: from `plain_function`.
        precision: "float32"; "float16": weights are kept in 16 bits; "int8": the
            convolutions' weights in 8 bits, their inputs scaled to 8 bits at run time.
        facts: {name: text}; in a zip archive at the end of the file, as TFLite's metadata
            has associated files, which `zipfile` and `unzip` read.

    Returns:
        bytes of the file.
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


def run_tflite(data):
    """Return a function of float32 `(batch, n_samples)` that runs the bytes of a file."""
    interpreter = _interpreter_class()(model_content=data)
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(waveform):
        interpreter.resize_tensor_input(given["index"], waveform.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], waveform)
        interpreter.invoke()
        return interpreter.get_tensor(made["index"])

    return run


def _interpreter_class():
    """Return LiteRT's interpreter, or the one in TensorFlow, which is its older name."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:

        def interpreter(**options):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"(?s).*(tf\.lite\.Interpreter|LiteRT)")
                return tf.lite.Interpreter(**options)

        return interpreter
    return Interpreter
