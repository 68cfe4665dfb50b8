"""The tracks that a clip is compared with: an index, places on a map, and previews."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artist_features.errors import ArtistFeaturesError, SearchIndexError, display_path
from artist_features.maps.plots import Listener
from artist_features.search import Index
from artist_features.zoo import registry

INDEX, PLACES, PREVIEWS = "tracks.index", "places.npy", "previews"
HERE = Path(__file__).resolve().parent
N_NEAREST, N_ARTISTS = 10, 5
LISTEN_S = 600.0  # of a clip at most; what comes after is not decoded
MAKE_IT = (
    "Make it with `python prepare.py MANIFEST.csv data` beside app.py, or say by the environment "
    "variable SPACE_DATA where it is."
)


@dataclass(frozen=True)
class Found:
    """What is known of a clip.

    Attributes:
        heard: `SelfSimilarity`.
        tracks: list of `Match`; empty without a library.
        artists: list of `ArtistMatch`.
        place: float `(2,)` on the map, or None without a library.
    """

    heard: object
    tracks: tuple = ()
    artists: tuple = ()
    place: object = None


class Library:
    """A folder that `prepare.py` made, checked, and the model that made its vectors.

    Args:
        folder: path.

    Attributes:
        index: `Index`.
        places: float32 `(n, 2)` in [-1, 1], in the index's order.
        listener: `Listener`.

    Raises:
        ArtistFeaturesError: something is missing, damaged, or of another model.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.index = Index.load(self.folder / INDEX)
        name = self.index.made_with["model"]
        if name not in registry.bundled_names():  # an index may come from anywhere
            text = f"was made by the model {name!r}, which is not bundled; make it anew."
            raise SearchIndexError("mismatch", text, self.folder / INDEX)
        self.listener = Listener(name)
        card = self.listener.card
        self.index.check_model(card.weights_sha256, card.graph_sha256)
        # all vectors are read once: damage shows now, not at somebody's clip
        self.index.query(self.index.vector(0), k=1)
        self.places = _read_places(self.folder / PLACES, len(self.index))

    def find(self, vector):
        """Return (nearest `Match`es, `ArtistMatch`es, place) of a clip's vector."""
        tracks = self.index.query(vector, k=N_NEAREST)
        artists = self.index.query_artists(vector, k=N_ARTISTS)
        return tracks, artists, place_of(self.places[[match.row for match in tracks]])

    def preview(self, row):
        """Return the name of a track's preview, or None if it has none."""
        name = f"{row:06d}.mp3"
        return name if (self.folder / PREVIEWS / name).is_file() else None


def place_of(places):
    """Place a clip on the map: the median of its nearest tracks' places, per axis.

    Unlike a mean, it does not fall between two groups when most neighbours are in one.
    Source: openTSNE's `transform` starts there ("median"; Poličar et al., JSS 2024), and
    goes on with a descent that needs the whole fit; a demo can do without.

    Args:
        places: float `(k, 2)` of the k nearest tracks.

    Returns:
        float `(2,)`.

    Example:
        >>> place_of(np.array([[0, 0], [0.1, 0.2], [0.9, 0.8]])).tolist()
        [0.1, 0.2]
    """
    return np.median(places, axis=0)


def open_library(folder):
    """Return (`Library` or None, "" or what is wrong and what to do), never raise.

    An app that says what is missing is of more use than one that does not start.
    """
    folder = Path(folder)
    if not (folder / INDEX).exists():
        return None, f"There is no index at {display_path(folder / INDEX)}. {MAKE_IT}"
    try:
        return Library(folder), ""
    except ArtistFeaturesError as error:
        return None, f"The tracks cannot be used: {error} {MAKE_IT}"


def default_folder():
    """Return where the data lies: SPACE_DATA, or `data` beside this file."""
    return Path(os.environ.get("SPACE_DATA") or HERE / "data")


def analyse(path, library, listener):
    """Listen to a clip and find what is like it.

    Args:
        path: of the clip; decoded in a process of its own, its first `LISTEN_S` only.
        library: `Library` or None.
        listener: `Listener`, the library's if there is one.

    Returns:
        `Found`.

    Raises:
        AudioError: the clip cannot be read.
        SearchIndexError: the index was damaged meanwhile.
    """
    heard = listener.listen(path, duration=LISTEN_S, isolated=True)
    vector = heard.embeddings.mean(axis=0)
    silent = any(code == "silent" for code, _ in heard.flaws)  # has a vector, of no meaning
    if library is None or silent or not vector.any():
        return Found(heard)
    return Found(heard, *library.find(vector))


def _read_places(path, n):
    try:
        with open(path, "rb") as file:
            places = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise SearchIndexError("unavailable", "is missing.", path) from None
    except (OSError, ValueError, EOFError) as error:
        raise SearchIndexError("damaged", f"is no array of places ({error}).", path) from None
    if places.shape != (n, 2) or places.dtype.kind != "f" or not np.isfinite(places).all():
        text = (
            f"has the shape {places.shape}, the index {n:,} tracks; they belong to two libraries."
        )
        raise SearchIndexError("mismatch", text, path)
    return places
