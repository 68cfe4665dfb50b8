"""GTZAN in the fault-filtered split, as the paper used it."""

import json
from importlib import resources
from pathlib import Path

from artist_features.datasets.tracks import Collection, Track
from artist_features.errors import ManifestError

GTZAN_SPLIT = "gtzan_split.json"  # beside this module; it names its source
_GTZAN_ENDINGS = (".wav", ".au")  # repackaged, and as Tzanetakis published it
# the clips themselves, their archive, Kaggle's, mirdata's
_GTZAN_FOLDERS = (".", "genres", "genres_original", "Data/genres_original", "gtzan_genre/genres")


def read_gtzan_split() -> dict[str, str]:
    """Return the fault-filtered split, {"genre.NNNNN": "train", "valid" or "test"}.

    443, 197 and 290 clips; the file that holds it names its source.
    """
    file = resources.files(__package__).joinpath(GTZAN_SPLIT)
    clips = {}
    for split, genres in json.loads(file.read_text(encoding="utf-8"))["splits"].items():
        for genre, numbers in genres.items():
            for part in numbers.split():
                first, _, last = part.partition("-")
                for number in range(int(first), int(last or first) + 1):
                    clips[f"{genre}.{number:05d}"] = split
    return clips


def find_gtzan(folder: str | Path) -> Collection:
    """List the clips of the fault-filtered split in a copy of GTZAN.

    Args:
        folder: with `blues/blues.00000.wav` (or .au) in it, or in `genres`,
            `genres_original`, `Data/genres_original` or `gtzan_genre/genres` (mirdata's).

    Returns:
        `Collection` of 930 tracks with splits; artists are not known.

    Raises:
        ManifestError: there is no GTZAN.
    """
    clips = read_gtzan_split()
    genres = sorted({clip.partition(".")[0] for clip in clips})
    places = [Path(folder) / name for name in _GTZAN_FOLDERS]
    root = next((p for p in places if any((p / genre).is_dir() for genre in genres)), None)
    if root is None:
        raise ManifestError(
            f"holds no GTZAN; expected are folders {', '.join(genres)} with files as "
            f"blues/blues.00000.wav (or .au), here or in {', '.join(_GTZAN_FOLDERS[1:])}.",
            folder,
        )
    tracks, labels, splits = [], {}, {}
    for clip, split in sorted(clips.items()):
        genre = clip.partition(".")[0]
        files = [root / genre / (clip + ending) for ending in _GTZAN_ENDINGS]
        path = next((file for file in files if file.exists()), files[0])
        tracks.append(Track(path, "", clip))
        labels[path], splits[path] = genre, split
    there = [f for genre in genres for end in _GTZAN_ENDINGS for f in root.glob(f"{genre}/*{end}")]
    n_others = len({file.stem for file in there} - set(clips))
    ignored = [f"{n_others} clips that the fault-filtered split leaves out"] if n_others else []
    return Collection(tracks, labels, splits, ignored)
