"""Tables of embeddings: `Row`s to the bytes of `.npz` or Parquet files, and back.

Failed recordings keep their row, with status and error; their embedding is NaN in
`.npz` and null in Parquet. `made_with` (model hash and options, JSON) goes along, so
that rows made in another way never end up in one table.
"""

import dataclasses
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features.config import ModelCard
from artist_features.errors import AnyPath, OutputError, shortened, valid_utf8
from artist_features.extraction.batching import Result
from artist_features.extraction.decode import DEFAULT_READING, ReadingOptions
from artist_features.optional import require
from artist_features.version import VERSION

Vector: TypeAlias = npt.NDArray[np.float32]
_Table: TypeAlias = tuple[list["Row"], str]  # and `made_with`

WITH_VECTOR = ("ok", "truncated", "short", "silent")
_PROVENANCE = ("model",)  # of `made_with`; ignored when runs are compared
_MADE_WITH = {  # keys of `made_with`
    *("model", "version", "weights_sha256", "graph_sha256", "per_segment", "content_hash"),
    *DEFAULT_READING.to_record(),
}


@dataclass(frozen=True)
class Row:
    """Row of a table: the embedding of a recording with its facts, or why it failed.

    Attributes:
        path: absolute, links followed, `str` in `os.fsdecode` form; or a URI.
        embedding: float32 `(dim,)`; `(n_segments, dim)` if segments are kept apart; None if
            the recording failed.
        n_segments, duration_s, sample_rate: facts of the decoding; 0 if it failed.
        decoder: which one delivered the samples, "" if it failed.
        status: "ok", the code of a flaw, or the code of the error.
        error: text of the error or of the flaws, "" if there is nothing to say.
        size_bytes, mtime_ns: of the file when it was read, -1 if it was not there.
        content_sha256: of the file's bytes, "" if it was not asked for.
        starts_s: seconds at which the segments begin, if they are kept apart.
        name: the path as the user gave it.
    """

    path: str
    embedding: Vector | None
    n_segments: int
    duration_s: float
    sample_rate: int
    decoder: str
    status: str
    error: str
    size_bytes: int = -1
    mtime_ns: int = -1
    content_sha256: str = ""
    starts_s: Sequence[float] = ()
    name: str = ""

    @property
    def failed(self) -> bool:
        """True if the row has no embedding."""
        return self.status not in WITH_VECTOR

    @classmethod
    def from_result(
        cls,
        result: Result,
        stamp: tuple[int, int] = (-1, -1),
        starts_s: Sequence[float] = (),
        name: str = "",
    ) -> "Row":
        """Build from a `Result` of the pipeline; `stamp`: (size in bytes, mtime in ns)."""
        path = os.fsdecode(result.path or "")
        size, mtime = stamp
        if result.error is not None:
            text = result.error.message
            return cls(path, None, 0, 0.0, 0, "", result.status, text, size, mtime, name=name)
        facts = result.decoded
        return cls(
            path,
            result.embedding,
            facts.n_segments,
            facts.duration_s,
            facts.sample_rate,
            facts.decoder,
            result.status,
            "; ".join(text for _, text in facts.flaws),
            size,
            mtime,
            facts.content_sha256,
            tuple(starts_s),
            name,
        )


_FACTS: dict[str, Any] = {  # column -> type in `.npz`
    "name": np.str_,
    "status": np.str_,
    "error": np.str_,
    "decoder": np.str_,
    "n_segments": np.int64,
    "duration_s": np.float64,
    "sample_rate": np.int64,
    "size_bytes": np.int64,
    "mtime_ns": np.int64,
    "content_sha256": np.str_,
}


