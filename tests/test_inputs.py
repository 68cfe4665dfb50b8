"""Arguments to files: folders, links, lists."""

import os

import pytest

from artist_features.errors import AudioError, ManifestError
from artist_features.extraction.inputs import find_audio


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


def test_links_in_circles_end_and_each_file_comes_once(tree):
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "again.mp3").symlink_to(tree / "b.mp3")
    (tree / "dangling.mp3").symlink_to(tree / "gone.mp3")
    (tree / "self.mp3").symlink_to(tree / "self.mp3")
    found = names(tree, tree)
    assert found == ["a.WAV", "b.mp3", "dangling.mp3", "self.mp3", "sub/c.flac", "x.mp3/d.ogg"]


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


def test_list_errors_name_the_line(tree):
    (tree / "list.txt").write_bytes(b"a.mp3\nb\0.mp3\n")
    with pytest.raises(ManifestError, match=r"list.txt line 2: zero byte"):
        list(find_audio([f"@{tree / 'list.txt'}"]))
    with pytest.raises(ManifestError, match="list cannot be read"):
        list(find_audio([f"@{tree / 'none.txt'}"]))


def test_unreadable_folder_is_reported(tree, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    errors = [item for item in find_audio([tree]) if isinstance(item, AudioError)]
    assert [e.code for e in errors] == ["no_permission"]
