"""Tags to tracks: every format, what has no tags, what is damaged."""

import os
import subprocess
import sys

import mutagen
import numpy as np
import pytest
from conftest import music, write_audio
from fault_bytes import encode_av
from mutagen.asf import ASF
from mutagen.id3 import ID3, TALB, TIT2, TPE1, TXXX

from artist_features.datasets import tags
from artist_features.datasets.tags import scan_folder

ID = "83b9cbe7-9857-49e2-ab8e-b57b01038103"
EASY = ("mp3", "flac", "ogg", "opus", "m4a")
FRAMES = ("wav", "aiff")
SAMPLES = music(1.0)


def write(path):
    """Write a second of music in the format that the ending names."""
    if path.suffix == ".m4a":
        path.write_bytes(encode_av(SAMPLES, "ipod", "aac"))
    elif path.suffix == ".wma":
        path.write_bytes(encode_av(SAMPLES, "asf", "wmav2", bit_rate=128_000))
    elif path.suffix == ".opus":
        write_audio(path, music(1.0, 48000), 48000)
    else:
        write_audio(path, SAMPLES)
    return path


def tag(path, **tags):
    """Add tags as a person's tagger would, by the format."""
    file = mutagen.File(path, easy=True)
    if file.tags is None:
        file.add_tags()
    if path.suffix[1:] in FRAMES:
        frames = {"artist": TPE1, "title": TIT2, "album": TALB}
        for name, value in tags.items():
            if name in frames:
                file.tags.add(frames[name](text=value))
            else:
                file.tags.add(TXXX(desc="MusicBrainz Artist Id", text=value))
    elif isinstance(file, ASF):
        names = {"artist": "Author", "title": "Title", "album": "WM/AlbumTitle"}
        for name, value in tags.items():
            file[names.get(name, "MusicBrainz/Artist Id")] = value
    else:
        for name, value in tags.items():
            file[name] = value
    file.save()


@pytest.mark.parametrize("ending", [*EASY, *FRAMES, "wma"])
def test_tags_of_every_format(tmp_path, ending):
    path = write(tmp_path / f"x.{ending}")
    tag(path, artist=["Sigur Rós"], title=["Ný\n batterí"], album=["A"], musicbrainz_artistid=[ID])
    (track,), problems = scan_folder(tmp_path)
    assert problems == []
    assert track.path == path
    assert (track.artist, track.title) == ("Sigur Rós", "Ný batterí")
    assert track.extra == {"album": "A", "musicbrainz_artistid": ID}


@pytest.mark.parametrize("ending", ["flac", "mp3", "m4a"])
def test_the_first_of_several_artists_and_blank_ones(tmp_path, ending):
    tag(write(tmp_path / f"a.{ending}"), artist=["", " ", "Ann", "Bob"])
    tag(write(tmp_path / f"b.{ending}"), artist=["  "], title=["x" * 5000])
    (first, second), problems = scan_folder(tmp_path)
    assert problems == []
    assert (first.artist, first.title) == ("Ann", "a")
    assert (second.artist, second.title) == ("", "x" * 1000)


def test_files_without_tags_stay_unlabelled(tmp_path):
    names = ["1 - no.tags.mp3", "2.wav", "3.caf", "4.au", "5.flac", "6.w64"]
    for name in names:
        write(tmp_path / name)
    tracks, problems = scan_folder(tmp_path)
    assert problems == []
    assert [track.path.name for track in tracks] == names
    assert [track.title for track in tracks] == ["1 - no.tags", "2", "3", "4", "5", "6"]
    assert {track.artist for track in tracks} == {""}
    assert tracks[0].extra == {"album": "", "musicbrainz_artistid": ""}


def test_damage_is_a_problem_of_one_file(tmp_path):
    good = write(tmp_path / "good.flac")
    (tmp_path / "half.flac").write_bytes(good.read_bytes()[:60])
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "random.ogg").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "picture.mp3").write_bytes(b"\x89PNG" + bytes(2000))
    (tmp_path / "zeros.au").write_bytes(bytes(2000))
    (tmp_path / "gone.mp3").symlink_to(tmp_path / "nowhere.mp3")
    os.mkfifo(tmp_path / "pipe.wav")
    write(tmp_path / os.fsdecode(b"\xe9.flac"))
    tracks, problems = scan_folder(tmp_path)
    assert [track.path for track in tracks] == [good]
    codes = {os.path.basename(problem.path): problem.code for problem in problems}
    assert codes == {
        "half.flac": "damaged",
        "empty.mp3": "empty",
        "random.ogg": "unsupported",
        "picture.mp3": "unsupported",
        "zeros.au": "unsupported",
        "gone.mp3": "not_found",
        "pipe.wav": "not_a_file",
        os.fsdecode(b"\xe9.flac"): "unsupported",
    }
    assert all(str(problem).isprintable() for problem in problems)


@pytest.mark.parametrize("ending", [*EASY, *FRAMES, "wma"])
def test_altered_bytes_never_crash(tmp_path, ending):
    path = write(tmp_path / f"x.{ending}")
    tag(path, artist=["Ann"], title=["T" * 50], album=["A"])
    good, rng = path.read_bytes(), np.random.default_rng(1)
    head = [i for i in (good.find(b"Ann"), good.find("Ann".encode("utf-16-le"))) if i >= 0]
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.integers(1, 6)):
            around = int(rng.choice([0, *head]))
            position = max(0, around + int(rng.integers(-64, 256)))
            if position < len(data):
                data[position] = rng.integers(256)
        path.write_bytes(data[: rng.integers(20, len(data))] if rng.random() < 0.3 else data)
        tracks, problems = scan_folder(tmp_path)
        assert len(tracks) + len(problems) == 1


def test_a_parsers_own_slip_is_a_problem(tmp_path, monkeypatch):
    path = write(tmp_path / "x.flac")

    def slip(file, easy):
        raise IndexError("list index out of range")

    monkeypatch.setattr(mutagen, "File", slip)
    tracks, (problem,) = scan_folder(tmp_path)
    assert tracks == []
    text = "its tags cannot be read (list index out of range); write the file anew."
    assert str(problem) == f"{path}: {text}"


def test_what_may_not_be_read(tmp_path, monkeypatch):
    path = write(tmp_path / "x.flac")

    def refuse(path, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tags, "open", refuse, raising=False)
    tracks, (problem,) = scan_folder(tmp_path)
    assert (tracks, problem.code) == ([], "no_permission")
    assert str(problem) == f"{path}: cannot be read (Permission denied); check its mode and path."


def test_id3_without_music_is_no_track(tmp_path):
    tags = ID3()
    tags.add(TPE1(text=["Ann"]))
    tags.save(tmp_path / "x.mp3")
    tracks, problems = scan_folder(tmp_path)
    assert (tracks, len(problems)) == ([], 1)


def test_without_mutagen_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mutagen", None)
    with pytest.raises(ImportError, match=r"needs mutagen .*'artist-features\[tags\]'"):
        tags.scan_folder(tmp_path)


def test_the_other_modules_of_training_need_no_mutagen():
    names = ("manifest", "checks", "splits", "msd", "tags")  # of datasets
    code = "".join(f"import artist_features.datasets.{name}\n" for name in names)
    code += "import sys; print(sorted({'mutagen', 'tensorflow', 'keras'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
