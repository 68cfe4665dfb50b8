"""`artist-features manifest`: what it writes where, and its exit codes."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import mutagen
import pytest
from conftest import music, write_audio

from artist_features.cli.main import build_parser, main
from artist_features.datasets.manifest import read_manifest
from artist_features.extraction.remote import identity
from artist_features.search.embedding_tables import join_manifest
from artist_features.search.tracks import IndexedTrack
from artist_features.training.inputs import read_splits


@pytest.fixture
def library(tmp_path):
    """A folder of six tagged tracks of three artists."""
    folder = tmp_path / "library"
    for number in range(6):
        path = folder / f"artist{number // 2}" / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, music(0.3, seed=number))
        file = mutagen.File(path)
        file["artist"], file["title"] = f"Name {'xyz'[number // 2] * 3}", f"Song {number}"
        file.save()
    return folder


def test_folder_to_manifest(library, capsys):
    out = library / "m.csv"
    assert main(["manifest", str(library), "-o", str(out)]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert f"6 tracks of 3 artists, 0 without artist, 0 left out; written to {out}" in stderr
    assert out.read_text().splitlines()[:2] == [
        "file,artist,title,album,musicbrainz_artistid",
        "artist0/0.flac,Name xxx,Song 0,,",
    ]


@pytest.mark.parametrize("out", ["../m.csv", "../beside/m.csv", "artist0/m.csv"])
def test_manifest_above_beside_or_below_the_folder(
    library: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    (library.parent / "beside").mkdir()
    monkeypatch.chdir(library)
    assert main(["manifest", ".", "-o", out]) == 0
    tracks = read_manifest(library / out)
    assert len(tracks) == 6
    assert tracks[0].path.samefile(library / "artist0" / "0.flac")
    assert main(["manifest", "--check", out]) == 0
    assert "missing files: 0" in capsys.readouterr().out


def test_nothing_is_overwritten_without_force(library, capsys):
    out = library / "m.csv"
    out.write_text("mine")
    assert main(["manifest", str(library), "-o", str(out)]) == 2
    assert "m.csv: exists already; choose another name, or --force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["manifest", str(library), "-o", str(out), "--force"]) == 0
    assert len(read_manifest(out)) == 6


@pytest.mark.parametrize("name", ["artist0/0.flac", "list.pkl"])
def test_what_is_read_is_not_overwritten_even_with_force(library, name, capsys):
    out = library / name
    (library / "list.pkl").write_bytes(pickle.dumps(["1/1/1"]))
    before = out.read_bytes()
    words = ["manifest", str(library), "--msd", str(library / "list.pkl"), "-o", str(out)]
    assert main([*words, "--pattern", "artist0/0.flac", "--force"]) == 2
    assert "choose another name" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_splits_are_written_and_checked(library, capsys):
    out, command = library / "m.csv", ["manifest", str(library), "--force", "--check"]
    assert main([*command, "-o", str(out), "--split", "artist", "--seed", "3"]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout.startswith("6 tracks of 3 artists (3 with two or more tracks), 0 without artist")
    assert "artists in two splits: 0" in stdout
    assert "6 tracks" in stderr
    by_artist = [track.extra["split"] for track in read_manifest(out)]
    assert by_artist[::2] == by_artist[1::2]
    assert set(by_artist) >= {"train", "test"}
    assert main([*command, "-o", str(out), "--split", "track"]) == 0
    assert {track.extra["split"] for track in read_manifest(out)} == {"train"}


def test_seeds_give_other_splits(library):
    found = set()
    for seed in range(8):
        out = library / f"{seed}.csv"
        command = ["manifest", str(library), "-o", str(out), "--split", "artist"]
        assert main([*command, "--seed", str(seed)]) == 0
        found.add(tuple(track.extra["split"] for track in read_manifest(out)))
    assert len(found) > 1


def test_damaged_files_are_named_and_left_out(library, capsys):
    (library / "bad.mp3").write_text("words")
    assert main(["manifest", str(library), "-o", str(library / "m.csv")]) == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert f"{library / 'bad.mp3'}: " in stderr
    assert "6 tracks of 3 artists, 0 without artist, 1 left out" in stderr
    assert len(read_manifest(library / "m.csv")) == 6


def test_check_exits_with_1_if_training_must_not_begin(library, capsys):
    out = library / "m.csv"
    assert main(["manifest", str(library), "-o", str(out), "--split", "artist"]) == 0
    tracks = read_manifest(out)
    train = next(track for track in tracks if track.extra["split"] == "train")
    test = next(track for track in tracks if track.extra["split"] != "train")
    shutil.copy(train.path, test.path)
    capsys.readouterr()
    assert main(["manifest", "--check", str(out)]) == 1
    assert "recordings in two splits: 1\n  line " in capsys.readouterr().out
    os.unlink(test.path)
    assert main(["manifest", "--check", str(out)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "missing files: 1" in lines
    assert f"  line {test.line} {test.path.relative_to(library)}" in lines


def test_wrong_usage(library, tmp_path, capsys):
    csv = tmp_path / "bad.csv"
    csv.write_text("file,artist\n")
    (tmp_path / "none").mkdir()
    for arguments, text in (
        ([library], "a folder needs -o M.csv, the manifest to write"),
        ([csv], "is not a folder; give a folder and -o, or --check and a manifest"),
        (["--check", csv, "-o", tmp_path / "x.csv"], "-o, --split and --msd belong to a folder"),
        (["--check", csv, "--split", "track"], "-o, --split and --msd belong to a folder"),
        (["--check", csv], "bad.csv line 1: column 'title' is missing"),
        (["--check", tmp_path / "no.csv"], "no.csv: cannot be read (No such file"),
        ([library, "-o", library / "m.csv", "--split", "track", "--seed", "-1"], "seed is -1"),
        ([tmp_path / "none", "-o", tmp_path / "x.csv"], "no audio under"),
    ):
        assert main(["manifest", *map(str, arguments)]) == 2
        assert text in capsys.readouterr().err
    assert not (library / "m.csv").exists()


def test_the_papers_split_of_the_million_songs(tmp_path, capsys):
    audio = tmp_path / "previews"
    for number in range(3):
        path = audio / str(number) / f"{number}01.flac"
        path.parent.mkdir(parents=True)
        write_audio(path, music(0.3, seed=number))
    split = tmp_path / "split.pkl"
    split.write_bytes(pickle.dumps(["001/7/1", "101/7/16", "201/9/20", "901/9/2"]))
    words = ["manifest", str(audio), "-o", str(tmp_path / "m.csv"), "--msd", str(split)]
    assert main([*words, "--pattern", "{audio_id[0]}/{audio_id}.flac"]) == 1
    assert f"{audio}/9/901.flac: no such file" in capsys.readouterr().err
    tracks = read_manifest(tmp_path / "m.csv")
    found = [(track.artist, track.title, track.extra["split"]) for track in tracks]
    assert found == [("7", "001", "train"), ("7", "101", "valid"), ("9", "201", "test")]
    assert main([*words, "--split", "track"]) == 2


def test_a_root_takes_relative_files_of_a_manifest_that_lies_elsewhere(library, tmp_path):
    assert main(["manifest", str(library), "-o", str(library / "m.csv")]) == 0
    moved = tmp_path / "lists" / "m.csv"
    moved.parent.mkdir()
    (library / "m.csv").rename(moved)
    assert not any(track.path.is_file() for track in read_manifest(moved))
    tracks = read_manifest(moved, library)
    assert all(track.path.is_file() for track in tracks)
    assert read_splits([moved], root=library).tracks == tracks
    joined, n_listed = join_manifest([IndexedTrack(identity(tracks[0].path))], moved, library)
    assert (n_listed, joined[0].artist) == (1, tracks[0].artist)
    parser = build_parser()
    for words in (
        ["train", "basic", "m.csv", "-o", "r"],
        ["whiten", "siamese", "m.csv", "-o", "r"],
        ["evaluate", "artists", "m.csv"],
        ["evaluate", "genre", "m.csv"],
        ["index", "build", "e.npz", "-o", "i"],
        ["map", "e.npz", "-o", "m.html"],
    ):
        assert parser.parse_args([*words, "--root", "/music"]).root == "/music"


@pytest.mark.parametrize("text", ["path,artist\na.mp3,x\n", "file,artist,title\ngone.mp3,x,y\n"])
def test_train_reads_its_manifest_before_tensorflow(tmp_path, text):
    (tmp_path / "m.csv").write_text(text)
    code = (
        "import sys; sys.modules['tensorflow'] = None; "
        "from artist_features.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", code, "train", "siamese", "m.csv", "-o", "run"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "m.csv" in done.stderr
    assert not (tmp_path / "run").exists()
