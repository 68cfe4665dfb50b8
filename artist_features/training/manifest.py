"""Read a manifest: the CSV that lists a data set's tracks and their artists."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from artist_features.errors import ManifestError

_REQUIRED = ("file", "artist", "title")


@dataclass(frozen=True)
class Track:
    """One row of a manifest.

    Attributes:
        path: of the audio file, inside the manifest's folder.
        artist: artist name, or "" for an unlabelled track.
        title: of the track.
        extra: any further columns, as text.
    """

    path: Path
    artist: str
    title: str
    extra: dict = field(default_factory=dict)


def read_manifest(path):
    """Read a manifest CSV (UTF-8, header first: file, artist, title, then any).

    Files need not exist; they must lie inside the manifest's folder.

    Args:
        path: of the CSV. A byte-order mark, CRLF and blank lines are accepted.

    Returns:
        list of `Track`, in the file's order.

    Raises:
        ManifestError: with the line number: unreadable, not UTF-8, a column or a field
            is missing, a path leads out of the folder, or a file is listed twice.
    """
    text = _read_text(path)
    rows = _rows(text, path)
    _, header = next(rows, (1, []))
    if twice := [name for name in header if header.count(name) > 1]:
        raise ManifestError(
            f"column {twice[0]!r} appears twice; give each column its own name.", path, line=1
        )
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        raise ManifestError(
            f"column {missing[0]!r} is missing; the header is {header}, needed are "
            f"{', '.join(_REQUIRED)}.",
            path,
            line=1,
        )
    tracks, first_line = [], {}
    for line, row in rows:
        if not any(field.strip() for field in row):
            continue
        if len(row) != len(header):
            raise ManifestError(
                f"{len(row)} fields, the header has {len(header)}; quote fields with commas.",
                path,
                line,
            )
        record = dict(zip(header, row, strict=True))
        file = _inside(record.pop("file"), path, line)
        if file in first_line:
            raise ManifestError(
                f"file {file!s} is already on line {first_line[file]}; list each track once.",
                path,
                line,
            )
        first_line[file] = line
        artist, title = record.pop("artist").strip(), record.pop("title").strip()
        tracks.append(Track(Path(path).parent / file, artist, title, record))
    return tracks


def _rows(text, path):
    """Yield (line number, fields) of each row."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            text = f"not valid CSV ({error}); look for a quotation mark without its pair."
            raise ManifestError(text, path, reader.line_num) from None
        if row is None:
            return
        yield reader.line_num, row


def _inside(name, path, line):
    file = PurePosixPath(name)
    if not file.parts or "\0" in name:
        raise ManifestError(f"file is {name!r}; a relative path is needed.", path, line)
    if file.is_absolute() or ".." in file.parts:
        raise ManifestError(
            f"file {name!r} leads out of the manifest's folder; paths must be relative to it "
            "and stay inside.",
            path,
            line,
        )
    return file


def _read_text(path):
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"cannot be read ({error.strerror}).", path) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ManifestError(
            f"byte {error.object[error.start]:#x} is not UTF-8; save the file as UTF-8.", path, line
        ) from None
