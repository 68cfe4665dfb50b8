"""Tables of `extract` to rows of an index; playlists."""

import os

import numpy as np
import pytest
from conftest import music, write_audio
from test_outputs import opened, row

from artist_features.errors import ManifestError, OutputError
from artist_features.library import tables
from artist_features.search import IndexedTrack
from artist_features.search.embedding_tables import join_manifest, read_embeddings, read_tags
from artist_features.search.playlist import to_m3u

MADE_WITH = {"model": "tiny", "weights_sha256": "ab" * 32, "per_segment": False}


def write(path, rows, made_with=MADE_WITH):
    writer = opened(path, made_with)
    for index, item in enumerate(rows):
        writer.write(index, item)
    writer.close()
    return path


@pytest.mark.parametrize("name", ["t.npz", "t.parquet", "t"])
def test_rows_of_every_kind_of_table(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"caf\xe9.mp3")
    rows = [row("/m/a.mp3", 1), row("/m/x.mp3", 2, "damaged"), row("s3://b/k.mp3", 3)]
    rows.append(row(f"/m/{odd}", 4))
    found = read_embeddings([write(tmp_path / name, [*rows, row("/abs.mp3", 5, "short")])])
    expected = ["/m/a.mp3", "s3://b/k.mp3", f"/m/{odd}", "/abs.mp3"]
    assert [track.path for track in found.tracks] == list(map(str, expected))
    assert found.tracks[0].duration_s == 6.5
    assert (found.n_failed, found.n_repeated, found.made_with) == (1, 0, MADE_WITH)
    right = [row("", seed).embedding for seed in (1, 3, 4, 5)]
    np.testing.assert_array_equal(found.vectors, right)


@pytest.mark.parametrize("part", [{"duration_s": 6.5}, {"offset_s": 1.0}])
def test_the_length_of_a_part_is_not_taken_for_that_of_the_recording(tmp_path, part):
    found = read_embeddings([write(tmp_path / "t.npz", [row("/a", 1)], MADE_WITH | part)])
    assert found.tracks[0].duration_s == 0
    whole = MADE_WITH | {"duration_s": None, "offset_s": 0.0}
    found = read_embeddings([write(tmp_path / "w.npz", [row("/a", 1)], whole)])
    assert found.tracks[0].duration_s == 6.5


def test_segments_are_averaged(tmp_path):
    segments = np.float32([[1, 0, 0, 0], [0, 3, 0, 0]])
    item = tables.Row("a", segments, 2, 6.5, 44100, "av", "ok", "", starts_s=(0.0, 3.0))
    found = read_embeddings([write(tmp_path / "t.npz", [item])])
    np.testing.assert_array_equal(found.vectors, [[0.5, 1.5, 0, 0]])


def test_a_path_counts_once_and_the_first_row_stays(tmp_path):
    write(tmp_path / "1.npz", [row("/a", 1), row("/b", 2), row("/a", 3)])
    write(tmp_path / "2.npz", [row("/b", 4), row("/c", 5)])
    found = read_embeddings([tmp_path / "1.npz", tmp_path / "2.npz"])
    assert [track.path for track in found.tracks] == ["/a", "/b", "/c"]
    assert found.n_repeated == 2
    np.testing.assert_array_equal(found.vectors[1], row("", 2).embedding)


def test_vectors_without_direction_are_left_out_by_name(tmp_path):
    zero = tables.Row("/zero", np.zeros(4, np.float32), 1, 3.0, 44100, "av", "silent", "")
    found = read_embeddings([write(tmp_path / "t.npz", [zero, row("/a", 1)])])
    assert (found.no_direction, len(found.vectors), len(found.tracks)) == (["/zero"], 1, 1)


def test_unfinished_folder_is_told(tmp_path):
    folder = write(tmp_path / "t", [row("/a", 1)])
    (folder / ".journal").touch()
    assert read_embeddings([folder]).unfinished == [folder]


