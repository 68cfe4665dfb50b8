"""Labelled collections: GTZAN's split, FMA's tables, manifests and folders of classes."""

import csv
import hashlib
import os
from collections import Counter

import pytest

from artist_features.datasets import genres
from artist_features.datasets.genres import find_fma, find_gtzan, read_gtzan_split
from artist_features.datasets.manifest import read_labelled
from artist_features.errors import ManifestError

# sha256 of the published lists, their lines sorted and joined by line feeds
LISTS = {
    "train": (443, "072e02a5f0cc4102f1392dd34757b3991fc11110ee8cd4d31a233806b2b8fccd"),
    "valid": (197, "e8cc6d703eab8f1d88fd599df869ea2c2c8dcd757e6d8c450c08708612d241e1"),
    "test": (290, "d4279ce1f3b60942d6d4ca66e4d842b4b8bbfa5da7b00a891fe29ecbbc126fc0"),
}


@pytest.mark.parametrize("split", LISTS)
def test_gtzan_split_is_the_published_one(split):
    clips = [clip for clip, where in read_gtzan_split().items() if where == split]
    lines = sorted(f"{clip.partition('.')[0]}/{clip}.wav" for clip in clips)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (len(lines), digest) == LISTS[split]


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("place", genres._GTZAN_FOLDERS)
@pytest.mark.parametrize("ending", [".wav", ".au"])
def test_gtzan_is_found_in_the_layouts_it_comes_in(tmp_path, place, ending):
    root = tmp_path / place
    there = touch(root / "blues" / f"blues.00012{ending}")
    touch(root / "rock" / f"rock.00017{ending}")
    touch(root / "blues" / f"blues.00030{'.wav' if ending == '.au' else '.au'}")
    found = find_gtzan(tmp_path)
    assert len(found.tracks) == 930
    assert (found.labels[there], found.splits[there]) == ("blues", "test")
    assert Counter(found.splits.values()) == {"train": 443, "valid": 197, "test": 290}
    assert len(set(found.labels.values())) == 10
    missing = [track.path for track in found.tracks if not track.path.exists()]
    assert len(missing) == 927
    assert root / "rock" / "rock.00000.wav" in missing
    assert found.ignored == []


TRACKS = (  # number, subset, split, artist, genre
    (2, "small", "training", "1", "Hip-Hop"),
    (5, "small", "validation", "1", "Hip-Hop"),
    (10, "small", "test", "6", "Pop"),
    (140, "medium", "training", "9", "Folk"),
    (1482, "small", "training", "7", "Rock"),
)
COLUMNS = (
    *(("album", "title"), ("artist", "bio"), ("artist", "id"), ("set", "split")),
    *(("set", "subset"), ("track", "genre_top"), ("track", "title")),
)


