"""Ray actor with one model, and the tables that carry sources to it and results back.

Both kinds of tables have a line per recording. Facts and errors travel as JSON in ASCII, so
that any file name survives; a vector travels as its bytes.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from artist_features.config import ModelCard
from artist_features.errors import AnyPath, AudioError
from artist_features.extraction.batching import Result
from artist_features.extraction.decode import Facts, Source
from artist_features.extraction.extractor import Extractor
from artist_features.extraction.recordings import Pool
from artist_features.extraction.remote import is_uri
from artist_features.library.tables import require_pyarrow
from artist_features.version import VERSION


def pack_sources(sources: Mapping[int, Source]) -> Any:
    """Return a table of sources.

    Args:
        sources: {number: `Source`}, of files or URIs; relative paths are taken from here.
    """
    pa, _ = require_pyarrow()
    records = [s.to_record() | {"audio": _absolute(s.path)} for s in sources.values()]
    return pa.table({"index": list(sources), "record": [json.dumps(record) for record in records]})


def unpack_results(
    table: Any, dim: int, pooled: bool
) -> Iterator[tuple[Result, dict[str, Any] | None]]:
    """Yield (`Result` with no path, note) of each line.

    Args:
        table: from `EmbeddingActor`.
        dim: length of an embedding.
        pooled: one vector for each recording.

    A note says what the task took, once a task.
    """
    lines = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    for index, data, record in lines:
        record = json.loads(record)
        note = record.get("note")
        if "code" in record:
            error = AudioError.from_record(record)
            yield Result(index, None, error=error), note
            continue
        vector = np.frombuffer(data, np.float32).copy()
        vector = vector if pooled else vector.reshape(-1, dim)
        yield Result(index, None, vector, Facts.from_record(record["facts"])), note


class EmbeddingActor:
    """Actor that builds the model once, then embeds table after table.

    Args:
        weights: the verified arrays; the node needs neither the model's folder nor the Hub.
        version: of this package where the job was started.
        pool, n_sources: as for `Extractor.results`, of the whole job.
        options: keywords of `Extractor`.
    """

    def __init__(
        self,
        card: ModelCard,
        weights: dict[str, Any],
        version: str,
        pool: Pool,
        n_sources: int | None,
        options: dict[str, Any],
    ) -> None:
        if version != VERSION:
            raise RuntimeError(
                f"this node has artist-features {VERSION}, the job was started with "
                f"{version}; install the same version on all nodes."
            )
        # read by TensorFlow when it is imported, which has not happened yet
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(options["n_workers"]))
        from artist_features.zoo import folder

        self._extractor = Extractor(folder.build(card, weights), isolated=True, **options)
        self._pool, self._n_sources = pool, n_sources

    def __call__(self, table: Any) -> Any:
        """Return the table of results of a table of sources, in the order they are finished."""
        extractor, before = self._extractor, Counter(self._extractor.timing)
        indices = table["index"].to_pylist()
        sources = [Source.from_record(json.loads(r)) for r in table["record"].to_pylist()]
        order: list[int] = []
        records: list[dict[str, Any]] = []
        vectors: list[bytes | None] = []
        for result in extractor.results(sources, pool=self._pool, n_sources=self._n_sources):
            order.append(indices[result.index])
            if result.error is not None:
                records.append(result.error.to_record())
                vectors.append(None)
            else:
                records.append({"facts": result.decoded.to_record()})
                vectors.append(result.embedding.tobytes())
        took = {name: extractor.timing[name] - before[name] for name in extractor.timing}
        records[0]["note"] = {"timing": took, "device": extractor.device}
        pa, _ = require_pyarrow()
        return pa.table(
            {
                "index": pa.array(order, pa.int64()),
                "embedding": pa.array(vectors, pa.large_binary()),
                "record": [json.dumps(record) for record in records],
            }
        )


def _absolute(path: AnyPath | None) -> str:
    """Return a path as the processes of any working directory understand it."""
    path = os.fsdecode(path or "")
    if not is_uri(path):
        return os.path.join(os.getcwd(), path)
    *links, last = path.split("::")
    if links and "://" not in last:
        last = os.path.join(os.getcwd(), last)
    return "::".join([*links, last])
