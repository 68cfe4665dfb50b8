"""The model card of a training run."""

import datetime
from pathlib import Path

from artist_features.config import ModelCard
from artist_features.training import runfolder
from artist_features.training.crop_set import CropSet
from artist_features.training.recipes import RECIPES
from artist_features.zoo import devices

_SENTENCES = {"basic": "Artist classifier", "siamese": "Siamese network"}


def card_fields(
    kind,
    options,
    path,
    *,
    front_end,
    found,
    crops,
    artists,
    teacher,
    init,
    row,
    manifests,
    n_devices,
):
    """Return the keywords of a `ModelCard`, without the hash.

    Args:
        kind: "basic" or "siamese".
        options: `Options`.
        path: of the run folder.
        front_end: `FrontEnd`.
        found: `TrainingSet`.
        crops: `CropSet` that was trained on instead of its tracks, or None.
        artists: names of the classes.
        teacher, init: `ModelCard` or None.
        row: last row of the log.
        manifests: paths.
        n_devices: number of replicas.
    """
    checks = {name: round(value, 4) for name, value in row.items() if name.startswith("valid_")}
    training = {
        "data": options.data or ", ".join(Path(manifest).name for manifest in manifests),
        "data_sha256": found.sha256,
        "hours": crops.facts["hours"] if crops else round(found.hours, 2),
        "n_tracks": len(crops.facts["tracks"]) if crops else len(found.free),
        "n_artists": len(artists),
        "recipe": options.recipe_name,
        "recipe_changes": _changes(kind, options),
        "steps": row["step"],
        "teacher": _origin(teacher),
        "init": _origin(init),
        "crops": _crops(crops),
        "seed": options.seed,
        "split_seed": options.split_seed,
        "dtype": options.dtype,
        "minutes": round(row["seconds"] / 60, 1),
        "date": str(datetime.date.today()),
        "device": f"{n_devices} x {devices.configure_devices()}",
        "versions": runfolder.versions(),
        "command": options.command,
    }
    return {
        **card_texts(kind, options, path, teacher),
        "front_end": front_end,
        "training": training,
        "scores": {"check_during_training": checks} if checks else {},
    }


def card_texts(kind, options, path, teacher):
    """Return what the card says in words.

    Raises:
        ValueError: a name or text that a card cannot have; better before training than
            after.
    """
    taught = f", matched to {teacher.name}" if teacher else ""
    texts = {
        "name": options.model_name(Path(path)),
        "kind": kind,
        "description": options.description or f"{_SENTENCES[kind]}{taught}.",
        "license": options.license,
        "credit": options.credit,
    }
    ModelCard(**texts, weights_sha256="0" * 64)
    return texts


def _changes(kind, options):
    """Return what of the recipe was changed, as plain data."""
    named = RECIPES[options.recipe_name].record(kind)
    used = options.recipe.record(kind)
    return {name: value for name, value in used.items() if value != named[name]}


def _origin(card):
    if card is None:
        return "none"
    source = card.training.get("source_file_sha256")
    return f"{card.name}, sha256 {card.weights_sha256}" + (f", from {source}" if source else "")


def _crops(crops: CropSet | None) -> str:
    """Say how many stored crops were trained on, and who taught."""
    return f"{crops.n}; vectors of {', '.join(crops.teachers)}; {crops.sha256}" if crops else "none"
