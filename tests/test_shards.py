"""Folders of shards: continued, mended, locked; nothing finished is lost or twice."""

import contextlib
import dataclasses
import importlib
import os
from collections import Counter

import numpy as np
import pytest
from conftest import file_size_limit
from test_outputs import MADE_WITH, NASTY, row
from test_outputs import opened as opened_output

from artist_features.errors import OutputError
from artist_features.library import shards, tables
from artist_features.library.inputs import NamedPaths

pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)


def opened(folder, **changes):
    return opened_output(folder, MADE_WITH | changes)


def write(folder, rows, close=True):
    writer = opened(folder)
    for index, item in enumerate(rows):
        writer.write(index, item)
    if close:
        writer.close()
    return writer


def paths(folder):
    import pyarrow.parquet as parquet

    tables = [parquet.ParquetFile(p).read() for p in sorted(folder.glob("*.parquet"))]
    return [os.fsdecode(name) for table in tables for name in table["path_bytes"].to_pylist()]


def crash(writer):
    """End a writer as a kill would: nothing is flushed, the lock goes."""
    writer._journal._file.close()
    writer._lock.release()


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_folder_of_shards_is_continued(tmp_path):
    folder = tmp_path / "shards"
    write(folder, [row(name) for name in NASTY])
    assert names(folder) == [".lock", *(f"part-0000{n}.parquet" for n in range(3))]
    writer = opened(folder)
    assert all(writer.named.held(name) == ("ok", (7, 8)) for name in NASTY)
    assert writer.named.held("new") is None
    writer.write(0, row("new", status="damaged"))
    writer.close()
    writer = opened(folder)
    assert writer.named.held("new")[0] == "damaged"
    writer.close()
    assert paths(folder) == [*NASTY, "new"]


def test_a_kill_loses_no_row(tmp_path):
    folder = tmp_path / "shards"
    crash(write(folder, [row("a"), row("b"), row("c")], close=False))
    assert paths(folder) == ["a", "b"]
    writer = opened(folder)
    assert writer.named.held("c") == ("ok", (7, 8))
    writer.close()
    assert paths(folder) == ["a", "b", "c"]


