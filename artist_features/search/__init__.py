"""Search: embeddings to neighbours, artists and playlists. NumPy; faiss to build large ones."""

from artist_features.search.index import METHODS, Index
from artist_features.search.tracks import ArtistMatch, IndexedTrack, Match

__all__ = ["METHODS", "ArtistMatch", "Index", "IndexedTrack", "Match"]
