"""Artist retrieval: does a track find the other tracks of its artist?

Every track of a labelled set is a query once, all others are candidates, those of its
artist are positives (`artist_features.metrics` defines the rest). Intervals
come from drawing artists, and every model is compared with the first on the same
tracks: one that a single model cannot use is left out for all.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artist_features.datasets.names import spelling_variants
from artist_features.datasets.splits import splits_of
from artist_features.datasets.tracks import Track
from artist_features.errors import display_path
from artist_features.evaluation import baselines, report
from artist_features.evaluation.vectors import TrackVectors, extract_vectors
from artist_features.extraction.extractor import Extractor
from artist_features.metrics import Interval, Retrieval, retrieval

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArtistScores(report.Scores):
    """Artist retrieval scores of one model.

    The main one is the MAP.

    Attributes:
        mean_average_precision, precision_at_1: `Interval` over artists.
        retrieval: `Retrieval`, the scores of every query.
    """

    mean_average_precision: Interval
    precision_at_1: Interval
    retrieval: Retrieval

    def to_record(self) -> dict[str, Any]:
        found = self.retrieval
        return {
            "mean_average_precision": vars(self.mean_average_precision),
            "precision_at_1": vars(self.precision_at_1),
            "difference_of_map_to_first": vars(self.difference) if self.difference else None,
            "r_precision": found.mean_r_precision,
            f"precision_at_{found.k}": found.mean_precision_at_k,
            f"ndcg_at_{found.k}": found.mean_ndcg_at_k,
        }


def select_tracks(
    tracks: Sequence[Track],
    path: str | Path = "manifest",
    *,
    split: str | None = None,
    split_seed: int = 0,
    limit_artists: int | None = None,
) -> list[Track]:
    """Choose the tracks to evaluate: labelled, of artists with two or more of them.

    What is left out, and which names look alike, is logged.

    Args:
        tracks: list of `Track`, the whole manifest.
        path: of the manifest, for messages.
        split: "train", "valid" or "test", of the manifest's split column or else of the
            split by artist that training makes from `split_seed`; None takes all.
        split_seed: of the split by artist.
        limit_artists: take only the first so many artists of the manifest.

    Returns:
        list of `Track`, in the manifest's order.

    Raises:
        ManifestError: its split column says something else.
        ValueError: an argument outside what is allowed.
    """
    if limit_artists is not None and limit_artists < 1:
        raise ValueError(f"limit_artists is {limit_artists}; allowed is 1 or more.")
    if split is not None:
        splits = splits_of(tracks, path, by="artist", seed=split_seed)
        tracks = [track for track, s in zip(tracks, splits, strict=True) if s == split]
    _log_what_is_odd(tracks)
    tracks = _with_company(tracks)
    chosen = set(list(dict.fromkeys(track.artist for track in tracks))[:limit_artists])
    return [track for track in tracks if track.artist in chosen]


def _log_what_is_odd(tracks: Sequence[Track]) -> None:
    """Log how many tracks take no part, and artists' names that may be one."""
    counts = Counter(track.artist for track in tracks if track.artist)
    if n_blank := sum(not track.artist for track in tracks):
        logger.info("not used: %d tracks whose artist is blank", n_blank)
    if n_alone := sum(n == 1 for n in counts.values()):
        logger.info("not used: %d artists with one track", n_alone)
    for names in spelling_variants(counts):
        shown = display_path(" and ".join(map(repr, names)))
        logger.warning("%s may be one artist, but count as %d", shown, len(names))


def extract_tracks(
    tracks: Sequence[Track],
    extractors: Mapping[str, Extractor],
    baseline_names: Sequence[str] = (),
) -> TrackVectors:
    """Extract one vector per track and model; drop tracks that any model cannot read.

    Args:
        tracks: list of `Track`.
        extractors: {name: `Extractor`}.
        baseline_names: of `baselines.BASELINES`; "mfcc" is standardised over the tracks
            that remain.

    Returns:
        `TrackVectors`.

    Raises:
        ImportError: MFCCs without librosa.
        WeightsError: a model's graph cannot be built.
    """
    found = extract_vectors(tracks, extractors, baseline_names)
    remaining = {track.path for track in _with_company(found.tracks)}
    alone = [track.path for track in found.tracks if track.path not in remaining]
    found.leave_out(dict.fromkeys(alone, "no other track of its artist could be used"))
    if "mfcc" in found.vectors and found.tracks:
        found.vectors["mfcc"] = baselines.standardise(found.vectors["mfcc"])
    return found


def evaluate_artists(
    vectors_by_name: Mapping[str, npt.ArrayLike],
    labels: Iterable[Any],
    groups: Iterable[Any] | None = None,
    *,
    standardise: bool = False,
) -> list[ArtistScores]:
    """Score several models on artist retrieval and compare them with the first.

    The bootstrap draws artists 2,000 times; intervals are percentiles for 95 %.

    Args:
        vectors_by_name: {name: float `(n_tracks, dim)`}, the same tracks for each.
        labels: `(n_tracks,)`, artist names; two artists or more with two tracks.
        groups: `(n_tracks,)`, albums: the query's own is no candidate. Or None.
        standardise: give every dimension mean 0 and deviation 1 over the tracks first.

    Returns:
        list of `ArtistScores`, in the order of `vectors_by_name`.

    Raises:
        ValueError: with the model's name: shapes that do not fit, a vector without a
            direction, or too few artists.

    Example:
        >>> vectors = np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
        >>> (scores,) = evaluate_artists({"toy": vectors}, ["a", "a", "b", "b"])
        >>> scores.mean_average_precision.estimate
        1.0
    """
    labels = list(labels)
    scores: list[ArtistScores] = []
    for name, vectors in vectors_by_name.items():
        rows = baselines.standardise(vectors) if standardise else vectors
        try:
            found = retrieval(rows, labels, groups)
            first = scores[0].retrieval.average_precision if scores else None
            precision, difference = report.compare(found.average_precision, first, labels)
            at_1, _ = report.compare(found.precision_at_1, None, labels)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        dim = np.shape(vectors)[1]
        scores.append(ArtistScores(name, dim, difference, precision, at_1, found))
    return scores


def table(scores: list[ArtistScores], record: Mapping[str, Any]) -> str:
    """Format artist retrieval; the record has `split`, `n_artists` and `n_without_positives`."""
    rows = [
        (report.shown_interval(r.mean_average_precision), report.shown_interval(r.precision_at_1))
        for r in scores
    ]
    part = f"split {record['split']}" if record["split"] else "all splits"
    text = (
        f"{record['n_tracks']} tracks of {record['n_artists']} artists ({part}), "
        f"{record['n_left_out']} left out, {record['n_without_positives']} queries without "
        f"positives; 95 % bootstrap intervals over artists; {record['date'][:10]}."
    )
    return report.table(("MAP", "P@1"), "MAP", scores, rows, text)


def _with_company(tracks: Sequence[Track]) -> list[Track]:
    """Keep only tracks of artists with two or more tracks (retrieval needs a positive)."""
    counts = Counter(track.artist for track in tracks if track.artist)
    return [track for track in tracks if counts[track.artist] > 1]
