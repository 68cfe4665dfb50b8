"""A map of tracks: one HTML page to look at, to search, and to listen to."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from artist_features.devices import usable_cores
from artist_features.errors import AnyPath, ManifestError, display_path
from artist_features.extraction.remote import identity, is_uri
from artist_features.files import check_new_file, write_atomically
from artist_features.maps import layout
from artist_features.maps.page import build_page
from artist_features.optional import require
from artist_features.progress import progress_bar
from artist_features.search.embedding_tables import join_manifest, read_embeddings
from artist_features.search.ranking import Floats, Rows, neighbours
from artist_features.search.tracks import IndexedTrack

FOLDER = "folder"  # the "column" that needs no manifest: the folder that holds the file
_logger = logging.getLogger(__name__)


def write_map(
    embeddings: str | Path,
    out: str | Path,
    *,
    manifest: str | Path | None = None,
    root: str | Path | None = None,
    color: str | None = None,
    audio_base: str | None = None,
    title: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> int:
    """Draw a map of tracks and write it as one self-contained HTML page.

    Tracks that sound alike to the model lie close together (t-SNE on cosine similarity;
    PCA for fewer than `layout.MIN_FOR_TSNE`). The ten neighbours that a click shows are
    those among all embeddings, not on the plane.

    Args:
        embeddings: path of a table or folder written by `artist-features extract`.
        out: path of the page, ending `.html`.
        manifest: path of a manifest CSV that gives titles, artists and more, or None.
        root: folder of its relative files; None means its own.
        color: its column that decides the colour, or "folder": the folder that holds the
            file. None: "artist" with a manifest, else no colours.
        audio_base: URL of the folder that holds the tracks (the manifest's, if there is
            one); None: links lead from the page to the files.
        title: of the page; None: how many tracks there are.
        seed: the same seed gives the same map.
        force: replace an existing page.
        progress: show bars on standard error, if that is a terminal.

    Returns:
        The number of recordings that are left out, since they have no embedding
        or one without a direction.

    Raises:
        OutputError: the embeddings cannot be read, hold no track, or the page cannot be
            written.
        ManifestError: it cannot be read, lacks the column, or lists none of the tracks.
        ValueError: an argument outside what is allowed.
        ImportError: without the extra `[map]`.

    Example:
        write_map("music.npz", "map.html", manifest="Music/manifest.csv")
    """
    out = Path(out)
    _check_options(out, manifest, color, audio_base, seed)
    check_new_file(out, force)
    found = read_embeddings([embeddings])
    require("openTSNE", "a map", "map")
    tracks, n, model = found.tracks, len(found.tracks), found.made_with.get("model")
    for path in found.no_direction:
        _logger.info("%s: left out, its vector is all zeros or not finite", display_path(path))
    if manifest is not None:
        color = color or "artist"
        tracks, n_listed = join_manifest(tracks, manifest, root)
        if n_listed < n:
            text = "%d of %d tracks are not in %s: grey"
            _logger.info(text, n - n_listed, n, display_path(manifest))
    groups = colour_groups(tracks, color, manifest)
    if not any(groups):
        _logger.info("no groups to colour by: give --manifest, or --color folder")
    paths = [track.path for track in tracks]
    folder = _folder(paths, manifest, root)
    columns = {
        "path": short_paths(paths, folder),
        "title": titles(tracks),
        "artist": [_line(track.artist) for track in tracks],
        "group": groups,
        "link": audio_links(paths, out, audio_base, folder),
    }
    indices, similarities, places, method = _lay_out(found.vectors, seed, progress)
    page = build_page(
        places,
        indices[:, : layout.N_NEIGHBOURS],
        similarities[:, : layout.N_NEIGHBOURS],
        columns,
        title=title or (f"{n:,} tracks by sound" if n != 1 else "1 track"),
        about=[display_path(f"model {model}"), f"laid out by {method}"][0 if model else 1 :],
        color=color or "",
    )
    write_atomically(out, page.encode())
    return found.n_failed + len(found.no_direction)


def _check_options(
    out: Path, manifest: str | Path | None, color: str | None, audio_base: str | None, seed: int
) -> None:
    """Refuse wrong arguments before anything is read."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"-o {display_path(out)}: ending {out.suffix!r}; allowed is .html.")
    if seed < 0:
        raise ValueError(f"--seed {seed}; allowed is 0 or more.")
    if manifest is None and color not in (None, FOLDER):
        raise ValueError(
            f"--color {color} needs --manifest, which has the column; without one, "
            f"--color {FOLDER} colours by the folder that holds the file."
        )
    if audio_base is not None and urlsplit(audio_base).scheme not in ("", "http", "https", "file"):
        raise ValueError(
            f"--audio-base {audio_base!r}; allowed are http:, https: and file: URLs and relative "
            "ones."
        )


def _folder(paths: list[str], manifest: str | Path | None, root: str | Path | None) -> str:
    """Return the folder below which tracks are named: the manifest's, if it holds them all."""
    if manifest is not None:
        folder = os.path.realpath(os.path.dirname(manifest) if root is None else root)
        if all(is_uri(path) or Path(path).is_relative_to(folder) for path in paths):
            return folder
    return common_folder(paths)


def _lay_out(vectors: Floats, seed: int, progress: bool) -> tuple[Rows, Floats, Floats, str]:
    """Return (neighbours' rows, their cosines, places, name of the method)."""
    n = len(vectors)
    if n == 1:
        place = np.zeros((1, 2), np.float32)
        return np.zeros((1, 0), np.int64), place[:, :0], place, "hand: a single track"
    with _bar("neighbours", n, progress) as bar:
        rows, similarities = neighbours(vectors, layout.tsne_neighbours(n), bar.update)
    with _bar("layout", layout.N_EARLY + layout.N_LATE, progress) as bar:
        # threads of t-SNE wait for each other: worth it only where there is much to do
        n_jobs = usable_cores() if n >= layout.FFT_FROM else 1
        places, method = layout.place(
            vectors, rows, similarities, seed=seed, n_jobs=n_jobs, progress=bar.update
        )
    return rows, similarities, places, method


def _bar(name: str, total: int, progress: bool) -> Any:
    return progress_bar(None, name, total, unit="it", shown=progress)


def titles(tracks: Iterable[IndexedTrack]) -> list[str]:
    """Return titles, the name of the file without its ending where there is none."""
    return [_line(track.title or Path(track.path.rstrip("/")).stem) for track in tracks]


def colour_groups(
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
