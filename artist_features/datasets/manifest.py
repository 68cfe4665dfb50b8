"""Manifests, the CSV files that list tracks and their artists, and folders of classes."""

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from artist_features.audio.folders import search_folder
from artist_features.datasets.names import artist_groups
from artist_features.datasets.tracks import Collection, Track
from artist_features.errors import AudioError, ManifestError, display_path, shortened
from artist_features.files import write_atomically

_REQUIRED = ("file", "artist", "title")


def read_manifest(path: str | Path, root: str | Path | None = None) -> list[Track]:
    """Read a manifest CSV (UTF-8, header first: file, artist, title, then any).

    Files need not exist. Relative ones are taken from the root, and stay inside.

    Args:
        path: of the CSV. A byte-order mark, CRLF and blank lines are accepted.
        root: folder of relative files; None means the manifest's own.

    Returns:
        list of `Track`, in the file's order.

    Raises:
        ManifestError: with the line number: unreadable, not UTF-8, a column or a field
            is missing, a relative path leads out of the folder, or a file is listed twice.
    """
    return parse_manifest(read_bytes(path), path, root)


def parse_manifest(data: bytes, path: str | Path, root: str | Path | None = None) -> list[Track]:
    """Parse the bytes of a manifest CSV; see `read_manifest`."""
    folder = Path(path).parent if root is None else Path(root)
    rows = _rows(_decoded(data, path), path)
    line, header = next(rows, (1, []))
    if twice := [name for name in header if header.count(name) > 1]:
        raise ManifestError(
            f"column {twice[0]!r} appears twice; give each column its own name.", path, line
        )
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        mark = next((m for m in ";\t" if len(header) == 1 and m in header[0]), "")
        hint = f" Its columns are separated by {mark!r}; commas are needed." if mark else ""
        raise ManifestError(
            f"column {missing[0]!r} is missing; the header is {shortened(str(header))}, needed are "
            f"{', '.join(_REQUIRED)}.{hint}",
            path,
            line,
        )
    tracks: list[Track] = []
    first_line: dict[str, int] = {}
    for line, row in rows:
        if len(row) != len(header):
            raise ManifestError(
                f"{len(row)} fields, the header has {len(header)}; quote fields with commas.",
                path,
                line,
            )
        record = dict(zip(header, row, strict=True))
        file = _inside(record.pop("file"), path, line)
        whole = os.path.abspath(folder / file)
        if whole in first_line:
            raise ManifestError(
                f"file {file!s} is already on line {first_line[whole]}; list each track once.",
                path,
                line,
            )
        first_line[whole] = line
        artist, title = record.pop("artist").strip(), record.pop("title").strip()
        tracks.append(Track(folder / file, artist, title, record, line))
    return tracks


def require_files(path: str | Path, tracks: Sequence[Track]) -> None:
    """Check that every file of a manifest exists.

    Args:
        path: of the manifest, for messages.
        tracks: list of `Track`.

    Raises:
        ManifestError: names the first missing file with its line, and how many there are.
    """
    missing = [track for track in tracks if not os.path.isfile(track.path)]
    if missing:
        raise ManifestError(
            f"file {file_name(missing[0], path)} is missing, {len(missing)} of {len(tracks)} files "
            "are; relative paths are taken from the manifest's folder, or from --root. Bring the "
            "files back, or remove their rows.",
            path,
            missing[0].line,
        )


def file_name(track: Track, path: str | Path) -> str:
    """Return a track's file as the manifest names it, printable."""
    try:
        return display_path(track.path.relative_to(Path(path).parent))
    except ValueError:
        return display_path(track.path)


def write_manifest(path: str | Path, tracks: Sequence[Track]) -> None:
    """Write a manifest that `read_manifest` reads back, or nothing at all.

    Args:
        path: of the CSV, replaced if it exists. Tracks that its folder does not hold are named
            by absolute paths.
        tracks: list of `Track`. A further column that a track lacks is left blank.

    Raises:
        ManifestError: a file is listed twice, or has a name that is not UTF-8.
        OutputError: `no_space` or `not_writable`; nothing is left behind.
    """
    path = Path(path)
    columns = list(dict.fromkeys(name for track in tracks for name in track.extra))
    lines = [_csv_line([*_REQUIRED, *columns])]
    first_row: dict[str, int] = {}
    for row, track in enumerate(tracks, start=1):
        file = _named(track.path, path)
        if file in first_row:
            raise ManifestError(
                f"track {row}: file {file!r} is track {first_row[file]} already; list each "
                "track once.",
                path,
            )
        first_row[file] = row
        extra = [track.extra.get(name, "") for name in columns]
        lines.append(_csv_line([file, track.artist, track.title, *extra]))
    write_atomically(path, "".join(lines).encode("utf-8", "backslashreplace"))


