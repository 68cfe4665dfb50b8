"""examples/open_corpus: a corpus built from a package made here."""

import csv
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from artist_features.datasets.manifest import read_manifest

SCRIPTS = Path(__file__).parents[1] / "examples" / "open_corpus"
CONTROL = "Package: tiny-music\nVersion: 1\nArchitecture: all\nMaintainer: N\nDescription: d\n"
PACKAGES = "package,kind,licence,clips\ntiny-music,music,CC0-1.0,0\n"
TRACKS = """\
package,file,artist,title,licence
tiny-music,usr/share/tiny/long.wav,Ann,Long,
tiny-music,usr/share/tiny/short.ogg,Ben,Short,GPL-2+
tiny-music,usr/share/tiny/long.wav + usr/share/tiny/short.ogg,,Both,
"""

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed")


def run(script, *words):
    call = [sys.executable, SCRIPTS / script, *words]
    return subprocess.run(list(map(str, call)), capture_output=True, text=True, check=False)


def rows_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def tone(seconds, hz, rate):
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)


def loudest_hz(samples, rate):
    return np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples)


@pytest.fixture
def debs(tmp_path):
    """A folder with tiny-music_1_all.deb: a track of three tones, 3 s each, and a short one."""
    root, folder = tmp_path / "root", tmp_path / "debs"
    music = root / "usr" / "share" / "tiny"
    music.mkdir(parents=True)
    folder.mkdir()
    three = np.concatenate([tone(3, hz, 44100) for hz in (300, 600, 1200)])
    soundfile.write(music / "long.wav", np.stack([three, three], axis=1), 44100)
    soundfile.write(music / "short.ogg", tone(2, 440, 22050), 22050)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(CONTROL)
    deb = folder / "tiny-music_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", root, deb], check=True, capture_output=True)
    return folder


def tables(folder, *, packages=PACKAGES, tracks=TRACKS):
    folder.mkdir(exist_ok=True)
    (folder / "packages.csv").write_text(packages)
    (folder / "tracks.csv").write_text(tracks)
    return folder


@needs_dpkg
def test_tracks_are_cut_stored_and_listed(debs, tmp_path):
    out = tmp_path / "out"
    words = (out, "--packages-dir", debs, "--tables", tables(tmp_path / "t"), "--seconds", 3)
    done = run("build.py", *words)
    assert done.returncode == 0, done.stderr
    rows = {row["title"]: row for row in rows_of(out / "manifest.csv")}
    assert rows["Long"]["seconds"] == "3.0"
    assert (rows["Long"]["licence"], rows["Short"]["licence"]) == ("CC0-1.0", "GPL-2+")
    assert {row["source"] for row in rows.values()} == {"debian:tiny-music"}
    samples, rate = soundfile.read(out / rows["Long"]["file"])
    assert (rate, samples.shape) == (22050, (3 * 22050,))
    assert loudest_hz(samples, rate) == pytest.approx(600, abs=2)  # the middle
    tracks = read_manifest(out / "manifest.csv")
    assert [track.artist for track in tracks if track.title == "Short"] == ["Ben"]
    assert all(track.path.exists() for track in tracks)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.ogg")}
    assert run("build.py", *words).returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.ogg")}


@needs_dpkg
def test_one_failure_does_not_stop_the_rest(debs, tmp_path):
    packages = PACKAGES.replace("tiny", "a-broken") + PACKAGES.splitlines()[1] + "\n"
    (debs / "a-broken-music_1_all.deb").write_bytes(b"no package")
    tracks = TRACKS + "a-broken-music,usr/x.ogg,,X,\ntiny-music,usr/share/tiny/lost.ogg,,Lost,\n"
    folder = tables(tmp_path / "t", packages=packages, tracks=tracks)
    done = run("build.py", tmp_path / "out", "--packages-dir", debs, "--tables", folder)
    assert done.returncode == 1
    assert "a-broken-music: " in done.stderr
    assert "lost.ogg" in done.stderr
    assert len(read_manifest(tmp_path / "out" / "manifest.csv")) == 3


def test_a_prompt_without_sound_costs_itself_alone(monkeypatch, tmp_path):
    pytest.importorskip("av", reason="G.722 needs PyAV")
    monkeypatch.syspath_prepend(SCRIPTS)
    import build

    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for name, n_bytes in (("a", 0), ("b", 1), ("c", 16000), ("d", 16000)):
        (prompts / f"{name}.g722").write_bytes(b"\x5a" * n_bytes)  # 8,000 bytes a second
    package = {"package": "voices", "kind": "speech", "licence": "CC0-1.0", "clips": "1"}
    rows, errors = build.store_speech(package, prompts, tmp_path / "out", 3)
    assert [row["seconds"] for row in rows] == ["3.0"]
    assert [error.partition(":")[0] for error in errors] == ["a.g722"]


