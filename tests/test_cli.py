"""The command line: exit codes, what goes where, one real process."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import music, write_audio

from artist_features.cli.main import main
from artist_features.cli.train import command_line


def test_a_model_card_does_not_say_where_files_are(tmp_path, monkeypatch):
    words = [f"--output={tmp_path / 'run'}", f"{tmp_path}/new/", "/no/such/m.csv", "--set", "a=1"]
    words += ["--teacher", "hf://owner/name", "--init=hf://owner/name", "m.csv"]
    words += ["-o/home/ann/run", "private/2026/run", "-o"]
    monkeypatch.setattr(sys, "argv", ["artist-features", "train", *words])
    kept = "--output=run new m.csv --set a=1 --teacher hf://owner/name --init=hf://owner/name m.csv"
    kept += " -orun run -o"
    assert command_line() == f"artist-features train {kept}"


@pytest.fixture
def library(tmp_path):
    """A folder with two good recordings, one bad, and a file that is not audio."""
    folder = tmp_path / "library"
    (folder / "deeper").mkdir(parents=True)
    write_audio(folder / "a b'c.wav", music(seed=1))
    write_audio(folder / "deeper" / "ü.flac", music(seed=2))
    (folder / "bad.mp3").write_text("these are words, not music")
    (folder / "notes.txt").write_text("no audio")
    return folder


def test_extract_writes_every_row_and_fails_with_1(library, tiny_folder, tmp_path, capsys):
    out = tmp_path / "out.npz"
    assert main(["extract", str(library), "--model", str(tiny_folder), "-o", str(out)]) == 1
    table = np.load(out, allow_pickle=False)
    assert [os.path.basename(p) for p in table["path"]] == ["a b'c.wav", "bad.mp3", "ü.flac"]
    assert table["status"].tolist() == ["ok", "unsupported", "ok"]
    assert table["embedding"].dtype == np.float32
    assert np.isfinite(table["embedding"][[0, 2]]).all()
    assert np.isnan(table["embedding"][1]).all()
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "bad.mp3: unsupported: " in stderr
    assert "2 embedded, 1 failed" in stderr
    assert "on CPU" in stderr or "on GPU" in stderr


def test_same_command_continues_and_retries_only_what_failed(
    library, tiny_folder, tmp_path, capsys
):
    command = ["extract", str(library), "--model", str(tiny_folder)]
    out = tmp_path / "out.npz"
    assert main([*command, "-o", str(out)]) == 1
    before = np.load(out, allow_pickle=False)["embedding"][0]
    write_audio(library / "bad.mp3", music(seed=3))
    capsys.readouterr()
    assert main([*command, "-o", str(out)]) == 0
    assert "1 embedded, 0 failed, 2 already there" in capsys.readouterr().err
    table = np.load(out, allow_pickle=False)
    assert sorted(table["status"]) == ["ok"] * 3
    np.testing.assert_array_equal(table["embedding"][0], before)


def test_other_options_into_the_same_file_are_refused(library, tiny_folder, tmp_path, capsys):
    command = ["extract", str(library / "a b'c.wav"), "--model", str(tiny_folder)]
    out = ["-o", str(tmp_path / "out.npz")]
    assert main([*command, *out]) == 0
    assert main([*command, *out, "--offset", "1"]) == 2
    assert "made with offset_s = 0.0, this run has 1.0" in capsys.readouterr().err
    assert main([*command, *out, "--offset", "1", "--force"]) == 0


def test_force_is_for_single_files(library, tiny_folder, tmp_path, capsys):
    command = ["extract", str(library / "a b'c.wav"), "--model", str(tiny_folder), "--force"]
    for out in ([], ["-o", str(tmp_path / "folder")]):
        assert main([*command, *out]) == 2
        assert "--force starts a single .npz or .parquet anew" in capsys.readouterr().err
    assert not (tmp_path / "folder").exists()


def test_json_lines_on_standard_output(library, tiny_folder, capsys):
    song = str(library / "a b'c.wav")
    assert main(["extract", song, song, "--model", str(tiny_folder)]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["status"] for record in records] == ["ok"] * 2  # one for each name
    assert len(records[0]["embedding"]) == 8


@pytest.mark.parametrize(
    ("arguments", "text", "code"),
    [
        (["--model", "./none"], "no such folder", 2),
        (["--model", "siamise"], "Did you mean 'siamese'", 2),
        (["--offset", "-1"], "offset is -1.0 s", 2),
        (["--batch-size", "0"], "batch_size is 0", 2),
        (["-o", "out.csv"], "allowed are .npz, .parquet, or a folder", 2),
        (["-o", "no/such/out.npz"], "folder cannot be written to", 2),
    ],
)
def test_wrong_usage_ends_it_before_decoding(
    library, tiny_folder, tmp_path, monkeypatch, capsys, arguments, text, code
):
    monkeypatch.chdir(tmp_path)
    model = [] if "--model" in arguments else ["--model", str(tiny_folder)]
    assert main(["extract", str(library), *model, *arguments]) == code
    assert text in capsys.readouterr().err


def test_models_prints_table_and_card(tiny_folder, capsys):
    assert main(["models"]) == 0
    table = capsys.readouterr().out
    assert "`siamese`" in table
    assert "`basic`" in table
    assert main(["models", str(tiny_folder)]) == 0
    card = capsys.readouterr().out
    assert card.startswith("tiny: ")
    assert re.search(r"^weights +sha256 [0-9a-f]{64}$", card, re.MULTILINE)


def test_import_authors(reference, tmp_path, capsys):
    source = reference / "model_siamese_10000.h5"
    assert main(["import-authors", str(source), str(tmp_path / "m")]) == 0
    assert "siamese model written" in capsys.readouterr().err
    assert main(["import-authors", str(reference / "clip_22k_mono.flac"), str(tmp_path)]) == 2
    assert "not an HDF5 file" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["import-authors", str(source), str(tmp_path / "file")]) == 2
    assert "cannot be written (File exists); choose another folder" in capsys.readouterr().err


def test_help_imports_no_tensorflow_and_no_numpy():
    program = (
        "import sys\nfrom artist_features.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "import-authors" in done.stdout


def _start(arguments, **options):
    command = [sys.executable, "-m", "artist_features.cli.main", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.slow
def test_interrupt_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path):
    for number in range(60):
        seconds = 1 if number == 30 else 3  # the command speaks of a file that is short
        write_audio(tmp_path / f"{number:02d}.wav", music(seconds=seconds, seed=number % 4))
    long = write_audio(tmp_path / "99.flac", np.tile(music(60), (6, 1)))
    out = tmp_path / "out.npz"
    arguments = ["extract", tmp_path, "-o", out, "--workers", "1"]
    arguments += ["--batch-size", "8"]
    process = _start(arguments)
    for line in process.stderr:
        if "30.wav: short" in line:
            break
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    process.stderr.close()
    first = np.load(out, allow_pickle=False)["path"].tolist()
    assert 0 < len(first) < 61
    assert str(long) not in first
    process = _start(arguments)
    _, stderr = process.communicate(timeout=480)
    assert process.returncode == 0, stderr
    assert f"{len(first)} already there" in stderr
    assert len(np.load(out, allow_pickle=False)["path"]) == 61


@pytest.mark.slow
def test_row_53_a_reader_that_goes_away_ends_it_quietly(library):
    process = _start(
        ["extract", library, library, library],
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    process.wait(60)
    assert "Traceback" not in stderr
    assert "BrokenPipe" not in stderr


@pytest.mark.slow
def test_row_64_ascii_locale_and_closed_standard_error(library, tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = (
        f'"{sys.executable}" -m artist_features.cli.main extract "{library}" '
        f'-o "{tmp_path}/out.npz" 2>&-'
    )
    assert subprocess.run(command, shell=True, env=environment).returncode == 1
    assert len(np.load(tmp_path / "out.npz", allow_pickle=False)["path"]) == 3


def test_same_weights_in_another_graph_are_refused(library, tiny_folder, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(tiny_folder, other)
    card = json.loads((other / "artist_features.json").read_text())
    card["front_end"]["mean"] = 0.5
    del card["graph_sha256"]
    (other / "artist_features.json").write_text(json.dumps(card))
    command = ["extract", str(library / "a b'c.wav"), "-o", str(tmp_path / "out.npz"), "--model"]
    assert main([*command, str(tiny_folder)]) == 0
    assert main([*command, str(other)]) == 2
    assert "made with graph_sha256 = " in capsys.readouterr().err
