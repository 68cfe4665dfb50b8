"""What a map says about its tracks: title, artist, group, and where they can be heard."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from artist_features.errors import ManifestError, display_path
from artist_features.extraction.remote import identity, is_uri
from artist_features.training.manifest import read_manifest

FOLDER = "folder"  # the column that needs no manifest: the folder that holds the file


@dataclass(frozen=True)
class TrackTexts:
    """Texts of the tracks of a map, each a list of `str` in the order of the paths.

    Attributes:
        titles: of the manifest, else the file's name without its ending.
        artists: of the manifest, "" if unknown.
        groups: the value that decides the colour, "" if unknown.
        n_unlisted: tracks that the manifest does not list; 0 without a manifest.
    """

    titles: list
    artists: list
    groups: list
    n_unlisted: int


def describe_tracks(paths, manifest=None, color=None, root=None):
    """Join paths with a manifest.

    Args:
        paths: list of `str`, relative ones seen from the current folder.
        manifest: path of a manifest CSV, or None.
        color: column of the manifest that decides the colour, or "folder": the name of
            the folder that holds the file. None: "artist" with a manifest, else no groups.
        root: folder of the manifest's relative files; None means its own.

    Returns:
        `TrackTexts`.

    Raises:
        ManifestError: it cannot be read, lacks the column, or lists none of the tracks.
        ValueError: a column without a manifest.
    """
    if manifest is None and color not in (None, FOLDER):
        raise ValueError(
            f"--color {color} needs --manifest, which has the column; without one, "
            f"--color {FOLDER} colours by the folder that holds the file."
        )
    known = {} if manifest is None else _by_path(manifest, root)
    color = color or (None if manifest is None else "artist")
    if known and color != FOLDER:
        _check_column(next(iter(known.values())), color, manifest)
    tracks = [known.get(_key(path)) for path in paths]
    if manifest is not None and not any(tracks):
        raise ManifestError(
            f"lists none of the {len(paths)} tracks, of which the first is "
            f"{display_path(paths[0])}; give the manifest of these files; relative ones are "
            "taken from its own folder, or from --root.",
            manifest,
        )
    titles, artists, groups = [], [], []
    for path, track in zip(paths, tracks, strict=True):
        stem = os.path.splitext(os.path.basename(path.rstrip("/")))[0]
        titles.append(_line((track and track.title) or stem))
        artists.append(_line(track.artist if track else ""))
        if color == FOLDER:
            group = os.path.basename(os.path.dirname(path if is_uri(path) else _key(path)))
        else:
            group = _column(track, color) if track else ""
        groups.append(_line(group.strip()))
    return TrackTexts(titles, artists, groups, len(tracks) - sum(map(bool, tracks)) if known else 0)


def audio_links(paths, page, base=None, root=None):
    """Return where a browser finds each track, "" where it cannot.

    Args:
        paths: list of `str`, relative ones seen from the current folder.
        page: path of the page; without `base`, links lead from its folder to the files.
        base: URL of the folder that holds the tracks, `http:`, `https:`, `file:` or
            relative; joined with their paths below `root`. Or None.
        root: folder that `base` stands for; None: the deepest that holds all tracks.

    Returns:
        list of `str`, percent-encoded. A URI that is no web address has no link.

    Raises:
        ValueError: `base` of another scheme.

    Example:
        >>> audio_links(["/music/a b.mp3"], "/music/maps/map.html")
        ['../a%20b.mp3']
    """
    if base is not None and urlsplit(base).scheme not in ("", "http", "https", "file"):
        raise ValueError(
            f"--audio-base {base!r}; allowed are http:, https: and file: URLs and relative ones."
        )
    if base is None:
        start = os.path.realpath(os.path.dirname(os.path.abspath(page)))
    elif root is not None:
        start = os.path.abspath(root)
    else:
        start = _common_folder(paths)
    prefix = "" if base is None else base.rstrip("/") + "/"
    links = []
    for path in paths:
        if is_uri(path):
            links.append(path if urlsplit(path).scheme in ("http", "https") else "")
        else:
            relative = Path(os.path.relpath(_key(path), start)).as_posix()
            links.append(prefix + quote(os.fsencode(relative)))
    return links


def short_paths(paths, root=None):
    """Return paths as a reader may see them: below a folder, not where that folder lies.

    Args:
        paths: list of `str`, absolute ones and URIs.
        root: the folder; None: the deepest that holds all tracks.

    Example:
        >>> short_paths(["/home/me/music/a/1.mp3", "/home/me/music/b/2.mp3", "s3://b/3.mp3"])
        ['a/1.mp3', 'b/2.mp3', 's3://b/3.mp3']
    """
    start = _common_folder(paths) if root is None else root
    return [path if is_uri(path) else os.path.relpath(path, start) for path in paths]


def _common_folder(paths):
    files = [_key(path) for path in paths if not is_uri(path)]
    return os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""


def _by_path(manifest, root):
    tracks = read_manifest(manifest, root)
    if not tracks:
        raise ManifestError("lists no tracks; give one that does.", manifest)
    return {_key(track.path): track for track in tracks}


def _check_column(track, color, manifest):
    names = ["artist", "title", *track.extra]
    if color not in names:
        text = f"column {color!r} is missing; --color can be {', '.join(names)} or {FOLDER}."
        raise ManifestError(text, manifest, line=1)


def _column(track, color):
    return getattr(track, color) if color in ("artist", "title") else track.extra[color]


def _key(path: str | os.PathLike) -> str:
    return identity(path)  # as the tables name a file


def _line(text):
    """Return text without what would break a line; the page escapes the rest."""
    return " ".join(os.fsencode(text).decode("utf-8", "replace").split())
