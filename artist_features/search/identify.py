"""Verdict on the most similar artist: likely the one, or only the closest."""

from collections.abc import Sequence

from artist_features.search.index import ArtistMatch

# calibrated by benchmarks/scores.py on the open corpora: of 762 queries by artists of the index 10
# pass both, 9 of them rightly, and of 899 by others 3; at 0.06 they are 18, 11 and 14
MARGIN = 0.08
MIN_TRACKS = 3


def is_identified(matches: Sequence[ArtistMatch], n_tracks: int) -> bool:
    """Return whether the first artist is likely that of the query.

    It is if it has `MIN_TRACKS` tracks or more, and is more similar than the second by `MARGIN`;
    an index of one artist identifies nobody.

    Args:
        matches: of `Index.query_artists` with k of 2 or more.
        n_tracks: tracks of the first artist, copies counted once.
    """
    if len(matches) < 2:
        return False
    margin = matches[0].similarity - matches[1].similarity
    return n_tracks >= MIN_TRACKS and margin >= MARGIN
