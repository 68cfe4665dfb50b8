"""Export a model to a file of another runtime: convert, compare with Keras, put in place.

Imports no TensorFlow before it is needed: the command line takes its choices from here.
"""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from artist_features.config import FrontEnd, ModelCard, shown
from artist_features.errors import OutputError
from artist_features.files import check_new_file, output_error, partial_name, write_atomically

if TYPE_CHECKING:  # imported when a model is exported
    import keras

    from artist_features.export.check import Agreement, Runner

Output: TypeAlias = str | os.PathLike[str]

PRECISIONS = ("float32", "float16", "int8")
FORMATS = {  # name -> (ending, precisions)
    "onnx": (".onnx", PRECISIONS),
    "tflite": (".tflite", PRECISIONS),
    "saved_model": ("", PRECISIONS[:1]),
}
SAVED_MODEL_FACTS = "assets.extra/artist_features.json"  # SavedModel's place for files of others


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
        path: `Path` of the file or folder.
        n_bytes: its size.
        card: `ModelCard` of the model.
        agreement: `Agreement` of its embeddings with those of Keras, on synthetic segments.
    """

    path: Path
    n_bytes: int
    card: ModelCard
    agreement: "Agreement"


def export_model(
    model: str | os.PathLike[str],
    output: Output,
    *,
    format: str,
    precision: str = "float32",
    force: bool = False,
) -> Exported:
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
    if format == "saved_model":
        n_bytes, agreement = _write_saved_model(path, keras_model, card.front_end, facts)
    else:
        n_bytes, agreement = _write_file(
            path, keras_model, card.front_end, format, precision, facts
        )
    return Exported(path, n_bytes, card, agreement)


def check_export(output: Output, format: str, precision: str, force: bool) -> None:
    """Validate the arguments of `export_model` before TensorFlow is loaded."""
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
        from artist_features.export.formats import require_onnx

        require_onnx()


def file_facts(card: ModelCard, precision: str) -> dict[str, str]:
    """Return the metadata of an exported file: its model, licence, and how audio is cut."""
    about = ("name", "kind", "description", "license", "credit", "weights_sha256", "graph_sha256")
    cut = ("sample_rate", "segment_samples", "segment_hop_samples", "pad_samples")
    facts = {name: getattr(card, name) for name in about} | {"precision": precision}
    facts |= {name: getattr(card.front_end, name) for name in cut}
    facts |= {"embedding_dim": card.embedding_dim, "pooling": card.pooling}
    return {name: str(value) for name, value in facts.items()}


def _write_file(
    path: Path,
    model: "keras.Model",
    front_end: FrontEnd,
    format: str,
    precision: str,
    facts: dict[str, str],
) -> tuple[int, "Agreement"]:
    """Write an ONNX or TFLite file; return its size and its agreement with Keras."""
    from artist_features.export import formats
    from artist_features.export.plain import plain_function, signature

    function = plain_function(model, front_end)
    if format == "onnx":
        data = formats.onnx_bytes(function, signature(front_end), precision, facts)
        run = formats.run_onnx(data)
    else:
        data = formats.tflite_bytes(function, precision, facts)
        run = formats.run_tflite(data)
    agreement = _check_agreement(model, run, front_end, precision, path)
    write_atomically(path, data)
    return len(data), agreement


def _write_saved_model(
    path: Path, model: "keras.Model", front_end: FrontEnd, facts: dict[str, str]
) -> tuple[int, "Agreement"]:
    """Write a SavedModel folder; return its size and its agreement with Keras."""
    from artist_features.export import formats

    partial = partial_name(path)
    try:
        formats.save_model(partial, model, front_end)
        facts_file = partial / SAVED_MODEL_FACTS
        facts_file.parent.mkdir(exist_ok=True)
        text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        facts_file.write_text(text, encoding="utf-8")
        agreement = _check_agreement(
            model, formats.run_saved_model(partial), front_end, "float32", path
        )
        n_bytes = sum(_synced(file) for file in partial.rglob("*") if file.is_file())
        partial.rename(path)
    except OSError as error:
        raise output_error(error, path) from None
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial)
    return n_bytes, agreement


def _check_agreement(
    model: "keras.Model", run: "Runner", front_end: FrontEnd, precision: str, path: Path
) -> "Agreement":
    """Return the agreement with Keras, or refuse one that is less than the precision's."""
    from artist_features.export.check import LIMITS, agreement_with_keras

    found = agreement_with_keras(model, run, front_end)
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


def _synced(file: Path) -> int:
    """Force a file to disk and return its size: the rename must not come before it."""
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())
        return os.fstat(opened.fileno()).st_size
