"""`path` and `playlist` as a user runs them, on an index of made-up vectors."""

import json
import subprocess
import sys

import numpy as np
import pytest

from artist_features.cli.main import main
from artist_features.search import Index, IndexedTrack

NAMES = "abcdefgh"  # at 0, 10, ... 70 degrees


@pytest.fixture
def library(tmp_path, monkeypatch):
    """An index of eight files, two by each artist, in the working directory."""
    angles = np.radians(10 * np.arange(8))
    for name in NAMES:
        (tmp_path / f"{name}.mp3").touch()
    tracks = [
        IndexedTrack(
            f"{tmp_path}/{name}.mp3", f"artist {place // 2}", f"T{name}", 60.0 + 30 * place
        )
        for place, name in enumerate(NAMES)
    ]
    made_with = {"model": "mine", "weights_sha256": "0" * 64}
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    Index.build(vectors, tracks, made_with).save(tmp_path / "lib.index")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(capsys):
    found = json.loads(capsys.readouterr().out)["results"]
    assert [record["rank"] for record in found] == list(range(1, len(found) + 1))
    return "".join(record["title"][1] for record in found), found


def test_path(library, capsys):
    path = ["path", "a.mp3", "g.mp3", "--index", "lib.index", "-n", "4"]
    assert main([*path, "--json", "--m3u", "p.m3u8"]) == 0
    found, records = names(capsys)
    assert found == "aceg"
    assert records[0]["similarity"] is None
    assert records[3]["similarity"] == round(np.cos(np.radians(20)), 6)
    assert (library / "p.m3u8").read_text().splitlines()[2::2] == [f"{n}.mp3" for n in "aceg"]
    assert main(path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"1\t\tartist 0 - Ta\t{library}/a.mp3"
    assert lines[1] == f"2\t0.9397\tartist 1 - Tc\t{library}/c.mp3"
    assert main([*path[:-1], "20"]) == 0
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), err) == (8, "-n is 20; the index has no more than 8 that fit\n")


def test_playlist(library, capsys):
    playlist = ["playlist", "--index", "lib.index", "--json", "--like", "a.mp3", "b.mp3"]
    assert main(playlist) == 0
    assert names(capsys)[0] == "cdefgh"
    assert main([*playlist, "--unlike", "h.mp3"]) == 0  # mean at 5 degrees, bound at 37.5
    assert names(capsys)[0] == "cd"
    assert main([*playlist, "--no-repeat-artist", "1"]) == 0
    assert names(capsys)[0] == "cedfg"  # h cannot follow g
    for _ in range(2):
        assert main([*playlist, "-n", "3", "--seed", "5"]) == 0
    first, second = capsys.readouterr().out.split("\n{")
    assert first.strip("{\n") == second.strip("{\n")


def test_files_that_are_gone_and_copies_are_left_out_unless_asked_for(library, capsys):
    index = Index.load("lib.index")
    copies = [
        IndexedTrack(f"{library}/{name}.mp3", title=f"T{name}", duration_s=s)
        for name, s in [("i", 60.9), ("j", 72.5), ("k", 0.0)]
    ]
    for track in copies:
        open(track.path, "w").close()
    vectors = index.vectors[[0, 0, 0]] + [0, 0.01]
    index.updated(vectors, copies).save("lib.index")  # i and k are copies of a, j is longer
    (library / "b.mp3").unlink()
    (library / "d.mp3").unlink()
    for command, found, everything in [
        (["similar", "a.mp3", "-k", "4"], "jcef", "ijkb"),
        (["playlist", "--like", "a.mp3", "-n", "4"], "jcef", "ijkb"),
        (["path", "a.mp3", "g.mp3", "-n", "8"], "ajcefhg", None),
    ]:
        assert main([*command, "--index", "lib.index", "--json"]) == 0
        out, err = capsys.readouterr()
        assert "".join(r["title"][1] for r in json.loads(out)["results"]) == found
        assert "2 left out (copies); --all lists them, too\n2 left out (gone)" in err
        if everything:
            assert main([*command, "--index", "lib.index", "--json", "--all"]) == 0
            assert names(capsys)[0] == everything


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["path", "a.mp3", "new.mp3"], "new.mp3 is not in the index; extract it and add it"),
        (["path", "a.mp3", "./a.mp3"], "/a.mp3; a path needs two"),
        (["path", "a.mp3", "b.mp3", "-n", "1"], "n is 1; allowed"),
        (["path", "a.mp3", "b.mp3", "--m3u", "x.txt"], "allowed endings are .m3u8"),
        (["playlist", "--like", "a.mp3", "--no-repeat-artist", "-1"], "no_repeat_artist is -1"),
        (
            ["playlist", "--like", "b.mp3", "a.mp3", "--unlike", "./a.mp3"],
            "in --like and in --un",
        ),
        (["playlist", "--like", "a.mp3", "--seed", "-1"], "seed is -1; allowed is an integer of 0"),
    ],
)
def test_wrong_usage(library, capsys, arguments, text):
    assert main([*arguments, "--index", "lib.index"]) == 2
    out, err = capsys.readouterr()
    assert text in err
    assert out == ""


def test_a_process_of_its_own_loads_no_tensorflow(library):
    program = (
        "import sys; from artist_features.cli.main import main;"
        "code = main(sys.argv[1:]); heavy = {'tensorflow', 'keras'} & set(sys.modules);"
        "sys.exit(code or (3 if heavy else 0))"
    )
    for arguments in (["path", "a.mp3", "h.mp3"], ["playlist", "--like", "a.mp3"]):
        command = [sys.executable, "-c", program, *arguments, "--index", "lib.index"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert f"{library}/" in done.stdout
