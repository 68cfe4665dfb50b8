"""Training and validation sets: decoded tracks with artist labels."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artist_features.config import FrontEnd
from artist_features.datasets.splits import split_by_track
from artist_features.datasets.tracks import Track
from artist_features.training.cache import AudioCache
from artist_features.training.inputs import SplitTracks

# of each trained artist's tracks, 3 in 20 check the classifier; source: P section 4.1,
# whose other 2 in 20 are the test tracks. Ours are whole artists.
_CHECK_COUNTS = (17, 3, 0)


@dataclass(frozen=True)
class TrainingSet:
    """Decoded tracks by their use; all arrays are int, indices into `tracks` and the cache.

    Attributes:
        cache: `AudioCache` of the tracks.
        artists: names of the labelled artists, in the order of their index.
        by_artist: list of arrays, training tracks of each, two or more.
        training: every training track, labelled or not.
        trained_valid_tracks: validation tracks of trained artists, for the classifier's loss.
        trained_valid_labels: their artist indices.
        retrieval_valid_tracks: validation tracks of unseen artists, for MAP and the Siamese
            loss; where there are none, those of `trained_valid_tracks` whose artist has several.
        retrieval_valid_labels: which of these artists.
        unseen_artists: whether the artists of `retrieval_valid_tracks` are not trained on.
        short: number of tracks left out because they are shorter than a segment.
    """

    tracks: list[Track]
    cache: AudioCache
    artists: list[str]
    by_artist: list[np.ndarray]
    training: np.ndarray
    trained_valid_tracks: np.ndarray
    trained_valid_labels: np.ndarray
    retrieval_valid_tracks: np.ndarray
    retrieval_valid_labels: np.ndarray
    unseen_artists: bool
    short: int

    @property
    def hours(self) -> float:
        """Hours of audio to train on."""
        return float(self.cache.lengths[self.training].sum()) / self.cache.sample_rate / 3600

    @property
    def audio_sha256(self) -> str:
        """Hash the tracks' lengths, 0 for unreadable ones."""
        return hashlib.sha256(self.cache.lengths.astype("<i8").tobytes()).hexdigest()


def load(
    listed: SplitTracks,
    cache_folder: str | Path,
    front_end: FrontEnd,
    *,
    n_artists: int | None = None,
) -> TrainingSet:
    """Decode uncached tracks, then assign tracks to the training and validation sets.

    Unlabelled tracks train the teacher's term only.

    Args:
        cache_folder: of the `AudioCache`.
        front_end: for the sample rate and the length of a segment.
        n_artists: label no more than this many artists, drawn by the seed of the split; the
            others' tracks count as unlabelled. None means all.
    """
    tracks, splits, seed = listed.tracks, listed.splits, listed.seed
    cache = AudioCache.build([t.path for t in tracks], cache_folder, front_end.sample_rate)
    usable = cache.lengths >= front_end.segment_samples
    labels = _labels(tracks, (splits == "train") & usable, n_artists, seed)
    kept = _trained_valid_tracks(tracks, splits, labels, usable, seed)
    retrieval = _several(tracks, np.flatnonzero((splits == "valid") & usable & ~kept))
    unseen = len({tracks[row].artist for row in retrieval}) > 1
    if not unseen:  # the split goes by track: validation tracks of trained artists have to do
        retrieval = _several(tracks, np.flatnonzero(kept))
    training = (splits == "train") & usable & ~kept
    names, by_artist = _numbered(labels, training)
    index = {name: number for number, name in enumerate(names)}
    _, retrieval_labels = np.unique([tracks[row].artist for row in retrieval], return_inverse=True)
    return TrainingSet(
        tracks=tracks,
        cache=cache,
        artists=names,
        by_artist=by_artist,
        training=np.flatnonzero(training),
        trained_valid_tracks=np.flatnonzero(kept),
        trained_valid_labels=np.array([index[labels[row]] for row in np.flatnonzero(kept)], int),
        retrieval_valid_tracks=retrieval,
        retrieval_valid_labels=retrieval_labels.astype(int),
        unseen_artists=unseen,
        short=int(((cache.lengths > 0) & ~usable).sum()),
    )


def _numbered(labels: np.ndarray, training: np.ndarray) -> tuple[list[str], list[np.ndarray]]:
    """Return the artists' names in the order of their index, and the tracks of each."""
    names = sorted(set(labels[training]) - {""})
    rows: dict[str, list[int]] = {name: [] for name in names}
    for row in np.flatnonzero(training & (labels != "")).tolist():
        rows[labels[row]].append(row)
    return names, [np.array(tracks, int) for tracks in rows.values()]


def _several(tracks: Sequence[Track], rows: np.ndarray) -> np.ndarray:
    """Filter rows to artists with two tracks or more."""
    counts = Counter(tracks[row].artist for row in rows)
    kept = [row for row in rows if tracks[row].artist and counts[tracks[row].artist] > 1]
    return np.array(kept, int)


def _labels(
    tracks: Sequence[Track], training: np.ndarray, n_artists: int | None, seed: int
) -> np.ndarray:
    """Return the artist name of each track that carries a label, else ""."""
    names = np.array([t.artist for t in tracks], dtype=object)
    found, counts = np.unique(names[training & (names != "")].astype(str), return_counts=True)
    chosen = found[counts > 1]
    if n_artists is not None:
        # fewer artists are always among more artists of the same seed
        chosen = np.random.default_rng(seed).permutation(chosen)[:n_artists]
    return np.where(np.isin(names.astype(str), chosen), names, "")


def _trained_valid_tracks(
    tracks: Sequence[Track],
    splits: np.ndarray,
    labels: np.ndarray,
    usable: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Select the validation tracks of training artists, for the classifier's loss."""
    labelled = (labels != "") & usable
    valid = (splits == "valid") & labelled
    if valid.any():  # the manifest's own split goes by track
        return valid
    rows = np.flatnonzero((splits == "train") & labelled)
    parts = split_by_track([tracks[i] for i in rows.tolist()], counts=_CHECK_COUNTS, seed=seed)
    kept = np.zeros(len(tracks), bool)
    kept[rows[np.array(parts) == "valid"]] = True
    return kept
