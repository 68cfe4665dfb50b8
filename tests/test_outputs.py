"""Tables of results: what is written can be read back, continued, and is never half."""

import os
import sys
import weakref
from pathlib import Path

import filelock
import numpy as np
import pytest
from conftest import file_size_limit

from artist_features.errors import OutputError
from artist_features.files import acquire_lock, write_atomically
from artist_features.library import tables
from artist_features.library.inputs import NamedPaths
from artist_features.library.outputs import open_output
from artist_features.library.tables import Row
from artist_features.search.embedding_tables import read_embeddings

MADE_WITH = {"weights_sha256": "ab" * 32, "offset_s": 0.0, "duration_s": None}
NASTY = ["a.mp3", "new\nline.mp3", "tab\t'q\".mp3", os.fsdecode(b"caf\xe9.mp3"), "é.mp3", "é.mp3"]


def row(path, seed=0, status="ok"):
    vector = np.random.default_rng(seed).standard_normal(4).astype(np.float32)
    failed = status not in tables.WITH_VECTOR
    vector = None if failed else vector
    return Row(path, vector, 2, 6.5, 44100, "soundfile", status, "", 7, 8, "ab")


def opened(path, made_with=MADE_WITH, **options):
    """Return an output whose `named` is the table of its rows."""
    named = NamedPaths()
    writer = open_output(path, named, dim=4, made_with=made_with, **options)
    writer.named = named
    weakref.finalize(writer, named.close)
    return writer


def write(path, rows, made_with=MADE_WITH, **options):
    writer = opened(path, made_with, **options)
    for index, item in enumerate(rows):
        writer.write(index, item)
    writer.close()
    return path


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_round_trip_of_any_file_name(tmp_path, ending):
    rows = [row(path, seed) for seed, path in enumerate(NASTY)] + [row("x", 0, "damaged")]
    path = write(tmp_path / f"t{ending}", rows)
    reader = tables.from_npz if ending == ".npz" else tables.from_parquet
    back, made_with = reader(path)
    assert '"weights_sha256": "abab' in made_with
    assert [os.fsencode(r.path) for r in back] == [os.fsencode(r.path) for r in rows]
    for old, new in zip(rows[:-1], back[:-1], strict=True):
        np.testing.assert_array_equal(old.embedding, new.embedding)
        assert (new.n_segments, new.duration_s, new.sample_rate) == (2, 6.5, 44100)
        assert (new.size_bytes, new.mtime_ns, new.content_sha256) == (7, 8, "ab")
    assert back[-1].failed


def test_rows_come_in_the_order_of_the_arguments(tmp_path):
    writer = opened(tmp_path / "t.npz")
    for index in (2, 0, 1):
        writer.write(index, row(str(index), index))
    writer.close()
    assert np.load(tmp_path / "t.npz", allow_pickle=False)["path"].tolist() == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("no"), r"pip install 'artist-features\[parquet\]'"),
        (ImportError("it needs NumPy 2"), r"\(it needs NumPy 2\).*pip install 'pyarrow<26'"),
    ],
    ids=["missing", "too new for NumPy"],
)
def test_without_pyarrow_the_way_to_it_is_named(monkeypatch, error, said):
    class Finder:
        def find_spec(self, name, path, target=None):
            if name.partition(".")[0] == "pyarrow":
                raise error

    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(ImportError, match=said):
        tables.require_pyarrow()