def _lines(rows: Iterable[Row]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Return (rows, embeddings or None, starts in s or NaN), one of each per line.

    A recording whose segments are kept apart has a line for each.
    """
    lines: list[tuple[Row, Vector | None, float]] = []
    for row in rows:
        if row.failed or row.embedding is None or row.embedding.ndim == 1:
            lines.append((row, None if row.failed else row.embedding, np.nan))
        else:
            lines += [(row, *pair) for pair in zip(row.embedding, row.starts_s, strict=True)]
    return tuple(zip(*lines, strict=True)) if lines else ((), (), ())  # type: ignore[return-value]


def to_npz(rows: Iterable[Row], dim: int, made_with: str) -> bytes:
    """Return the bytes of an `.npz`: `path`, `embedding`, `start_s`, facts, `made_with`."""
    rows, vectors, starts = _lines(rows)
    missing = np.full(dim, np.nan, np.float32)
    vectors = [missing if vector is None else vector for vector in vectors]
    columns: dict[str, Any] = {
        name: np.array([getattr(r, name) for r in rows], t) for name, t in _FACTS.items()
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        path=np.array([row.path for row in rows], np.str_),
        embedding=np.array(vectors, np.float32).reshape(len(rows), dim),
        start_s=np.array(starts, np.float64),
        made_with=np.array(made_with),
        **columns,
    )
    return buffer.getvalue()


def from_npz(path: AnyPath) -> _Table:
    """Return (rows, made_with) of an `.npz` written by `to_npz`."""
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
        columns = {name: file[name].tolist() for name in _FACTS}
        paths, vectors = file["path"].tolist(), list(file["embedding"])
        starts, made_with = file["start_s"].tolist(), str(file["made_with"])
    return _rows(paths, vectors, starts, columns), made_with


def _list_size(pa: Any, dim: int) -> int:
    """Return the size of the lists of embeddings; -1, any size, where pyarrow needs it.

    Before version 26, which Python 3.10 does not get, pyarrow either refuses to write a null
    among lists of a fixed size, or reads it back as an error.
    """
    return dim if int(pa.__version__.partition(".")[0]) >= 26 else -1


def to_parquet(rows: Iterable[Row], dim: int, made_with: str) -> bytes:
    """Return the bytes of a Parquet table: `path`, `embedding`, `start_s`, facts, model.

    `path` is text for people and SQL; `path_bytes` is the file's true name.
    """
    pa, parquet = require_pyarrow()
    rows, vectors, starts = _lines(rows)
    types = {np.str_: pa.string(), np.int64: pa.int64(), np.float64: pa.float64()}
    columns = {
        "path": pa.array([valid_utf8(row.path) for row in rows], pa.string()),
        "path_bytes": pa.array([os.fsencode(row.path) for row in rows], pa.binary()),
        "embedding": pa.array(vectors, pa.list_(pa.float32(), _list_size(pa, dim))),
        "start_s": pa.array(starts, pa.float64(), from_pandas=True),  # NaN becomes null
    }
    for name, numpy_type in _FACTS.items():
        values = [getattr(row, name) for row in rows]
        if numpy_type is np.str_:
            values = [valid_utf8(value) for value in values]
        columns[name] = pa.array(values, types[numpy_type])
    model = json.loads(made_with)
    for name in ("model", "weights_sha256"):
        columns[name] = pa.array([model.get(name, "")] * len(rows), pa.string())
    table = pa.table(columns).replace_schema_metadata({"made_with": made_with})
    sink = io.BytesIO()
    parquet.write_table(table, sink, write_page_checksum=True)
    return sink.getvalue()


def from_parquet(path: AnyPath, *, with_embeddings: bool = True) -> _Table:
    """Return (rows, made_with) of a table written by `to_parquet`.

    Everything is read and its checksums are compared in any case. Without embeddings, a
    recording whose segments are kept apart has one row all the same.
    """
    table, made_with = _read_parquet(path)
    columns = {name: table[name].to_pylist() for name in _FACTS}
    paths = [os.fsdecode(name) for name in table["path_bytes"].to_pylist()]
    starts = [np.nan if start is None else start for start in table["start_s"].to_pylist()]
    vectors: list[Vector | None] = [None] * len(paths)
    if with_embeddings and len(table):
        column = table["embedding"].combine_chunks()
        known = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        numbers = column.flatten().to_numpy(zero_copy_only=False)  # without those of nulls
        for number, vector in zip(known, np.split(numbers, max(1, len(known))), strict=False):
            vectors[number] = vector.copy()
    return _rows(paths, vectors, starts, columns), made_with


def without_rows(path: AnyPath, is_stale: Callable[[str], bool]) -> bytes | None:
    """Return the bytes of a `to_parquet` table without stale recordings; None if none are left."""
    _, parquet = require_pyarrow()
    table, _ = _read_parquet(path)
    kept = [not is_stale(os.fsdecode(name)) for name in table["path_bytes"].to_pylist()]
    if not any(kept):
        return None
    sink = io.BytesIO()
    parquet.write_table(table.filter(kept), sink, write_page_checksum=True)
    return sink.getvalue()


def _read_parquet(path: AnyPath) -> tuple[Any, str]:
    """Return (`pyarrow.Table`, made_with).

    Raises:
        OSError: the file cannot be read.
        ForeignTableError: it is whole, but nothing that `to_parquet` writes.
        ValueError: it is damaged.
    """
    pa, parquet = require_pyarrow()
    with open(path, "rb") as file:
        data = file.read()
    try:
        with parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from None
    metadata = table.schema.metadata or {}
    wanted = {"path_bytes", "embedding", "start_s", *_FACTS}
    if b"made_with" not in metadata or not wanted <= set(table.column_names):
        raise ForeignTableError
    return table, metadata[b"made_with"].decode()


class ForeignTableError(Exception):
    """A table that another program or version wrote."""


def require_pyarrow() -> tuple[Any, Any]:
    """Return (pyarrow, pyarrow.parquet).

    Raises:
        ImportError: it cannot be imported.
    """
    # pyarrow 26 needs NumPy 2, which TensorFlow 2.16 does not allow
    otherwise = " (with TensorFlow 2.16 `pip install 'pyarrow<26'`), or write .npz"
    parquet = require("pyarrow.parquet", "Parquet output", "parquet", otherwise)
    return require("pyarrow", "Parquet output", "parquet"), parquet


def made_with_of(
    card: ModelCard, reading: ReadingOptions, *, per_segment: bool, content_hash: bool
) -> dict[str, Any]:
    """Return the settings that decide the vectors of a job; rows of others are refused."""
    return {
        "model": card.name,
        "version": ".".join(VERSION.split(".")[:2]),
        "weights_sha256": card.weights_sha256,
        "graph_sha256": card.graph_sha256,
        **reading.to_record(),
        "per_segment": per_segment,
        "content_hash": content_hash,
    }


def read_table(
    path: AnyPath, reader: Callable[..., _Table], made_with: str = "", **options: bool
) -> _Table:
    """Read a table with `from_npz` or `from_parquet`, any failure as `OutputError`.

    Args:
        made_with: as for `check_same`, or "" for any that this version knows.

    Raises:
        OutputError: `not_writable` if the system does not let it be read, `mismatch` if
            another program or version wrote it, or if it was made otherwise, `damaged`.
    """
    try:
        rows, stored = reader(path, **options)
        if not isinstance(made := json.loads(stored), dict):
            raise ForeignTableError(type(made).__name__)
        unknown = sorted(made.keys() - _MADE_WITH)
    except (ForeignTableError, KeyError):
        text = (
            "was not written by `artist-features extract` of this version; give one that was, or, "
            "to write there, move it away."
        )
        raise OutputError("mismatch", text, path) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            text = f"cannot be read ({error.strerror}); mend that and run again."
            raise OutputError("not_writable", text, path) from None
        raise OutputError(
            "damaged",
            f"not a table of this program, or damaged ({type(error).__name__}); delete it or "
            "move it away, and run again.",
            path,
        ) from None
    if made_with:
        check_same(stored, made_with, path)
    elif unknown:
        text = f"made with options that this version does not know: {shortened(unknown[0])}."
        raise OutputError("mismatch", text, path)
    return rows, stored


def check_same(stored: str, ours: str, path: AnyPath) -> None:
    """Refuse a table whose `made_with` is not that of this run; name the option that differs.

    Raises:
        OutputError: `mismatch`.
    """
    made, making = json.loads(stored), json.loads(ours)
    models = ["", ""]  # named first: a hash says little
    if made.get("model") != making.get("model"):
        models = [f"model {record.get('model')} and " for record in (made, making)]
    for name in sorted((made.keys() | making.keys()) - set(_PROVENANCE)):
        if made.get(name) != making.get(name):
            raise OutputError(
                "mismatch",
                f"made with {models[0]}{name} = {str(made.get(name))[:16]}, this run has "
                f"{models[1]}{str(making.get(name))[:16]}; write to another place (--force starts "
                "a single file anew).",
                path,
            )


def _rows(
    paths: Iterable[str],
    vectors: Iterable[Vector | None],
    starts: Iterable[float],
    columns: dict[str, Any],
) -> list[Row]:
    """Return the `Row`s of a table's lines; lines of one recording's segments become one."""
    rows: list[Row] = []
    segments: list[tuple[Any, float]] = []
    facts = zip(*columns.values(), strict=True)
    for path, vector, start, values in zip(paths, vectors, starts, facts, strict=True):
        if np.isnan(start):
            rows.append(Row(path, vector, **dict(zip(columns, values, strict=True))))
            continue
        segments.append((vector, start))
        row = Row(path, None, **dict(zip(columns, values, strict=True)))
        if len(segments) == row.n_segments:
            parts, places = zip(*segments, strict=True)
            stacked = None if parts[0] is None else np.stack(parts)
            rows.append(dataclasses.replace(row, embedding=stacked, starts_s=places))
            segments = []
    if segments:
        raise ValueError("segments of a recording are missing")
    return rows
