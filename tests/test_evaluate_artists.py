"""Artist retrieval: the protocol without a model, the baselines, the command."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import music, write_audio

from artist_features.cli.main import main
from artist_features.datasets.manifest import read_manifest
from artist_features.datasets.tracks import Track
from artist_features.errors import AudioError
from artist_features.evaluation import artists, baselines
from artist_features.evaluation.artists import evaluate_artists, select_tracks
from artist_features.metrics import mean, retrieval


def toy(n_artists=6, n_tracks=5, noise=0.3, seed=0):
    """Return (vectors, labels): tracks scattered about their artist's direction."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.standard_normal((n_artists, 16)), n_tracks, axis=0)
    labels = [f"artist {number}" for number in range(n_artists) for _ in range(n_tracks)]
    return centres + noise * rng.standard_normal(centres.shape), labels


def test_scores_agree_with_the_metrics_and_name_the_first_model():
    good, labels = toy()
    worse, _ = toy(noise=3)
    first, second = evaluate_artists({"good": good, "worse": worse}, labels)
    assert (first.name, first.dim, second.name) == ("good", 16, "worse")
    alone = retrieval(worse, labels)
    assert second.mean_average_precision.estimate == alone.mean_average_precision
    assert second.precision_at_1.estimate == mean(alone.precision_at_1)
    assert second.mean_average_precision.n_clusters == 6
    assert first.mean_average_precision.estimate > 0.9
    assert first.difference is None
    gap = second.mean_average_precision.estimate - first.mean_average_precision.estimate
    assert second.difference.estimate == pytest.approx(gap)
    assert second.difference.high < 0


def test_standardising_undoes_a_dimension_that_drowns_the_others():
    vectors, labels = toy()
    vectors = np.hstack([vectors, 1000 * np.random.default_rng(1).standard_normal((30, 1))])
    (raw,) = evaluate_artists({"x": vectors}, labels)
    (even,) = evaluate_artists({"x": vectors}, labels, standardise=True)
    assert raw.mean_average_precision.estimate < 0.5 < even.mean_average_precision.estimate


def test_errors_name_the_model():
    vectors, labels = toy()
    vectors[3] = 0
    with pytest.raises(ValueError, match=r"^mine: embeddings row 3 is all zeros"):
        evaluate_artists({"mine": vectors}, labels)
    with pytest.raises(ValueError, match=r"^mine: 1 of 1 clusters have values"):
        evaluate_artists({"mine": toy()[0]}, ["a"] * 30)


def tracks_of(folder, counts, **extra):
    return [
        Track(folder / f"{artist}{number}.wav", artist, str(number), dict(extra))
        for artist, n_tracks in counts.items()
        for number in range(n_tracks)
    ]


def test_tracks_are_labelled_and_have_company(tmp_path):
    tracks = tracks_of(tmp_path, {"b": 2, "": 3, "lonely": 1, "a": 4})
    chosen = select_tracks(tracks)
    assert [track.artist for track in chosen] == ["b"] * 2 + ["a"] * 4
    assert {track.artist for track in select_tracks(tracks, limit_artists=1)} == {"b"}
    with pytest.raises(ValueError, match=r"limit_artists is 0; allowed is 1 or more"):
        select_tracks(tracks, limit_artists=0)


def test_split_is_that_of_training(tmp_path):
    from artist_features.datasets.splits import split_by_artist

    tracks = tracks_of(tmp_path, {f"artist {chr(97 + i) * 8}": 2 for i in range(20)})
    for seed in (0, 7):
        splits = split_by_artist(tracks, seed=seed)
        expected = [track for track, s in zip(tracks, splits, strict=True) if s == "test"]
        assert select_tracks(tracks, split="test", split_seed=seed) == expected
        assert expected


def test_mfcc_are_those_of_librosa(tmp_path):
    import librosa

    samples = music(seconds=3, sample_rate=22050, n_channels=1)
    path = write_audio(tmp_path / "a.wav", samples, 22050, subtype="FLOAT")
    vector = baselines.mfcc_statistics(path)
    mfcc = librosa.feature.mfcc(y=samples[:, 0], sr=22050)  # all its defaults
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector[:20], mfcc.mean(axis=1), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(vector[20:], mfcc.std(axis=1), rtol=1e-4, atol=1e-3)


