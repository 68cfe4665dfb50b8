"""Filters of search results: missing files, near-duplicates of the query and of each other."""

from collections.abc import Sequence

import numpy as np

from artist_features.extraction.remote import is_gone
from artist_features.metrics import unit_vectors
from artist_features.search.index import Index
from artist_features.search.lookup import Query
from artist_features.search.ranking import Rows

# chosen by benchmarks/scores.py, whose figures are in benchmarks/README.md: the first with lengths
# that agree, the second where one is unknown
COPY_COSINE, COPY_COSINE_ALONE = 0.97, 0.99
_SAME_LENGTH_S = 1.0


class LeftOut:
    """Search filter (`skip` of `Index.query`): missing files and near-duplicates of the query.

    A copy has a cosine of 0.97 or more to a query and its length within 1 s, or a cosine of 0.99
    where one length is unknown. A URI is never gone: it is not asked for.

    Args:
        index: `Index`.
        queries: `Query`s; rows of their own are no copies.

    Attributes:
        gone, copies: sets of rows that were left out so far.
    """

    def __init__(self, index: Index, queries: Sequence[Query]) -> None:
        self._index = index
        self._units = unit_vectors([query.vector for query in queries])
        self._durations_s = [query.track.duration_s for query in queries]
        self._own = {row for query in queries for row in query.own_rows}
        self._known: dict[int, bool] = {}
        self.gone: set[int] = set()
        self.copies: set[int] = set()

    def __call__(self, row: int) -> bool:
        if row not in self._known:
            if self.is_copy(row):
                self.copies.add(row)
            elif is_gone(self._index.track(row).path):
                self.gone.add(row)
            self._known[row] = row in self.gone or row in self.copies
        return self._known[row]

    def is_copy(self, row: int) -> bool:
        """Return whether a row is a copy of a query."""
        if row in self._own:
            return False
        cosines = self._units @ self._index.vector(row)
        duration_s = self._index.track(row).duration_s
        for cosine, length_s in zip(cosines, self._durations_s, strict=True):
            if not (length_s and duration_s):
                found = cosine >= COPY_COSINE_ALONE
            else:
                found = cosine >= COPY_COSINE and abs(length_s - duration_s) <= _SAME_LENGTH_S
            if found:
                return True
        return False


def without_copies(index: Index, rows: Rows) -> Rows:
    """Leave out the near-duplicates of earlier rows: cosine and length as for `LeftOut`.

    Tracks of unknown length are all kept.

    Args:
        index: `Index`.
        rows: int `(n,)`, at most some thousands.

    Returns:
        int `(m,)`, in the same order.
    """
    vectors = index.vectors[rows]
    units = np.empty_like(vectors)  # of those that are kept
    lengths_s = np.array([index.track(int(row)).duration_s or np.nan for row in rows])
    kept: list[int] = []
    for place in range(len(rows)):
        same_length = np.abs(lengths_s[kept] - lengths_s[place]) <= _SAME_LENGTH_S
        alike = units[: len(kept)] @ vectors[place] >= COPY_COSINE
        if not (same_length & alike).any():
            units[len(kept)] = vectors[place]
            kept.append(place)
    return rows[kept]
