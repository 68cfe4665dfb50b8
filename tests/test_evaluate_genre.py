"""`evaluate gtzan | fma | genre` on tiny copies of the real layouts, and their records."""

import itertools
import json
import shutil

import numpy as np
import pytest
from conftest import write_audio
from test_datasets import write_tables

from artist_features.cli.main import main
from artist_features.datasets import genres
from artist_features.evaluation import crossvalidation, softmax, vectors

SPLITS = ("train", "valid", "test")
GENRES = ("blues", "jazz", "rock")


def song(genre, number):
    """Return 3.1 s at 22,050 Hz in a register of the genre's own."""
    t = np.arange(int(3.1 * 22050)) / 22050
    rng = np.random.default_rng(number)
    tone = 0.3 * np.sin(2 * np.pi * (110 + number) * 4 ** GENRES.index(genre) * t)
    return np.float32(tone + 0.01 * rng.standard_normal(len(t)))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """The real layout, with three genres and one clip in each part of the split."""
    folder = tmp_path_factory.mktemp("gtzan")
    split = genres.read_gtzan_split()
    for genre, part in itertools.product(GENRES, SPLITS):
        clip = min(c for c, where in split.items() if where == part and c.startswith(genre))
        path = folder / "genres" / genre / f"{clip}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, song(genre, int(clip[-5:])), 22050)
    return folder


@pytest.fixture
def small_gtzan(recorded, tmp_path, monkeypatch):
    """A copy, with the published split cut down to what it holds."""
    there = {path.stem for path in recorded.rglob("*.wav")}
    split = {clip: part for clip, part in genres.read_gtzan_split().items() if clip in there}
    monkeypatch.setattr(genres, "read_gtzan_split", lambda: split)
    return shutil.copytree(recorded, tmp_path / "gtzan")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(softmax, "MAX_EPOCHS", 10)
    monkeypatch.setattr(crossvalidation, "C_GRID", (1.0,))


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments)])


def test_gtzan_prints_a_table_and_writes_a_record(small_gtzan, tiny_folder, tmp_path, capsys):
    write_audio(small_gtzan / "genres" / "rock" / "rock.00017.wav", song("rock", 17), 22050)
    out = tmp_path / "out.json"
    options = ["--model", tiny_folder, "--baseline", "chance", "--trials", "1", "--json", out]
    assert evaluate("gtzan", small_gtzan, *options) == 0
    stdout, stderr = capsys.readouterr()
    rows = stdout.splitlines()
    assert rows[0] == f"| model | dim | accuracy | over trials | accuracy minus {tiny_folder} |"
    assert [row.split("|")[2].strip() for row in rows[2:4]] == ["8", "256"]
    assert rows[-1].startswith(
        "GTZAN, fault-filtered: softmax layer, mean of 1 trials; 9 tracks (3/3/3 train/valid/test)"
        ", 0 left out; 95 % bootstrap intervals over tracks; 20"
    )
    assert "not used: 1 clips that the fault-filtered split leaves out" in stderr
    assert "trial 1 of 1" in stderr
    record = json.loads(out.read_text())
    assert (record["protocol"], record["n_tracks"], record["n_expected"]) == ("gtzan", 9, 9)
    assert record["n_by_split"] == {"train": 3, "valid": 3, "test": 3}
    tiny, chance = record["models"]
    card = json.loads((tiny_folder / "artist_features.json").read_text())
    assert tiny["weights_sha256"] == card["weights_sha256"]
    assert tiny["difference_of_accuracy_to_first"] is None
    assert chance["difference_of_accuracy_to_first"]["n_clusters"] == 3
    assert tiny["accuracy_of_trials"] == [tiny["accuracy"]["estimate"]]
    assert {"tensorflow", "keras", "numpy", "scikit-learn", "python"} <= set(record["versions"])
    shown = f"{tiny['accuracy']['estimate']:.3f} ["
    assert shown in rows[2]


def test_gtzan_missing_and_damaged_clips_are_listed(small_gtzan, tmp_path, capsys, monkeypatch):
    folder = small_gtzan / "genres"
    split = genres.read_gtzan_split() | {"rock.00001": "train", "jazz.00054": "train"}
    monkeypatch.setattr(genres, "read_gtzan_split", lambda: split)
    (folder / "jazz" / "jazz.00054.wav").write_text("damaged, as one copy that goes round has it")
    out = tmp_path / "out.json"
    options = ["--baseline", "mfcc", "--trials", "1", "--json", out]
    assert evaluate("gtzan", small_gtzan, *options) == 1
    stdout, stderr = capsys.readouterr()
    assert f"{folder / 'rock' / 'rock.00001.wav'}: not_found: no such file" in stderr
    assert f"{folder / 'jazz' / 'jazz.00054.wav'}: unsupported: " in stderr
    assert "9 tracks evaluated, 2 left out" in stderr
    assert "2 left out" in stdout
    record = json.loads(out.read_text())
    assert (record["n_left_out"], record["n_expected"], record["n_tracks"]) == (2, 11, 9)


def test_gtzan_without_a_part_of_the_split_is_refused(small_gtzan, capsys):
    for path in small_gtzan.rglob("jazz*.wav"):
        path.unlink()
    assert evaluate("gtzan", small_gtzan, "--baseline", "mfcc", "--trials", "1") == 2
    stderr = capsys.readouterr().err
    assert stderr.count("not_found: no such file") == 3
    assert "no track of class 'jazz' in split 'test' could be used (3 of 9 such parts" in stderr


