"""Rows of results to bytes of `.npz` or Parquet, and back.

Failed recordings keep their row, with status and error; their embedding is NaN in
`.npz` and null in Parquet. `made_with` (model hash and options, JSON) goes along, so
that rows made in another way never end up in one table.
"""

import io
import os
import zipfile
from dataclasses import dataclass

import numpy as np

from artist_features.errors import OutputError

WITH_VECTOR = ("ok", "truncated", "short", "silent")


@dataclass(frozen=True)
class Row:
    """One line of the output.

    Attributes:
        path: as given, `str` in `os.fsdecode` form.
        embedding: float32 `(dim,)`, or None if the recording failed.
        n_segments, duration_s, sample_rate: facts of the decoding; 0 if it failed.
        decoder: which one delivered the samples, "" if it failed.
        status: "ok", the code of a flaw, or the code of the error.
        error: text of the error or of the flaws, "" if there is nothing to say.
    """

    path: str
    embedding: object
    n_segments: int
    duration_s: float
    sample_rate: int
    decoder: str
    status: str
    error: str

    @property
    def failed(self):
        """True if there is no embedding."""
        return self.status not in WITH_VECTOR

    @classmethod
    def from_result(cls, result):
        """Build from a `Result` of the pipeline."""
        path = os.fsdecode(result.path)
        if result.error is not None:
            return cls(path, None, 0, 0.0, 0, "", result.status, result.error.message)
        facts = result.facts
        text = "; ".join(text for _, text in facts.flaws)
        return cls(
            path,
            result.embedding,
            facts.n_segments,
            facts.duration_s,
            facts.sample_rate,
            facts.decoder,
            result.status,
            text,
        )


_FACTS = {  # column -> type in `.npz`
    "status": np.str_,
    "error": np.str_,
    "decoder": np.str_,
    "n_segments": np.int64,
    "duration_s": np.float64,
    "sample_rate": np.int64,
}


def to_npz(rows, dim, made_with):
    """Return the bytes of an `.npz`: `paths`, `embeddings`, facts, `made_with`."""
    missing = np.full(dim, np.nan, np.float32)
    vectors = [missing if row.failed else row.embedding for row in rows]
    columns = {name: np.array([getattr(r, name) for r in rows], t) for name, t in _FACTS.items()}
    buffer = io.BytesIO()
    np.savez(
        buffer,
        paths=np.array([row.path for row in rows], np.str_),
        embeddings=np.array(vectors, np.float32).reshape(len(rows), dim),
        made_with=np.array(made_with),
        **columns,
    )
    return buffer.getvalue()


def from_npz(path):
    """Return (rows, made_with) of an `.npz` written by `to_npz`."""
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
        columns = {name: file[name].tolist() for name in _FACTS}
        paths, vectors = file["paths"].tolist(), list(file["embeddings"])
        made_with = str(file["made_with"])
    return _rows(paths, vectors, columns), made_with


def to_parquet(rows, dim, made_with):
    """Return the bytes of a Parquet table: `path`, `embedding`, facts.

    `path` is text for people and SQL; `path_bytes` is the file's true name.
    """
    pa, parquet = require_pyarrow()
    raw = [os.fsencode(row.path) for row in rows]
    vectors = [None if row.failed else row.embedding for row in rows]
    types = {np.str_: pa.string(), np.int64: pa.int32(), np.float64: pa.float64()}
    columns = {
        "path": pa.array([_valid(row.path) for row in rows], pa.string()),
        "path_bytes": pa.array(raw, pa.binary()),
        "embedding": pa.array(vectors, pa.list_(pa.float32(), dim)),
    }
    for name, numpy_type in _FACTS.items():
        values = [getattr(row, name) for row in rows]
        if numpy_type is np.str_:
            values = [_valid(value) for value in values]
        columns[name] = pa.array(values, types[numpy_type])
    table = pa.table(columns).replace_schema_metadata({"made_with": made_with})
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def from_parquet(path, *, with_embeddings=True):
    """Return (rows, made_with) of a table written by `to_parquet`."""
    _, parquet = require_pyarrow()
    names = ["path_bytes", *_FACTS] + (["embedding"] if with_embeddings else [])
    table = parquet.ParquetFile(path).read(columns=names)
    columns = {name: table[name].to_pylist() for name in _FACTS}
    paths = [os.fsdecode(name) for name in table["path_bytes"].to_pylist()]
    vectors = [None] * len(paths)
    if with_embeddings:
        vectors = [
            None if v is None else np.array(v, np.float32) for v in table["embedding"].to_pylist()
        ]
    metadata = table.schema.metadata or {}
    return _rows(paths, vectors, columns), metadata[b"made_with"].decode()


def require_pyarrow():
    """Return (pyarrow, pyarrow.parquet), or say which extra brings them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError(
            "Parquet output needs pyarrow; install it with "
            "`pip install 'artist-features[parquet]'`, or write .npz."
        ) from None
    return pyarrow, pyarrow.parquet


def read_table(path, reader, **options):
    """Read a table with `from_npz` or `from_parquet`, any failure as `OutputError`."""
    try:
        return reader(path, **options)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise OutputError(
            "damaged",
            f"not a table of this program, or damaged ({type(error).__name__}); delete it or "
            "move it away, and run again.",
            path,
        ) from None


def _rows(paths, vectors, columns):
    facts = zip(*columns.values(), strict=True)
    return [
        Row(path=path, embedding=vector, **dict(zip(columns, values, strict=True)))
        for path, vector, values in zip(paths, vectors, facts, strict=True)
    ]


def _valid(text):
    """Text as valid UTF-8: a byte of a file name that is none is shown as an escape."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