def _csv_line(fields: Sequence[str]) -> str:
    """Return one row that ends in a line feed; a carriage return inside is quoted too."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(fields)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _named(file: Path, path: Path) -> str:
    """Return a track's file as the manifest at `path` names it: relative where it is below."""
    folder, whole = os.path.abspath(path.parent), Path(os.path.abspath(file))
    try:
        name = (whole.relative_to(folder) if whole.is_relative_to(folder) else whole).as_posix()
        name.encode()
    except UnicodeEncodeError:
        text = f"file {display_path(file)} has a name that is not UTF-8; rename it."
        raise ManifestError(text, path) from None
    return name


def _rows(text: str, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of each row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield reader.line_num, row
    except csv.Error as error:
        text = f"not valid CSV ({error}); look for a quotation mark without its pair."
        raise ManifestError(text, path, reader.line_num) from None


def _inside(name: str, path: str | Path, line: int) -> PurePosixPath:
    file = PurePosixPath(name)
    if not file.parts or "\0" in name:
        raise ManifestError(f"file is {name!r}; a path is needed.", path, line)
    if not file.is_absolute() and ".." in file.parts:
        raise ManifestError(
            f"file {name!r} leads out of the manifest's folder; relative paths must stay inside. "
            "Give an absolute one.",
            path,
            line,
        )
    return file


def read_bytes(path: str | Path) -> bytes:
    """Read a manifest's bytes.

    Raises:
        ManifestError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except IsADirectoryError:
        raise ManifestError(
            "is a folder; a manifest is needed, which "
            "`artist-features manifest FOLDER -o FOLDER/manifest.csv` writes.",
            path,
        ) from None
    except OSError as error:
        raise ManifestError(f"cannot be read ({error.strerror}).", path) from None


def _decoded(data: bytes, path: str | Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ManifestError(
            f"byte {error.object[error.start]:#x} is not UTF-8; save the file as UTF-8.", path, line
        ) from None


def read_labelled(
    path: str | Path, column: str = "genre", root: str | Path | None = None
) -> Collection:
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


def _read_csv(path: str | Path, column: str, root: str | Path | None) -> Collection:
    if column in ("artist", "file"):
        raise ValueError(
            f"label column {column!r}: folds keep every artist whole, so {column}s cannot be "
            "classes; for artists use `artist-features evaluate artists`."
        )
    data = read_bytes(path)
    rows = parse_manifest(data, path, root)
    if column != "title" and not all(column in track.extra for track in rows):
        columns = ", ".join(["title", *rows[0].extra])
        raise ManifestError(
            f"column {column!r} is missing; there are {columns}. Name one with --label.", path, 1
        )
    fields = [(t.path, t.title if column == "title" else t.extra[column].strip()) for t in rows]
    labels = {file: label for file, label in fields if label}
    tracks = [track for track in rows if track.path in labels]
    first_name = artist_groups(tracks)
    named = [Track(t.path, first_name.get(t.artist, ""), t.title, t.extra, t.line) for t in tracks]
    n_blank = len(rows) - len(tracks)
    ignored = [f"{n_blank} rows whose column {column!r} is blank"] if n_blank else []
    return Collection(named, labels, ignored=ignored, sha256=hashlib.sha256(data).hexdigest())


def _read_folder(folder: Path) -> Collection:
    collection, n_loose = Collection([], {}), 0
    for found in search_folder(os.fspath(folder)):
        if isinstance(found, AudioError):
            collection.unreadable.append((str(found.path), f"{found.code}: {found.message}"))
        elif Path(found).parent == folder:
            n_loose += 1
        else:
            track = Track(Path(found), "", Path(found).stem)
            collection.tracks.append(track)
            collection.labels[track.path] = track.path.relative_to(folder).parts[0]
    if not collection.tracks:
        raise ManifestError(
            "no recording in a sub-folder; expected is one sub-folder for each class, as "
            f"{display_path(folder / 'rock' / 'song.mp3')}, or a manifest CSV.",
            folder,
        )
    if n_loose:
        text = f"{n_loose} recordings beside the sub-folders, which have no class"
        collection.ignored.append(text)
    return collection
