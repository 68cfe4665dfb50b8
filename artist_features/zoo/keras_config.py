"""Does `config.json`, which only plain Keras reads, describe the graph of the card?"""

import json

from artist_features.config import shown
from artist_features.errors import WeightsError


def check_config(text, model, path):
    """Refuse the `config.json` of another graph than the card's.

    What both name must be equal; Keras writes a little more into a file than it tells.

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
    if isinstance(record, dict) and isinstance(record.get("config"), dict):
        record["config"]["name"] = ours["config"]["name"]  # the folder may have been renamed
    if found := _difference(record, ours, ""):
        where, theirs, expected = found
        raise WeightsError(
            "incompatible",
            f"{where or 'it'} is {shown(theirs)}, the model of the card has {shown(expected)}: "
            "plain Keras would load another model. Write the folder anew with this version.",
            path,
        )


def _difference(found, ours, where):
    """Return (place, found, expected) of the first difference, or None."""
    if isinstance(ours, dict) and isinstance(found, dict):
        if ours.keys() - found.keys():
            return where, sorted(found), sorted(ours)
        pairs = [(found[key], ours[key], f"{where}.{key}".lstrip(".")) for key in ours]
    elif isinstance(ours, list) and isinstance(found, list):
        if len(ours) != len(found):
            return where, found, ours
        pairs = [(a, b, f"{where}[{n}]") for n, (a, b) in enumerate(zip(found, ours, strict=True))]
    else:
        return None if found == ours else (where, found, ours)
    return next(filter(None, (_difference(*pair) for pair in pairs)), None)
