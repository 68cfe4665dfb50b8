"""Scores beside those of the first model: bootstrap intervals, Markdown tables, JSON records."""

import abc
import datetime
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from artist_features.devices import usable_cores
from artist_features.errors import display_path
from artist_features.metrics import Interval, bootstrap_interval, paired_bootstrap
from artist_features.version import VERSION

if TYPE_CHECKING:
    from artist_features.evaluation.vectors import TrackVectors
    from artist_features.extraction.extractor import Extractor

BOOTSTRAP: dict[str, Any] = {"n_resamples": 2000, "level": 0.95, "seed": 0}
_PACKAGES = ("tensorflow", "keras", "kapre", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Scores(abc.ABC):
    """Scores of one model under one protocol.

    Attributes:
        name: of the model or baseline.
        dim: length of its vectors.
        difference: `Interval` of its main score minus that of the first model; None for that.
    """

    name: str
    dim: int
    difference: Interval | None

    @abc.abstractmethod
    def to_record(self) -> dict[str, Any]:
        """Return the measures as plain data for JSON."""


def compare(
    values: npt.ArrayLike, first: npt.ArrayLike | None, clusters: Iterable[Any]
) -> tuple[Interval, Interval | None]:
    """Estimate a mean over queries or tracks, and how far it is from the first model's.

    Args:
        values: float `(n,)`, of one model.
        first: float `(n,)`, of the first model on the same; None if this is the first.
        clusters: `(n,)`, such as artists, drawn whole.

    Returns:
        (`Interval`, `Interval` of the difference or None).

    Raises:
        ValueError: see `bootstrap_interval` and `paired_bootstrap`.
    """
    difference = None
    if first is not None:
        difference = paired_bootstrap(values, first, clusters, **BOOTSTRAP)
    return bootstrap_interval(values, clusters, **BOOTSTRAP), difference


def run_record(
    found: "TrackVectors",
    extractors: Mapping[str, "Extractor"],
    scores: Sequence[Scores],
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


def table(
    columns: tuple[str, str],
    compared: str,
    scores: Sequence[Scores],
    rows: list[tuple[str, str]],
    text: str,
) -> str:
    """Format two columns of each model between its name and the difference to the first.

    Args:
        columns: titles of the two.
        compared: title of the score whose difference is shown.
        rows: texts of the two columns, one pair for each of `scores`.
        text: on the data, below.

    Returns:
        GitHub Markdown, without control characters.
    """
    first = display_path(scores[0].name)
    lines = [f"| model | dim | {' | '.join(columns)} | {compared} minus {first} |"]
    lines.append("|---|---|---|---|---|")
    for score, cells in zip(scores, rows, strict=True):
        name, difference = display_path(score.name), shown_interval(score.difference, "+")
        lines.append(f"| `{name}` | {score.dim} | {' | '.join(cells)} | {difference} |")
    return "\n".join([*lines, "", text])


def _model_record(row: Scores, extractor: "Extractor | None") -> dict[str, Any]:
    card = extractor.card if extractor else None
    return {
        "name": display_path(row.name),
        "weights_sha256": card.weights_sha256 if card else None,
        "graph_sha256": card.graph_sha256 if card else None,
        "dim": row.dim,
        **row.to_record(),
    }


def shown_interval(interval: Interval | None, sign: str = "") -> str:
    """Return "estimate [low, high]" with three decimals; "" for None."""
    if interval is None:
        return ""
    low, high = f"{interval.low:{sign}.3f}", f"{interval.high:{sign}.3f}"
    return f"{interval.estimate:{sign}.3f} [{low}, {high}]"
