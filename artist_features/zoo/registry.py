"""Load models by name, folder or Hub id."""

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from artist_features import devices
from artist_features.config import ModelCard, shown
from artist_features.errors import WeightsError
from artist_features.zoo import folder as model_folder
from artist_features.zoo import hub

if TYPE_CHECKING:  # Keras is imported when a model is built
    import keras

ModelSpec: TypeAlias = str | os.PathLike[str]  # name, Hub id or folder
_PACKAGE = Path(__file__).resolve().parents[1]


def bundled_folder() -> Path:
    """Return the folder of bundled models: in the wheel, or in a source checkout."""
    installed = _PACKAGE / "weights"
    return installed if installed.is_dir() else _PACKAGE.parent / "weights"


def bundled_names() -> list[str]:
    """Return the names of the bundled models, sorted."""
    return sorted(path.parent.name for path in bundled_folder().glob(f"*/{model_folder.CARD_FILE}"))


def list_models() -> dict[str, ModelCard]:
    """Return the bundled models as {name: `ModelCard`}.

    A card has `embedding_dim`, `license`, `training` (data, hours, artists, recipe) and
    `scores`, among others.

    Example:
        >>> sorted(list_models())
        ['basic', 'siamese']
    """
    return {name: model_folder.read_card(bundled_folder() / name) for name in bundled_names()}


def read_model(spec: ModelSpec) -> tuple[ModelCard, model_folder.Weights]:
    """Find, verify and read a model without building it; no TensorFlow is imported.

    Args:
        spec: bundled name, path of a model folder, or "hf://owner/name[@revision]".

    Returns:
        (`ModelCard`, weights) for `folder.build`.

    Raises:
        ValueError: neither a name nor a path nor a Hub id.
        WeightsError: the model cannot be fetched, verified or read.
    """
    devices.prepare_keras()
    if not (isinstance(spec, str) and spec.startswith("hf://")):
        folder = _find_folder(spec)
        return model_folder.read_folder(folder)
    return hub.load_verified(spec)


def load_model(spec: ModelSpec = "siamese") -> "keras.Model":
    """Load a model as a Keras model, ready to extract or to train on.

    Args:
        spec: bundled name ("siamese", "basic"), path of a model folder, or
            "hf://owner/name[@revision]".

    Returns:
        `keras.Model`, trainable: float32 `(batch, 66560, 1)`, mono at 22,050 Hz in
        [-1, 1], to embeddings float32 `(batch, 256)`.

    Raises:
        ValueError: unknown name.
        WeightsError: the weights cannot be fetched, verified or read.
    """
    card, weights = read_model(spec)
    return model_folder.build(card, weights)


def _find_folder(spec: ModelSpec) -> Path:
    """Return the folder of a bundled name or a path."""
    if not isinstance(spec, (str, os.PathLike)):
        raise TypeError(
            f"model is {type(spec).__name__}; allowed are a name, a path, a Hub id or a Keras "
            "model."
        )
    names = bundled_names() if isinstance(spec, str) else []
    if spec in names:
        return bundled_folder() / spec
    path = Path(spec)
    if os.path.isdir(spec):  # unlike Path.is_dir, no error for a name too long
        return path
    if isinstance(spec, str) and not {os.sep, "/"} & set(spec) and not os.path.exists(spec):
        raise _unknown_name(spec, names)
    hint = "a folder as `artist-features import-authors` writes is needed"
    if path.suffix in (".keras", ".h5"):
        hint = (
            "a single Keras file is not read (it can carry code; of your own, pass what "
            f"keras.saving.load_model gives); {hint}"
        )
    if os.path.exists(path):
        raise WeightsError("incompatible", f"is not a folder; {hint}.", path)
    raise WeightsError("unavailable", f"no such folder; {hint}.", path)


def _unknown_name(name: str, names: list[str]) -> ValueError:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ValueError(
        f"unknown model {shown(name)}. Available: {', '.join(names)}; "
        f"or a path of a model folder, or hf://owner/name.{hint}"
    )
