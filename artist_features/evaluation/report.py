"""Evaluation tables in Markdown and records in JSON.

A table function takes the scores of all models and the record of their run, which `run_record`
made with the fields that are named. It returns a GitHub Markdown table and a line on the data,
without control characters.
"""

import datetime
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

from artist_features.devices import usable_cores
from artist_features.errors import display_path
from artist_features.metrics import Interval
from artist_features.version import VERSION

if TYPE_CHECKING:
    from artist_features.evaluation.artists import ArtistScores
    from artist_features.evaluation.crossvalidation import ClassifierScores
    from artist_features.evaluation.softmax import SoftmaxScores
    from artist_features.evaluation.vectors import TrackVectors
    from artist_features.extraction.extractor import Extractor

    _Scores: TypeAlias = ArtistScores | SoftmaxScores | ClassifierScores

_PACKAGES = ("tensorflow", "keras", "kapre", "numpy", "scikit-learn")


def run_record(
    found: "TrackVectors",
    extractors: Mapping[str, "Extractor"],
    scores: Sequence["_Scores"],
    **fields: Any,
) -> dict[str, Any]:
    """Return the record of an evaluation: its protocol, models, tracks, versions, device.

    Args:
        found: `TrackVectors`.
        extractors: {name: `Extractor`}; baselines have none.
        scores: of each model and baseline.
        fields: of the protocol, plain data for JSON.
    """
    devices = [extractor.device for extractor in extractors.values()]
    packages = [*_PACKAGES, *(["librosa"] if any("mfcc" in name for name in found.vectors) else [])]
    return {
        **fields,
        "models": [_model_record(row, extractors.get(row.name)) for row in scores],
        "n_tracks": len(found.tracks),
        "n_left_out": len(found.left_out),
        "left_out": [[display_path(path), reason] for path, reason in found.left_out],
        "flaws": [[display_path(path), text] for path, text in found.flaws],
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": devices[0] if devices else f"CPU ({usable_cores()} cores)",
        "versions": {
            "artist-features": VERSION,
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
    }


def artists_table(scores: list["ArtistScores"], record: Mapping[str, Any]) -> str:
    """Format artist retrieval; the record has `split`, `n_artists` and `n_without_positives`."""
    rows = [(_shown(r.mean_average_precision), _shown(r.precision_at_1)) for r in scores]
    part = f"split {record['split']}" if record["split"] else "all splits"
    text = (
        f"{record['n_tracks']} tracks of {record['n_artists']} artists ({part}), "
        f"{record['n_left_out']} left out, {record['n_without_positives']} queries without "
        f"positives; 95 % bootstrap intervals over artists; {record['date'][:10]}."
    )
    return _table(("MAP", "P@1"), "MAP", scores, rows, text)


def softmax_table(scores: list["SoftmaxScores"], record: Mapping[str, Any]) -> str:
    """Format the softmax protocol; the record has `data`, `n_by_split` and `bootstrap`."""
    rows = [
        (_shown(row.accuracy), f"{min(row.trials):.3f} to {max(row.trials):.3f}") for row in scores
    ]
    parts = "/".join(str(n) for n in record["n_by_split"].values())
    text = (
        f"{record['data']}: softmax layer, mean of {len(scores[0].trials)} trials; "
        f"{record['n_tracks']} tracks ({parts} train/valid/test), {record['n_left_out']} left "
        f"out; 95 % bootstrap intervals over {record['bootstrap']['over']}; {record['date'][:10]}."
    )
    return _table(("accuracy", "over trials"), "accuracy", scores, rows, text)


def classifiers_table(scores: list["ClassifierScores"], record: Mapping[str, Any]) -> str:
    """Format cross-validated classifiers.

    The record has `n_classes`, `n_artists`, `n_unknown_artists`, `n_folds` and `bootstrap`.
    """
    n_unknown = record["n_unknown_artists"]
    artists = f"{record['n_artists'] - n_unknown} artists"
    if n_unknown:
        artists += f", {n_unknown} tracks of unknown artist each by itself"
    text = (
        f"{record['n_tracks']} tracks of {record['n_classes']} classes and {artists}, "
        f"{record['n_folds']} folds that keep artists whole, C chosen inside; "
        f"{record['n_left_out']} left out; 95 % bootstrap intervals over "
        f"{record['bootstrap']['over']}; {record['date'][:10]}."
    )
    rows = [(row.classifier, _shown(row.accuracy)) for row in scores]
    return _table(("classifier", "accuracy"), "accuracy", scores, rows, text)


def _table(
    columns: tuple[str, str],
    compared: str,
    scores: Sequence["_Scores"],
    rows: list[tuple[str, str]],
    text: str,
) -> str:
    """Format two columns of each model between its name and the difference to the first."""
    first = display_path(scores[0].name)
    lines = [f"| model | dim | {' | '.join(columns)} | {compared} minus {first} |"]
    lines.append("|---|---|---|---|---|")
    for score, cells in zip(scores, rows, strict=True):
        name, difference = display_path(score.name), _shown(score.difference, "+")
        lines.append(f"| `{name}` | {score.dim} | {' | '.join(cells)} | {difference} |")
    return "\n".join([*lines, "", text])


def _model_record(row: "_Scores", extractor: "Extractor | None") -> dict[str, Any]:
    card = extractor.card if extractor else None
    return {
        "name": display_path(row.name),
        "weights_sha256": card.weights_sha256 if card else None,
        "graph_sha256": card.graph_sha256 if card else None,
        "dim": row.dim,
        **row.to_record(),
    }


def _shown(interval: Interval | None, sign: str = "") -> str:
    if interval is None:
        return ""
    low, high = f"{interval.low:{sign}.3f}", f"{interval.high:{sign}.3f}"
    return f"{interval.estimate:{sign}.3f} [{low}, {high}]"
