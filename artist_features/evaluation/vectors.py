"""One vector per track under several models and baselines: the same tracks for all."""

import os
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from artist_features.errors import AudioError
from artist_features.evaluation import baselines
from artist_features.extraction.decode import Source
from artist_features.extraction.remote import is_uri
from artist_features.signal.stream import opened


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

    def leave_out(self, reasons):
        """Drop tracks and their vectors, for all models.

        Args:
            reasons: {path: why}.
        """
        kept = [row for row, track in enumerate(self.tracks) if track.path not in reasons]
        paths = [track.path for track in self.tracks if track.path in reasons]
        self.left_out += [(path, reasons[path]) for path in paths]
        self.tracks = [self.tracks[row] for row in kept]
        self.vectors = {name: rows[kept] for name, rows in self.vectors.items()}


def extract_vectors(tracks, extractors, baseline_names=()):
    """Extract one vector per track and model; leave out what any of them cannot use.

    Args:
        tracks: list of `Track`, each file once.
        extractors: {name: `Extractor`}.
        baseline_names: of `baselines.BASELINES`. The MFCC statistics are raw under both names.

    Returns:
        `TrackVectors`.

    Raises:
        ImportError: MFCCs without librosa.
        WeightsError: a model's graph cannot be built.
    """
    mfccs = [name for name in baseline_names if name.startswith("mfcc")]
    if mfccs:
        baselines.require_librosa()  # now, not after an hour of extraction
    found, rows = TrackVectors(list(tracks)), {}
    found.leave_out(_absent(tracks))  # also where nothing but chance is asked for
    for name, extractor in extractors.items():
        rows[name] = _use(found, name, _embed(found, extractor))
    if mfccs:
        described = _use(found, mfccs[0], _describe(found))
        rows |= dict.fromkeys(mfccs, described)
    for name in (*extractors, *baseline_names):
        if name == "chance":
            found.vectors[name] = baselines.chance_vectors(len(found.tracks))
        elif found.tracks:
            found.vectors[name] = np.stack([rows[name][track.path] for track in found.tracks])
    return found


def _absent(tracks):
    """Return {path: why} of the files that are not there, or are empty."""
    reasons = {}
    for track in tracks:
        try:
            if not is_uri(os.fspath(track.path)):
                with opened(track.path):
                    pass
        except AudioError as error:
            reasons[track.path] = _reason(error)
    return reasons


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
    found.leave_out(reasons)
    return rows


def _reason(error):
    return f"{error.code}: {error.message}"
