"""What `artist-features extract` says on standard error, and options that all commands share."""

import re

import pytest
from conftest import music, write_audio

from artist_features.cli import progress
from artist_features.cli.main import build_parser, main
from artist_features.version import VERSION
from artist_features.zoo.registry import list_models


@pytest.fixture
def songs(tmp_path):
    (tmp_path / "songs").mkdir()
    for n in range(3):
        write_audio(tmp_path / "songs" / f"{n}.wav", music(4, 22050, 1, seed=n), 22050)
    return tmp_path / "songs"


@pytest.fixture
def said(tiny_folder, tmp_path, capsys):
    """Run `extract` and return (exit code, lines on standard error)."""

    def run(*words):
        out = str(tmp_path / f"{len(list(tmp_path.iterdir()))}.npz")
        code = main(["extract", *map(str, words), "--model", str(tiny_folder), "-o", out])
        return code, capsys.readouterr().err.splitlines()

    return run


def test_one_file_has_one_line(songs, said):
    code, lines = said(songs / "0.wav")
    assert code == 0
    assert len(lines) == 1
    assert lines[0].startswith("1 embedded, 0 failed; written to ")


def test_times_and_formats_are_for_many_files_or_verbose(songs, said):
    _, lines = said(songs)
    assert not any("real time" in line for line in lines)
    _, lines = said(songs, "--verbose")
    assert any("x real time" in line for line in lines)
    assert any(line.split()[:2] == ["wav", "3"] for line in lines)
    assert any(line.startswith("model ") for line in lines)
    for n in range(3, 20):
        (songs / f"{n}.wav").symlink_to(f"/nowhere/{n}.wav")
    _, lines = said(songs)
    assert any("x real time" in line for line in lines)


def test_quiet_leaves_what_fails(songs, said):
    assert said(songs, "-q") == (0, [])
    (songs / "bad.wav").write_bytes(b"nothing")
    code, lines = said(songs, "-q")
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"{songs / 'bad.wav'}: empty")


def test_quiet_and_verbose_exclude_each_other(songs, capsys):
    with pytest.raises(SystemExit):
        main(["extract", str(songs), "-q", "-v"])
    assert "not allowed with" in capsys.readouterr().err


def test_progress_in_a_file_is_a_line_now_and_then(songs, said, monkeypatch):
    _, lines = said(songs)
    assert not any("of 3 files" in line for line in lines)  # it took less than 30 s
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.001)
    _, lines = said(songs)
    found = [line for line in lines if "of 3 files" in line]
    assert found
    for line in found:
        assert re.fullmatch(r"  [123] of 3 files, \d+ x real time, 0 failed, 0 min left", line)


def test_version_names_the_weights(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    first, *weights = capsys.readouterr().out.splitlines()
    assert first == VERSION
    expected = [f"{name} {card.weights_sha256[:12]}" for name, card in list_models().items()]
    assert weights == expected


@pytest.mark.parametrize("option", ["-o", "--output", "--out"])
@pytest.mark.parametrize(
    "words", [["train", "basic", "m.csv"], ["whiten", "siamese", "m.csv"], ["map", "e.npz"]]
)
def test_outputs_have_one_spelling(words, option):
    assert build_parser().parse_args([*words, option, "place"]).out == "place"
