"""A training set: which tracks train, which check, and who made them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artist_features.errors import ManifestError
from artist_features.training.cache import AudioCache
from artist_features.training.manifest import Track, read_manifest, require_files
from artist_features.training.names import artist_groups
from artist_features.training.splits import split_by_track, splits_of

# of each trained artist's tracks, 3 in 20 check the classifier; source: P section 4.1,
# whose other 2 in 20 are the test tracks. Ours are whole artists.
_CHECK_COUNTS = (17, 3, 0)


@dataclass(frozen=True)
class TrainingSet:
    """Tracks by what they are for; all are indices into `tracks` and the cache.

    Attributes:
        tracks: list of `Track`.
        cache: `AudioCache` of them.
        artists: names of the labelled artists, in the order of their index.
        by_artist: list of int arrays, training tracks of each, two or more.
        free: int array, every training track, labelled or not.
        known: int array, tracks of trained artists kept for the check.
        known_labels: int array, their artist indices.
        held_out: int array, tracks of artists that are not trained on, for the check;
            where there are none, those of `known` whose artist has several.
        held_out_labels: int array, which of these artists.
        whole_artists: whether `held_out` are artists that are not trained on.
        sha256: of the manifests.
        short: number of tracks left out because they are shorter than a segment.
    """

    tracks: list
    cache: AudioCache
    artists: list
    by_artist: list
    free: np.ndarray
    known: np.ndarray
    known_labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray
    whole_artists: bool
    sha256: str
    short: int

    @property
    def hours(self):
        """Hours of audio to train on."""
        return float(self.cache.lengths[self.free].sum()) / self.cache.sample_rate / 3600


def load(manifests, cache_folder, front_end, *, n_artists=None, split_seed=0, root=None):
    """Read manifests, decode what is not in the cache yet, and divide the tracks.

    Without a `split` column whole artists are held out: 1 in 10 for the check and 2 in
    10 for the test, which is not touched here. Unlabelled tracks train the teacher's
    term only.

    Args:
        manifests: paths of CSV files.
        cache_folder: of the `AudioCache`.
        front_end: `FrontEnd`, for the sample rate and the length of a segment.
        n_artists: label no more than this many artists, drawn by the seed; the others'
            tracks count as unlabelled. None means all.
        split_seed: of the division and of that draw.
        root: folder of relative files; None means that of each manifest.

    Returns:
        `TrainingSet`.

    Raises:
        ManifestError: a manifest or a file in it cannot be used.
    """
    tracks, splits = read_splits(manifests, split_seed, root)
    cache = AudioCache.build([t.path for t in tracks], cache_folder, front_end.sample_rate)
    usable = cache.lengths >= front_end.segment_samples
    labels = _labels(tracks, (splits == "train") & usable, n_artists, split_seed)
    known = _known(tracks, splits, labels, usable, split_seed)
    held = _several(tracks, np.flatnonzero((splits == "valid") & usable & ~known))
    whole = len({tracks[row].artist for row in held}) > 1
    if not whole:  # the split goes by track: kept tracks of trained artists have to do
        held = _several(tracks, np.flatnonzero(known))
    training = (splits == "train") & usable & ~known
    names, by_artist = _numbered(labels, training)
    index = {name: number for number, name in enumerate(names)}
    _, held_labels = np.unique([tracks[row].artist for row in held], return_inverse=True)
    return TrainingSet(
        tracks=tracks,
        cache=cache,
        artists=names,
        by_artist=by_artist,
        free=np.flatnonzero(training),
        known=np.flatnonzero(known),
        known_labels=np.array([index[labels[row]] for row in np.flatnonzero(known)], int),
        held_out=held,
        held_out_labels=held_labels.astype(int),
        whole_artists=whole,
        sha256=manifests_sha256(manifests),
        short=int(((cache.lengths > 0) & ~usable).sum()),
    )


def read_splits(
    manifests: Sequence[str | Path], seed: int = 0, root: str | Path | None = None
) -> tuple[list[Track], np.ndarray]:
    """Read manifests and split their artists.

    Args:
        manifests: paths of CSV files.
        seed: of the split of those without a `split` column.
        root: folder of relative files; None means that of each manifest.

    Returns:
        list of `Track`, and for each of them "train", "valid", "test", or "left out": in one
        manifest to be trained on, but by an artist that another manifest holds out.

    Raises:
        ManifestError: a manifest or a file in it cannot be used.
    """
    tracks, splits, sources = [], [], []
    for manifest in manifests:
        rows = read_manifest(manifest, root)
        require_files(manifest, rows)
        tracks += rows
        splits += splits_of(rows, manifest, by="artist", seed=seed)
        sources += [manifest] * len(rows)
    _refuse_twice(tracks, manifests)
    return tracks, _without_held_out(tracks, splits, sources)


def _numbered(labels, training):
    """Return the artists' names in the order of their index, and the tracks of each."""
    names = sorted(set(labels[training]) - {""})
    rows = {name: [] for name in names}
    for row in np.flatnonzero(training & (labels != "")):
        rows[labels[row]].append(row)
    return names, [np.array(tracks, int) for tracks in rows.values()]


