"""The file of an index: round trip, other readers, damage, forgery (row 82).

`FUZZ_MUTANTS=100000 FUZZ_SEED=7 pytest tests/test_search_file.py` searches longer.
"""

import json
import os
import random
import resource
import time

import numpy as np
import pytest
from fuzz_folder import mutated_bytes, mutated_json
from test_search import MADE_WITH, clustered, tracks_of

from artist_features.errors import OutputError, SearchIndexError
from artist_features.search import Index, IndexedTrack, storage
from artist_features.version import VERSION

MUTANTS = int(os.environ.get("FUZZ_MUTANTS", "6000")) // 12
SEED = int(os.environ.get("FUZZ_SEED", "0"))
EXTREMES = [0, 1, -1, 5, 6, 7, 127, 128, 255, 2**31 - 1, 2**31, -(2**31), 2**62, -(2**63)]
STRANGE = [np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45, 0.0]
NASTY = ["/a\nb.mp3", "/tab\t'q\".mp3", os.fsdecode(b"/caf\xe9.mp3"), "/é.mp3", "/é", "s3://b/k"]


def nasty_index():
    artists = ["", "Ann", "Björk", "Ann", "", "名前"]
    tracks = [
        IndexedTrack(path, artist, f"t{row}", row * 1.5, {"album": f"al {row}", "année": str(row)})
        for row, (path, artist) in enumerate(zip(NASTY, artists, strict=True))
    ]
    return Index.build(clustered(6, dim=4), tracks, MADE_WITH)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(path, bytes) of a small index."""
    path = tmp_path_factory.mktemp("saved") / "lib.index"
    nasty_index().save(path)
    return path, path.read_bytes()


def test_saving_removes_what_a_killed_writer_left_a_day_ago(tmp_path):
    stale, fresh, other = (tmp_path / n for n in (".partial-1-a", ".partial-2-b", "partial-3"))
    for path in (stale, fresh, other):
        path.write_bytes(b"half an index")
    for path in (stale, other):
        os.utime(path, times=(time.time() - 2 * 86400,) * 2)
    nasty_index().save(tmp_path / "lib.index")
    assert sorted(path.name for path in tmp_path.iterdir()) == [fresh.name, "lib.index", other.name]


def test_round_trip(tmp_path):
    index = nasty_index()
    index.save(tmp_path / "lib.index")
    back = Index.load(tmp_path / "lib.index")
    assert [back.track(row) for row in range(6)] == [index.track(row) for row in range(6)]
    assert [back.row_of(path) for path in NASTY] == list(range(6))
    assert [back.row_of(path) for path in ("/", "", "é.mp3", "/a", "/e\0", "\ud800")] == [None] * 6
    assert back.artists == index.artists == ["Ann", "Björk", "名前"]
    assert back.columns == ["album", "année"]
    assert list(back.rows_of_artist("Ann")) == [1, 3]
    assert (len(back), back.dim, back.n_unlabelled) == (6, 4, 2)
    assert (back.made_with, back.created) == (index.made_with, index.created)
    assert back.package_version == VERSION
    for row in range(6):
        assert back.query(index.vector(row), 6) == index.query(index.vector(row), 6)
        assert back.query_artists(index.vector(row)) == index.query_artists(index.vector(row))
    assert [entry.name for entry in tmp_path.iterdir()] == ["lib.index"]
    back.save(tmp_path / "again.index")  # from the mapped file
    assert (tmp_path / "again.index").read_bytes() == (tmp_path / "lib.index").read_bytes()


def test_a_file_without_what_came_later_is_read(saved, tmp_path):
    """As earlier versions wrote them, in the same format."""
    arrays, metadata = storage.read_arrays(saved[0])
    quantiles = arrays.pop("pair_quantiles")
    del arrays["mtimes_ns"]
    storage.write_arrays(tmp_path / "old.index", arrays, metadata)
    index = Index.load(tmp_path / "old.index")
    assert index.percentile(float(quantiles[500])) == pytest.approx(50, abs=5)
    assert index.percentile(0.3) == Index.load(saved[0]).percentile(0.3)
    assert index.track(0).mtime_ns == -1


def test_other_programs_can_read_it(saved):
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(saved[0], framework="np") as file:
        assert file.metadata()["format"] == "artist-features search index"
        vectors = file.get_tensor("vectors")
    index = Index.load(saved[0])
    for row, vector in enumerate(vectors):
        np.testing.assert_array_equal(vector, index.vector(row))


def use(path):
    """Do all that reads an index; return what came out."""
    index = Index.load(path)
    query = [1.0, 2, 3, 4]
    tracks = [index.track(row) for row in range(len(index))]
    rows = [index.row_of(path) for path in NASTY]
    found = index.query(query, 6), index.query_artists(query, 6)
    return tracks, rows, found, index.made_with, index.created, index.package_version


def check(path, right):
    """A damaged file gives the named error or the right answer, nothing else."""
    try:
        found = use(path)
    except SearchIndexError as error:
        return error.code in ("damaged", "incompatible") and str(path) in str(error)
    assert found == right
    return False


def test_truncated_anywhere(saved, tmp_path):
    path, data = tmp_path / "cut.index", saved[1]
    for length in [*range(0, 80), *range(80, len(data), 41), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(SearchIndexError, match=r"is no search index, or damaged"):
            Index.load(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(SearchIndexError, match="more bytes than arrays"):
        Index.load(path)


def test_every_tenth_byte_flipped(saved, tmp_path):
    path, data, right = tmp_path / "flipped.index", saved[1], use(saved[0])
    n_refused = 0
    places = range(0, len(data), 10)
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 0x41
        path.write_bytes(flipped)
        n_refused += check(path, right)
    assert n_refused == len(places)  # of so small a file everything is read


def rewrite(path, change, metadata=None):
    """Write an index whose checksums are right and whose arrays are not."""
    arrays, texts = storage.read_arrays(path)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    change(arrays)
    forged = path.with_name("forged.index")
    storage.write_arrays(forged, arrays, texts | (metadata or {}))
    return forged


def put(name, place, value):
    def change(arrays):
        arrays[name][place] = value

    return change


FORGERIES = [
    put("artist_of", 0, 99),
    put("artist_of", 0, -2),
    put("paths.starts", 2, 10**15),
    put("paths.starts", 2, -10),
    put("artists.starts", -1, 0),
    put("vectors", 0, np.nan),
    put("artist_vectors", 0, np.nan),
    put("durations_s", 0, np.inf),
    lambda arrays: arrays.pop("vectors"),
    lambda arrays: arrays.pop("titles.data"),
    lambda arrays: arrays.update(vectors=arrays["vectors"][:-1]),
    lambda arrays: arrays.update(vectors=arrays["vectors"].astype(np.float64)),
    lambda arrays: arrays.update(durations_s=arrays["durations_s"][None]),
    lambda arrays: arrays.update({"paths.starts": arrays["paths.starts"][:0]}),
]


@pytest.mark.parametrize("number", range(len(FORGERIES)))
def test_forged_numbers_lead_nowhere(saved, number):
    path = rewrite(saved[0], FORGERIES[number])
    with pytest.raises(SearchIndexError) as caught:
        use(path)
    assert caught.value.code == "damaged"


@pytest.mark.parametrize(
    "metadata",
    [
        {"made_with": "["},
        {"made_with": "{}"},
        {"made_with": "[" * 50000},
        {"columns": '["x", "y", "z"]'},
    ],
)
def test_forged_metadata(saved, metadata):
    path = rewrite(saved[0], lambda arrays: None, metadata)
    with pytest.raises(SearchIndexError, match="missing or wrong") as caught:
        Index.load(path)
    assert caught.value.code == "damaged"


@pytest.mark.parametrize("version", ["1", "3"])
def test_another_format_version_is_refused(saved, version):
    path = rewrite(saved[0], lambda arrays: None, {"format_version": version})
    text = (
        f"index format '{version}'; this version reads '2'. Build it again: artist-features index"
    )
    with pytest.raises(SearchIndexError, match=text) as caught:
        Index.load(path)
    assert caught.value.code == "incompatible"


def header_of(entries, data=b""):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def array_of(dtype, shape, place, n_bytes=0):
    """A file of our format with one array of bytes, and what its header says of it."""
    metadata = {"format": "artist-features search index", "format_version": "2"}
    entry = {"dtype": dtype, "shape": shape, "data_offsets": place}
    return header_of({"__metadata__": metadata, "x": entry}, bytes(n_bytes))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        bytes(8),
        bytes(4096),
        b"PK\x03\x04" + bytes(60),
        (2**63).to_bytes(8, "little") + b"{}",
        (10**6).to_bytes(8, "little") + b"[" * 10**6,  # deeper than the stack
        header_of([]),
        header_of({}),
        header_of({"__metadata__": {}, "x": 3}),
        header_of({"__metadata__": {"format": "pt"}}),
        array_of("O", [], [0, 0]),
        array_of("U8", [10**18], [0, 1], 1),
        array_of("U8", [-1, -4], [0, 4], 4),
        array_of("F64", [2**61], [0, 2**64], 8),  # 0 bytes, counted in 64 bits
        array_of("U8", [4], [4, 8], 8),  # a gap
        array_of("U8", [4], [-4, 0], 8),
        array_of("U8", [8], [0, 8], 4),
        array_of("U8", [True], [0, 1], 1),
        array_of("U8", [1, 1, 1], [0, 1], 1),
        array_of("U8", [1], [0, 1], 1),  # nothing is wrong but that there is no checksum
    ],
)
def test_what_is_no_index_is_named(tmp_path, data):
    path = tmp_path / "x.index"
    path.write_bytes(data)
    with pytest.raises(SearchIndexError, match="is no search index, or damaged") as caught:
        Index.load(path)
    assert caught.value.code == "damaged"


def test_what_cannot_be_opened_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, text in [("none", "No such file"), (".", "not a reg"), ("pipe", "not a regular")]:
        with pytest.raises(SearchIndexError, match=text) as caught:
            Index.load(tmp_path / name)
        assert caught.value.code == "unavailable"


def test_full_disk_leaves_the_old_index(tmp_path):
    index = nasty_index()
    index.save(tmp_path / "lib.index")
    before = (tmp_path / "lib.index").read_bytes()
    large = Index.build(clustered(5000), tracks_of([""] * 5000), MADE_WITH)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError) as caught:
            large.save(tmp_path / "lib.index")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "no_space"
    assert (tmp_path / "lib.index").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["lib.index"]


class Limits:
    """No mutant may take long, or much memory."""

    def __enter__(self):
        self._started = time.monotonic()
        self._kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def __exit__(self, *_):
        assert time.monotonic() - self._started < 5
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._kb < 100_000


@pytest.mark.slow
def test_bytes_changed_and_the_checksum_not(saved):
    path, n_refused = saved[0].with_name("mutant.index"), 0
    right = use(saved[0])
    for number in range(MUTANTS):
        path.write_bytes(mutated_bytes(saved[1], random.Random(f"{SEED}, {number}")))
        with Limits():
            n_refused += check(path, right)
    assert n_refused > MUTANTS * 0.9  # few changes are none


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
def test_forged_with_a_right_checksum(saved):
    """Whoever writes the file writes its checksum, too."""
    stored, texts = storage.read_arrays(saved[0])
    path, n_refused = saved[0].with_name("forged.index"), 0
    for number in range(MUTANTS):
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
    assert MUTANTS / 4 < n_refused < MUTANTS


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