def test_packages_kept_unseen_are_refused(tmp_path):
    words = (tmp_path / "out", "--packages-dir", tmp_path, "--tables", tables(tmp_path / "t"))
    done = run("build.py", *words, "--only", "nexuiz-music", "ufoai-music", "supertuxkart-data")
    assert done.returncode == 1
    assert done.stderr.count("refused: ") == 3
    assert "stays unseen" in done.stderr
    names = [row["package"] for row in rows_of(SCRIPTS / "packages.csv")]
    assert not {"nexuiz-music", "ufoai-music", "supertuxkart-data"} & set(names)


@needs_dpkg
def test_known_tracks_are_left_out(debs, tmp_path):
    known = tmp_path / "known.csv"
    known.write_text("file,artist,title,source\nx.ogg,Ann,Long,debian:tiny-music\n")
    words = ("--packages-dir", debs, "--tables", tables(tmp_path / "t"), "--known", known)
    assert run("build.py", tmp_path / "out", *words).returncode == 0
    titles = [track.title for track in read_manifest(tmp_path / "out" / "manifest.csv")]
    assert sorted(titles) == ["Both", "Short"]


def test_every_listed_track_has_a_licence_and_a_package():
    packages = {row["package"]: row for row in rows_of(SCRIPTS / "packages.csv")}
    assert all(row["licence"] for row in packages.values())
    tracks = rows_of(SCRIPTS / "tracks.csv")
    assert {track["package"] for track in tracks} <= set(packages)
    assert len({(track["package"], track["file"]) for track in tracks}) == len(tracks)


def test_parts_are_joined_into_one_manifest(tmp_path):
    header = "file,artist,title,seconds,licence,source,kind\n"
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.ogg").write_bytes(b"")
        rows = "a.ogg,,A,3600,CC0,s,band\ngone.ogg,,G,1,CC0,s,band\n"
        (tmp_path / part / "manifest.csv").write_text(header + rows)
    done = run("join.py", tmp_path)
    assert "band: 2 files, 2.00 h" in done.stdout
    tracks = read_manifest(tmp_path / "manifest.csv")
    assert [track.path for track in tracks] == [tmp_path / "one/a.ogg", tmp_path / "two/a.ogg"]


def test_a_seed_decides_a_piece(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import compose

    groove = compose.Groove(Path("lib/stdlib/swing.mma"), ("Swing", "SwingSus"), ("SwingFill",), 4)
    pieces = [compose.compose(groove, random.Random(seed)) for seed in (1, 1, 2)]
    assert pieces[0] == pieces[1] != pieces[2]
    for piece in pieces:
        assert piece.seconds >= 36
        assert {"Use stdlib/swing", "Groove SwingFill"} <= set(piece.text.splitlines())
        starts = [start for start, _, _ in piece.melody]
        assert starts == sorted(starts)
        assert all(30 < pitch < 110 for _, _, pitch in piece.melody)
        assert all(start < piece.n_bars * piece.beats for start in starts)


def test_lead_track_is_appended_to_a_midi_file(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import compose
    import render_styles

    piece = compose.Piece("t", "", 120, 4, 1, melody=[(0.5, 2.0, 60)], leads=[40, 41], drum_kit=8)
    track = render_styles.lead_track(piece, random.Random(0))
    assert b"\xc9\x08" in track  # the drum kit, on channel 10
    assert b"\x90\x3c" in track
    assert track.endswith(b"\0\xff\x2f\0")
    midi = render_styles.add_track(b"MThd\0\0\0\x06\0\1\0\2\0\xc0rest", track)
    assert midi[8:14] == b"\0\1\0\3\0\xc0"
    assert midi.endswith(b"rest" + b"MTrk" + len(track).to_bytes(4, "big") + track)


def test_mix_holds_voice_and_band(tmp_path):
    header = "file,artist,title,seconds,licence,source,kind\n"
    for name, hz in (("speech", 300), ("band", 1200)):
        soundfile.write(tmp_path / f"{name}.ogg", tone(4, hz, 22050), 22050)
        header += f"{name}.ogg,,{name},4.0,{name} licence,s,{name}\n"
    (tmp_path / "manifest.csv").write_text(header)
    done = run("mix.py", tmp_path, "--n", 1)
    assert done.returncode == 0, done.stderr
    row = rows_of(tmp_path / "mixes" / "manifest.csv")[0]
    assert row["licence"] == "band licence + speech licence"
    samples, rate = soundfile.read(tmp_path / "mixes" / row["file"])
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.arange(len(power)) * rate / len(samples)
    shares = [power[abs(hz - tone_hz) < 20].sum() / power.sum() for tone_hz in (300, 1200)]
    assert min(shares) > 0.01
