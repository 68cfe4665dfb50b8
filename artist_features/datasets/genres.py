"""GTZAN and FMA-small: clips with genres and a published split.

GTZAN in the fault-filtered split, as the paper used it; FMA-small with its official split, as
the data set's own tables give it. `tracks.csv` of `fma_metadata` has a header of three rows
(group, column, and `track_id` alone) and one row for each of the 106,574 tracks; 8,000 of them,
1,000 of each of 8 genres, are the subset `small`. No artist is in two parts of the split.

Source: Defferrard, Benzi, Vandergheynst & Bresson, "FMA: A Dataset for Music Analysis",
ISMIR 2017, arXiv 1612.01840.
"""

import csv
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from artist_features.datasets.tracks import Collection, Track
from artist_features.errors import ManifestError

GTZAN_SPLIT = "gtzan_split.json"  # beside this module; it names its source
_GTZAN_ENDINGS = (".wav", ".au")  # repackaged, and as Tzanetakis published it
# the clips themselves, their archive, Kaggle's, mirdata's
_GTZAN_FOLDERS = (".", "genres", "genres_original", "Data/genres_original", "gtzan_genre/genres")
_FMA_SPLITS = {"training": "train", "validation": "valid", "test": "test"}
_FMA_COLUMNS = {
    "subset": ("set", "subset"),
    "split": ("set", "split"),
    "genre": ("track", "genre_top"),
    "title": ("track", "title"),
    "artist": ("artist", "id"),
}
_LARGEST_FIELD = 1 << 24  # characters; biographies outgrow the csv module's 131,072


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


def find_fma(folder: str | Path, metadata: str | Path | None = None) -> Collection:
    """List the clips of FMA-small in a copy of it.

    Args:
        folder: with `000/000002.mp3` in it, or in `fma_small`.
        metadata: path of `tracks.csv`; None looks in `fma_metadata`, in the folder and beside
            it.

    Returns:
        `Collection` of the subset's tracks with splits; the artist is the data set's number.

    Raises:
        ManifestError: the tables or the clips are not there, or not as expected.
    """
    folder = Path(folder)
    metadata = _fma_metadata(folder) if metadata is None else Path(metadata)
    root = folder / "fma_small" if (folder / "fma_small").is_dir() else folder
    clips = {path.stem: path for path in root.glob("[0-9][0-9][0-9]/*.mp3")}
    if not clips:
        raise ManifestError(
            "holds no FMA-small; expected are files as 000/000002.mp3, here or in fma_small.",
            folder,
        )
    tracks, labels, splits = [], {}, {}
    for line, number, row in _fma_rows(metadata):
        if row["subset"] != "small":
            continue
        if row["split"] not in _FMA_SPLITS or not row["genre"]:
            raise ManifestError(
                f"track {number}: split is {row['split']!r}, genre_top {row['genre']!r}; a track "
                f"of the subset small needs one of {', '.join(_FMA_SPLITS)} and a genre. Fetch "
                "fma_metadata.zip again.",
                metadata,
                line,
            )
        name = f"{number:06d}"
        path = root / name[:3] / f"{name}.mp3"
        tracks.append(Track(path, row["artist"], row["title"], line=line))
        labels[path], splits[path] = row["genre"], _FMA_SPLITS[row["split"]]
    if not tracks:
        raise ManifestError("has no track of the subset small; fetch it again.", metadata)
    listed = {track.path.stem for track in tracks}
    others = len(set(clips) - listed)
    ignored = [f"{others} clips that are not of the subset small"] if others else []
    return Collection(tracks, labels, splits, ignored)


def _fma_metadata(folder: Path) -> Path:
    places = [folder / "fma_metadata", folder.absolute().parent / "fma_metadata", folder]
    for place in places:
        if (place / "tracks.csv").is_file():
            return place / "tracks.csv"
    raise ManifestError(
        "tracks.csv of fma_metadata.zip is needed for genres and split, and is neither in "
        "fma_metadata here nor beside it. Unpack it there, or name it with --metadata.",
        folder,
    )


def _fma_rows(path: Path) -> Iterator[tuple[int, int, dict[str, str]]]:
    """Yield (line, track number, {name: text}) for each track of `tracks.csv`."""
    limit = csv.field_size_limit(_LARGEST_FIELD)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            places = _fma_places(path, [next(reader, []) for _ in range(3)])
            for row in reader:
                try:
                    number = int(row[0])
                    found = {name: row[place].strip() for name, place in places.items()}
                except (ValueError, IndexError):
                    text = f"no row of a track ({len(row)} fields); fetch fma_metadata.zip again."
                    raise ManifestError(text, path, reader.line_num) from None
                yield reader.line_num, number, found
    except OSError as error:
        raise ManifestError(f"cannot be read ({error.strerror}).", path) from None
    except (UnicodeDecodeError, csv.Error) as error:
        text = f"not valid UTF-8 CSV ({error}); fetch fma_metadata.zip again."
        raise ManifestError(text, path) from None
    finally:
        csv.field_size_limit(limit)


def _fma_places(path: Path, header: list[list[str]]) -> dict[str, int]:
    """Return {name: position} from the three rows of the header."""
    groups, columns, _ = header
    names = list(zip(groups, columns, strict=False))
    if missing := [" ".join(pair) for pair in _FMA_COLUMNS.values() if pair not in names]:
        raise ManifestError(
            f"the header has no column {missing[0]!r}; expected is tracks.csv of "
            "fma_metadata.zip, whose first two rows name group and column.",
            path,
            1,
        )
    return {name: names.index(pair) for name, pair in _FMA_COLUMNS.items()}
