"""The report on a manifest: what is found, and what stops a training."""

from pathlib import Path

import pytest

from artist_features.datasets import checks
from artist_features.datasets.checks import check_manifest, report_lines
from artist_features.datasets.manifest import read_manifest
from artist_features.datasets.tracks import Track
from artist_features.errors import ManifestError


@pytest.fixture
def write(tmp_path):
    """Write files by name and content, and a manifest of (file, artist, split)."""

    def write(contents, rows):
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        path = tmp_path / "m.csv"
        lines = [f"{file},{artist},T,{split}" for file, artist, split in rows]
        path.write_text("\n".join(["file,artist,title,split", *lines, ""]))
        return read_manifest(path), path

    return write


def test_files_and_names_are_reported(write):
    contents = {"a": b"12", "b": b"34", "c": b"12", "d": b"5", "e": b"", "f": b""}
    rows = [("a", "Ann", ""), ("b", "ann", ""), ("c", "", ""), ("d", "Ann", "")]
    rows += [("e", "Bob Dylann", ""), ("f", "Bob Dylan", ""), ("gone", "Bob", "")]
    tracks, path = write(contents, rows)
    report = check_manifest(tracks, path)
    assert (report.n_tracks, report.n_unlabelled, report.n_artists) == (7, 1, 5)
    assert report.missing == [tracks[6]]
    assert report.duplicates == [[tracks[0], tracks[2]]]
    assert report.single == ["Bob", "Bob Dylan", "Bob Dylann", "ann"]
    assert report.variants == [["Ann", "ann"]]
    assert report.close == [("Bob Dylan", "Bob Dylann")]
    assert report.contained == [("Bob", "Bob Dylan"), ("Bob", "Bob Dylann")]
    assert report.split_counts == {}
    assert report.shared_artists == report.leaks == []
    assert report.faulty
    assert report_lines(report, path) == [
        "7 tracks of 5 artists (1 with two or more tracks), 1 without artist",
        "missing files: 1",
        "  line 8 gone",
        "recordings in two splits: 0",
        "files with the same bytes: 1",
        "  line 2 a = line 4 c",
        "spellings of one artist: 1",
        "  Ann | ann",
        "names that are close, perhaps one artist: 3",
        "  Bob Dylan | Bob Dylann",
        "  Bob | Bob Dylan",
        "  Bob | Bob Dylann",
        "artists with one track: 4",
        "  Bob",
        "  Bob Dylan",
        "  Bob Dylann",
        "  ann",
    ]


def test_doubles_are_no_fault_in_themselves(write):
    tracks, path = write({"a": b"1", "b": b"1"}, [("a", "A", "train"), ("b", "B", "train")])
    report = check_manifest(tracks, path)
    assert len(report.duplicates) == 1
    assert not report.faulty


def test_the_same_music_in_two_splits_is_a_fault(write):
    contents = {"a": b"12", "b": b"34", "c": b"12", "d": b"12"}
    rows = [("a", "A", "train"), ("b", "A", "train"), ("c", "", "train"), ("d", "B", "test")]
    tracks, path = write(contents, rows)
    report = check_manifest(tracks, path)
    assert report.leaks == [[tracks[0], tracks[2], tracks[3]]]
    assert report.faulty
    lines = report_lines(report, path)
    assert "  line 2 a = line 4 c = line 5 d" in lines
    assert "splits: test 1, train 3" in lines


def test_the_same_file_in_two_splits_is_a_fault(write, tmp_path):
    write({"a": b"1"}, [])
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for other in ("a", "link"):
        tracks = [Track(tmp_path / "a", "A", "T", {"split": "train"})]
        tracks += [Track(tmp_path / other, "A", "T", {"split": "valid"})]
        assert check_manifest(tracks).leaks == [tracks]


def test_one_artist_in_two_splits_is_reported(write):
    splits = ["train", "test", "train", "train", "test", "test", "valid", "valid"]
    artists = ["Ann", "ann", "Bob", "Bob", "Cid", "Cid", "Dee", "Dee"]
    contents = {str(i): f"{i}".encode() for i in range(8)}
    rows = [(str(i), artist, splits[i]) for i, artist in enumerate(artists)]
    tracks, path = write(contents, rows)
    report = check_manifest(tracks, path)
    assert report.shared_artists == [["Ann", "ann"]]
    assert not report.faulty
    lines = report_lines(report, path)
    assert lines[lines.index("artists in two splits: 1") + 1] == "  Ann | ann"


def test_a_split_by_track_lists_no_artists(write):
    rows = [(str(i), f"Artist{i // 2}", ("train", "test")[i % 2]) for i in range(6)]
    tracks, _ = write({str(i): f"{i}".encode() for i in range(6)}, rows)
    assert "artists in two splits: 3 (a split by track)" in report_lines(check_manifest(tracks))


def test_a_word_that_is_no_split(write):
    tracks, path = write({"a": b"1", "b": b"2"}, [("a", "A", "train"), ("b", "A", "")])
    with pytest.raises(ManifestError, match=r"line 3: split is ''; allowed are train"):
        check_manifest(tracks, path)


def test_only_files_of_one_size_are_read(write, monkeypatch):
    contents = {"a": b"1", "b": b"22", "c": b"33", "d": b""}
    tracks, path = write(contents, [(name, "A", "") for name in contents])
    read, sha256 = [], checks.file_sha256
    monkeypatch.setattr(checks, "file_sha256", lambda path: read.append(path.name) or sha256(path))
    assert check_manifest(tracks, path).duplicates == []
    assert read == ["b", "c"]


def test_a_file_that_cannot_be_read_counts_as_missing(write, monkeypatch):
    tracks, path = write({"a": b"1", "b": b"2"}, [("a", "A", ""), ("b", "A", "")])

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checks, "file_sha256", refuse)
    assert check_manifest(tracks, path).missing == tracks


def test_names_from_a_manifest_cannot_steer_the_terminal():
    names = ("Evil\x1b[2J", "evil\x1b[2J", "Evill\x1b[2J")
    tracks = [Track(Path(f"{name}.ogg"), name, "T") for name in names]
    assert not any("\x1b" in line for line in report_lines(check_manifest(tracks)))
