"""A map of tracks: one page to look at, to search, and to listen to."""

import contextlib
import os
from pathlib import Path

import numpy as np

from artist_features.errors import display_path
from artist_features.extraction.remote import is_uri
from artist_features.files import check_new_file, write_atomically
from artist_features.optional import require
from artist_features.search import layout, map_texts
from artist_features.search.page import build_page
from artist_features.search.sources import read_embeddings
from artist_features.zoo.devices import usable_cores


def write_map(
    embeddings,
    out,
    *,
    manifest=None,
    root=None,
    color=None,
    audio_base=None,
    title=None,
    seed=0,
    force=False,
    progress=None,
    say=None,
):
    """Draw a map of tracks and write it as one self-contained HTML page.

    Tracks that sound alike to the model lie close together (t-SNE on cosine similarity;
    PCA for fewer than `layout.MIN_FOR_TSNE`). The ten neighbours that a click shows are
    those among all embeddings, not on the plane.

    Args:
        embeddings: path of a table or folder written by `artist-features extract`.
        out: path of the page, ending `.html`.
        manifest: path of a manifest CSV that gives titles, artists and more, or None.
        root: folder of its relative files; None means its own.
        color: its column that decides the colour, or "folder"; see `describe_tracks`.
        audio_base: URL of the folder that holds the tracks (the manifest's, if there is
            one); None: links lead from the page to the files.
        title: of the page; None: how many tracks there are.
        seed: the same seed gives the same map.
        force: replace an existing page.
        progress: function of (name, total) that returns a context manager, whose value
            is told how much is done since; or None.
        say: function that is told a remark as `str`, or None.

    Returns:
        The number of recordings that are left out, since they have no embedding
        or one without a direction.

    Raises:
        OutputError: the embeddings cannot be read, hold no track, or the page cannot be
            written.
        ManifestError: see `describe_tracks`.
        ValueError: an argument outside what is allowed.
        ImportError: without the extra `[map]`.

    Example:
        write_map("music.npz", "map.html", manifest="Music/manifest.csv")
    """
    out = Path(out)
    _check_output(out, force)
    if seed < 0:
        raise ValueError(f"--seed {seed}; allowed is 0 or more.")
    require("openTSNE", "a map", "map")
    found = read_embeddings([embeddings])
    paths = [track.path for track in found.tracks]
    n, model = len(paths), found.made_with.get("model")
    texts = map_texts.describe_tracks(paths, manifest, color, root)
    if manifest is not None:
        root = os.path.realpath(os.path.dirname(manifest) if root is None else root)
        if not all(is_uri(path) or Path(path).is_relative_to(root) for path in paths):
            root = None  # the manifest lies elsewhere: the deepest folder that holds all
    links = map_texts.audio_links(paths, out, audio_base, root)
    for path in found.no_direction if say else ():
        say(f"{display_path(path)}: left out, its vector is all zeros or not finite")
    if say and texts.n_unlisted:
        say(f"{texts.n_unlisted} of {n} tracks are not in {display_path(manifest)}: grey")
    if say and not any(texts.groups):
        say("no groups to colour by: give --manifest, or --color folder")
    indices, similarities, places, method = _lay_out(found.vectors, seed, progress)
    facts = {
        "title": title or (f"{n:,} tracks by sound" if n != 1 else "1 track"),
        "about": [f"model {model}" if model else "", f"laid out by {method}"],
        "color": color or ("artist" if manifest is not None else ""),
    }
    facts["about"] = [display_path(text) for text in facts["about"] if text]
    columns = {
        "path": list(map(display_path, map_texts.short_paths(paths, root))),
        "title": texts.titles,
        "artist": texts.artists,
        "group": texts.groups,
        "link": links,
    }
    shown = layout.N_NEIGHBOURS
    page = build_page(places, indices[:, :shown], similarities[:, :shown], columns, facts)
    write_atomically(out, page.encode())
    return found.n_failed + len(found.no_direction)


def _lay_out(vectors, seed, progress):
    """Return (indices, similarities, places, method), telling how far it is."""
    n = len(vectors)
    if n == 1:
        none = np.zeros((1, 0))
        return none, none, np.zeros((1, 2), np.float32), "hand: a single track"
    progress = progress or (lambda *_: contextlib.nullcontext())
    with progress("neighbours", n) as tell:
        indices, similarities = layout.nearest(vectors, layout.tsne_neighbours(n), tell)
    with progress("layout", layout.N_EARLY + layout.N_LATE) as tell:
        # threads of t-SNE wait for each other: worth it only where there is much to do
        n_jobs = usable_cores() if n >= layout.FFT_FROM else 1
        places, method = layout.place(
            vectors, indices, similarities, seed=seed, n_jobs=n_jobs, progress=tell
        )
    return indices, similarities, places, method


def _check_output(out, force):
    """Refuse before anything is computed what could not be written afterwards."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"-o {display_path(out)}: ending {out.suffix!r}; allowed is .html.")
    check_new_file(out, force)
