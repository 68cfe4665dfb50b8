"""The metadata block of a model card: what the Hub shows, filters by and checks.

Source: the Hub's specification of model cards, `modelcard.md` of huggingface/hub-docs.
"""

import json
import math
import re

from artist_features.config import shown

_TAGS = ["audio", "music", "embeddings", "keras", "artist-features"]
# those of the Hub's list that weights are likely to have; any other is "other" there
_LICENSES = {
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "isc", "cc0-1.0", "unlicense"),
    *("cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "gpl-2.0", "gpl-3.0"),
    *("lgpl-3.0", "agpl-3.0", "mpl-2.0", "unknown", "other"),
}
_TASK = {"type": "feature-extraction", "name": "recognising artists"}
_SCORES = ("map", "accuracy")  # what else a record holds are losses, intervals, words
_CHECK = "check_during_training"
_NO_WORDS = {"yes", "true", "false", "null", "off"}  # to YAML


def metadata(card):
    """Return what the Hub is to know of a `ModelCard`, as plain data.

    `datasets` is there if the training record names its data (not just a manifest's file),
    `model-index` if there are scores; scores of other models, which a record may hold for
    comparison, are none of this model's.
    """
    found = {"library_name": "artist-features", **_license(card.license)}
    found |= {"pipeline_tag": "feature-extraction", "tags": list(_TAGS)}
    data = _slug(str(card.training.get("data", "")).partition(":")[0])
    if data and not data.endswith(".csv"):
        found["datasets"] = [data]
    if results := list(_results(card.scores, data or "unknown")):
        found["model-index"] = [{"name": card.name, "results": results}]
    return found


def differences(card, found):
    """Yield what the metadata of a README.md says otherwise than `metadata`, as texts.

    Other keys, tags and data sets, and the results of other tasks, are the author's own.

    Args:
        card: `ModelCard`.
        found: the block as parsed, a dict.
    """
    ours = metadata(card)
    if lacking := sorted(ours.keys() - found.keys()):
        yield f"its metadata lacks {', '.join(lacking)}"
    for key in sorted(ours.keys() & found.keys() - {"model-index"}):
        value, theirs = ours[key], found[key]
        if isinstance(value, list):
            if rest := [item for item in value if item not in _as_list(theirs)]:
                yield f"its {key} lack {shown(rest)}"
        elif theirs != value:
            yield f"its {key} is {shown(theirs)}, the card gives {shown(value)}"
    expected = set(_claims(ours.get("model-index", [])))
    try:
        theirs = set(_claims(_as_list(found.get("model-index", ours.get("model-index", [])))))
    except (TypeError, LookupError, AttributeError):
        yield "its model-index is not as the Hub specifies it"
        return
    for claims, state in ((theirs - expected, "claims"), (expected - theirs, "lacks")):
        for data, split, score, value in sorted(claims, key=str):
            place = f"{shown(split)}, {shown(data)}"
            yield f"its model-index {state} {shown(score)} {shown(value)} ({place})"


def _as_list(value):
    return value if isinstance(value, list) else [value]


def _claims(index):
    """Yield (data, split, score, value) of the results of our task."""
    for model in index:
        for result in model["results"]:
            if result["task"].get("name") == _TASK["name"]:
                data = result["dataset"]
                for metric in result["metrics"]:
                    yield data.get("name"), data.get("split"), metric["type"], metric["value"]


def metadata_lines(card):
    """Return the lines of the block, YAML between two lines of dashes."""
    lines = ["---"]
    for key, value in metadata(card).items():
        if key == "model-index":
            lines.append(f"{key}:")
            for model in value:
                lines += [f"- name: {_yaml(model['name'])}", "  results:"]
                lines += [line for result in model["results"] for line in _result_lines(result)]
        else:
            lines.append(f"{key}: {_yaml(value)}")
    return [*lines, "---"]


def _result_lines(result):
    yield f"  - task: {_yaml(result['task'])}"
    yield f"    dataset: {_yaml(result['dataset'])}"
    yield "    metrics:"
    for metric in result["metrics"]:
        yield f"    - {_yaml(metric)}"


def _license(text):
    """Return the Hub's id of a licence; what its list lacks is "other" with a name."""
    name = text.lower()
    if name in _LICENSES:
        return {"license": name}
    return {"license": "other", "license_name": _slug(text) or "unnamed"}


def _results(scores, data):
    measured = {
        "test": (f"artists of {data} held out of training", "held_out_artist_", scores),
        "validation": (f"validation part of {data}", "valid_", scores.get(_CHECK)),
    }
    for split, (name, prefix, record) in measured.items():
        record = record if isinstance(record, dict) else {}
        found = {score: record.get(prefix + score) for score in _SCORES}
        metrics = [
            {"type": score, "value": value}
            for score, value in found.items()
            if type(value) in (int, float) and math.isfinite(value)
        ]
        if metrics:
            dataset = {"type": data, "name": name, "split": split}
            yield {"task": _TASK, "dataset": dataset, "metrics": metrics}


def _slug(text):
    return re.sub(r"[^a-z0-9./_-]+", "-", text.lower()).strip("-./")[:100]


def _yaml(value):
    """Return one line of YAML: plain words as they are, all else as JSON, which YAML includes."""
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_yaml(item)}' for key, item in value.items())}}}"
    if isinstance(value, float) and "." not in (text := json.dumps(value)):
        return text.replace("e", ".0e")  # YAML 1.1 takes 1e-07 for a word
    word = isinstance(value, str) and re.fullmatch(r"[a-z]{3,}(-[a-z0-9.]+)*", value)
    return value if word and value not in _NO_WORDS else json.dumps(value, ensure_ascii=False)