def test_fma_is_scored_with_its_split_and_artists(tmp_path, capsys):
    rows, numbers = [], itertools.count(2, 499)
    for genre, split in itertools.product(GENRES, ("training", "validation", "test")):
        number = next(numbers)
        rows.append((number, "small", split, str(number), genre))
        path = tmp_path / "fma_small" / f"{number // 1000:03d}" / f"{number:06d}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, song(genre, number % 7), 22050)
    write_tables(tmp_path / "fma_metadata" / "tracks.csv", rows)
    out = tmp_path / "out.json"
    options = ["--baseline", "mfcc", "--trials", "1", "--json", out]
    assert evaluate("fma", tmp_path / "fma_small", *options) == 0
    stdout = capsys.readouterr().out
    assert "FMA-small, official split: softmax layer" in stdout
    assert "(3/3/3 train/valid/test), 0 left out; 95 % bootstrap intervals over artists" in stdout
    record = json.loads(out.read_text())
    assert (record["protocol"], record["n_classes"]) == ("fma", 3)
    assert record["bootstrap"]["over"] == "artists"


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Two genres of three artists with one track each, one of a single artist, one blank."""
    folder = tmp_path_factory.mktemp("library")
    lines = ["file,artist,title,genre"]
    for genre, count in (("blues", 3), ("rock", 3), ("jazz", 1)):
        for number in range(count):
            name = f"{genre}/{number}.wav"
            (folder / genre).mkdir(exist_ok=True)
            write_audio(folder / name, song(genre, number), 22050)
            lines.append(f"{name},{genre} player {'xyz'[number] * 9},{number},{genre}")
    lines.append("nowhere.wav,somebody,3,")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_genre_cross_validates_a_manifest(library, tmp_path, capsys):
    out = tmp_path / "out.json"
    options = ["--baseline", "mfcc", "--baseline", "chance", "--folds", "3", "--drop-rare"]
    assert evaluate("genre", library / "manifest.csv", *options, "--json", out) == 0
    stdout, stderr = capsys.readouterr()
    rows = stdout.splitlines()
    assert rows[0] == "| model | dim | classifier | accuracy | accuracy minus mfcc |"
    cells = [[cell.strip() for cell in row.split("|")[1:4]] for row in rows[2:6]]
    assert cells == [
        ["`mfcc`", "40", "logistic regression"],
        ["`mfcc`", "40", "SVM"],
        ["`chance`", "256", "logistic regression"],
        ["`chance`", "256", "SVM"],
    ]
    assert rows[2].split("|")[4].strip() == "1.000 [1.000, 1.000]"
    assert rows[-1].startswith("6 tracks of 2 classes and 6 artists, 3 folds that keep artists")
    assert "not used: 1 rows whose column 'genre' is blank" in stderr
    assert "not used: 1 tracks of classes with few artists: jazz (1)" in stderr
    assert "is not known" not in stderr
    record = json.loads(out.read_text())
    assert record["classes"] == {"blues": 3, "rock": 3}
    assert (record["n_folds"], record["c_grid"], record["label"]) == (3, [1.0], "genre")
    first = record["models"][0]
    assert (first["classifier"], first["c_of_folds"]) == ("logistic regression", [1, 1, 1])
    assert first["accuracy"]["n_clusters"] == 6


def test_genre_of_a_folder_warns_of_unknown_artists(library, tmp_path, capsys):
    folder = shutil.copytree(library, tmp_path / "folder")
    shutil.rmtree(folder / "jazz")
    assert evaluate("genre", folder, "--baseline", "mfcc", "--folds", "3") == 0
    stdout, stderr = capsys.readouterr()
    assert "warning: the artist of 6 tracks is not known, each counts" in stderr
    assert "2 classes and 0 artists, 6 tracks of unknown artist each by itself, 3 folds" in stdout
    assert "intervals over tracks;" in stdout


def test_genre_left_too_few_after_reading(library, tmp_path, capsys):
    folder = shutil.copytree(library, tmp_path / "folder")
    (folder / "rock" / "1.wav").write_text("these are words, not music")
    options = ["--baseline", "mfcc", "--folds", "3", "--drop-rare"]
    assert evaluate("genre", folder / "manifest.csv", *options) == 2
    stderr = capsys.readouterr().err
    assert "rock/1.wav: unsupported" in stderr
    assert "manifest.csv: class 'rock' has tracks of 2 artists, 3 folds need 3" in stderr


@pytest.mark.parametrize(
    ("protocol", "arguments", "code", "text"),
    [
        ("genre", ["--folds", "3"], 2, "class 'jazz' has tracks of 1 artists, 3 folds need 3 (1 "),
        ("genre", ["--folds", "2"], 2, "--folds is 2, --seed 0; allowed are 3 or more folds"),
        ("genre", ["--label", "mood"], 2, "column 'mood' is missing; there are title, genre"),
        ("genre", ["--label", "artist"], 2, "for artists use `artist-features evaluate artists`"),
        ("genre", ["--drop-rare"], 2, "0 classes with tracks of 5 artists or more; two or more"),
        ("genre", ["--json", "there.json"], 2, "there.json: exists; --force replaces a file"),
        ("gtzan", [], 2, "holds no GTZAN; expected are folders blues"),
        ("gtzan", ["--trials", "0"], 2, "--trials is 0; allowed is 1 or more"),
        ("fma", ["--seed", "-1"], 2, "--seed is -1; allowed is 0 or more"),
        ("fma", ["--baseline", "mfcc", "--baseline", "mfcc"], 2, "'mfcc' is given twice"),
    ],
)
def test_wrong_usage_ends_before_decoding(
    library, tmp_path, monkeypatch, capsys, protocol, arguments, code, text
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.json").write_text("mine")
    monkeypatch.setattr(vectors, "extract_vectors", None)
    data = library / "manifest.csv" if protocol == "genre" else tmp_path
    assert evaluate(protocol, data, *arguments) == code
    assert text in capsys.readouterr().err
    assert (tmp_path / "there.json").read_text() == "mine"
