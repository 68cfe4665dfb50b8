"""Filter of search results: missing files, near-duplicates of the query and of each other."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from artist_features.extraction.remote import is_gone
from artist_features.metrics import unit_vectors
from artist_features.search.index import Index
from artist_features.search.lookup import Query
from artist_features.search.ranking import Floats

# Chosen by benchmarks/duplicates.py and scores.py, whose figures are in benchmarks/README.md: least
# cosine and least whitened cosine of a copy, either of which is enough, and those where a length is
# unknown; least cosine that has to be there in any case
COPY_COSINES, COPY_COSINES_ALONE, LEAST_COSINE = (0.985, 0.8), (0.99, 0.95), 0.92
LENGTHS_APART_S = 11.5  # most: a copy may begin or end elsewhere
_MOST_HELD = 4000  # rows, 8 MB: more would make long lists slow


class ResultFilter:
    """Search filter (`skip` of `Index.query`): missing files and near-duplicates.

    A copy of a query, or of a row that the filter was asked for before, has a length within 11.5 s,
    and a cosine of 0.985 or more, or of 0.92 and a whitened one (`Index.whitened`) of 0.8. Where
    one length is unknown, these are 0.99 and 0.95. So of copies of each other the first that is
    asked for stays; rows after the first thousands are compared with those alone. A URI is never
    gone: it is not asked for.

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
        # vectors of queries and of earlier rows, the first `_n` of each array; untouched rows of
        # an empty array take no memory
        self._n = 0
        self._units = np.empty((max(_MOST_HELD, len(queries)), index.dim), np.float32)
        self._whitened = np.empty_like(self._units)
        self._lengths_s = np.empty(len(self._units))
        for query in queries:
            unit = unit_vectors([query.vector])[0].astype(np.float32)
            self._hold(unit, self._whiten(unit), query.track.duration_s)
        self.gone: set[int] = set()
        self.copies: set[int] = set()

    def __call__(self, row: int) -> bool:
        if row not in self._known:
            unit = self._index.vector(row)
            white = self._whiten(unit)
            length_s = self._index.duration_s(row)
            if self._is_copy(row, unit, white, length_s):
                self.copies.add(row)
            elif self._files and is_gone(self._index.track(row).path):
                self.gone.add(row)
            # a copy of unknown length says nothing of other lengths
            known = row not in self.gone and (length_s or row not in self.copies)
            if known and self._n < _MOST_HELD:
                self._hold(unit, white, length_s)
            self._known[row] = row in self.gone or row in self.copies
        return self._known[row]

    def _whiten(self, unit: Floats) -> Floats:
        return self._index.whitened(unit[None])[0]

    def _is_copy(self, row: int, unit: Floats, white: Floats, length_s: float) -> bool:
        """Return whether a row is a copy of a query, or of an earlier row."""
        if row in self._own:
            return False
        lengths_s = self._lengths_s[: self._n]
        known = (lengths_s > 0) & (length_s > 0)
        least = np.where(known[:, None], COPY_COSINES, COPY_COSINES_ALONE)
        apart = known & (np.abs(lengths_s - length_s) > LENGTHS_APART_S)
        cosines, whites = self._units[: self._n] @ unit, self._whitened[: self._n] @ white
        return bool((_are_copies(cosines, whites, least) & ~apart).any())

    def _hold(self, unit: Floats, white: Floats, length_s: float) -> None:
        self._units[self._n], self._whitened[self._n] = unit, white
        self._lengths_s[self._n] = length_s
        self._n += 1


def may_be_copies(index: Index, rows: Sequence[int]) -> bool:
    """Return whether any two rows are as similar as copies, whatever their lengths."""
    units, white = index.vectors[rows], index.whitened(index.vectors[rows])
    alike = _are_copies(units @ units.T, white @ white.T, np.array(COPY_COSINES))
    return bool(np.triu(alike, 1).any())


def _are_copies(
    cosines: Floats, whitened: Floats, least: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Apply the bounds `least`, those of a cosine and of a whitened one in its last axis."""
    near = (cosines >= LEAST_COSINE) & (whitened >= least[..., 1])
    return (cosines >= least[..., 0]) | near
