"""Windows paths, by `ntpath` in place of `os.path`, and files. Nothing ran on Windows itself."""

import ntpath
import os

import numpy as np
import pytest
import soundfile

from artist_features.audio import stream
from artist_features.audio.file_bytes import opened
from artist_features.extraction.remote import identity, is_uri
from artist_features.library.inputs import _below
from artist_features.search.playlist import to_m3u
from artist_features.search.tracks import IndexedTrack


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(os, "path", ntpath)
    monkeypatch.setattr(os, "sep", "\\")


@pytest.mark.parametrize(
    "path", [r"C:\Music\a.mp3", "C:/Music/a.mp3", r"\\server\share\a.mp3", r"\\?\C:\Music\a.mp3"]
)
def test_paths_with_drives_and_shares_are_files(path, windows):
    assert not is_uri(path)
    assert ntpath.isabs(identity(path))


def test_a_file_has_one_identity(windows):
    assert identity(r"C:\Music\Ann\..\Bob\a.mp3") == r"C:\Music\Bob\a.mp3"


def test_parts_of_several_machines_are_those_of_other_systems(windows):
    roots = ["C:\\Music\\", "D:\\"]
    assert _below(roots, r"C:\Music\Ann\a.mp3") == "Ann/a.mp3"
    assert _below(roots, r"D:\Bob\b.mp3") == "Bob/b.mp3"
    assert _below(roots, r"E:\Music\c.mp3") == "c.mp3"


def test_playlists_name_tracks_relative_to_their_folder(windows):
    paths = [r"C:\Music\Ann\a.mp3", r"C:\Musical\b.mp3", r"D:\c.mp3"]
    tracks = [IndexedTrack(path, duration_s=3.0) for path in paths]
    text, left_out = to_m3u(tracks, "C:\\Music")
    assert not left_out
    lines = text.splitlines()
    assert lines[2::2] == [r"Ann\a.mp3", r"C:\Musical\b.mp3", r"D:\c.mp3"]
    assert lines[1] == "#EXTINF:3,a"


def test_files_are_read_at_places_without_pread(tmp_path, monkeypatch):
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 22050 * 4)
    soundfile.write(tmp_path / "a.wav", samples, 22050)
    soundfile.write(tmp_path / "a.flac", samples, 22050)
    soundfile.write(tmp_path / "a.mp3", samples, 22050)
    expected = [stream.open_file(path, target_rate=22050).read() for path in tmp_path.iterdir()]
    monkeypatch.delattr(os, "pread")
    for path, right in zip(tmp_path.iterdir(), expected, strict=True):
        with stream.open_file(path, target_rate=22050) as opened:
            np.testing.assert_array_equal(opened.read(), right)
            assert not opened.flaws


def test_files_are_opened_as_bytes(tmp_path, monkeypatch):
    """By the flag that Windows alone has: without it "\\r\\n" is read as one byte."""
    (tmp_path / "a.mp3").write_bytes(b"\r\n")
    flag, open_, seen = 1 << 40, os.open, []
    monkeypatch.setattr(os, "O_BINARY", flag, raising=False)
    monkeypatch.setattr(
        os, "open", lambda path, flags: seen.append(flags) or open_(path, flags - flag)
    )
    with opened(tmp_path / "a.mp3"):
        pass
    assert seen[0] & flag
