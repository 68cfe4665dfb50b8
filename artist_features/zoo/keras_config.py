"""Does `config.json`, which only plain Keras reads, describe the graph of the card?"""

import json

from artist_features.config import shown
from artist_features.errors import WeightsError


def check_config(text, model, path):
    """Refuse the `config.json` of another graph than the card's.

    Both must name the same and be equal: plain Keras would run what else the file names.

    Args:
        text: bytes of the file.
        model: `keras.Model` that was built from the card.
        path: of the file, for messages.

    Raises:
        WeightsError: `damaged` or `incompatible`.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError("damaged", f"not a Keras configuration ({error}).", path) from None
    ours = json.loads(model.to_json())
    config = record.get("config") if isinstance(record, dict) else None
    if isinstance(config, dict) and isinstance(config.get("name"), str):
        config["name"] = ours["config"]["name"]  # the folder may have been renamed
    if difference := _difference(record, ours, ""):
        raise WeightsError(
            "incompatible",
            f"{difference}: plain Keras would load another model. "
            "Write the folder anew with this version.",
            path,
        )


def _difference(found, ours, where):
    """Return the first difference as a text, or None."""
    place = where.lstrip(".") or "it"
    if isinstance(ours, dict) and isinstance(found, dict):
        # Keras numbers a dtype that layers share in a file, not in what it tells
        if where.endswith(".dtype") and type(found.get("shared_object_id")) is int:
            ours = {**ours, "shared_object_id": found["shared_object_id"]}
        if odd := sorted(ours.keys() ^ found.keys()):
            verb = "has" if odd[0] in found else "lacks"
            return f"{place} {verb} {shown(odd[0])}, unlike the model of the card"
        pairs = [(found[key], ours[key], f"{where}.{key}") for key in ours]
    elif isinstance(ours, list) and isinstance(found, list) and len(ours) == len(found):
        pairs = [(a, b, f"{where}[{n}]") for n, (a, b) in enumerate(zip(found, ours, strict=True))]
    elif found == ours:
        return None
    else:
        return f"{place} is {shown(found)}, the model of the card has {shown(ours)}"
    return next(filter(None, (_difference(*pair) for pair in pairs)), None)