def require_artists(
    manifests: Sequence[str | Path],
    n_least: int,
    split_seed: int = 0,
    root: str | Path | None = None,
) -> None:
    """Check manifests before anything is made: readable, and enough artists to train on.

    Args:
        manifests: paths of CSV files.
        n_least: artists with two or more tracks in the split `train`.
        split_seed: of the division.
        root: folder of relative files; None means that of each manifest.

    Raises:
        ManifestError: a manifest or a file in it cannot be used, or there are too few.
    """
    tracks, splits = read_splits(manifests, split_seed, root)
    training = (splits == "train").tolist()
    counts = Counter(t.artist for t, is_used in zip(tracks, training, strict=True) if is_used)
    n = sum(count > 1 for artist, count in counts.items() if artist)
    if n < n_least:
        raise ManifestError(
            f"{n} artists to train on; needed are {n_least} or more artists with two or more "
            "tracks each in the split 'train'.",
            manifests[0],
        )
    if not any(training):
        raise ManifestError("no track in the split 'train'; list some.", manifests[0])


def manifests_sha256(manifests):
    """Return the hash of the manifests' bytes.

    Raises:
        ManifestError: one cannot be read.
    """
    digest = hashlib.sha256()
    for manifest in manifests:
        try:
            digest.update(Path(manifest).read_bytes())
        except OSError as error:
            raise ManifestError(f"cannot be read ({error.strerror}).", manifest) from None
    return digest.hexdigest()


def _several(tracks, rows):
    """Return the rows whose artist has two or more of them."""
    counts = Counter(tracks[row].artist for row in rows)
    kept = [row for row in rows if tracks[row].artist and counts[tracks[row].artist] > 1]
    return np.array(kept, int)


def _refuse_twice(tracks, manifests):
    seen = set()
    for track in tracks:
        path = track.path.resolve()
        if path in seen:
            raise ManifestError(f"{path} is listed twice; list each track once.", manifests[-1])
        seen.add(path)


def _without_held_out(tracks, splits, sources):
    """Mark as "left out" what one manifest trains on though another holds its artist out.

    Within one manifest an artist may be in several splits: its owner's split goes by track.
    """
    group = artist_groups(tracks)
    held = defaultdict(set)
    for track, split, source in zip(tracks, splits, sources, strict=True):
        if track.artist and split != "train":
            held[group[track.artist]].add(source)
    for row, (track, source) in enumerate(zip(tracks, sources, strict=True)):
        if splits[row] == "train" and held.get(group.get(track.artist), set()) - {source}:
            splits[row] = "left out"
    return np.array(splits, dtype=object)


def _labels(tracks, training, n_artists, seed):
    """Return the artist name of each track that carries a label, else ""."""
    names = np.array([t.artist for t in tracks], dtype=object)
    found, counts = np.unique(names[training & (names != "")].astype(str), return_counts=True)
    chosen = found[counts > 1]
    if n_artists is not None:
        # fewer artists are always among more artists of the same seed
        chosen = np.random.default_rng(seed).permutation(chosen)[:n_artists]
    return np.where(np.isin(names.astype(str), chosen), names, "")


def _known(tracks, splits, labels, usable, seed):
    """Mark the tracks of trained artists that check the classifier's loss."""
    labelled = (labels != "") & usable
    valid = (splits == "valid") & labelled
    if valid.any():  # the manifest's own split goes by track
        return valid
    rows = np.flatnonzero((splits == "train") & labelled)
    parts = split_by_track([tracks[i] for i in rows], counts=_CHECK_COUNTS, seed=seed)
    known = np.zeros(len(tracks), bool)
    known[rows[np.array(parts) == "valid"]] = True
    return known
