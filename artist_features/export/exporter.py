"""A model folder to a file for another runtime: convert, compare with Keras, put in place.

Light to import: the command line takes its choices from here.
"""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from artist_features.config import shown
from artist_features.errors import OutputError
from artist_features.files import check_new_file, output_error, partial_name, write_atomically

FORMATS = {  # name -> (ending, precisions)
    "onnx": (".onnx", ("float32", "float16", "int8")),
    "tflite": (".tflite", ("float32", "float16", "int8")),
    "saved_model": ("", ("float32",)),
}
PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: `Path` of the file or folder.
        n_bytes: its size.
        card: `ModelCard` of the model.
        agreement: `Agreement` of its embeddings with those of Keras, on synthetic segments.
    """

    path: Path
    n_bytes: int
    card: object
    agreement: object


def export_model(model, output, *, format, precision="float32", force=False):
    """Write a model for another runtime, its front end included.

    The file takes "waveform", float32 `(batch, 66560)`, mono at 22,050 Hz in [-1, 1], to
    "embedding", float32 `(batch, 256)`; any batch. It appears only after it gave, from the
    bytes as they are written, the embeddings of the Keras model (`check.LIMITS`).

    Args:
        model: bundled name, path of a model folder, or "hf://owner/name[@revision]".
        output: path ending in .onnx or .tflite; for "saved_model" that of a new folder.
        format: "onnx" (extra `[onnx]`), "tflite" or "saved_model".
        precision: of the weights, "float32", "float16" or "int8"; "saved_model" has float32.
        force: replace an existing file.

    Returns:
        `Exported`.

    Raises:
        ValueError: unknown model, format, precision or ending.
        ImportError: the extra `[onnx]` is not installed.
        WeightsError: the model cannot be fetched, verified or read.
        OutputError: `not_writable`, `no_space`, or `mismatch`: the converted model gives
            other embeddings, and was not written.
    """
    check_export(output, format, precision, force)
    from artist_features.zoo import folder, registry

    card, weights = registry.read_model(model)
    keras_model = folder.build(card, weights)
    facts = file_facts(card, precision)
    path = Path(output)
    write = _write_folder if format == "saved_model" else _write_file
    n_bytes, agreement = write(path, keras_model, card.front_end, format, precision, facts)
    return Exported(path, n_bytes, card, agreement)


def check_export(output, format, precision, force):
    """Refuse what cannot be done before TensorFlow is loaded; arguments as `export_model`."""
    if format not in FORMATS:
        raise ValueError(f"format {shown(format)}; allowed are {', '.join(FORMATS)}.")
    ending, precisions = FORMATS[format]
    if precision not in precisions:
        raise ValueError(
            f"precision {shown(precision)}; allowed for {format} is {' or '.join(precisions)}."
        )
    name = os.fspath(output).rstrip("/" + os.sep)
    endings = [other for other, _ in FORMATS.values() if other]
    if not Path(name).name:
        raise OutputError("not_writable", "names no file or folder; choose a name.", output)
    if not name.endswith(ending) or (not ending and name.endswith(tuple(endings))):
        wanted = f"a file that ends in {ending}" if ending else "a folder of another name"
        raise OutputError("not_writable", f"{format} is written to {wanted}.", output)
    check_new_file(name, force and bool(ending))  # a folder is never replaced
    if format == "onnx":
        from artist_features.export.onnx_file import require_onnx

        require_onnx()


def file_facts(card, precision):
    """Return {name: text} of what a user of the file must know."""
    front_end = card.front_end
    facts = {
        "name": card.name,
        "kind": card.kind,
        "description": card.description,
        "license": card.license,
        "credit": card.credit,
        "weights_sha256": card.weights_sha256,
        "precision": precision,
        "sample_rate": front_end.sample_rate,
        "segment_samples": front_end.segment_samples,
        "segment_hop_samples": front_end.segment_hop_samples,
        "pad_samples": front_end.pad_samples,
        "embedding_dim": card.embedding_dim,
        "pooling": card.pooling,
    }
    return {name: str(value) for name, value in facts.items()}


def _write_file(path, model, front_end, format, precision, facts):
    from artist_features.export import onnx_file, tflite_file
    from artist_features.export.plain import plain_function, signature

    function = plain_function(model, front_end)
    if format == "onnx":
        data = onnx_file.onnx_bytes(function, signature(front_end), precision, facts)
        run = onnx_file.run_onnx(data)
    else:
        data = tflite_file.tflite_bytes(function, precision, facts)
        run = tflite_file.run_tflite(data)
    agreement = _checked(model, run, front_end, precision, path)
    write_atomically(path, data)
    return len(data), agreement


def _write_folder(path, model, front_end, format, precision, facts):
    from artist_features.export.plain import signature
    from artist_features.export.saved_model import run_saved_model, write_saved_model

    partial = partial_name(path)
    try:
        write_saved_model(partial, model, signature(front_end), facts)
        agreement = _checked(model, run_saved_model(partial), front_end, precision, path)
        n_bytes = sum(_synced(file) for file in partial.rglob("*") if file.is_file())
        partial.rename(path)
    except OSError as error:
        raise output_error(error, path) from None
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial)
    return n_bytes, agreement


def _checked(model, run, front_end, precision, path):
    from artist_features.export.check import LIMITS, agreement

    found = agreement(model, run, front_end)
    if not found.allows(precision):
        least, share = LIMITS[precision]
        raise OutputError(
            "mismatch",
            f"the converted model differs from Keras: least cosine {found.cosine:.6f}, largest "
            f"difference {found.max_difference:.3g}; allowed for {precision} are {least} and "
            f"{share * found.scale:.3g}. Nothing was written; take another precision or format.",
            path,
        )
    return found


def _synced(file):
    """Force a file to disk and return its size: the rename must not come before it."""
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())
        return os.fstat(opened.fileno()).st_size
