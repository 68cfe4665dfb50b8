"""Read back what `artist-features extract` wrote: one vector for each recording."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artist_features.errors import OutputError
from artist_features.extraction import tables


@dataclass(frozen=True)
class Embeddings:
    """Vectors of recordings, all of one model.

    Attributes:
        paths: list of `str` as given to `extract`, `os.fsdecode` form.
        vectors: float32 `(n_tracks, dim)`; the mean where segments were kept apart.
        durations_s: float64 `(n_tracks,)`.
        model: its name, "" if the table does not say.
        weights_sha256: of its weights, "" if the table does not say.
        n_failed: recordings in the table without a vector, which are left out.
    """

    paths: list
    vectors: np.ndarray
    durations_s: np.ndarray
    model: str
    weights_sha256: str
    n_failed: int


def read_embeddings(path):
    """Read the embeddings of a table or a folder of shards.

    Args:
        path: `.npz`, `.parquet` or a folder, as written by `artist-features extract`. Of a
            folder whose job still runs, the finished shards are read.

    Returns:
        `Embeddings`, in the table's order.

    Raises:
        OutputError: `not_writable` if the system does not let it be read, `mismatch` if it
            is of another program, or of two models; `damaged`; all with its path.
        ImportError: Parquet without the extra `[parquet]`.
    """
    path = Path(path)
    rows, made_with = [], None
    for file in _files(path):
        reader = tables.from_npz if file.suffix.lower() == ".npz" else tables.from_parquet
        part, theirs = tables.read_table(file, reader)
        if made_with is not None and theirs != made_with:
            text = f"made otherwise than {path.name} before it; keep models and options apart."
            raise OutputError("mismatch", text, file)
        made_with = theirs
        rows += part
    kept = [row for row in rows if not row.failed]
    vectors = [v if v.ndim == 1 else v.mean(axis=0) for v in (row.embedding for row in kept)]
    for row, vector in zip(kept, vectors, strict=True):
        if not np.all(np.isfinite(vector)):
            text = f"the vector of {row.path!r} has values that are not finite; extract it again."
            raise OutputError("damaged", text, path)
    model = json.loads(made_with)
    return Embeddings(
        [row.path for row in kept],
        np.array(vectors, np.float32).reshape(len(kept), -1 if kept else 0),
        np.array([row.duration_s for row in kept], np.float64),
        model.get("model", ""),
        model.get("weights_sha256", ""),
        len(rows) - len(kept),
    )


def _files(path):
    """Return the table files that a path stands for, in their order."""
    if not path.is_dir():
        if not os.path.lexists(path):
            text = "no such file or folder; make it with `artist-features extract PATH -o OUT`."
            raise OutputError("not_writable", text, path)
        if path.suffix.lower() not in (".npz", ".parquet"):
            text = f"ending {path.suffix!r}; allowed are .npz, .parquet, or a folder of shards."
            raise OutputError("mismatch", text, path)
        return [path]
    shards = sorted(path.glob("part-*.parquet"))
    if not shards:
        text = "holds no shards (part-*.parquet); give a folder that `extract -o` wrote."
        raise OutputError("mismatch", text, path)
    tables.require_pyarrow()
    return shards