def write_tables(path, tracks=TRACKS, columns=COLUMNS, bio="a line\nand, one more"):
    """Write `tracks.csv` as pandas wrote the real one: three rows of header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", *(group for group, _ in columns)])
        writer.writerow(["", *(name for _, name in columns)])
        writer.writerow(["track_id", *[""] * len(columns)])
        for number, subset, split, artist, genre in tracks:
            row = {"bio": bio, "id": artist, "split": split, "subset": subset}
            row |= {"genre_top": genre, "title": f"Song, {number}"}
            writer.writerow([number, *(row[name] for _, name in columns)])


@pytest.fixture
def fma(tmp_path):
    write_tables(tmp_path / "fma_metadata" / "tracks.csv")
    for number in (2, 140, 1482):
        touch(tmp_path / "fma_small" / f"{number // 1000:03d}" / f"{number:06d}.mp3")
    return tmp_path


def test_fma_small_has_its_official_split(fma):
    for folder in (fma, fma / "fma_small"):
        found = find_fma(folder)
        rows = [(t.path.name, t.artist, t.title) for t in found.tracks]
        assert rows[0] == ("000002.mp3", "1", "Song, 2")
        assert [name for name, *_ in rows] == [
            *("000002.mp3", "000005.mp3", "000010.mp3", "001482.mp3")
        ]
        paths = [track.path for track in found.tracks]
        assert paths[3] == fma / "fma_small" / "001" / "001482.mp3"
        assert [found.splits[path] for path in paths] == ["train", "valid", "test", "train"]
        assert [found.labels[path] for path in paths] == ["Hip-Hop", "Hip-Hop", "Pop", "Rock"]
        assert found.ignored == ["1 clips that are not of the subset small"]


def test_fma_tables_can_be_elsewhere_and_hold_long_biographies(fma, tmp_path):
    other = tmp_path / "other" / "t.csv"
    write_tables(other, bio="x" * 200_000)
    limit = csv.field_size_limit()
    assert len(find_fma(fma, other).tracks) == 4
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: write_tables(f, columns=COLUMNS[:3]), r"line 1: the header has no column 'set "),
        (lambda f: write_tables(f, tracks=TRACKS[3:4]), r"has no track of the subset small"),
        (
            lambda f: write_tables(f, tracks=[(2, "small", "dev", "1", "Rock")]),
            r"line 5: track 2: split is 'dev', genre_top 'Rock'; a track of",
        ),
        (lambda f: f.write_text(f.read_text() + "x,y\n"), r"no row of a track \(2 fields\)"),
        (lambda f: f.write_bytes(b"\xff\xfe"), r"not valid UTF-8 CSV"),
        (lambda f: f.unlink(), r"tracks\.csv of fma_metadata\.zip is needed for genres and split"),
    ],
)
def test_fma_tables_that_cannot_be_used_are_refused(fma, change, message):
    change(fma / "fma_metadata" / "tracks.csv")
    with pytest.raises(ManifestError, match=message):
        find_fma(fma)


def test_what_is_no_fma_is_refused(fma, tmp_path):
    with pytest.raises(ManifestError, match=r"holds no FMA-small; expected are files as 000/0000"):
        find_fma(fma / "fma_metadata")
    with pytest.raises(ManifestError, match=r"cannot be read \(No such file or directory\)"):
        find_fma(fma, tmp_path / "none.csv")


def test_classes_of_a_manifest(tmp_path):
    lines = ["file,artist,title,genre,mood", "a.mp3,The Band,A,rock,calm", "b.mp3,band,B, rock ,"]
    lines += ["c.mp3,,C,jazz,wild", "d.mp3,Other,D,,calm"]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    found = read_labelled(tmp_path / "m.csv")
    assert list(found.labels.values()) == ["rock", "rock", "jazz"]
    artists = [track.artist for track in found.tracks]
    assert artists[0] == artists[1] != ""  # spellings of one artist
    assert artists[2] == ""
    assert found.ignored == ["1 rows whose column 'genre' is blank"]
    assert list(read_labelled(tmp_path / "m.csv", "mood").labels.values()) == [
        *("calm", "wild", "calm")
    ]
    with pytest.raises(ManifestError, match=r"line 1: column 'style' is missing; there are title,"):
        read_labelled(tmp_path / "m.csv", "style")
    with pytest.raises(ValueError, match=r"label column 'artist': folds keep every artist whole"):
        read_labelled(tmp_path / "m.csv", "artist")


def test_classes_of_a_folder(tmp_path):
    for name in ("rock/a.wav", "rock/live/b.flac", "jazz/c.mp3", "loose.wav", "jazz/notes.txt"):
        touch(tmp_path / name)
    found = read_labelled(tmp_path)
    names = {os.path.relpath(path, tmp_path): label for path, label in found.labels.items()}
    assert names == {"jazz/c.mp3": "jazz", "rock/a.wav": "rock", "rock/live/b.flac": "rock"}
    assert {track.artist for track in found.tracks} == {""}
    assert found.ignored == ["1 recordings beside the sub-folders, which have no class"]
    with pytest.raises(ManifestError, match=r"no recording in a sub-folder; expected is one sub-"):
        read_labelled(tmp_path / "rock" / "live")