def test_tables_that_cannot_be_used_are_refused(tmp_path):
    good = write(tmp_path / "a.npz", [row("/a", 1)])
    other = write(tmp_path / "b.npz", [row("/b", 1)], MADE_WITH | {"weights_sha256": "cd" * 32})
    hashed = write(tmp_path / "c.npz", [row("/c", 1)], MADE_WITH | {"content_hash": True})
    failed = write(tmp_path / "d.npz", [row("/d", 1, "empty")])
    odd = write(tmp_path / "odd.npz", [row("/o", 1)], MADE_WITH | {"offset_s": "soon"})
    page = write(tmp_path / "page.npz", [row("/n", 1)], MADE_WITH | {"decoder": "browser"})
    assert read_embeddings([page]).tracks[0].path == "/n"  # of the page's own decoder
    (tmp_path / "e.npz").write_text("no table")
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("no table")
    np.savez(tmp_path / "foreign.npz", x=np.ones(3))
    assert len(read_embeddings([good, hashed]).tracks) == 2
    for paths, code, text in [
        ([good, other], "mismatch", "b.npz: made with weights_sha256 = cdcd.*keep them apart"),
        ([odd], "mismatch", "odd.npz: made with options that .*: offset is 'soon'"),
        ([failed], "mismatch", r"no vectors in it \(1 recording failed\)"),
        ([tmp_path / "e.npz"], "damaged", "not a table of this program"),
        ([tmp_path / "empty"], "mismatch", "holds no part-"),
        ([tmp_path / "words.txt"], "mismatch", r"ending '\.txt'; allowed are"),
        ([tmp_path / "none.npz"], "not_writable", "cannot be read"),
        ([tmp_path / "none"], "not_writable", "no such file or folder"),
        ([tmp_path / "foreign.npz"], "mismatch", "was not written by `artist-features extract`"),
    ]:
        with pytest.raises(OutputError, match=text) as caught:
            read_embeddings(paths)
        assert caught.value.code == code


def test_manifest_is_joined_by_path(tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("file,artist,title,album\nd/a.mp3,Ann,One,First\nz.mp3,Bob,Two,\n")
    tracks = [IndexedTrack(str(tmp_path / name), duration_s=3) for name in ("d/a.mp3", "q.mp3")]
    joined, n_listed = join_manifest(tracks, manifest)
    assert n_listed == 1
    assert joined[0] == IndexedTrack(tracks[0].path, "Ann", "One", 3, {"album": "First"})
    assert joined[1] == tracks[1]
    manifest.write_text("file,artist,title\nd/a.mp3,,Two\n")  # what is blank stays
    assert join_manifest(joined[:1], manifest)[0][0].label == "Ann - Two"
    with pytest.raises(ManifestError, match=r"lists none of 1 recording; the first is /no/a"):
        join_manifest([IndexedTrack("/no/a.mp3")], manifest)


def test_tags_name_tracks(tmp_path):
    mutagen = pytest.importorskip("mutagen")
    path = write_audio(tmp_path / "a.flac", music(1))
    tagged = mutagen.File(path)
    tagged["artist"], tagged["title"], tagged["album"] = "Ann", "One", "First"
    tagged.save()
    plain = write_audio(tmp_path / "b.wav", music(1))
    paths = [str(path), str(plain), str(tmp_path / "none.mp3"), "s3://bucket/a.mp3"]
    tracks, problems = read_tags([IndexedTrack(path) for path in paths])
    assert tracks[0] == IndexedTrack(str(path), "Ann", "One", 0, {"album": "First"})
    assert tracks[1:] == [IndexedTrack(path) for path in paths[1:]]
    assert [problem.path for problem in problems] == [paths[2]]
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.flac")
    os.rename(path, odd)
    (track,), problems = read_tags([IndexedTrack(odd)])
    assert (track.artist, problems) == ("Ann", [])


def test_playlist_by_hand():
    odd = os.fsdecode(b"/m/caf\xe9.mp3")
    tracks = [
        IndexedTrack("/m/in/Björk.mp3", "Björk", "Jóga\nlive", 304.6),
        IndexedTrack("/elsewhere/a.mp3", "", "Title, only", 0),
        IndexedTrack("/m/#1.mp3", "", "", 59.4),
        IndexedTrack("/m/http:x.mp3", "\x1b[31mRed\u202e", "", 2),
        IndexedTrack("https://host/a.mp3", "Ann", "", 1),
        IndexedTrack(odd),
        IndexedTrack("/m/line\nbreak.mp3"),
        IndexedTrack("/mm/not inside.mp3", "A", "B", 10),
    ]
    text, left_out = to_m3u(tracks, "/m")
    assert text == (
        "#EXTM3U\n"
        "#EXTINF:305,Björk - Jóga live\n"
        "in/Björk.mp3\n"
        "#EXTINF:-1,Title, only\n"
        "/elsewhere/a.mp3\n"
        "#EXTINF:59,#1\n"
        "./#1.mp3\n"
        "#EXTINF:2,[31mRed - http:x\n"
        "./http:x.mp3\n"
        "#EXTINF:1,Ann - a\n"
        "https://host/a.mp3\n"
        "#EXTINF:10,A - B\n"
        "/mm/not inside.mp3\n"
    )
    assert left_out == tracks[5:7]
    assert to_m3u([], "/m") == ("#EXTM3U\n", [])
