"""The report on a manifest: what is found, and what stops a training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

import pytest

from artist_features.datasets import checks
from artist_features.datasets.checks import check_manifest
from artist_features.datasets.manifest import read_manifest
from artist_features.datasets.tracks import Track
from artist_features.errors import ManifestError

Write: TypeAlias = Callable[
    [Mapping[str, bytes], Sequence[tuple[str, str, str]]], tuple[list[Track], Path]
]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write files by name and content, and a manifest of (file, artist, split)."""

    def write(
        contents: Mapping[str, bytes], rows: Sequence[tuple[str, str, str]]
    ) -> tuple[list[Track], Path]:
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        path = tmp_path / "m.csv"
        lines = [f"{file},{artist},T,{split}" for file, artist, split in rows]
        path.write_text("\n".join(["file,artist,title,split", *lines, ""]))
        return read_manifest(path), path

    return write


def test_files_and_names_are_reported(write: Write) -> None:
    contents = {"a": b"12", "b": b"34", "c": b"12", "d": b"5", "e": b"", "f": b""}
    rows = [("a", "Ann", ""), ("b", "ann", ""), ("c", "", ""), ("d", "Ann", "")]
    rows += [("e", "Bob Dylann", ""), ("f", "Bob Dylan", ""), ("gone", "Bob", "")]
    lines, faulty = check_manifest(*write(contents, rows))
    assert faulty
    assert lines == [
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


def test_doubles_are_no_fault_in_themselves(write: Write) -> None:
    rows = [("a", "A", "train"), ("b", "B", "train")]
    lines, faulty = check_manifest(*write({"a": b"1", "b": b"1"}, rows))
    assert "files with the same bytes: 1" in lines
    assert not faulty


def test_the_same_music_in_two_splits_is_a_fault(write: Write) -> None:
    contents = {"a": b"12", "b": b"34", "c": b"12", "d": b"12"}
    rows = [("a", "A", "train"), ("b", "A", "train"), ("c", "", "train"), ("d", "B", "test")]
    lines, faulty = check_manifest(*write(contents, rows))
    assert faulty
    assert lines[lines.index("recordings in two splits: 1") + 1] == (
        "  line 2 a = line 4 c = line 5 d"
    )
    assert "splits: test 1, train 3" in lines


@pytest.mark.parametrize("other", ["a", "link"])
def test_the_same_file_in_two_splits_is_a_fault(write: Write, tmp_path: Path, other: str) -> None:
    write({"a": b"1"}, [])
    (tmp_path / "link").symlink_to(tmp_path / "a")
    tracks = [Track(tmp_path / "a", "A", "T", {"split": "train"})]
    tracks += [Track(tmp_path / other, "A", "T", {"split": "valid"})]
    assert check_manifest(tracks)[1]


def test_artists_in_two_splits_are_listed_unless_the_split_goes_by_track(write: Write) -> None:
    splits = ["train", "test", "train", "train", "test", "test", "valid", "valid"]
    artists = ["Ann", "ann", "Bob", "Bob", "Cid", "Cid", "Dee", "Dee"]
    contents = {str(i): f"{i}".encode() for i in range(8)}
    rows = [(str(i), artist, splits[i]) for i, artist in enumerate(artists)]
    lines, faulty = check_manifest(*write(contents, rows))
    assert not faulty
    assert lines[lines.index("artists in two splits: 1") + 1] == "  Ann | ann"
    rows = [(str(i), f"Artist{i // 2}", ("train", "test")[i % 2]) for i in range(6)]
    assert "artists in two splits: 3 (a split by track)" in check_manifest(*write({}, rows))[0]


def test_a_word_that_is_no_split(write: Write) -> None:
    tracks, path = write({"a": b"1", "b": b"2"}, [("a", "A", "train"), ("b", "A", "")])
    with pytest.raises(ManifestError, match=r"line 3: split is ''; allowed are train"):
        check_manifest(tracks, path)


def test_only_files_of_one_size_are_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"a": b"1", "b": b"22", "c": b"33", "d": b""}
    tracks, path = write(contents, [(name, "A", "") for name in contents])
    read, sha256 = [], checks.file_sha256
    monkeypatch.setattr(checks, "file_sha256", lambda path: read.append(path.name) or sha256(path))
    assert "files with the same bytes: 0" in check_manifest(tracks, path)[0]
    assert read == ["b", "c"]


def test_a_file_that_cannot_be_read_counts_as_missing(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checks, "file_sha256", refuse)
    lines, faulty = check_manifest(*write({"a": b"1", "b": b"2"}, [("a", "", ""), ("b", "", "")]))
    assert "missing files: 2" in lines
    assert faulty


def test_names_from_a_manifest_cannot_steer_the_terminal() -> None:
    names = ("Evil\x1b[2J", "evil\x1b[2J", "Evill\x1b[2J")
    tracks = [Track(Path(f"{name}.ogg"), name, "T") for name in names]
    assert not any("\x1b" in line for line in check_manifest(tracks)[0])
