"""Labelled collections: any manifest with a column of classes, any folder of classes.

Every reader lists what a collection should hold, whether the file is there or not: what is
missing is found, and named, when it is read.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from artist_features.errors import AudioError, ManifestError, display_path
from artist_features.signal.folders import search_folder
from artist_features.training.manifest import Track, read_manifest
from artist_features.training.names import artist_groups


@dataclass(frozen=True)
class Collection:
    """Tracks with one class each.

    Attributes:
        tracks: list of `Track`, in a fixed order.
        labels: {path: class}.
        splits: {path: "train", "valid" or "test"}, or None without an official split.
        ignored: what lies there and takes no part by design, as sentences without a full stop.
        unreadable: list of (path, reason), folders that cannot be searched.
    """

    tracks: list
    labels: dict
    splits: dict | None = None
    ignored: list = field(default_factory=list)
    unreadable: list = field(default_factory=list)


def read_labelled(path, column="genre", root=None):
    """List the tracks of a manifest with a column of classes, or of a folder of classes.

    Args:
        path: of a CSV, or of a folder with a sub-folder of recordings for each class.
        column: of the CSV that holds the class; it may not be "artist".
        root: folder of the CSV's relative files; None means its own.

    Returns:
        `Collection` without splits. Artists whose names may be one artist's have one name;
        those of a folder are not known.

    Raises:
        ManifestError: the manifest cannot be used, the column or the folders are missing.
        ValueError: the column is "artist" or "file".
    """
    return _read_folder(Path(path)) if os.path.isdir(path) else _read_csv(path, column, root)


def _read_csv(path, column, root):
    if column in ("artist", "file"):
        raise ValueError(
            f"label column {column!r}: folds keep every artist whole, so {column}s cannot be "
            "classes; for artists use `artist-features evaluate artists`."
        )
    rows = read_manifest(path, root)
    labels = {track.path: _field(track, column) for track in rows}
    if any(label is None for label in labels.values()):
        columns = ", ".join(["title", *rows[0].extra])
        raise ManifestError(
            f"column {column!r} is missing; there are {columns}. Name one with --label.", path, 1
        )
    labels = {file: label for file, label in labels.items() if label}
    tracks = [track for track in rows if track.path in labels]
    first_name = artist_groups(tracks)
    named = [Track(t.path, first_name.get(t.artist, ""), t.title, t.extra, t.line) for t in tracks]
    n_blank = len(rows) - len(tracks)
    ignored = [f"{n_blank} rows whose column {column!r} is blank"] if n_blank else []
    return Collection(named, labels, None, ignored)


def _field(track, column):
    value = track.title if column == "title" else track.extra.get(column)
    return None if value is None else value.strip()


def _read_folder(folder):
    tracks, labels, ignored, unreadable = [], {}, [], []
    loose = 0
    for found in search_folder(os.fspath(folder)):
        if isinstance(found, AudioError):
            unreadable.append((found.path, f"{found.code}: {found.message}"))
            continue
        parts = Path(found).relative_to(folder).parts
        if len(parts) == 1:
            loose += 1
            continue
        track = Track(Path(found), "", Path(found).stem)
        tracks.append(track)
        labels[track.path] = parts[0]
    if not tracks:
        raise ManifestError(
            "no recording in a sub-folder; expected is one sub-folder for each class, as "
            f"{display_path(folder / 'rock' / 'song.mp3')}, or a manifest CSV.",
            folder,
        )
    if loose:
        ignored.append(f"{loose} recordings beside the sub-folders, which have no class")
    return Collection(tracks, labels, None, ignored, unreadable)
