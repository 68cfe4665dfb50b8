"""Search by sound: an index of embeddings, nearest tracks and artists, playlists.

In go tables that `extract` wrote (`embedding_tables`), or vectors and `IndexedTrack`s; an `Index`
is kept in one file (`storage`), and a recording is asked for by `lookup.find_query`. Out come
`Match`es and `ArtistMatch`es in an exact order (`ranking`), playlists, duplicates, or answers to
players over HTTP (`server`).
"""

from artist_features.search.index import ArtistMatch, Index, Match
from artist_features.search.tracks import IndexedTrack

__all__ = ["ArtistMatch", "Index", "IndexedTrack", "Match"]