def test_a_signal_while_the_journal_is_read_loses_no_row(tmp_path, monkeypatch):
    folder = tmp_path / "shards"
    crash(write(folder, [row("a")], close=False))
    with monkeypatch.context() as patch:
        patch.setattr(NamedPaths, "held", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(folder)
    opened(folder).close()
    assert paths(folder) == ["a"]


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_kill_between_shard_and_journal_makes_no_row_twice(tmp_path, monkeypatch):
    folder = tmp_path / "shards"
    writer = write(folder, [row("a")], close=False)
    monkeypatch.setattr(writer._journal, "clear", lambda: None)
    writer.write(1, row("b"))  # the shard is there, the journal still holds both rows
    crash(writer)
    opened(folder).close()
    assert paths(folder) == ["a", "b"]


def test_what_a_kill_left_behind_is_cleared(tmp_path):
    folder = tmp_path / "shards"
    write(folder, [row("a")])
    (folder / ".partial-123").write_bytes(b"half a shard")
    opened(folder).close()
    assert names(folder) == [".lock", "part-00000.parquet"]


def test_a_shard_cut_anywhere_is_moved_aside_and_its_rows_are_missing(tmp_path, caplog):
    folder = tmp_path / "shards"
    write(folder, [row(name) for name in "abcd"])
    shard = folder / "part-00001.parquet"
    data = shard.read_bytes()
    # the classes of places: nothing, the magic, a page, the footer, its length, the last magic
    for n_bytes in (0, 3, 4, len(data) // 2, len(data) - 100, len(data) - 8, len(data) - 1):
        shard.write_bytes(data[:n_bytes])
        caplog.clear()
        writer = opened(folder)
        assert ".part-00001.damaged: damaged, moved aside" in caplog.text
        (folder / ".part-00001.damaged").unlink()
        assert [writer.named.held(name) is not None for name in "abcd"] == [
            True,
            True,
            False,
            False,
        ]
        writer.close()
        assert paths(folder) == ["a", "b"]


def test_a_changed_byte_in_a_shard_is_never_a_wrong_row(tmp_path):
    folder = tmp_path / "shards"
    write(folder, [row(name) for name in "ab"])
    shard = folder / "part-00000.parquet"
    data = shard.read_bytes()
    outcomes = Counter()
    for place in range(0, len(data), 31):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        shard.write_bytes(changed)
        outcome = _outcome(folder)
        outcomes[outcome] += 1
        assert outcome in ("mismatch", "set aside", "whole"), place
    assert outcomes["set aside"] > 10


def _outcome(folder):
    try:
        writer = opened(folder)
    except OutputError as error:  # another `made_with` stands there now
        return error.code
    found = {name: writer.named.held(name) for name in "ab"}
    n_rows = writer.named._table.execute("SELECT count(*) FROM held").fetchone()[0]
    writer.close()
    damaged = list(folder.glob(".*.damaged"))
    for aside in damaged:
        aside.unlink()
    if damaged:
        return "set aside" if n_rows == 0 else "wrong"
    return "whole" if n_rows == 2 and set(found.values()) == {("ok", (7, 8))} else "wrong"


def test_stale_rows_leave_their_shards(tmp_path):
    folder = tmp_path / "shards"
    write(folder, [row(name, seed) for seed, name in enumerate("abcde")])
    writer = opened(folder)
    writer.drop([0, 1, 2], set("ace").__contains__)
    assert paths(folder) == ["b", "d"]
    assert not (folder / "part-00002.parquet").exists()
    writer.write(0, row("a", 9))
    writer.close()
    assert paths(folder) == ["b", "d", "a"]
    import pyarrow.parquet as parquet

    kept = parquet.ParquetFile(folder / "part-00000.parquet").read()["embedding"].to_pylist()
    np.testing.assert_array_equal(np.float32(kept), [row("b", 1).embedding])


def test_tables_of_other_programs_are_left_alone(tmp_path):
    import pyarrow
    import pyarrow.parquet as parquet

    folder = tmp_path / "s"
    folder.mkdir()
    table = pyarrow.table({"x": [1, 2]})
    for name in ("part-0.parquet", "part-1_0.parquet", "other.parquet"):
        parquet.write_table(table, folder / name)  # no names of shards
    (folder / "part-00009.parquet").mkdir()
    (folder / ".partial-x").mkdir()
    before = names(folder)
    write(folder, [row("a")])
    assert set(before) <= set(names(folder))
    parquet.write_table(table, folder / "part-00007.parquet")
    with pytest.raises(OutputError, match="was not written by") as caught:
        opened(folder)
    assert caught.value.code == "mismatch"
    assert "part-00007.parquet" in names(folder)


def test_a_refused_run_moves_nothing_aside(tmp_path):
    folder = tmp_path / "s"
    write(folder, [row(name) for name in "abcd"])
    (folder / "part-00000.parquet").write_bytes(b"cut")
    before = names(folder)
    with pytest.raises(OutputError, match="made with"):
        opened(folder, weights_sha256="cd" * 32)
    assert names(folder) == before


def test_a_shard_that_may_not_be_read_is_not_damaged(tmp_path, monkeypatch):
    folder = tmp_path / "s"
    write(folder, [row("a")])
    before = names(folder)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tables, "_read_parquet", refuse)
    with pytest.raises(OutputError, match=r"cannot be read \(Permission denied"):
        opened(folder)
    assert names(folder) == before


def test_segments_fill_a_shard_by_their_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_ROWS", 1000)
    monkeypatch.setattr(shards, "SHARD_LINES", 5)
    apart = [
        dataclasses.replace(row(name), embedding=np.ones((3, 4), np.float32), n_segments=3,
                            starts_s=(0.0, 3.0, 6.0)) for name in "abc"
    ]  # fmt: skip
    write(tmp_path / "s", apart)
    assert names(tmp_path / "s") == [".lock", "part-00000.parquet", "part-00001.parquet"]
    assert paths(tmp_path / "s") == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    writer = opened(tmp_path / "s")
    writer.drop([0], {"a"}.__contains__)
    writer.close()
    assert paths(tmp_path / "s") == ["b"] * 3 + ["c"] * 3


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    folder = tmp_path / "s"
    write(folder, [row("a"), row("b")])
    monkeypatch.setattr(shards, "SHARD_ROWS", 1000)
    writer = opened(folder)
    made = []
    with file_size_limit(4096):
        with pytest.raises(OutputError) as caught:
            _write_until_it_fails(writer, made)
        assert caught.value.code == "no_space"
        with pytest.raises(OutputError, match="no space"):
            writer.close()
    assert len(made) > 3
    assert paths(folder) == ["a", "b"]
    opened(folder).close()
    assert paths(folder)[: 2 + len(made)] == ["a", "b", *made]


def _write_until_it_fails(writer, made):
    for number in range(1000):
        writer.write(number, row(f"{number}.mp3"))
        made.append(f"{number}.mp3")


def test_readers_of_folders_read_it_while_a_run_goes_on(tmp_path):
    folder = tmp_path / "s"
    writer = write(folder, [row(name, seed) for seed, name in enumerate("abcde")], close=False)
    assert (folder / ".journal").stat().st_size > 0
    found = {}
    if pandas := _installed("pandas"):
        found["pandas"] = pandas.read_parquet(folder)["path"].tolist()
    if polars := _installed("polars"):
        found["polars"] = polars.read_parquet(folder / "*.parquet")["path"].to_list()
    if duckdb := _installed("duckdb"):
        query = f"SELECT path FROM '{folder}/*.parquet' ORDER BY path"
        found["duckdb"] = [path for (path,) in duckdb.sql(query).fetchall()]
    if datasets := _installed("datasets"):
        loaded = datasets.load_dataset(
            "parquet", data_dir=str(folder), cache_dir=str(tmp_path / "cache")
        )
        found["datasets"] = loaded["train"]["path"][:]
        assert len(loaded["train"][0]["embedding"]) == 4
    writer.close()
    if not found:
        pytest.skip("none of the four readers is installed (extra [dev])")
    assert found == {name: list("abcd") for name in found}


def _installed(name):
    with contextlib.suppress(ImportError):
        return importlib.import_module(name)
    return None
