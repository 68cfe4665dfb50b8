"""One vector per track under several models and baselines: the same tracks for all."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from artist_features.audio.file_bytes import opened
from artist_features.datasets.tracks import Track
from artist_features.errors import AudioError
from artist_features.evaluation import baselines
from artist_features.extraction.decode import ReadingOptions, Source
from artist_features.extraction.extractor import Extractor
from artist_features.progress import progress_bar

_Vectors: TypeAlias = Iterator[tuple[Track, np.ndarray | AudioError]]


@dataclass
class TrackVectors:
    """Vectors of the same tracks under several models.

    Attributes:
        tracks: list of `Track`, those that every model could use.
        vectors: {name: float `(n_tracks, dim)`}, models first, then baselines.
        left_out: list of (path, reason).
        flaws: list of (path, text) of tracks that stay though something is wrong.
    """

    tracks: list[Track]
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: list[tuple[str | Path, str]] = field(default_factory=list)
    flaws: list[tuple[str | Path, str]] = field(default_factory=list)

    def leave_out(self, reasons: Mapping[Path, str]) -> None:
        """Drop tracks and their vectors, for all models.

        Args:
            reasons: {path: why}.
        """
        kept = [row for row, track in enumerate(self.tracks) if track.path not in reasons]
        paths = [track.path for track in self.tracks if track.path in reasons]
        self.left_out += [(path, reasons[path]) for path in paths]
        self.tracks = [self.tracks[row] for row in kept]
        self.vectors = {name: rows[kept] for name, rows in self.vectors.items()}


def extract_vectors(
    tracks: Sequence[Track],
    extractors: Mapping[str, Extractor],
    baseline_names: Sequence[str] = (),
) -> TrackVectors:
    """Extract one vector per track and model; drop tracks that any model cannot read.

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
    found = TrackVectors(list(tracks))
    rows: dict[str, dict[Path, np.ndarray]] = {}
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


def _absent(tracks: Iterable[Track]) -> dict[Path, str]:
    """Return {path: why} of the files that are not there, or are empty."""
    reasons = {}
    for track in tracks:
        try:
            with opened(track.path):
                pass
        except AudioError as error:
            reasons[track.path] = _reason(error)
    return reasons


def _embed(found: TrackVectors, extractor: Extractor) -> _Vectors:
    """Yield (track, vector or error) under a model; note flaws."""
    tracks = list(found.tracks)
    noted = {path for path, _ in found.flaws}
    reading = ReadingOptions(decoder=extractor.decoder)
    sources = [Source(os.fspath(track.path), reading=reading) for track in tracks]
    for result in extractor.results(sources, n_sources=len(sources)) if sources else ():
        track = tracks[result.index]
        if result.error is not None:
            yield track, result.error
            continue
        if result.decoded.flaws and track.path not in noted:
            text = "; ".join(f"{code}: {text}" for code, text in result.decoded.flaws)
            found.flaws.append((track.path, text))
        yield track, result.embedding


def _describe(found: TrackVectors) -> _Vectors:
    """Yield (track, vector or error) for the MFCC baseline."""
    for track in list(found.tracks):
        try:
            yield track, baselines.mfcc_statistics(track.path)
        except AudioError as error:
            yield track, error


def _use(found: TrackVectors, name: str, results: _Vectors) -> dict[Path, np.ndarray]:
    """Collect a model's vectors as {path: vector}; drop failed tracks from all models."""
    rows: dict[Path, np.ndarray] = {}
    reasons: dict[Path, str] = {}
    for track, vector in progress_bar(results, name, len(found.tracks), unit="track"):
        if isinstance(vector, AudioError):
            reasons[track.path] = _reason(vector)
        elif not (np.all(np.isfinite(vector)) and np.any(vector)):
            reasons[track.path] = f"its vector under {name!r} is all zeros or not finite"
        else:
            rows[track.path] = vector
    found.leave_out(reasons)
    return rows


def _reason(error: AudioError) -> str:
    return f"{error.code}: {error.message}"
