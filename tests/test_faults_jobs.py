"""Rows 46 to 64 of the fault table: jobs whose files, places and processes fail.

Rows 50 to 52, 54 and 56 need real signals and are in test_cli_jobs.py, rows 53 and 64 in
test_cli.py, row 61 in test_batching.py.
"""

import json
import os
from pathlib import Path

import numpy as np
import processes
import pytest
from conftest import VICTIM_RATE, music, shard_rows, write_audio

import artist_features
from artist_features.cli.main import main
from artist_features.extraction import decode_process, extractor

parquet = pytest.importorskip("pyarrow.parquet")
N_FILES, VICTIM = 20, 7


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    for number in range(N_FILES):
        rate = VICTIM_RATE if number == VICTIM else 22050
        write_audio(folder / f"{number:02d}.wav", music(4, rate, 1, seed=number), rate)
    return folder


def go(library, model, out, *options):
    return main(["extract", str(library), "-o", str(out), "--model", str(model), *options])


def statuses(out):
    return {int(os.path.basename(row["path"])[:2]): row["status"] for row in shard_rows(out)}


def only_the_victim(out, status):
    assert statuses(out) == {n: status if n == VICTIM else "ok" for n in range(N_FILES)}


def by_night(*values):
    return pytest.param(*values, marks=pytest.mark.nightly)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "status", "name"),
    [
        ("ctypes.string_at(0)", "crashed", "SIGSEGV"),
        by_night("os.kill(os.getpid(), signal.SIGKILL)", "crashed", "SIGKILL"),
        by_night("os.abort()", "crashed", "SIGABRT"),
        ("time.sleep(600)", "timeout", ""),
        ("bytearray(8 << 30)", "out_of_memory", ""),
        by_night(
            "while True: sys.x = [*getattr(sys, 'x', ()), bytearray(1 << 26)]", "out_of_memory", ""
        ),
    ],
)
def test_rows_46_47_48_a_worker_that_dies_hangs_or_eats_memory(
    library, tiny_folder, tmp_path, sabotage, monkeypatch, capsys, action, status, name
):
    sabotage(action)
    if status == "timeout":
        monkeypatch.setattr(decode_process, "_PATIENCE_S", 1.5)
    assert go(library, tiny_folder, tmp_path / "out") == 1
    only_the_victim(tmp_path / "out", status)
    assert name in capsys.readouterr().err


@pytest.mark.slow
def test_row_49_a_poison_file_is_left_alone_until_it_is_asked_for(
    library, tiny_folder, tmp_path, sabotage, capsys
):
    out = tmp_path / "out"
    sabotage("os.abort()")
    assert go(library, tiny_folder, out) == 1
    capsys.readouterr()
    assert go(library, tiny_folder, out) == 1
    said = capsys.readouterr().err
    assert "0 embedded, 0 failed, 20 already there (1 of them failed)" in said
    sabotage("pass")
    assert go(library, tiny_folder, out, "--retry-failed") == 0
    only_the_victim(out, "ok")


def test_row_55_places_that_cannot_be_written_cost_no_decoding(
    library, tiny_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(extractor, "DecodePool", None)
    (tmp_path / "file").touch()
    for place in ("file", "none/out", "none/out.npz", "file/out"):
        assert go(library, tiny_folder, tmp_path / place) == 2
        assert place.split("/")[0] in capsys.readouterr().err


def test_row_57_a_damaged_shard_is_made_again(library, tiny_folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert go(library, tiny_folder, out) == 0
    shard = out / "part-00000.parquet"
    whole = parquet.read_table(shard).sort_by("path")
    data = shard.read_bytes()
    for damaged in (data[: len(data) // 2], b"", data[:200] + b"\xff" * 50 + data[250:], None):
        shard.write_bytes(damaged) if damaged is not None else shard.unlink()
        for other in out.glob("part-*.parquet"):
            if other != shard:
                other.unlink()
        capsys.readouterr()
        assert go(library, tiny_folder, out) == 0
        said = capsys.readouterr().err
        assert "20 embedded" in said
        assert ("damaged, moved aside" in said) == (damaged is not None)
        again = [parquet.read_table(p) for p in out.glob("part-*.parquet")]
        assert len(again) == 1
        mine = again[0].sort_by("path")
        assert mine.drop_columns("embedding").equals(whole.drop_columns("embedding"))
        vectors = [np.array(table["embedding"].to_pylist()) for table in (mine, whole)]
        np.testing.assert_allclose(*vectors, atol=1e-5)
        shard = next(out.glob("part-*.parquet"))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--offset", "1"), "offset_s"),
        (("--duration", "2"), "duration_s"),
        (("--decoder", "soundfile"), "decoder"),
        (("--per-segment",), "per_segment"),
        (("--content-hash",), "content_hash"),
    ],
)
def test_row_58_other_options_are_refused_by_name(
    library, tiny_folder, tmp_path, capsys, options, name
):
    one = library / "00.wav"
    assert go(one, tiny_folder, tmp_path / "out") == 0
    assert go(one, tiny_folder, tmp_path / "out", *options) == 2
    assert f"made with {name} = " in capsys.readouterr().err


def test_row_59_only_new_and_changed_files_are_read(library, tiny_folder, tmp_path, capsys):
    folder = tmp_path / "music"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number:02d}.wav").write_bytes((library / f"{number:02d}.wav").read_bytes())
    assert go(folder, tiny_folder, tmp_path / "out") == 0
    os.unlink(folder / "00.wav")
    write_audio(folder / "01.wav", music(5, 22050, 1, seed=77), 22050)
    write_audio(folder / "03.wav", music(5, 22050, 1, seed=78), 22050)
    capsys.readouterr()
    assert go(folder, tiny_folder, tmp_path / "out") == 0
    assert "2 embedded, 0 failed, 1 already there, 1 changed since" in capsys.readouterr().err
    assert statuses(tmp_path / "out") == dict.fromkeys(range(4), "ok")
    alone = artist_features.extract(str(folder / "01.wav"), model=str(tiny_folder))
    found = shard_rows(tmp_path / "out")
    (mine,) = [row["embedding"] for row in found if row["path"].endswith("01.wav")]
    np.testing.assert_allclose(mine, alone, atol=1e-6)


def test_row_60_nothing_to_do_and_nothing_but_bad_files(tiny_folder, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert go(empty, tiny_folder, tmp_path / "out") == 2
    assert f"no audio under {empty}" in capsys.readouterr().err
    for number in range(5):
        (empty / f"{number}.mp3").write_text("<!DOCTYPE html>")
    assert go(empty, tiny_folder, tmp_path / "out") == 1
    assert "unsupported: 5" in capsys.readouterr().err


def test_row_62_processes_are_never_forked():
    """Decoders are programs of their own (`subprocess`): a fork after TensorFlow hangs."""
    package = Path(artist_features.__file__).parent
    texts = [path.read_text() for path in package.rglob("*.py")]
    assert len(texts) > 50
    assert not [t for t in texts if "import multiprocessing" in t or "os.fork(" in t]


@pytest.mark.slow
def test_row_63_what_decoders_print_is_not_data(library, tiny_folder, tmp_path, sabotage):
    sabotage("os.write(1, b'Ooops!'); os.write(2, b'alac_pakt_read_decode')")
    done = processes.run(processes.COMMAND, "extract", library, "--model", tiny_folder)
    assert done.returncode == 0, done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == N_FILES
    assert "alac_pakt" not in done.stderr
