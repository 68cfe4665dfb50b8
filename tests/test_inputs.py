"""Arguments to files: folders, links, lists, parts; the table of paths and rows."""

import itertools
import os
import shutil

import pytest

from artist_features.errors import AudioError, OutputError
from artist_features.library.inputs import (
    NO_FILE,
    NamedPaths,
    find_audio,
    part_of,
    stamp_of,
)
from artist_features.library.tables import Row


def names(folder, *arguments):
    return [os.path.relpath(path, folder) for path in find_audio(arguments)]


@pytest.fixture
def tree(tmp_path):
    for name in ("b.mp3", "a.WAV", "notes.txt", "sub/c.flac", "x.mp3/d.ogg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_folder_is_searched_in_order(tree):
    assert names(tree, tree) == ["a.WAV", "b.mp3", "sub/c.flac", "x.mp3/d.ogg"]


def test_named_files_are_taken_whatever_their_ending(tree):
    assert names(tree, tree / "notes.txt", tree / "none.mp3") == ["notes.txt", "none.mp3"]


def test_link_to_a_file_elsewhere_is_taken(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "e.mp3"
    elsewhere.touch()
    (tree / "e.mp3").symlink_to(elsewhere)
    assert "e.mp3" in names(tree, tree)


def test_list_with_mark_crlf_and_blank_lines(tree):
    listing = tree / "list.txt"
    lines = [os.fsencode(tree / "b.mp3"), b"", os.fsencode(tree / "sub"), b"  ", b"caf\xe9.mp3"]
    listing.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    found = list(find_audio([f"@{listing}"]))
    assert found[0] == str(tree / "b.mp3")
    assert found[1] == str(tree / "sub" / "c.flac")
    assert os.fsencode(found[2]) == b"caf\xe9.mp3"


def test_unreadable_folder_is_reported(tree, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    errors = [item for item in find_audio([tree]) if isinstance(item, AudioError)]
    assert [e.code for e in errors] == ["no_permission"]


def parts(arguments, n=3):
    """Return {path: number of its part} of what the arguments name."""
    return {
        path: index
        for index in range(1, n + 1)
        for path in part_of(find_audio(arguments), arguments, index, n)
    }


@pytest.fixture
def library(tmp_path):
    """A folder of 30 albums, each with ten tracks of the same names."""
    folder = tmp_path / "here" / "library"
    for number in range(300):
        track = folder / f"{number // 10}" / f"track{number % 10}.mp3"
        track.parent.mkdir(parents=True, exist_ok=True)
        track.touch()
    return folder


def test_parts_of_a_folder_are_disjoint_whole_and_of_like_size(library):
    arguments = [str(library)]
    found = [list(part_of(find_audio(arguments), arguments, index, 3)) for index in (1, 2, 3)]
    assert sorted(itertools.chain(*found)) == sorted(find_audio(arguments))
    assert min(map(len, found)) > 75


def test_a_file_is_in_one_part_under_all_its_names(library, monkeypatch, tmp_path):
    monkeypatch.chdir(library.parent)
    (tmp_path / "link").symlink_to(library)
    (tmp_path / "song.mp3").symlink_to(library / "7" / "track3.mp3")
    names = ["library/7/track3.mp3", "./library/7/track3.mp3", str(library / "7" / "track3.mp3")]
    names += [str(tmp_path / "link" / "7" / "track3.mp3"), str(tmp_path / "song.mp3")]
    for arguments in (["library"], ["library/7", str(library), "library/7/../8"]):
        in_folder = parts(arguments)
        found = parts([*names, *arguments])
        assert {found[name] for name in names} == {in_folder["library/7/track3.mp3"]}
        assert len(set(found.values())) == 3
    assert len({parts([name])[name] for name in names}) == 1


def test_parts_are_the_same_wherever_the_folder_is_mounted(library, tmp_path):
    there = tmp_path / "else" / "where" / "music"
    shutil.copytree(library, there)
    (tmp_path / "link").symlink_to(there)
    here = parts([str(library)])
    for place in (there, tmp_path / "link", f"{there}/"):
        found = parts([str(place)])
        assert {os.path.relpath(path, place): part for path, part in found.items()} == {
            os.path.relpath(path, library): part for path, part in here.items()
        }
    listing = tmp_path / "list.txt"
    for folder in (library, there):  # one by one, and in a list: by their own names
        listing.write_text("\n".join(map(str, sorted(folder.glob("*/*.mp3")))))
        found = parts([f"@{listing}"])
        assert all(found[path] == parts([path])[path] for path in list(found)[::40])
        assert {os.path.basename(path): part for path, part in found.items()} == {
            f"track{n}.mp3": found[str(folder / "0" / f"track{n}.mp3")] for n in range(10)
        }


def test_folders_that_cannot_be_searched_and_uris_have_a_part(tree):
    error = AudioError("no_permission", "cannot be searched", str(tree / "sub"))
    items = [error, str(tree), "s3://bucket/a/b.mp3"]
    found = [list(part_of(items, [str(tree)], index, 4)) for index in (1, 2, 3, 4)]
    assert sum(map(len, found)) == len(items)


def row_of(path, status, size, mtime):
    return Row(path, None, 0, 0.0, 0, "", status, "", size, mtime)


@pytest.mark.parametrize("repeats", [False, True])
def test_the_table_of_paths_compares_them_with_rows(tree, repeats, monkeypatch):
    monkeypatch.chdir(tree)
    error = AudioError("no_permission", "cannot be searched", str(tree / "closed"))
    with NamedPaths(repeats=repeats) as named:
        for item in ("b.mp3", error, "./b.mp3", "a.WAV", "sub/c.flac", "gone.mp3", "new.mp3"):
            named.add(item)
        here, gone, folder = str(tree / "b.mp3"), str(tree / "gone.mp3"), str(tree / "sub")
        named.hold([row_of(here, "ok", *stamp_of(here))])
        named.hold([row_of(str(tree / "a.WAV"), "ok", 7, 8)], 1)  # of another size now
        named.hold([row_of(gone, "damaged", 7, 8)], 2)  # it is gone: nothing to compare
        named.hold([row_of(folder, "no_permission", *NO_FILE)], 3)  # it can be searched now
        assert named.compare(retry_failed=False) == 1
        assert named.stale_parts() == [1, 3]
        assert [named.is_stale(path) for path in (here, gone, folder)] == [False, False, True]
        named.forget_stale()
        assert named.counts() == ((7, 0) if repeats else (6, 1))
        assert named.kept() == {"ok": 1 + repeats, "damaged": 1}
        assert [item.name for item in named.missing()] == ["a.WAV", "sub/c.flac", "new.mp3"]
        assert [item.list_index for item in named.missing()] == [3, 4, 6]
        (closed,) = named.missing(searched=False)
        assert (closed.error.code, closed.path) == ("no_permission", str(tree / "closed"))
        assert named.compare(retry_failed=True) == 0
        assert named.stale_parts() == [2]


def test_a_table_without_room_is_named(tree):
    named = NamedPaths()
    named.close()
    with pytest.raises(OutputError, match="no room for a temporary table") as caught:
        named.add("a.mp3")
    assert caught.value.code == "no_space"
