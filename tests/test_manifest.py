"""The manifest: what it accepts and writes, and row 45 of the fault table."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artist_features.datasets.manifest import read_manifest, require_files, write_manifest
from artist_features.datasets.tracks import Track
from artist_features.errors import ManifestError, OutputError

MANIFESTS = (
    ("bom-crlf-blank", "\ufefffile,artist,title\r\n\r\na.mp3,A,T\r\n , ,\r\n", None, None),
    ("quoted", 'file,artist,title,year\n"a,b.mp3",,"x\ny",1999\n', None, None),
    ("no-column", "file,title\na.mp3,T\n", 1, r"column 'artist' is missing"),
    ("empty", "", 1, r"column 'file' is missing"),
    ("upwards", "file,artist,title\na.mp3,A,T\n../../x.mp3,A,T\n", 3, r"leads out of"),
    ("hidden-upwards", "file,artist,title\nsub/../../x.mp3,A,T\n", 2, r"leads out of"),
    ("no-name", "file,artist,title\n,A,T\n", 2, r"a path is needed"),
    ("zero-byte", "file,artist,title\na\0.mp3,A,T\n", 2, r"a path is needed|line contains NUL"),
    ("the-folder", "file,artist,title\n./,A,T\n", 2, r"a path is needed"),
    ("blank-first", "\r\n , \nfile,artist,title\na.mp3,A,T\n", None, None),
    ("column-missing-below-blank", "\n\nfile,title\na.mp3,T\n", 3, r"column 'artist' is missing"),
    ("missing-field", "file,artist,title\na.mp3,A\n", 2, r"2 fields, the header has 3"),
    ("extra-field", "file,artist,title\na.mp3,A,B,C\n", 2, r"4 fields, the header has 3"),
    ("twice", "file,artist,title\na.mp3,A,T\n\n./a.mp3,A,T\n", 4, r"already on line 2"),
    ("open-quote", 'file,artist,title\n"a.mp3,A,T\n', 2, r"not valid CSV \(unexpected end"),
    ("huge-field", f"file,artist,title\n{'x' * 140_000},A,T\n", 2, r"not valid CSV \(field larger"),
    ("column-twice", "file,artist,title,file\na.mp3,A,T,b.mp3\n", 1, r"twice"),
)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: f"row45-{manifest[0]}")
def test_row45_manifest(manifest, tmp_path):
    _, text, line, message = manifest
    path = tmp_path / "manifest.csv"
    path.write_bytes(text.encode())
    if line is None:
        (track,) = read_manifest(path)
        assert track.path.parent == tmp_path
        return
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{path} line {line}: ")


def test_row45_manifest_in_another_encoding(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(b"file,artist,title\na.mp3,Beyonc\xe9,T\n")
    with pytest.raises(ManifestError, match=r"line 2: byte 0xe9 is not UTF-8"):
        read_manifest(path)
    with pytest.raises(ManifestError, match=r"gone\.csv: cannot be read \(No such file"):
        read_manifest(tmp_path / "gone.csv")
    with pytest.raises(ManifestError, match=r"is a folder; .*`artist-features manifest FOLDER"):
        read_manifest(tmp_path)


def test_absolute_paths(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f"file,artist,title\n{tmp_path}/x/../a.mp3,A,T\n")
    (track,) = read_manifest(path)
    assert os.path.normpath(track.path) == str(tmp_path / "a.mp3")
    path.write_text(f"file,artist,title\na.mp3,A,T\n{tmp_path}/a.mp3,A,T\n")
    with pytest.raises(ManifestError, match="already on line 2"):
        read_manifest(path)


def test_tracks_beside_the_manifest_have_absolute_paths(tmp_path):
    (tmp_path / "lists").mkdir()
    tracks = [
        Track(tmp_path / "music" / "a.ogg", "A", "T"),
        Track(tmp_path / "lists/b.ogg", "", ""),
    ]
    write_manifest(tmp_path / "lists" / "m.csv", tracks)
    assert read_manifest(tmp_path / "lists" / "m.csv") == tracks
    lines = (tmp_path / "lists" / "m.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [f"{tmp_path}/music/a.ogg", "b.ogg"]


def test_tracks_know_their_line_but_are_equal_without_it(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("file,artist,title\n\na.ogg,A,T\nb.ogg,,U\n")
    tracks = read_manifest(path)
    assert [track.line for track in tracks] == [3, 4]
    assert tracks[0] == Track(tmp_path / "a.ogg", "A", "T")


def test_missing_files_are_named_with_their_line(tmp_path):
    path = tmp_path / "m.csv"
    (tmp_path / "a.ogg").write_bytes(b"x")
    (tmp_path / "b.ogg").mkdir()
    path.write_text("file,artist,title\na.ogg,A,T\nb.ogg,,U\nc.ogg,,U\n")
    tracks = read_manifest(path)
    with pytest.raises(ManifestError, match=r"line 3: file b\.ogg is missing, 2 of 3 files are"):
        require_files(path, tracks)
    require_files(path, tracks[:1])


NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0/"), max_size=9)
FURTHER = NAMES.filter(lambda name: name not in ("file", "artist", "title"))


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.tuples(NAMES, NAMES, st.dictionaries(FURTHER, NAMES, max_size=2))))
def test_what_is_written_is_read_back(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.csv"
        tracks = [
            Track(Path(folder) / "sub" / f"{name}.ogg", artist.strip(), title.strip(), extra)
            for name, (artist, title, extra) in rows.items()
        ]
        columns = {name for track in tracks for name in track.extra}
        write_manifest(path, tracks)
        read = read_manifest(path)
        assert [track.path for track in read] == [track.path for track in tracks]
        for found, track in zip(read, tracks, strict=True):
            assert (found.artist, found.title) == (track.artist, track.title)
            assert found.extra == dict.fromkeys(columns, "") | track.extra


def test_writing_replaces_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("old")
    write_manifest(path, [Track(tmp_path / "a" / "x.ogg", "A, B", "T", {"year": "1999"})])
    assert path.read_bytes() == b'file,artist,title,year\na/x.ogg,"A, B",T,1999\n'
    assert os.listdir(tmp_path) == ["m.csv"]


def test_a_failed_write_leaves_the_old_manifest(tmp_path, monkeypatch):
    path = tmp_path / "m.csv"
    path.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"m\.csv: no space for") as caught:
        write_manifest(path, [Track(tmp_path / "x.ogg", "A", "T")])
    assert caught.value.code == "no_space"
    assert os.listdir(tmp_path) == ["m.csv"]
    assert path.read_text() == "old"


def test_what_cannot_be_written(tmp_path):
    path = tmp_path / "sub" / "m.csv"
    inside = tmp_path / "sub" / "a.ogg"
    for files, text in (
        ([inside, tmp_path / "sub" / "x" / ".." / "a.ogg"], r"track 2: file 'a\.ogg' is track 1"),
        ([tmp_path / "sub" / os.fsdecode(b"\xe9.ogg")], r"has a name that is not UTF-8; rename"),
    ):
        with pytest.raises(ManifestError, match=text):
            write_manifest(path, [Track(file, "A", "T") for file in files])
    with pytest.raises(OutputError, match="No such file or directory"):
        write_manifest(path, [Track(inside, "A", "T")])
