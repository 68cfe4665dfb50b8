"""Embeddings to neighbours, artists, playlists and pictures. NumPy; faiss to build large ones."""

from artist_features.search.index import METHODS, Index
from artist_features.search.tracks import ArtistMatch, IndexedTrack, Match

__all__ = ["METHODS", "ArtistMatch", "Index", "IndexedTrack", "Match"]
