"""Titles, artists, colour groups, short paths and links of the tracks on a map."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from artist_features.errors import AnyPath, ManifestError, display_path
from artist_features.extraction.remote import identity, is_uri
from artist_features.search.storage import IndexedTrack

FOLDER = "folder"  # the "column" that needs no manifest: the folder that holds the file


def titles(tracks: Iterable[IndexedTrack]) -> list[str]:
    """Return titles, the name of the file without its ending where there is none."""
    return [_line(track.title or Path(track.path.rstrip("/")).stem) for track in tracks]


def artists(tracks: Iterable[IndexedTrack]) -> list[str]:
    """Return names of artists, "" if unknown."""
    return [_line(track.artist) for track in tracks]


def groups(
    tracks: Sequence[IndexedTrack], color: str | None, manifest: str | Path | None = None
) -> list[str]:
    """Return the text by which each track gets its colour, "" if unknown.

    Args:
        tracks: list of `IndexedTrack`, named by the manifest.
        color: column of the manifest, or "folder": the name of the folder that holds the
            file. None: no groups.
        manifest: path of the manifest, for messages.

    Raises:
        ManifestError: it has no such column.
    """
    if color is None:
        return [""] * len(tracks)
    if color == FOLDER:
        folders = (os.path.dirname(identity(track.path)) for track in tracks)
        return [_line(os.path.basename(folder).strip()) for folder in folders]
    if color in ("artist", "title"):
        return [_line(getattr(track, color).strip()) for track in tracks]
    names = dict.fromkeys(name for track in tracks for name in track.extra)
    if color not in names:
        allowed = ", ".join(["artist", "title", *names])
        text = f"column {color!r} is missing; --color can be {allowed} or {FOLDER}."
        raise ManifestError(text, manifest or "", line=1)
    return [_line(track.extra.get(color, "").strip()) for track in tracks]


def short_paths(paths: Iterable[str], folder: str) -> list[str]:
    """Return paths as a reader may see them: below a folder, not where that folder lies.

    Args:
        paths: absolute ones and URIs.
        folder: absolute.

    Example:
        >>> short_paths(["/home/me/music/a/1.mp3", "s3://b/3.mp3"], "/home/me/music")
        ['a/1.mp3', 's3://b/3.mp3']
    """
    shown = (path if is_uri(path) else os.path.relpath(path, folder) for path in paths)
    return [display_path(path) for path in shown]


def audio_links(paths: Iterable[str], page: AnyPath, base: str | None, folder: str) -> list[str]:
    """Return where a browser finds each track, "" where it cannot.

    Args:
        paths: relative ones seen from the current folder.
        page: path of the page; without `base`, links lead from its folder to the files.
        base: URL of the folder that holds the tracks, `http:`, `https:`, `file:` or
            relative, or None.
        folder: for which `base` stands.

    Returns:
        list of `str`, percent-encoded. A URI that is no web address has no link.

    Example:
        >>> audio_links(["/music/a b.mp3"], "/music/maps/map.html", None, "/music")
        ['../a%20b.mp3']
    """
    start, prefix = os.path.abspath(folder), ""
    if base is None:
        start = os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(page))))
    else:
        prefix = base.rstrip("/") + "/"
    links = []
    for path in paths:
        if is_uri(path):
            links.append(path if urlsplit(path).scheme in ("http", "https") else "")
        else:
            relative = Path(os.path.relpath(identity(path), start)).as_posix()
            links.append(prefix + quote(os.fsencode(relative)))
    return links


def common_folder(paths: Iterable[str]) -> str:
    """Return the deepest folder that holds all paths which are no URIs."""
    folders = [os.path.dirname(identity(path)) for path in paths if not is_uri(path)]
    return os.path.commonpath(folders) if folders else ""


def _line(text: str) -> str:
    """Return text on one line, valid UTF-8; the page escapes markup."""
    return " ".join(os.fsencode(text).decode("utf-8", "replace").split())
