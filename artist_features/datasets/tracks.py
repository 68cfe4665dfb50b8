"""Tracks and labelled collections of them.

A `Collection` lists what it should hold, whether the file is there or not: what is missing is
found, and named, when it is read.
"""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Track:
    """Audio file with artist and title; one row of a manifest.

    Attributes:
        path: of the audio file.
        artist: artist name, or "" for an unlabelled track.
        title: of the track.
        extra: any further columns, as text.
        line: of the manifest it was read from, counted from 1; not part of what is equal.
    """

    path: Path
    artist: str
    title: str
    extra: dict[str, str] = field(default_factory=dict)
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Collection:
    """Tracks with one class each.

    Attributes:
        tracks: list of `Track`, in a fixed order.
        labels: {path: class}.
        splits: {path: "train", "valid" or "test"}; empty without an official split.
        ignored: what lies there and takes no part by design, as sentences without a full stop.
        unreadable: list of (path, reason), folders that cannot be searched.
        sha256: of the manifest's bytes; None for a folder.
    """

    tracks: list[Track]
    labels: dict[Path, str]
    splits: dict[Path, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    unreadable: list[tuple[str | Path, str]] = field(default_factory=list)
    sha256: str | None = None
