"""A recording to a query: looked up where the index knows it, else extracted like the index."""

import contextlib
import os
from dataclasses import dataclass, field

from artist_features.errors import AudioError, SearchIndexError
from artist_features.extraction.decode import Source
from artist_features.extraction.extractor import Extractor
from artist_features.extraction.remote import identity, is_uri, require_fsspec
from artist_features.search.sources import known_duration_s, read_tags
from artist_features.search.tracks import IndexedTrack
from artist_features.signal.audio import opened
from artist_features.signal.decoders import Span
from artist_features.zoo import registry


@dataclass(frozen=True)
class Query:
    """A recording to search with.

    Attributes:
        track: `IndexedTrack`.
        vector: float32 `(dim,)`.
        row: in the index, or None.
        flaws: list of (code, text) of a recording that was extracted.
    """

    track: IndexedTrack
    vector: object
    row: int | None = None
    flaws: list = field(default_factory=list)

    @property
    def own_rows(self):
        """Rows that are no candidates: its own, if it has one."""
        return [] if self.row is None else [self.row]


def find_query(index, path, *, model=None, on_loaded=None):
    """Return the query of a recording.

    Args:
        index: `Index`.
        path: file or URI; one of the index is not read.
        model: the index's model, as name, path or Hub id; None takes the bundled model of
            the index's name, if one is needed.
        on_loaded: see `Extractor`.

    Returns:
        `Query`.

    Raises:
        AudioError: the recording gives no trustworthy vector.
        SearchIndexError: `mismatch`: the model is not that of the index.
        WeightsError, ValueError: the model cannot be found or read.
    """
    extractor = _extractor(index, model, on_loaded) if model is not None else None
    row = index.row_of(identity(path))
    if row is None:  # of an index that was built from other paths
        row = index.row_of(os.path.abspath(os.fsdecode(path)))
    if row is not None:
        return Query(index.track(row), index.vector(row), row)
    if not is_uri(os.fsdecode(path)):
        with opened(path):  # what is no readable file is told before the model is loaded
            pass
    if extractor is None:
        extractor = _extractor(index, _bundled_model(index), on_loaded)
    return _extracted(index, path, extractor)


def _extractor(index, model, on_loaded):
    """Return an `Extractor` of the model that made the index, which it checks."""
    extractor = Extractor(model, n_workers=1, isolated=True, on_loaded=on_loaded)
    card = extractor.card
    index.check_model(card.weights_sha256, card.graph_sha256, card.name)
    return extractor


def _bundled_model(index):
    """Return the name of the index's model, if it is a bundled one."""
    name = index.made_with["model"]
    if name not in registry.bundled_names():
        raise SearchIndexError(
            "mismatch",
            f"the index's model {name!r} is none of the bundled ones "
            f"({', '.join(registry.bundled_names())}); name it by --model, as a folder or "
            "hf://owner/name.",
        )
    return name


def _extracted(index, path, extractor):
    made_with = index.made_with
    path = os.fsdecode(path)
    if is_uri(path):
        require_fsspec(path)
    span = Span(made_with.get("offset_s") or 0.0, made_with.get("duration_s"))
    source = Source(
        path,
        None,
        span,
        made_with.get("decoder") or "auto",
        n_sampled=made_with.get("segments"),
    )
    (result,) = extractor.results([source], n_sources=1)
    if result.error is not None:
        raise result.error
    if not result.embedding.any():
        text = "its vector is all zeros, which has no direction; choose another recording."
        raise AudioError("out_of_range", text, path)
    duration_s = known_duration_s(made_with, result.facts.duration_s)
    track = IndexedTrack(identity(path), duration_s=duration_s)
    with contextlib.suppress(ImportError):  # no mutagen: the recording stays without a name
        (track,), _ = read_tags([track])
    return Query(track, result.embedding, None, list(result.facts.flaws))
