"""A map of tracks: one HTML page to look at, to search, and to listen to."""

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from artist_features.devices import usable_cores
from artist_features.errors import display_path
from artist_features.extraction.remote import is_uri
from artist_features.files import check_new_file, write_atomically
from artist_features.maps import layout, texts
from artist_features.maps.page import build_page
from artist_features.optional import require
from artist_features.progress import progress_bar
from artist_features.search.embedding_tables import join_manifest, read_embeddings
from artist_features.search.ranking import Floats, Rows, neighbours

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
    groups = texts.groups(tracks, color, manifest)
    if not any(groups):
        _logger.info("no groups to colour by: give --manifest, or --color folder")
    paths = [track.path for track in tracks]
    folder = _folder(paths, manifest, root)
    columns = {
        "path": texts.short_paths(paths, folder),
        "title": texts.titles(tracks),
        "artist": texts.artists(tracks),
        "group": groups,
        "link": texts.audio_links(paths, out, audio_base, folder),
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
    if manifest is None and color not in (None, texts.FOLDER):
        raise ValueError(
            f"--color {color} needs --manifest, which has the column; without one, "
            f"--color {texts.FOLDER} colours by the folder that holds the file."
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
    return texts.common_folder(paths)


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
