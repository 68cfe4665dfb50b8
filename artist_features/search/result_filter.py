"""Filter of search results: missing files, near-duplicates of the query and of each other."""

from collections.abc import Sequence

import numpy as np

from artist_features.extraction.remote import is_gone
from artist_features.metrics import unit_vectors
from artist_features.search.index import Index
from artist_features.search.lookup import Query
from artist_features.search.ranking import Floats

# Chosen by benchmarks/duplicates.py, whose figures are in benchmarks/README.md: the least whitened
# cosine of a copy, that where a length is unknown, and the least cosine of the vectors themselves
COPY_COSINE, COPY_COSINE_ALONE, LEAST_PLAIN_COSINE = 0.8, 0.9, 0.92
LENGTHS_APART_S = 11.5  # most: a copy may begin or end elsewhere
_MOST_HELD = 4000  # rows, 8 MB: more would make long lists slow


class ResultFilter:
    """Search filter (`skip` of `Index.query`): missing files and near-duplicates.

    A copy has a cosine of 0.92, whitened (`Index.whitened`) 0.8, or more and its length within
    11.5 s; where one length is unknown, 0.9 whitened: to a query, or to a row that the filter was
    asked for before. So of copies of each other the first that is asked for stays; rows after the
    first thousands are compared with those alone. A URI is never gone: it is not asked for.

    Args:
        index: `Index`.
        queries: `Query`s; rows of their own are no copies.
        files: look whether files are gone.

    Attributes:
        gone, copies: sets of rows that were left out so far.
    """

    def __init__(self, index: Index, queries: Sequence[Query], *, files: bool = True) -> None:
        self._index, self._files = index, files
        self._own = {row for query in queries for row in query.own_rows}
        self._known: dict[int, bool] = {}
        self._held = np.empty((max(16, len(queries)), 2, index.dim), np.float32)
        self._lengths_s = np.empty(len(self._held))
        self._n = (
            0  # vectors that are held there, plain and whitened: of queries, and of earlier rows
        )
        for query in queries:
            self._hold(self._both(unit_vectors([query.vector])), query.track.duration_s)
        self.gone: set[int] = set()
        self.copies: set[int] = set()

    def __call__(self, row: int) -> bool:
        if row not in self._known:
            units = self._both(self._index.vectors[row : row + 1])
            length_s = self._index.duration_s(row)
            if self._is_copy(row, units, length_s):
                self.copies.add(row)
            elif self._files and is_gone(self._index.track(row).path):
                self.gone.add(row)
            # a copy of unknown length says nothing of other lengths
            known = row not in self.gone and (length_s or row not in self.copies)
            if known and self._n < _MOST_HELD:
                self._hold(units, length_s)
            self._known[row] = row in self.gone or row in self.copies
        return self._known[row]

    def _both(self, units: Floats) -> Floats:
        """Return one vector plain and whitened, `(2, dim)`."""
        return np.concatenate([units, self._index.whitened(units)])

    def _is_copy(self, row: int, units: Floats, length_s: float) -> bool:
        """Return whether a row is a copy of a query, or of an earlier row."""
        if row in self._own:
            return False
        near = np.flatnonzero(self._held[: self._n, 0] @ units[0] >= LEAST_PLAIN_COSINE)
        return any(
            _are_copies(float(self._held[place, 1] @ units[1]), length_s, self._lengths_s[place])
            for place in near.tolist()
        )

    def _hold(self, units: Floats, length_s: float) -> None:
        if self._n == len(self._held):
            self._held = np.concatenate([self._held, np.empty_like(self._held)])
            self._lengths_s = np.concatenate([self._lengths_s, np.empty_like(self._lengths_s)])
        self._held[self._n], self._lengths_s[self._n] = units, length_s
        self._n += 1


def _are_copies(cosine: float, first_s: float, second_s: float) -> bool:
    """Decide by a whitened cosine and two lengths in seconds, 0 if unknown."""
    if not (first_s and second_s):
        return cosine >= COPY_COSINE_ALONE
    return cosine >= COPY_COSINE and abs(first_s - second_s) <= LENGTHS_APART_S
