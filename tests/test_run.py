"""Run folders go on with the same run alone; checkpoints are whole or absent."""

import json
import os

import numpy as np
import pytest

from artist_features.errors import OutputError
from artist_features.training import run_folder
from artist_features.training.options import TrainingOptions

ARRAYS = {"model/000": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/000": np.int64(7)}
STATE = {"row": {"step": 20}, "schedule": {"best": None}}


class Variable:
    def __init__(self, value):
        self.value = np.array(value)
        self.shape = self.value.shape

    def assign(self, value):
        self.value = value


def test_what_is_saved_is_read(tmp_path):
    run_folder.save_checkpoint(tmp_path / "last.npz", ARRAYS, STATE)
    arrays, state = run_folder.load_checkpoint(tmp_path / "last.npz")
    assert state == STATE
    np.testing.assert_array_equal(arrays["model/000"], ARRAYS["model/000"])
    assert arrays["optimizer/000"] == 7
    assert os.listdir(tmp_path) == ["last.npz"]


def test_no_file_is_no_checkpoint(tmp_path):
    assert run_folder.load_checkpoint(tmp_path / "last.npz") is None


def test_interrupted_save_leaves_the_old_one(tmp_path, monkeypatch):
    run_folder.save_checkpoint(tmp_path / "last.npz", ARRAYS, STATE)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run_folder.save_checkpoint(tmp_path / "last.npz", ARRAYS, {"row": {"step": 40}})
    assert run_folder.load_checkpoint(tmp_path / "last.npz")[1] == STATE


def test_full_disk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        np, "savez", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(OutputError, match="no space; free some") as caught:
        run_folder.save_checkpoint(tmp_path / "last.npz", ARRAYS, STATE)
    assert caught.value.code == "no_space"


@pytest.mark.parametrize("keep", [0, 1, 10, 300, -1, -30])
def test_damaged_file_is_named(tmp_path, keep):
    path = tmp_path / "last.npz"
    run_folder.save_checkpoint(path, ARRAYS, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(OutputError, match="not a checkpoint") as caught:
        run_folder.load_checkpoint(path)
    assert caught.value.code == "damaged"


def test_restore_sets_every_variable(tmp_path):
    variables = {"model/000": Variable(np.zeros((2, 3))), "optimizer/000": Variable(0)}
    run_folder.restore(variables, ARRAYS, tmp_path)
    np.testing.assert_array_equal(variables["model/000"].value, ARRAYS["model/000"])
    assert variables["optimizer/000"].value == 7


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"model/000": Variable(np.zeros((2, 3)))}, "'optimizer/000' is in one of"),
        (
            {"model/000": Variable(np.zeros((3, 2))), "optimizer/000": Variable(0)},
            r"model/000: shape \(2, 3\), the model has \(3, 2\)",
        ),
    ],
)
def test_another_models_checkpoint_is_refused(tmp_path, variables, message):
    with pytest.raises(OutputError, match=message):
        run_folder.restore(variables, ARRAYS, tmp_path)


HASHES = dict.fromkeys(("data_sha256", "teacher_sha256", "init_sha256", "crops_sha256"), "")


def settings(**options):
    return TrainingOptions(**{"kind": "siamese", "manifests": [], "out": "x"} | options).settings()


@pytest.fixture
def folder(tmp_path):
    """A run folder with a checkpoint."""
    folder = run_folder.RunFolder(tmp_path / "run")
    with folder.writing():
        folder.claim(settings() | HASHES | {"audio_sha256": "5e"}, "train siamese")
    run_folder.save_checkpoint(folder.last, ARRAYS, STATE)
    return folder


def test_a_run_killed_while_it_wrote_its_settings_may_start_again(tmp_path):
    (tmp_path / ".partial-123-0a1b2c3d").write_bytes(b"{")
    run_folder.RunFolder(tmp_path).check(settings() | HASHES)


def test_settings_that_do_not_decide_the_result_may_change(folder):
    stored = json.loads((folder.path / "run.json").read_text())["settings"]
    names = {"kind", "recipe_name", "recipe", "seed", "split_seed", "n_artists", "dtype"}
    assert set(stored) == names | set(HASHES) | {"audio_sha256"}
    folder.check(settings() | HASHES)  # the audio is not known yet
    others = {"cache": "c", "root": "r", "strategy": "mirrored", "device": "cpu", "name": "n"}
    folder.check(settings(**others, license="MIT", data="d", command="c") | HASHES)
    del stored["dtype"], stored["recipe"]["momentum"]  # as a run from before the options
    (folder.path / "run.json").write_text(json.dumps({"settings": stored}))
    folder.check(settings() | HASHES)
    with pytest.raises(OutputError, match="has another precision; repeat"):
        folder.check(settings(dtype="float16") | HASHES)


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (settings(seed=1), "seed"),
        (settings(changes={"n_steps": 3}, split_seed=2), "recipe, split_seed"),
        ({"data_sha256": "1", "teacher_sha256": "2"}, "manifest, teacher"),
        ({"audio_sha256": "6f"}, "set of readable audio"),
    ],
)
def test_another_run_in_the_folder_is_refused(folder, changed, names):
    with pytest.raises(OutputError, match=f"has another {names}; repeat its command"):
        folder.check(settings() | HASHES | changed)
