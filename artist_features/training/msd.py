"""The paper's training data: its split of the Million Song Dataset, as published."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from artist_features.errors import ManifestError, display_path
from artist_features.training.manifest import Track
from artist_features.training.plain_pickle import read_strings
from artist_features.training.splits import SPLITS, TRACK_COUNTS

_ENTRY = re.compile(r"([0-9]{1,12})/([0-9]{1,6})/([0-9]{1,3})")
_FIELDS = ("audio_id", "artist_index", "song_index")


@dataclass(frozen=True)
class MsdEntry:
    """One track of the published list.

    Attributes:
        audio_id: of the preview clip at 7digital, decimal digits.
        artist_index: of the artist, from 1.
        song_index: of the track among its artist's 20, from 1.
    """

    audio_id: str
    artist_index: int
    song_index: int

    @property
    def split(self):
        """The paper's split: songs 1 to 15 train, 16 to 18 valid, 19 and 20 test.

        Source: the training code published with Park et al., ISMIR 2018.
        """
        first = 1
        for split, count in zip(SPLITS, TRACK_COUNTS, strict=True):
            if self.song_index < first + count:
                return split
            first += count
        raise ValueError(f"song index is {self.song_index}; allowed are 1 to {first - 1}.")


def read_msd_split(path):
    """Read the published list of tracks, a pickle, without running anything in it.

    The first 20 N entries are the paper's N artists.

    Args:
        path: of a pickled list of texts `audio_id/artist_index/song_index`.

    Returns:
        list of `MsdEntry`, in the file's order.

    Raises:
        ManifestError: the file is no such list; names the entry, counted from 1.
    """
    entries = []
    for number, text in enumerate(read_strings(path), start=1):
        found = _ENTRY.fullmatch(text)
        indices = [int(digits) for digits in found.groups()[1:]] if found else [0, 0]
        if not (indices[0] >= 1 and 1 <= indices[1] <= sum(TRACK_COUNTS)):
            raise ManifestError(
                f"entry {number} is {text[:60]!r}; needed is 'audio_id/artist_index/song_index', "
                f"in digits, artists from 1, songs 1 to {sum(TRACK_COUNTS)}.",
                path,
            )
        entries.append(MsdEntry(found[1], *indices))
    return entries


def msd_tracks(entries, audio_folder, pattern="{audio_id}.mp3"):
    """Turn entries into tracks, where their audio is at hand.

    Args:
        entries: list of `MsdEntry`.
        audio_folder: folder that the pattern is relative to.
        pattern: of the file names, with the fields audio_id, artist_index and song_index;
            `{audio_id[0]}` is the first digit, for collections in subfolders.

    Returns:
        (tracks, missing): list of `Track`, whose artist is the index as text and whose
        `split` is the paper's; list of the paths that are not there.

    Raises:
        ValueError: `pattern` asks for something else.
    """
    tracks, missing = [], []
    for entry in entries:
        path = Path(audio_folder) / _file_name(entry, pattern)
        if not os.path.isfile(path):
            missing.append(path)
            continue
        extra = {"split": entry.split, "song_index": str(entry.song_index)}
        tracks.append(Track(path, str(entry.artist_index), entry.audio_id, extra))
    return tracks, missing


def _file_name(entry, pattern):
    try:
        return pattern.format(**{name: getattr(entry, name) for name in _FIELDS})
    except (LookupError, ValueError, AttributeError):
        raise ValueError(
            f"pattern {display_path(pattern)!r} does not fit track {entry.audio_id}; its fields "
            f"are {', '.join(_FIELDS)}, in braces, and `{{audio_id[0]}}` is the first digit."
        ) from None