def test_lists_of_any_size_serve_older_pyarrow(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(tables, "_list_size", lambda pa, dim: -1)
    path = write(tmp_path / "t.parquet", [row("b", 0, "empty"), row("a", 1), row("c", 2, "empty")])
    back, _ = tables.from_parquet(path)
    assert [one.failed for one in back] == [True, False, True]
    np.testing.assert_array_equal(back[1].embedding, row("a", 1).embedding)


def test_parquet_types(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(write(tmp_path / "t.parquet", [row("a"), row("b", 0, "empty")]))
    fixed = int(pyarrow.__version__.partition(".")[0]) >= 26
    wanted = "fixed_size_list<element: float>[4]" if fixed else "list<element: float>"
    assert str(table.schema.field("embedding").type) == wanted
    assert table["embedding"].null_count == 1


@pytest.mark.parametrize("name", ["t.npz", "t.parquet", "shards"])
def test_rows_of_another_model_are_refused(tmp_path, name):
    write(tmp_path / name, [row("a")])
    other = {**MADE_WITH, "weights_sha256": "cd" * 32}
    said = r"made with weights_sha256 = abab.*this run has cdcd"
    with pytest.raises(OutputError, match=said) as caught:
        opened(tmp_path / name, other)
    assert caught.value.code == "mismatch"
    opened(tmp_path / name, {**MADE_WITH, "model": "the same by another name"}).close()


@pytest.mark.parametrize("name", ["t.npz", "t.parquet"])
def test_options_of_another_version_are_refused_by_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [row("a")], {**MADE_WITH, "channel": None})
    with pytest.raises(OutputError, match="options that this version does not know: channel"):
        read_embeddings([path])


def test_options_that_are_no_object_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(tables.to_npz([row("a")], 4, "[]"))
    with pytest.raises(OutputError, match="was not written by `artist-features extract`"):
        read_embeddings([path])


@pytest.mark.parametrize("name", ["t.npz", "t.parquet"])
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_damaged_tables_are_named(tmp_path, name, keep):
    target = tmp_path / (name.split("/")[0])
    write(target, [row("a"), row("b")])
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    with pytest.raises(OutputError, match="damaged") as caught:
        opened(target)
    assert caught.value.code == "damaged"


def test_npz_with_pickled_objects_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    np.savez(path, name=np.array(["a"]), status=np.array([{"a": 1}], object))
    with pytest.raises(OutputError, match="not a table of this program"):
        opened(path)


def test_disk_full_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write(tmp_path / "t.npz", [row("a")])
    before = path.read_bytes()
    writer = opened(path)
    for index in range(4000):
        writer.write(index, row(f"{index}.mp3", index))
    with file_size_limit(4096), pytest.raises(OutputError, match="no space for") as caught:
        writer.close()
    assert caught.value.code == "no_space"
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["t.npz"]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.npz").mkdir()
    for name, text in [
        ("file", "is a file"),
        ("folder.npz", "is a folder"),
        ("no/t.npz", "folder cannot be written to"),
        ("t.csv", "ending '.csv'"),
    ]:
        with pytest.raises(OutputError, match=text):
            opened(tmp_path / name)


def test_two_writers_of_one_file_are_refused(tmp_path):
    first = opened(tmp_path / "t.npz")
    with pytest.raises(OutputError, match=r"t\.npz: pid \d+ on .* is writing here") as caught:
        opened(tmp_path / "t.npz")
    assert caught.value.code == "locked"
    other = opened(tmp_path / "other.npz")
    for writer in (first, other):
        writer.write(0, row("/a", 1))
        writer.close()
    opened(tmp_path / "t.npz").close(complete=False)
    assert sorted(os.listdir(tmp_path)) == ["other.npz", "t.npz"]


def test_a_lock_that_goes_while_its_holder_is_looked_up_is_still_named(tmp_path, monkeypatch):
    def acquire(lock, timeout):
        os.unlink(lock.lock_file)  # the holder ends now, and takes its file along
        raise filelock.Timeout(lock.lock_file)

    (tmp_path / "lock").touch()
    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(OutputError, match="another process is writing here"):
        acquire_lock(tmp_path / "lock", tmp_path)


def test_machines_with_one_process_number_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)
    partials = []
    replace = os.replace

    def slow(partial, path):
        partials.append(partial)
        if len(partials) == 1:  # the other machine writes meanwhile
            write_atomically(tmp_path / "2", b"two")
        replace(partial, path)

    monkeypatch.setattr(os, "replace", slow)
    write_atomically(tmp_path / "1", b"one")
    assert (tmp_path / "1").read_bytes() == b"one"
    assert (tmp_path / "2").read_bytes() == b"two"
    assert len(set(partials)) == 2


def test_a_replaced_file_keeps_its_mode(tmp_path):
    path = tmp_path / "private"
    path.write_bytes(b"one")
    path.chmod(0o640)
    write_atomically(path, b"two")
    assert path.stat().st_mode & 0o777 == 0o640
