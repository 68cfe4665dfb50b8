"""Artist retrieval: does a track find the other tracks of its artist?

Every track of a labelled set is a query once, all others are candidates, those of its
artist are positives (`artist_features.metrics.queries` defines the rest). Intervals
come from drawing artists, and every model is compared with the first on the same
tracks: one that a single model cannot use is left out for all.
"""

import os
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from artist_features.errors import AudioError
from artist_features.evaluation import baselines
from artist_features.extraction.decode import Source
from artist_features.metrics import (
    Interval,
    Retrieval,
    bootstrap_interval,
    paired_bootstrap,
    retrieval,
)

N_RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class ArtistScores:
    """What one model scored.

    Attributes:
        name: of the model or baseline.
        dim: length of its vectors.
        mean_average_precision, precision_at_1: `Interval` over artists.
        difference: `Interval` of the MAP minus that of the first model; None for that.
        retrieval: `Retrieval`, the scores of every query.
    """

    name: str
    dim: int
    mean_average_precision: Interval
    precision_at_1: Interval
    difference: Interval | None
    retrieval: Retrieval


@dataclass
class TrackVectors:
    """Vectors of the same tracks under several models.

    Attributes:
        tracks: list of `Track`, those that every model could use.
        vectors: {name: float `(n_tracks, dim)`}, models first, then baselines.
        left_out: list of (path, reason).
        flaws: list of (path, text) of tracks that stay though something is wrong.
    """

    tracks: list
    vectors: dict = field(default_factory=dict)
    left_out: list = field(default_factory=list)
    flaws: list = field(default_factory=list)


def select_tracks(tracks, path="manifest", *, split=None, split_seed=0, limit_artists=None):
    """Choose the tracks to evaluate: labelled, of artists with two or more of them.

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
        from artist_features.training.splits import splits_of

        splits = splits_of(tracks, path, by="artist", seed=split_seed)
        tracks = [track for track, s in zip(tracks, splits, strict=True) if s == split]
    tracks = _with_company(tracks)
    chosen = list(dict.fromkeys(track.artist for track in tracks))[:limit_artists]
    return [track for track in tracks if track.artist in set(chosen)]


def extract_tracks(tracks, extractors, baseline_names=()):
    """Extract one vector per track and model; leave out what any of them cannot use.

    Args:
        tracks: list of `Track`.
        extractors: {name: `Extractor`}.
        baseline_names: of `baselines.BASELINES`; "mfcc" is standardised over the tracks
            that remain.

    Returns:
        `TrackVectors`.

    Raises:
        ImportError: "mfcc" without librosa.
        WeightsError: a model's graph cannot be built.
    """
    if "mfcc" in baseline_names:
        baselines.require_librosa()  # now, not after an hour of extraction
    found, rows = TrackVectors(list(tracks)), {}
    for name, extractor in extractors.items():
        rows[name] = _use(found, name, _embed(found, extractor))
    if "mfcc" in baseline_names:
        rows["mfcc"] = _use(found, "mfcc", _describe(found))
    remaining = _with_company(found.tracks)
    alone = {t.path for t in found.tracks} - {t.path for t in remaining}
    reason = "no other track of its artist could be used"
    found.left_out += [(t.path, reason) for t in found.tracks if t.path in alone]
    found.tracks = remaining
    for name in (*extractors, *baseline_names):
        if name == "chance":
            found.vectors[name] = baselines.chance_vectors(len(remaining))
        elif remaining:
            found.vectors[name] = np.stack([rows[name][track.path] for track in remaining])
    if "mfcc" in found.vectors:
        found.vectors["mfcc"] = baselines.standardise(found.vectors["mfcc"])
    return found


def evaluate_artists(vectors_by_name, labels, groups=None, *, standardise=False, seed=0):
    """Score several models on artist retrieval and compare them with the first.

    Args:
        vectors_by_name: {name: float `(n_tracks, dim)`}, the same tracks for each.
        labels: `(n_tracks,)`, artist names; two artists or more with two tracks.
        groups: `(n_tracks,)`, albums: the query's own is no candidate. Or None.
        standardise: give every dimension mean 0 and deviation 1 over the tracks first.
        seed: of the bootstrap (2,000 draws of artists, 95 % percentile intervals).

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
    options = {"n_resamples": N_RESAMPLES, "level": LEVEL, "seed": seed}
    scores = []
    for name, vectors in vectors_by_name.items():
        rows = baselines.standardise(vectors) if standardise else vectors
        try:
            found = retrieval(rows, labels, groups)
            precision = bootstrap_interval(found.average_precision, labels, **options)
            at_1 = bootstrap_interval(found.precision_at_1, labels, **options)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        difference = None
        if scores:
            first = scores[0].retrieval.average_precision
            difference = paired_bootstrap(found.average_precision, first, labels, **options)
        dim = np.shape(vectors)[1]
        scores.append(ArtistScores(name, dim, precision, at_1, difference, found))
    return scores


def _with_company(tracks):
    """Return the labelled tracks whose artist has two or more."""
    counts = Counter(track.artist for track in tracks if track.artist)
    return [track for track in tracks if counts[track.artist] > 1]


def _embed(found, extractor):
    """Yield (track, vector or None, reason) under a model; note flaws."""
    tracks = list(found.tracks)
    noted = {path for path, _ in found.flaws}
    sources = [Source(os.fspath(t.path), decoder=extractor.decoder) for t in tracks]
    for result in extractor.results(sources, n_sources=len(sources)) if sources else ():
        track = tracks[result.index]
        if result.error is not None:
            yield track, None, _reason(result.error)
            continue
        if result.facts.flaws and track.path not in noted:
            text = "; ".join(f"{code}: {text}" for code, text in result.facts.flaws)
            found.flaws.append((track.path, text))
        yield track, result.embedding, ""


def _describe(found):
    """Yield (track, vector or None, reason) for the MFCC baseline."""
    for track in list(found.tracks):
        try:
            yield track, baselines.mfcc_statistics(track.path), ""
        except AudioError as error:
            yield track, None, _reason(error)


def _use(found, name, results):
    """Return {path: vector}; drop the tracks that have none from `found`."""
    rows, reasons = {}, {}
    for track, vector, reason in tqdm(
        results, desc=name, total=len(found.tracks), unit="track", disable=None
    ):
        if vector is not None and not (np.all(np.isfinite(vector)) and np.any(vector)):
            vector, reason = None, f"its vector under {name!r} is all zeros or not finite"
        if vector is None:
            reasons[track.path] = reason
        else:
            rows[track.path] = vector
    found.left_out += [(t.path, reasons[t.path]) for t in found.tracks if t.path in reasons]
    found.tracks = [track for track in found.tracks if track.path in rows]
    return rows


def _reason(error):
    return f"{error.code}: {error.message}"
