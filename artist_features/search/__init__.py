"""Embeddings to neighbours, artists, playlists and pictures."""

from artist_features.search.index import Index
from artist_features.search.tracks import ArtistMatch, IndexedTrack, Match

__all__ = ["ArtistMatch", "Index", "IndexedTrack", "Match"]
