"""Tracks from a folder of tagged audio files: artist and title from the tags."""

import os
import stat
import struct
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from artist_features.audio.containers import identify
from artist_features.audio.folders import search_folder
from artist_features.datasets.tracks import Track
from artist_features.errors import AudioError
from artist_features.optional import require
from artist_features.progress import progress_bar

# field: its names in Vorbis comments, APE and MP4 (as mutagen spells them), ID3, and ASF
_TAGS = {
    "artist": ("artist", "TPE1", "Author"),
    "title": ("title", "TIT2", "Title"),
    "album": ("album", "TALB", "WM/AlbumTitle"),
    "musicbrainz_artistid": (
        "musicbrainz_artistid",
        "TXXX:MusicBrainz Artist Id",
        "MusicBrainz/Artist Id",
    ),
}
_MAX_LETTERS = 1000  # a longer text is no name; CSV readers stop at 131 072
# what mutagen's parsers let through on damaged files, besides its own error
_PARSER_ERRORS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, struct.error)


def scan_folder(folder: str | Path) -> tuple[list[Track], list[AudioError]]:
    """List the audio files under a folder with what their tags say.

    Of several artists of one track the first is taken. A file without a title is called by
    its file name, and one without artist, or in a format without tags, stays unlabelled.

    Args:
        folder: searched with its subfolders, links followed.

    Returns:
        (tracks, problems): list of `Track`, sorted by folder and name, with columns `album`
        and `musicbrainz_artistid` ("" where not tagged); list of `AudioError`, one for each
        file or folder that is left out, which is damaged or may not be read.

    Raises:
        ImportError: mutagen, the extra `[tags]`, is not installed.
    """
    mutagen = require("mutagen", "reading tags", "tags", ", or write the manifest by hand")
    tracks: list[Track] = []
    problems: list[AudioError] = []
    for found in progress_bar(search_folder(os.fsdecode(folder)), "tags", unit="file"):
        try:
            if isinstance(found, AudioError):
                raise found
            if not _is_utf8(found):
                text = "the file name is not UTF-8, which a manifest is; rename the file."
                raise AudioError("unsupported", text, found)
            tags = read_tags(found, mutagen)
        except AudioError as error:
            problems.append(error)
            continue
        artist, title = tags.pop("artist"), tags.pop("title")
        tracks.append(Track(Path(found), artist, title or Path(found).stem, tags))
    return tracks, problems


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_tags(path: str, mutagen: ModuleType) -> dict[str, str]:
    """Return {"artist", "title", "album", "musicbrainz_artistid": text, "" if not tagged}.

    Raises:
        AudioError: the file cannot be read, or its tags are damaged.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a named pipe would be waited for
            raise AudioError("not_a_file", "is not a regular file; remove it.", path)
        if not status.st_size:
            raise AudioError("empty", "0 bytes; the file was never written. Copy it again.", path)
        with open(path, "rb") as file:
            kind = identify(file.fileno(), status.st_size, path).kind
            tagged = _parse(file, path, kind, mutagen)
    except OSError as error:
        code = "no_permission" if isinstance(error, PermissionError) else "not_found"
        text = f"cannot be read ({error.strerror}); check its mode and path."
        raise AudioError(code, text, path) from None
    tags = {} if tagged is None or tagged.tags is None else tagged.tags
    return {name: _first_text(tags, keys) for name, keys in _TAGS.items()}


def _parse(file: BinaryIO, path: str, kind: str, mutagen: ModuleType) -> Any:
    try:
        tagged = mutagen.File(file, easy=True)
    except (mutagen.MutagenError, *_PARSER_ERRORS) as error:
        text = f"its tags cannot be read ({error}); write the file anew."
        raise AudioError("damaged", text, path) from None
    if tagged is None and kind == "unknown":
        text = "its bytes are of no known audio format; an audio file is needed."
        raise AudioError("unsupported", text, path)
    return tagged


def _first_text(tags: Any, keys: tuple[str, ...]) -> str:
    """Return the first text that the tags hold under one of the keys, on one line."""
    for key in keys:
        try:
            values = tags[key]
        except (KeyError, ValueError):  # ValueError: no possible key in this format
            continue
        for value in getattr(values, "text", values):
            text = " ".join(str(value).replace("\0", " ").split())
            if text:
                return text[:_MAX_LETTERS]
    return ""