def test_mfcc_of_a_blip_and_of_words(tmp_path):
    blip = write_audio(tmp_path / "blip.wav", music(seconds=0.01, sample_rate=22050), 22050)
    assert np.isfinite(baselines.mfcc_statistics(blip)).all()
    words = tmp_path / "words.wav"
    words.write_text("these are words, not music")
    with pytest.raises(AudioError) as caught:
        baselines.mfcc_statistics(words)
    assert caught.value.code == "unsupported"


def test_mfcc_decoder_that_breaks_costs_that_track_alone(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(baselines, "open_file", broken)
    with pytest.raises(AudioError, match=r"the decoder failed \(RuntimeError: out of luck\)"):
        baselines.mfcc_statistics(tmp_path / "a.wav")


def test_standardise_by_hand():
    found = baselines.standardise(np.array([[1.0, 7, 0.1, 0], [3, 7, 0.1, 0], [5, 7, 0.1, 0]]))
    step = np.sqrt(3 / 2)
    np.testing.assert_allclose(found, [[-step, 0, 0, 0], [0] * 4, [step, 0, 0, 0]], atol=1e-12)


def test_chance_is_seeded_and_scores_like_chance():
    first = baselines.chance_vectors(400)
    np.testing.assert_array_equal(first, baselines.chance_vectors(400))
    labels = np.arange(400) % 4
    assert retrieval(first, labels).mean_average_precision == pytest.approx(0.25, abs=0.02)


@pytest.fixture
def no_librosa(monkeypatch):
    monkeypatch.setitem(sys.modules, "librosa", None)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """Three artists with tracks of one melody each, one with a single track."""
    folder = tmp_path_factory.mktemp("recorded")
    lines = ["file,artist,title,album"]
    for artist, n_tracks in {"ann": 3, "bob": 3, "cy": 2, "dee": 1}.items():
        for number in range(n_tracks):
            wave = music(seconds=3.2, sample_rate=22050, n_channels=1, seed=ord(artist[0]))
            noise = np.random.default_rng(number).standard_normal(wave.shape)
            name = f"{artist}{number}.wav"
            write_audio(folder / name, np.float32(0.9 * wave + 0.005 * noise), 22050)
            lines.append(f"{name},{artist},{number},{'first' if artist == 'cy' else ''}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def library(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "library")


def evaluate(library, *arguments):
    return main(["evaluate", "artists", str(library / "manifest.csv"), *map(str, arguments)])


def test_command_prints_a_table_and_writes_a_record(library, tiny_folder, tmp_path, capsys):
    out = tmp_path / "out.json"
    options = ["--model", tiny_folder, "--baseline", "mfcc", "--baseline", "chance"]
    options += ["--baseline", "mfcc-raw"]
    assert evaluate(library, *options, "--json", out) == 0
    stdout, stderr = capsys.readouterr()
    rows = stdout.splitlines()
    assert rows[0] == f"| model | dim | MAP | P@1 | MAP minus {tiny_folder} |"
    assert [row.split("|")[2].strip() for row in rows[2:5]] == ["8", "40", "256"]
    assert rows[2].endswith("|  |")
    assert "8 tracks of 3 artists (all splits), 0 left out, 0 queries without pos" in rows[-1]
    assert "on CPU" in stderr or "on GPU" in stderr
    record = json.loads(out.read_text())
    manifest = (library / "manifest.csv").read_bytes()
    assert record["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    assert (record["n_tracks"], record["n_artists"], record["left_out"]) == (8, 3, [])
    card = json.loads((tiny_folder / "artist_features.json").read_text())
    tiny, mfcc, chance, raw = record["models"]
    assert (raw["name"], raw["dim"]) == ("mfcc-raw", 40)
    assert tiny["weights_sha256"] == card["weights_sha256"]
    assert tiny["difference_of_map_to_first"] is None
    assert (mfcc["name"], mfcc["weights_sha256"]) == ("mfcc", None)
    # one melody per artist, and only the noise differs
    assert mfcc["mean_average_precision"]["estimate"] == 1
    assert mfcc["precision_at_1"]["estimate"] == mfcc["r_precision"] == mfcc["ndcg_at_10"] == 1
    assert chance["mean_average_precision"]["estimate"] < 1
    assert chance["difference_of_map_to_first"]["n_clusters"] == 3
    assert {"tensorflow", "keras", "numpy", "librosa", "python"} <= set(record["versions"])
    assert record["device"].startswith(("CPU", "GPU"))
    shown = f"{mfcc['mean_average_precision']['estimate']:.3f} [1.000, 1.000]"
    assert shown in rows[3]


def test_vectors_are_those_of_extract(library, tiny_folder):
    from artist_features import Extractor, extract

    tracks = select_tracks(read_manifest(library / "manifest.csv"))
    found = artists.extract_tracks(tracks, {"tiny": Extractor(tiny_folder)}, ["mfcc", "mfcc-raw"])
    assert found.tracks == tracks
    expected = extract([track.path for track in tracks], model=tiny_folder)
    np.testing.assert_allclose(found.vectors["tiny"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.vectors["mfcc"].std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(found.vectors["mfcc"].mean(axis=0), 0, atol=1e-5)
    described = baselines.mfcc_statistics(tracks[0].path)
    np.testing.assert_array_equal(found.vectors["mfcc-raw"][0], described)


def test_what_cannot_be_read_is_named_and_left_out_for_all(library, tiny_folder, tmp_path, capsys):
    (library / "ann1.wav").unlink()
    (library / "cy0.wav").write_text("these are words, not music")
    out = tmp_path / "out.json"
    assert evaluate(library, "--model", tiny_folder, "--baseline", "mfcc", "--json", out) == 1
    stdout, stderr = capsys.readouterr()
    assert f"{library / 'ann1.wav'}: not_found: no such file" in stderr
    assert f"{library / 'cy0.wav'}: unsupported: " in stderr
    assert f"{library / 'cy1.wav'}: no other track of its artist could be used" in stderr
    assert "5 tracks evaluated, 3 left out" in stderr
    assert "5 tracks of 2 artists (all splits), 3 left out" in stdout
    left_out = json.loads(out.read_text())["left_out"]
    assert [path.rpartition("/")[2] for path, _ in left_out] == ["ann1.wav", "cy0.wav", "cy1.wav"]


def test_track_without_direction_is_left_out_for_all(library, monkeypatch, capsys):
    real = baselines.mfcc_statistics

    def sometimes_zero(path):
        return np.zeros(40, np.float32) if path.name == "bob0.wav" else real(path)

    monkeypatch.setattr(baselines, "mfcc_statistics", sometimes_zero)
    assert evaluate(library, "--baseline", "chance", "--baseline", "mfcc") == 1
    stdout, stderr = capsys.readouterr()
    assert "bob0.wav: its vector under 'mfcc' is all zeros or not finite" in stderr
    assert "7 tracks of 3 artists" in stdout


def test_missing_files_are_named_even_where_nothing_is_read(library, capsys):
    (library / "ann1.wav").unlink()
    assert evaluate(library, "--baseline", "chance") == 1
    stdout, stderr = capsys.readouterr()
    assert "ann1.wav: not_found: no such file" in stderr
    assert "1 left out" in stdout


def test_artists_that_take_no_part_or_look_alike_are_told(library, capsys):
    manifest = library / "manifest.csv"
    text = manifest.read_text()
    first = next(line for line in text.splitlines() if line.startswith("ann0"))
    fields = first.split(",")
    manifest.write_text(text.replace(first, ",".join([fields[0], "THE  Ann", *fields[2:]])))
    assert evaluate(library, "--baseline", "chance") == 0
    stderr = capsys.readouterr().err
    assert "not used: 2 artists with one track" in stderr  # dee, and the other spelling
    assert "may be one artist, but count as 2" in stderr


def test_flaws_are_told(library, tiny_folder, tmp_path, capsys):
    write_audio(library / "ann0.wav", np.zeros((22050 * 4, 1), np.float32), 22050)
    out = tmp_path / "out.json"
    code = evaluate(library, "--model", tiny_folder, "--json", out)
    assert "ann0.wav: silent: all 4.0 s are digital silence" in capsys.readouterr().err
    assert len(json.loads(out.read_text())["flaws"]) == 1
    assert code == 0


def test_own_album_can_be_excluded(library, capsys):
    assert evaluate(library, "--baseline", "mfcc", "--exclude-album") == 0
    # cy's two tracks are one album: neither has a positive
    assert "0 left out, 2 queries without positives" in capsys.readouterr().out
    manifest = library / "manifest.csv"
    rows = [line.rpartition(",")[0] for line in manifest.read_text().splitlines()]
    manifest.write_text("\n".join(rows) + "\n")
    assert evaluate(library, "--baseline", "mfcc", "--exclude-album") == 2
    text = "manifest.csv line 1: column 'album' is missing; --exclude-album needs it"
    assert text in capsys.readouterr().err


def test_without_librosa_only_mfcc_is_out_of_reach(library, tiny_folder, no_librosa, capsys):
    assert evaluate(library, "--model", tiny_folder, "--baseline", "mfcc") == 2
    stderr = capsys.readouterr().err
    assert "baseline 'mfcc' needs librosa (" in stderr
    assert "install it with `pip install 'artist-features[evaluate]'`" in stderr
    assert " on CPU" not in stderr  # known before the model is extracted with
    assert " on GPU" not in stderr
    assert evaluate(library, "--baseline", "chance") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--model", "siamise"], 2, "Did you mean 'siamese'"),
        (["--model", "no/such"], 2, "no such folder"),
        (["--baseline", "chance", "--baseline", "chance"], 2, "'chance' is given twice"),
        (["--limit-artists", "0"], 2, "limit_artists is 0"),
        (["--limit-artists", "1"], 2, "3 tracks of 1 artists with two or more tracks to start"),
        (["--json", "there.json"], 2, "there.json: exists; --force replaces a file"),
        (["--json", ".", "--force"], 2, "exists and is no file, which --force would"),
        (["--json", "no/such/out.json"], 2, "its folder does not exist"),
    ],
)
def test_wrong_usage_ends_before_decoding(
    library, tmp_path, monkeypatch, capsys, arguments, code, text
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.json").write_text("mine")
    monkeypatch.setattr(artists, "extract_tracks", None)
    assert evaluate(library, *arguments) == code
    assert text in capsys.readouterr().err
    assert (tmp_path / "there.json").read_text() == "mine"


def test_force_replaces_a_record_but_not_the_manifest(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, manifest = tmp_path / "out.json", library / "manifest.csv"
    out.write_text("old")
    assert evaluate(library, "--baseline", "chance", "--json", out, "--force") == 0
    assert json.loads(out.read_text())["protocol"] == "artists"
    before = manifest.read_bytes()
    assert evaluate(library, "--baseline", "chance", "--json", manifest, "--force") == 2
    assert "is what the new file is made of; choose another name" in capsys.readouterr().err
    assert manifest.read_bytes() == before


def test_nothing_left_to_evaluate(library, capsys):
    for path in library.glob("[abc]*.wav"):
        path.unlink()
    assert evaluate(library, "--baseline", "mfcc") == 2
    stderr = capsys.readouterr().err
    assert stderr.count("not_found: no such file") == 8
    assert "0 tracks of 0 artists with two or more tracks after 8 were left out" in stderr


def test_table_shows_signs_and_no_control_characters():
    vectors, labels = toy(noise=2)
    scores = evaluate_artists({"a\x1b[2J": vectors, "b": toy(noise=0.1)[0]}, labels)
    record = dict.fromkeys(["n_tracks", "n_artists", "n_left_out", "n_without_positives"], 1)
    text = artists.table(scores, record | {"split": "test", "date": "2026-01-02T03:04:05"})
    assert "\x1b" not in text
    assert "| +0." in text
    assert text.endswith(
        "(split test), 1 left out, 1 queries without positives; 95 % bootstrap "
        "intervals over artists; 2026-01-02."
    )


@pytest.mark.parametrize(
    ("split", "seed", "warned"), [("test", 0, False), ("test", 1, True), (None, 1, False)]
)
def test_model_of_another_split_seed_is_warned_of(split, seed, warned, caplog):
    from types import SimpleNamespace

    from artist_features.cli.evaluate import _warn_of_other_splits

    extractors = {
        "run": SimpleNamespace(card=SimpleNamespace(training={"split_seed": 0})),
        "authors": SimpleNamespace(card=SimpleNamespace(training={})),
        "loaded": SimpleNamespace(card=None),
    }
    _warn_of_other_splits(SimpleNamespace(split=split, split_seed=seed), extractors)
    said = caplog.text
    assert ("run was trained with --split-seed 0" in said) is warned
    assert "authors" not in said
