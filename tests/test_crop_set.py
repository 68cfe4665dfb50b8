"""Distillation sets: their folder, and training from it."""

import csv
import json

import numpy as np
import pytest
from training_data import SPLITS, write_data_set

from artist_features.cli.main import main
from artist_features.errors import ManifestError, OutputError
from artist_features.training.distillation_set import BLOCK, CropBatches, DistillationSet
from artist_features.zoo import folder as model_folder


def write_set(path, n=300, n_tracks=8, seed=0, level_db=-17.0):
    """Write a set of random crops: each track has a spectrum of its own."""
    rng = np.random.default_rng(seed)
    tracks = [
        {"artist": f"Band {'ABCD'[n // 2]}", "title": f"{n}", "source": "", "domain": ""}
        for n in range(n_tracks)
    ]
    facts = {"n_crops": n, "seed": seed, "level_db": level_db, "hours": 0.1, "tracks": tracks}
    crops = DistillationSet.create(path, facts, (129, 128), {"one": 6, "two": 4})
    shapes = np.random.default_rng(99).uniform(0, 1, (n_tracks, 128))
    for block in crops.missing():
        rows = len(crops.rows(block))
        track = rng.integers(0, n_tracks, rows)
        arrays = {
            "log_mel": shapes[track][:, None] + 0.2 * rng.random((rows, 129, 128)),
            "one": shapes[track][:, :6] + 0.05 * rng.random((rows, 6)),
            "two": shapes[track][:, 50:54] + 0.05 * rng.random((rows, 4)),
            "track": track,
            "low_pass_hz": np.full(rows, np.inf),
            "mix_db": np.where(rng.random(rows) < 0.3, 0.0, -np.inf),
        }
        crops.write(block, arrays)
    return path


def test_a_set_goes_on_where_it_was_killed(tmp_path):
    path = write_set(tmp_path / "set")
    lines = (path / "done.txt").read_text().splitlines()
    assert len(lines) == -(-300 // BLOCK)
    (path / "done.txt").write_text(lines[0] + "\n")  # the others were not noted
    with pytest.raises(ManifestError, match="172 of 300 crops are missing; repeat"):
        DistillationSet(path)
    assert DistillationSet(path, "r+").missing() == [1, 2]
    write_set(path)
    assert len(DistillationSet(path).log_mel) == 300


def test_a_set_of_something_else_is_refused(tmp_path):
    path = write_set(tmp_path / "set")
    with pytest.raises(OutputError, match="other music, teachers or seed"):
        write_set(path, seed=1)
    with pytest.raises(ManifestError, match="no distillation set"):
        DistillationSet(tmp_path)
    np.save(path / "one.npy", np.zeros((3, 6)))
    with pytest.raises(ManifestError, match="has 3 rows, not 300"):
        DistillationSet(path)


def test_batches_hold_what_the_plan_says(tmp_path):
    crops = DistillationSet(write_set(tmp_path / "set"))
    batches = CropBatches(crops, n_anchors=4, n_unlabelled=6, positives=True, seed=1)
    assert batches.artists == ["banda", "bandb", "bandc", "bandd"]
    log_mel, labels, one, two = batches.read(3)
    assert (log_mel.shape, one.shape, two.shape) == ((14, 129, 128), (14, 6), (14, 4))
    assert log_mel.dtype == np.float16
    # each anchor and its positive are two tracks of the labelled artist, not mixed with others
    place = {crops.log_mel[n].tobytes(): n for n in range(crops.n)}
    rows = [place[mel.tobytes()] for mel in log_mel]
    tracks = crops.track[rows]
    np.testing.assert_array_equal(tracks[:4] // 2, labels)
    np.testing.assert_array_equal(tracks[4:8] // 2, labels)
    assert (tracks[:4] != tracks[4:8]).all()
    assert (crops.mix_db[rows[:8]] < -3).all()
    np.testing.assert_array_equal(one, crops.teachers["one"][rows])
    for again, first in zip(batches.read(3), (log_mel, labels, one, two), strict=True):
        np.testing.assert_array_equal(again, first)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder / "train")
    write_set(folder / "valid", n=64, seed=1)
    return folder


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_data_set(tmp_path_factory.mktemp("music"), splits=SPLITS)


SMALL = {"n_steps": 8, "check_every": 4, "n_warmup": 1, "n_unlabelled": 24, "n_anchors": 4}


def train(kind, manifest, sets, out, *options, code=0, **changes):
    words = ["train", kind, str(manifest), "--out", str(out), "--check-crops", str(sets / "valid")]
    words += ["--crops", str(sets / "train"), "--cache", str(sets / "cache"), *options]
    for name, value in (SMALL | changes).items():
        words += ["--set", f"{name}={value}"]
    assert main(words) == code


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["basic", "siamese"])
def test_training_from_a_set_learns_and_says_so(kind, manifest, sets, tmp_path):
    train(kind, manifest, sets, tmp_path / "run", keep="best")
    with open(tmp_path / "run" / "log.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[-1]["valid_both"]) > 0.1  # untrained: about 0
    assert float(rows[-1]["valid_loss"]) == pytest.approx(
        1 - float(rows[-1]["valid_both"]), abs=1e-4
    )
    assert rows[-1]["valid_map"]
    found = [float(rows[-1][f"valid_{name}"]) for name in ("one", "two", "r2_one", "r2_two")]
    assert all(-1 <= value <= 1 for value in found)
    card = model_folder.read_card(tmp_path / "run")
    assert card.front_end.level_db == -17
    assert card.training["crops"].startswith("300; vectors of one, two; ")
    assert (card.training["n_artists"], card.training["n_tracks"]) == (4, 8)
    assert "label" not in card.scores["check_during_training"]


def test_wrong_uses_say_what_is_needed(manifest, sets, tmp_path, capsys):
    words = ["train", "basic", str(manifest), "--out", str(tmp_path / "run")]
    assert main([*words, "--crops", str(sets / "train")]) == 2
    assert "--crops and --check-crops belong together" in capsys.readouterr().err
    train("basic", manifest, sets, tmp_path / "run", "--teacher", "siamese", code=2)
    assert "--teacher beside --crops" in capsys.readouterr().err
    train("basic", manifest, sets, tmp_path / "run", code=2, level_db=None)
    assert "level of -17.0 dB, the recipe says None" in capsys.readouterr().err
    assert json.loads((sets / "train" / "crops.json").read_text())["n_crops"] == 300
    assert not (tmp_path / "run").exists()
