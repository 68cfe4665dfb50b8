"""What an index knows of a track besides its vector, and what a search gives back."""

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any


@dataclass(frozen=True)
class IndexedTrack:
    """One row of an index.

    Attributes:
        path: of the file, absolute, or a URI; `str` in `os.fsdecode` form.
        artist, title: "" if unknown.
        duration_s: of the recording; 0 if unknown.
        extra: further columns of the manifest, {name: text}.
    """

    path: str
    artist: str = ""
    title: str = ""
    duration_s: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The track in words: 'artist - title', or what of it is known, else the file's name."""
        title = self.title or PurePath(self.path).stem
        return f"{self.artist} - {title}" if self.artist else title


@dataclass(frozen=True)
class Match:
    """A track that a search found.

    Attributes:
        row: number in the index, from 0.
        similarity: cosine, -1 to 1, rounded to 6 decimals.
        track: `IndexedTrack`.
    """

    row: int
    similarity: float
    track: IndexedTrack


@dataclass(frozen=True)
class ArtistMatch:
    """An artist that a search found.

    Attributes:
        artist: name.
        similarity: cosine to the mean of the artist's tracks, rounded to 6 decimals.
        n_tracks: of the artist that were compared.
    """

    artist: str
    similarity: float
    n_tracks: int
