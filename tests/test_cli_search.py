"""`index`, `similar` and `who` as a user runs them, on synthetic recordings."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import processes
import pytest
from conftest import music, write_audio

import artist_features as af
from artist_features.cli.main import main
from artist_features.metrics import unit_vectors
from artist_features.search import Index, IndexedTrack

ARTISTS = {"ann0": "Ann", "ann1": "Ann", "bob0": "Bob", "bob1": "Bob", "cy0": "Cy", "nn": ""}


@pytest.fixture(scope="session")
def recorded(tmp_path_factory, tiny_folder):
    """Two artists of two similar tracks, one of one, one track without; indexed."""
    folder = tmp_path_factory.mktemp("found")
    lines = ["file,artist,title,genre"]
    for number, (name, artist) in enumerate(ARTISTS.items()):
        wave = music(3.2, 22050, 1, seed=ord(name[0]))
        noise = np.random.default_rng(number).standard_normal(wave.shape)
        write_audio(folder / f"{name}.wav", np.float32(0.9 * wave + 0.01 * noise), 22050)
        lines.append(f"{name}.wav,{artist},T {name},folk")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    (folder / "bad.wav").write_text("no music")
    assert main(["extract", str(folder), "--model", str(tiny_folder), "-o", f"{folder}/e.npz"]) == 1
    build = ["index", "build", f"{folder}/e.npz", "--manifest", f"{folder}/m.csv"]
    assert main([*build, "-o", f"{folder}/lib.index"]) == 0
    return folder


@pytest.fixture
def library(recorded, tmp_path, monkeypatch):
    """The folder, as working directory; what is written goes elsewhere."""
    monkeypatch.chdir(recorded)
    return recorded


@pytest.fixture(scope="session")
def expected(recorded, tiny_folder):
    """{name: vector of length 1}, by `extract`."""
    vectors = af.extract([f"{recorded}/{name}.wav" for name in ARTISTS], model=tiny_folder)
    return dict(zip(ARTISTS, unit_vectors(vectors), strict=True))


def ranked(expected, query, names):
    return sorted(names, key=lambda name: -expected[query] @ expected[name])


def results(capsys):
    return json.loads(capsys.readouterr().out)


def test_build_says_what_it_did_and_refuses_to_overwrite(library, tmp_path, capsys):
    out = tmp_path / "new.index"
    build = ["index", "build", "e.npz", "-o", str(out)]
    assert main([*build, "--manifest", "m.csv"]) == 0
    stderr = capsys.readouterr().err
    assert "left out: 1 recording that failed" in stderr
    assert "the manifest lists 6 of 6 recordings" in stderr
    assert "6 recordings of 3 artists (1 without artist); written to" in stderr
    assert main(build) == 2
    assert "exists; --force replaces a file" in capsys.readouterr().err
    assert main([*build, "--no-tags", "--force"]) == 0
    assert "6 recordings of 0 artists (6 without artist)" in capsys.readouterr().err
    before = (library / "e.npz").read_bytes(), (library / "bob0.wav").read_bytes()
    link = tmp_path / "link.index"
    os.symlink(library / "bob0.wav", link)
    made_of = "is what the new file is made of"
    for name, text in [("e.npz", made_of), ("bob0.wav", "of audio"), (str(link), "of audio")]:
        assert main(["index", "build", "e.npz", "-o", name, "--force"]) == 2
        assert text in capsys.readouterr().err
        assert main(["duplicates", "e.npz", "--csv", name, "--force"]) == 2
        assert text in capsys.readouterr().err
    assert main(["index", "build", "e.npz", "--manifest", "m.csv", "-o", "m.csv", "--force"]) == 2
    assert made_of in capsys.readouterr().err
    (tmp_path / "shards").mkdir()
    shutil.copy("e.npz", tmp_path / "e.parquet")
    os.symlink(tmp_path / "e.parquet", tmp_path / "shards" / "part-00000.parquet")
    words = [str(tmp_path / "shards"), "-o", str(tmp_path / "e.parquet"), "--force"]
    assert main(["index", "build", *words]) == 2
    assert made_of in capsys.readouterr().err
    os.symlink(library / "bob0.wav", tmp_path / "song.m3u8")
    words = ["--index", "lib.index", "--m3u", str(tmp_path / "song.m3u8"), "--force"]
    assert main(["similar", "ann0.wav", *words]) == 2
    assert "of audio" in capsys.readouterr().err
    assert before == ((library / "e.npz").read_bytes(), (library / "bob0.wav").read_bytes())
    assert main(["index", "build", "e.npz", "-o", "no/such/x.index"]) == 2
    assert main(["index", "build", "none.npz", "-o", str(tmp_path / "x.index")]) == 2
    assert "none.npz: cannot be read" in capsys.readouterr().err


def test_info(library, tiny_folder, capsys):
    card = json.loads((tiny_folder / "artist_features.json").read_text())
    assert main(["index", "info", "lib.index", "--json"]) == 0
    record = results(capsys)
    assert (record["recordings"], record["artists"], record["without artist"]) == (6, 3, 1)
    assert (record["dimension"], record["model"]) == (8, "tiny")
    assert record["weights sha256"] == card["weights_sha256"]
    assert record["columns"] == ["genre"]
    assert record["package version"] == "0.1.0"
    assert record["bytes"] == (library / "lib.index").stat().st_size
    assert main(["index", "info", "lib.index"]) == 0
    assert f"weights sha256   {card['weights_sha256']}\n" in capsys.readouterr().out


def test_similar_to_a_track_of_the_index(library, expected, capsys):
    query = ["similar", "ann0.wav", "--index", "lib.index", "--all"]
    assert main([*query, "-k", "9", "--json"]) == 0
    record = results(capsys)
    assert record["query"]["in_index"] is True
    found = record["results"]
    names = ranked(expected, "ann0", [name for name in ARTISTS if name != "ann0"])
    assert [os.path.basename(r["path"]) for r in found] == [f"{name}.wav" for name in names]
    assert names[0] == "ann1"
    assert [r["rank"] for r in found] == [1, 2, 3, 4, 5]
    for name, result in zip(names, found, strict=True):
        assert result["similarity"] == pytest.approx(expected["ann0"] @ expected[name], abs=2e-6)
        assert (result["artist"], result["title"]) == (ARTISTS[name], f"T {name}")
        assert result["duration_s"] == pytest.approx(3.2, abs=0.01)
        assert result["columns"] == {"genre": "folk"}
    assert main([*query, "-k", "1"]) == 0
    percentile = Index.load("lib.index").percentile(found[0]["similarity"])
    assert found[0]["percentile"] == percentile
    line = f"1\t{found[0]['similarity']:.4f}\t{percentile:.1f}\tAnn - T ann1\t{found[0]['path']}\n"
    assert capsys.readouterr().out == line


def test_row82_more_than_there_are(library, capsys):
    for k, note in [("9", "-k is 9; the index has no more than 5 to compare with\n"), ("5", "")]:
        assert main(["similar", "ann0.wav", "--index", "lib.index", "--all", "-k", k]) == 0
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == 5
        assert err == note


def test_nothing_to_compare_with(library, tmp_path, capsys):
    """Where names would help, and where they would not."""
    index = Index.load("lib.index")
    tracks = [IndexedTrack(f"{tmp_path}/{name}.wav") for name in "ab"]  # gone, without artist
    Index.build(index.vectors[:2], tracks, index.made_with).save(tmp_path / "x.index")
    none = "nothing else in the index to compare with"
    for command, said in [("similar", f"{none}\n"), ("who", f"{none}; no recording of it has an")]:
        assert main([command, f"{tmp_path}/a.wav", "--index", f"{tmp_path}/x.index"]) == 0
        assert said in capsys.readouterr().err


def test_link_to_a_track_is_the_track(library, tmp_path, capsys):
    os.symlink(library / "ann0.wav", tmp_path / "link.wav")
    assert main(["similar", f"{tmp_path}/link.wav", "--index", "lib.index", "--all", "--json"]) == 0
    assert len(results(capsys)["results"]) == 5


def test_a_file_that_was_changed_since_is_reported(library, capsys):
    """Its vector answers, as most changes are of tags."""
    similar = ["similar", "ann0.wav", "--index", "lib.index"]
    assert main(similar) == 0
    unchanged, said = capsys.readouterr()
    assert "changed" not in said
    before = os.stat("ann0.wav")
    try:
        os.utime("ann0.wav", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert main(similar) == 0
        out, said = capsys.readouterr()
        assert "ann0.wav: changed: the file was changed after its vector was made" in said
        assert out == unchanged
        assert main(["duplicates", "e.npz"]) == 0
        assert "1 changed after their vectors were made" in capsys.readouterr().err
        assert main(["path", "ann0.wav", "bob0.wav", "--index", "lib.index"]) == 0
        assert "ann0.wav: changed" in capsys.readouterr().err
    finally:
        os.utime("ann0.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert main(["duplicates", "e.npz"]) == 0
    assert "changed" not in capsys.readouterr().err


def test_an_end_of_a_path_that_is_gone_is_reported(library, capsys):
    os.rename("ann0.wav", "moved.wav")
    try:
        assert main(["path", "ann0.wav", "bob0.wav", "-n", "3", "--index", "lib.index"]) == 0
    finally:
        os.rename("moved.wav", "ann0.wav")
    out, said = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert "ann0.wav: gone: the file is not there" in said
    assert "bob0.wav" not in said


def test_own_artist_can_be_excluded(library, expected, capsys):
    query = ["similar", "bob1.wav", "--index", "lib.index", "--exclude-artist", "--all", "--json"]
    assert main(query) == 0
    names = ranked(expected, "bob1", ["ann0", "ann1", "cy0", "nn"])
    found = [os.path.basename(r["path"]) for r in results(capsys)["results"]]
    assert found == [f"{name}.wav" for name in names]
    assert main(["similar", "nn.wav", "--index", "lib.index", "--exclude-artist"]) == 2
    assert "artist of nn.wav is not known" in capsys.readouterr().err


def test_similar_artists_by_hand(library, expected, capsys):
    means = {
        artist: sum(expected[name] for name in ARTISTS if ARTISTS[name] == artist)
        for artist in ("Ann", "Bob", "Cy")
    }
    units = {artist: mean / np.linalg.norm(mean) for artist, mean in means.items()}
    query = ["--index", "lib.index", "--by", "artist", "--json"]
    assert main(["similar", "ann1.wav", *query]) == 0
    found = results(capsys)["results"]
    right = {artist: units["Ann"] @ units[artist] for artist in ("Bob", "Cy")}
    assert [r["artist"] for r in found] == sorted(right, key=right.get, reverse=True)
    for result in found:
        assert result["similarity"] == pytest.approx(right[result["artist"]], abs=2e-6)
        assert result["n_tracks"] == {"Bob": 2, "Cy": 1}[result["artist"]]
    assert main(["similar", "nn.wav", *query]) == 0  # without artist: its own vector, among all
    found = results(capsys)["results"]
    right = {artist: expected["nn"] @ unit for artist, unit in units.items()}
    assert [r["artist"] for r in found] == sorted(right, key=right.get, reverse=True)


def test_who_does_not_count_the_track_itself(library, expected, capsys):
    assert main(["who", "ann0.wav", "--index", "lib.index", "--json"]) == 0
    first = results(capsys)["results"][0]
    assert (first["artist"], first["n_tracks"], first["identified"]) == ("Ann", 1, False)
    assert first["similarity"] == pytest.approx(expected["ann0"] @ expected["ann1"], abs=2e-6)
    assert main(["who", "cy0.wav", "--index", "lib.index"]) == 0
    assert "\tCy\t" not in capsys.readouterr().out  # nothing of Cy is left
    assert main(["who", "ann0.wav", "--index", "lib.index", "-k", "1"]) == 0
    assert (
        capsys.readouterr().out
        == f"1\t{first['similarity']:.4f}\tAnn\t1 track\tclosest, not identified\n"
    )


def test_copies_of_one_track_identify_nobody(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    angles = np.array([0, 0.1, 0.02, 0.01, 2.0, 2.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for lengths_s, verdict in [((60, 100, 140, 180), "likely"), ((60,) * 4, "not identified")]:
        tracks = [
            IndexedTrack(f"{tmp_path}/{n}.wav", "Ann" if n < 4 else "Bob", duration_s=s)
            for n, s in enumerate((*lengths_s, 60, 100))
        ]
        made_with = {"model": "tiny", "weights_sha256": 64 * "0"}
        Index.build(vectors, tracks, made_with).save("x.index")
        assert main(["who", "0.wav", "--index", "x.index", "-k", "1"]) == 0
        out = capsys.readouterr().out
        assert "Ann\t3 tracks" in out
        assert out.endswith(f"{verdict}\n")


def test_playlist(library, tmp_path, capsys):
    shutil.copy("lib.index", tmp_path)
    out = tmp_path / "like.m3u8"
    similar = ["similar", "ann0.wav", "--index", "lib.index", "-k", "1", "--m3u"]
    assert main([*similar, str(out), "--all"]) == 0
    right = f"#EXTM3U\n#EXTINF:3,Ann - T ann1\n{library}/ann1.wav\n"
    assert out.read_bytes() == right.encode()
    for arguments, text in [
        ([str(out)], "exists; --force replaces"),
        (["x.txt"], "allowed endings are .m3u8 and .m3u"),
        ([str(tmp_path / "y.m3u"), "--by", "artist"], "--m3u goes with recordings"),
        (["", "--by", "artist", "--all"], "--all goes with recordings"),
        (["z.m3u", "--by", "artist", "--exclude-artist"], "leave it out or leave out --by artist"),
    ]:
        assert main([*similar, *arguments]) == 2
        assert text in capsys.readouterr().err
    assert main([*similar, str(out), "--all", "--force"]) == 0


def test_no_model_is_loaded_for_what_is_no_file(library, tiny_folder, monkeypatch, capsys):
    monkeypatch.setattr("artist_features.search.lookup.Extractor.results", None)
    (library / "empty.wav").touch()
    for command in ("similar", "who"):
        for name, text in [("no.wav", "no such file"), ("empty.wav", "0 bytes"), (".", "folder")]:
            query = [name, "--index", "lib.index", "--model", str(tiny_folder)]
            assert main([command, *query]) == 1
            assert text in capsys.readouterr().err


def test_file_that_is_not_indexed_is_extracted(library, tiny_folder, tmp_path, capsys):
    copy = shutil.copy(library / "bob0.wav", tmp_path / "new.wav")
    query = [str(copy), "--index", "lib.index", "--model", str(tiny_folder), "--json", "-k", "1"]
    assert main(["similar", *query, "--all"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert record["query"]["in_index"] is False
    assert os.path.basename(record["results"][0]["path"]) == "bob0.wav"
    assert record["results"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert "not in the index; extracted with tiny on " in err
    assert main(["who", *query]) == 0
    assert results(capsys)["results"][0]["artist"] == "Bob"
    write_audio(tmp_path / "short.wav", music(1.0, 22050, 1))
    playlist = ["playlist", "--like", f"{tmp_path}/short.wav", "--index", "lib.index"]
    assert main([*playlist, "--model", str(tiny_folder)]) == 0
    err = capsys.readouterr().err
    assert "not in the index; extracted with tiny on " in err
    assert "short.wav: short: " in err


@pytest.mark.parametrize("options", ["--offset 7 --duration 5", "--segments 2"])
def test_options_of_the_extraction_are_those_of_the_index(
    library, tiny_folder, tmp_path, capsys, options
):
    wave = np.concatenate([music(7, seed=1), music(7, seed=2), music(7, seed=3)])
    write_audio(tmp_path / "a.wav", wave)
    write_audio(tmp_path / "b.wav", wave)
    model = ["--model", str(tiny_folder)]
    out = ["-o", f"{tmp_path}/e.npz"]
    assert main(["extract", f"{tmp_path}/a.wav", *model, *out, *options.split()]) == 0
    assert main(["index", "build", f"{tmp_path}/e.npz", "-o", f"{tmp_path}/i"]) == 0
    capsys.readouterr()
    query = ["similar", f"{tmp_path}/b.wav", "--index", f"{tmp_path}/i", *model, "--json", "--all"]
    assert main(query) == 0
    assert results(capsys)["results"][0]["similarity"] == 1


def test_another_model_is_refused(library, tiny_folder, tmp_path, capsys):
    copy = shutil.copy(library / "bob0.wav", tmp_path / "new.wav")
    for track in (copy, "bob0.wav"):
        query = ["similar", str(track), "--index", "lib.index", "--model", "siamese"]
        assert main(query) == 2
        said = capsys.readouterr().err
        assert "holds vectors of model 'tiny', the query is of 'siamese'; vectors" in said
        assert "(Weights' sha256: " in said
    assert main(["similar", str(copy), "--index", "lib.index"]) == 2
    assert "'tiny' is none of the bundled ones (basic, siamese); name it by" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["none.wav", "--index", "lib.index", "--model", "TINY"], 1, "none.wav: no such file"),
        (["bad.wav", "--index", "lib.index", "--model", "TINY"], 1, "bad.wav: "),
        (["ann0.wav", "--index", "lib.index", "-k", "0"], 2, "-k is 0; allowed is 1 or more"),
        (["ann0.wav", "--index", "none.index"], 2, "none.index: cannot be read (No such file"),
        (["ann0.wav", "--index", "m.csv"], 2, "m.csv: is no search index, or damaged"),
        (["ann0.wav", "--index", "lib.index", "--model", "siamise"], 2, "Did you mean 'siamese'"),
    ],
)
def test_wrong_usage(library, tiny_folder, capsys, arguments, code, text):
    arguments = [str(tiny_folder) if word == "TINY" else word for word in arguments]
    for command in ("similar", "who"):
        assert main([command, *arguments]) == code
        out, err = capsys.readouterr()
        assert text in err
        assert out == ""


@pytest.mark.slow
def test_real_processes_from_audio_to_playlist(recorded, tiny_folder, tmp_path):
    """Tags for names; a track of the index is found without TensorFlow."""

    def run(*arguments):
        command = [sys.executable, "-m", "artist_features.cli.main", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=recorded, timeout=800)
        assert done.returncode == 0, done.stderr
        return done.stdout

    words = ("extract", ".", "--model", tiny_folder, "-o", tmp_path / "shards")
    assert processes.run(processes.COMMAND, *words, cwd=recorded).returncode == 1
    run("index", "build", tmp_path / "shards", "-o", tmp_path / "lib.index")
    assert Index.load(tmp_path / "lib.index").row_of(f"{recorded}/ann0.wav") is not None
    found = run("similar", "ann0.wav", "--index", tmp_path / "lib.index", "--all", "-k", 2)
    assert found.splitlines()[0].endswith(f"\tann1\t{recorded}/ann1.wav")
    program = (
        "import sys; from artist_features.cli.main import main;"
        "code = main(sys.argv[1:]); heavy = {'tensorflow', 'keras'} & set(sys.modules);"
        "sys.exit(code or (3 if heavy else 0))"
    )
    arguments = ["who", f"{recorded}/ann0.wav", "--index", f"{recorded}/lib.index"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True)
    assert done.returncode == 0, done.stderr
