"""Query of a recording, from the index or extracted likewise; whether its artist is identified."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from artist_features.config import ModelCard
from artist_features.errors import AudioError, SearchIndexError
from artist_features.extraction.decode import ReadingOptions
from artist_features.extraction.extractor import Extractor
from artist_features.extraction.recordings import require_readable, to_source
from artist_features.extraction.remote import identity, is_gone
from artist_features.search.embedding_tables import is_changed, read_tags
from artist_features.search.index import ArtistMatch, Index
from artist_features.search.ranking import Floats
from artist_features.search.tracks import IndexedTrack
from artist_features.zoo.registry import ModelSpec, bundled_names

# calibrated by benchmarks/scores.py on the open corpora: of 762 queries by artists of the index 10
# pass both, 9 of them rightly, and of 899 by others 3; at 0.06 they are 18, 11 and 14
MARGIN = 0.08
MIN_TRACKS = 3


@dataclass(frozen=True)
class Query:
    """A recording to search with.

    Attributes:
        track: `IndexedTrack`.
        vector: float32 `(dim,)`.
        row: in the index, or None.
        flaws: (code, text) of each flaw of a recording that was extracted, or "changed" of a file
            that is another than when its vector was made, "gone" of one that is not there.
    """

    track: IndexedTrack
    vector: Floats
    row: int | None = None
    flaws: Sequence[tuple[str, str]] = ()

    @property
    def own_rows(self) -> list[int]:
        """Rows that are no candidates: its own, if it has one."""
        return [] if self.row is None else [self.row]


def find_query(
    index: Index,
    path: str | os.PathLike[str],
    *,
    model: ModelSpec | None = None,
    on_loaded: Callable[[str], object] | None = None,
) -> Query:
    """Return the query of a recording.

    Args:
        index: `Index`.
        path: file or URI; of one of the index only the time of its last change is looked up.
        model: the index's model, as name, path or Hub id; None takes the bundled model of
            the index's name, if one is needed.
        on_loaded: see `Extractor`.

    Raises:
        AudioError: the recording gives no trustworthy vector.
        SearchIndexError: `mismatch`: the model is not that of the index.
        WeightsError, ValueError: the model cannot be found or read.
    """
    name, row = os.fsdecode(path), find_row(index, path)
    if row is not None:
        if model is not None:
            _extractor(index, model)  # refuses another model
        query = indexed_query(index, row)
        if is_changed(query.track):
            text = "the file was changed after its vector was made; `extract` it again and "
            text += "`index update`, if it sounds different now."
            query = replace(query, flaws=[("changed", text)])
        elif is_gone(query.track.path):
            text = "the file is not there; the vector is that of the index. If it is gone for "
            text += "good, `index update --prune` removes it."
            query = replace(query, flaws=[("gone", text)])
        return query
    try:
        reading = ReadingOptions.from_record(index.made_with)
    except (TypeError, ValueError) as error:
        text = f"holds vectors of options that this version does not know: {error}"
        raise SearchIndexError("incompatible", text) from None
    source = to_source(name, None, reading)
    require_readable(source)  # before the model is read
    (result,) = _extractor(index, model, on_loaded).results([source], n_sources=1)
    if result.error is not None:
        raise result.error
    if not result.embedding.any():
        text = "its vector is all zeros, which has no direction; choose another recording."
        raise AudioError("out_of_range", text, name)
    duration_s = result.decoded.duration_s if reading.whole else 0.0
    track = IndexedTrack(identity(name), duration_s=duration_s)
    with contextlib.suppress(ImportError):  # no mutagen: the recording stays without a name
        (track,), _ = read_tags([track])
    return Query(track, result.embedding, None, result.decoded.flaws)


def indexed_query(index: Index, row: int) -> Query:
    """Return the query of a row."""
    return Query(index.track(row), index.vector(row), row)


def find_row(index: Index, path: str | os.PathLike[str]) -> int | None:
    """Return the row of a file or URI, however its path is written; None if it has none."""
    name = os.fsdecode(path)
    row = index.row_of(identity(name))
    # the other is of an index that was built from other paths
    return index.row_of(os.path.abspath(name)) if row is None else row


def _extractor(
    index: Index, model: ModelSpec | None, on_loaded: Callable[[str], object] | None = None
) -> Extractor:
    """Return an extractor with the index's model, verified, not loaded yet."""
    name = index.made_with["model"]
    if model is None and name not in bundled_names():
        raise SearchIndexError(
            "mismatch",
            f"the index's model {name!r} is none of the bundled ones "
            f"({', '.join(bundled_names())}); name it by --model, as a folder or "
            "hf://owner/name.",
        )
    spec = name if model is None else model
    extractor = Extractor(spec, n_workers=1, isolated=True, on_loaded=on_loaded)
    card = cast(ModelCard, extractor.card)
    index.check_model(card.weights_sha256, card.graph_sha256, card.name)
    return extractor


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
