"""The ways into the package through which each fault is sent."""

import os
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as parquet

from artist_features.cli.main import main
from artist_features.errors import AudioError, AudioWarning, display_path, shortened

DIM = 8  # of the tiny model


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a status, what was said, and a vector or None."""

    status: str
    message: str
    vector: np.ndarray | None


@contextmanager
def noted_warnings():
    """Collect warnings instead of raising them; anything but ours fails."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AudioWarning)
        yield caught
    assert all(issubclass(w.category, AudioWarning) for w in caught)


def single(extractor, path):
    """Extract one file by the one call."""
    with noted_warnings() as caught:
        try:
            vector = extractor.extract(path)
        except AudioError as error:
            return _refused(error, path, caught)
    flaws = [w.message for w in caught]
    assert all(flaw.path == path for flaw in flaws)
    name = shortened(display_path(path))
    assert all(str(flaw).startswith(f"{name}: {flaw.code}: ") for flaw in flaws)
    status = flaws[0].code if flaws else "ok"
    return Outcome(status, "; ".join(map(str, flaws)), vector)


def _refused(refusal, path, caught):
    assert refusal.path == path
    assert str(refusal) == f"{shortened(display_path(path))}: {refusal.message}"
    assert not caught
    return Outcome(refusal.code, str(refusal), None)


def as_list(extractor, paths):
    """Extract many files in one call; return an `Outcome` for each, in their order."""
    with noted_warnings() as caught:
        vectors = extractor.extract(paths, on_error="nan")
    assert vectors.shape == (len(paths), DIM)
    assert vectors.dtype == np.float32
    said = {}
    for warning in (w.message for w in caught):
        said.setdefault(warning.path, []).append(warning)
    return [_row(said.get(path, []), vector) for path, vector in zip(paths, vectors, strict=True)]


def _row(flaws, vector):
    message = "; ".join(map(str, flaws))
    if not flaws:
        assert np.isfinite(vector).all()
        return Outcome("ok", message, vector)
    if flaws[0].code != "skipped":
        assert np.isfinite(vector).all()
        return Outcome(flaws[0].code, message, vector)
    assert np.isnan(vector).all()
    return Outcome(re.search(r"a row of NaN, (\w+): ", message)[1], message, None)


def by_command(paths, out, model):
    """Extract many files by the command line; return (exit code, outcome of each)."""
    code = main(["extract", "--model", str(model), "-o", str(out), "--", *paths])
    if code == 2:
        return code, []
    table = np.load(out, allow_pickle=False)
    assert table["name"].tolist() == list(dict.fromkeys(paths))  # one row for one file
    columns = zip(table["name"], table["status"], table["error"], table["embedding"], strict=True)
    outcomes = [
        Outcome(
            str(status),
            f"{shortened(display_path(str(path)))}: {error}",
            None if np.isnan(vector).all() else vector,
        )
        for path, status, error, vector in columns
    ]
    by_name = dict(zip(table["name"].tolist(), outcomes, strict=True))
    return code, [by_name[path] for path in paths]


def statuses_by_command(arguments, out, model):
    """Extract to Parquet; return {name below the first argument: status}."""
    main(["extract", "--model", str(model), "-o", str(out), "--", *arguments])
    (file,) = [out] if out.suffix else out.glob("*.parquet")
    table = parquet.ParquetFile(file).read()
    is_list = arguments[0].startswith("@")
    base = os.getcwd() if is_list else arguments[0]
    base = os.fsencode(os.path.realpath(base)) + b"/"
    names = [name.removeprefix(base) for name in table["path_bytes"].to_pylist()]
    assert len(set(names)) == len(names)
    return dict(zip(names, table["status"].to_pylist(), strict=True))
