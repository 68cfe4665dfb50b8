"""Mutated search indices (row 82): each gives the named error, or answers that can be used.

`FUZZ_MUTANTS=100000 FUZZ_SEED=7 pytest tests/test_fuzz_search_file.py` searches longer.
"""

import json
import os
import random
import resource
import time

import numpy as np
import pytest
from fuzz_folder import mutated_bytes, mutated_json
from test_search_file import NASTY, check, nasty_index, use

from artist_features.errors import SearchIndexError
from artist_features.search import Index, storage

MUTANTS = int(os.environ.get("FUZZ_MUTANTS", "6000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
EXTREMES = [0, 1, -1, 5, 6, 7, 127, 128, 255, 2**31 - 1, 2**31, -(2**31), 2**62, -(2**63)]
STRANGE = [np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45, 0.0]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "lib.index"
    nasty_index().save(path)
    return path


class Limits:
    """No mutant may take long, or much memory."""

    def __enter__(self):
        self._started = time.monotonic()
        self._kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def __exit__(self, *_):
        assert time.monotonic() - self._started < 5
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._kb < 100_000


@pytest.mark.slow
def test_bytes_changed_and_the_checksums_not(saved):
    data, right, n_refused = saved.read_bytes(), use(saved), 0
    path = saved.with_name("mutant.index")
    n_mutants = MUTANTS // 12
    for number in range(n_mutants):
        changed = mutated_bytes(data, random.Random(f"{SEED}, {number}"))
        path.write_bytes(changed)
        with Limits():
            n_refused += check(path, right)
    assert n_refused > n_mutants * 0.9  # few changes are none


def forged_arrays(arrays, rng):
    """Change 1 to 3 arrays in place of a dict: values, types, shapes, lengths, names."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        name, kind = rng.choice(sorted(arrays)), rng.randrange(9)
        array = np.array(arrays[name])
        if kind < 4 and array.size:
            at = rng.randrange(array.size)
            integers = array.dtype.kind in "iu"
            value = rng.choice(EXTREMES if integers else STRANGE)
            if integers:
                info = np.iinfo(array.dtype)
                value = min(max(value, info.min), info.max)
            array.flat[at] = value
        elif kind == 4 and len(array):
            array = array[: rng.randrange(len(array))]
        elif kind == 5:
            array = np.concatenate([array, array[: rng.randrange(len(array) + 1)]])
        elif kind == 6:
            array = array.astype(rng.choice(["<f8", "<i8", "<f4", "<i4", "|u1"]))
        elif kind == 7:
            array = array[None] if array.ndim == 1 else array.T
        elif rng.random() < 0.5:
            del arrays[name]
            continue
        else:
            array = np.array(arrays[rng.choice(sorted(arrays))])
        arrays[name] = np.ascontiguousarray(array)


@pytest.mark.slow
def test_forged_with_right_checksums(saved):
    """Whoever writes the file writes its checksums, too."""
    stored, texts = storage.read_arrays(saved)
    path, n_refused, n_mutants = saved.with_name("forged.index"), 0, MUTANTS // 12
    for number in range(n_mutants):
        rng = random.Random(f"forged, {SEED}, {number}")
        arrays, metadata = dict(stored), dict(texts)
        with np.errstate(all="ignore"):
            forged_arrays(arrays, rng)
        if rng.random() < 0.2:
            name = rng.choice(("made_with", "columns"))
            document = mutated_json(json.dumps([json.loads(metadata[name])]), rng)
            metadata[name] = document.decode("utf-8", "surrogatepass").strip()[1:-1]
        storage.write_arrays(path, arrays, metadata)
        with Limits():
            n_refused += refused(path)
    assert n_mutants / 4 < n_refused < n_mutants


def refused(path):
    """Return whether an index is refused by name; otherwise its answers must be usable."""
    try:
        tracks, rows, (near, artists), *_ = use(path)
    except SearchIndexError as error:
        return error.code in ("damaged", "incompatible") and str(path) in str(error)
    assert all(row is None or 0 <= row < len(tracks) for row in rows)
    assert len(rows) == len(NASTY)
    for match in near:
        assert 0 <= match.row < len(tracks)
        assert np.isfinite(match.similarity)
    assert all(np.isfinite(match.similarity) for match in artists)
    return False


def test_empty_files_and_an_index_of_nothing(tmp_path):
    for number, data in enumerate([b"", b"\0", bytes(8), bytes(4096)]):
        path = tmp_path / f"{number}.index"
        path.write_bytes(data)
        with pytest.raises(SearchIndexError, match="is no search index, or damaged") as caught:
            Index.load(path)
        assert caught.value.code == "damaged"
