"""Run folders go on with the same run alone; checkpoints are whole or absent."""

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from artist_features.errors import OutputError
from artist_features.training import run_folder
from artist_features.training.options import TrainingOptions

ARRAYS = {"model/000": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/000": np.int64(7)}
STATE = {"row": {"step": 20}, "schedule": {"best": None}}


class Variable:
    def __init__(self, value: npt.ArrayLike) -> None:
        self.value = np.array(value)
        self.shape = self.value.shape

    def assign(self, value: np.ndarray) -> None:
        self.value = value


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Path of a checkpoint."""
    run_folder.save_checkpoint(tmp_path / "last.npz", ARRAYS, STATE)
    return tmp_path / "last.npz"


def blank() -> dict[str, Variable]:
    """Return the variables of the model that is saved, all zeros."""
    return {name: Variable(np.zeros(np.shape(value))) for name, value in ARRAYS.items()}


def test_a_checkpoint_sets_every_variable(saved: Path) -> None:
    variables = blank()
    assert run_folder.load_checkpoint(saved, variables) == STATE
    np.testing.assert_array_equal(variables["model/000"].value, ARRAYS["model/000"])
    assert variables["optimizer/000"].value == 7
    assert os.listdir(saved.parent) == ["last.npz"]
    assert run_folder.load_checkpoint(saved.with_name("none.npz"), variables) is None


def test_interrupted_save_leaves_the_old_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run_folder.save_checkpoint(saved, ARRAYS, {"row": {"step": 40}})
    assert run_folder.load_checkpoint(saved, blank()) == STATE


def test_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(28, "No space left")
    monkeypatch.setattr(np, "savez", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(OutputError, match="no space; free some") as caught:
        run_folder.save_checkpoint(tmp_path / "last.npz", ARRAYS, STATE)
    assert caught.value.code == "no_space"


@pytest.mark.parametrize("keep", [0, 1, 300, -1, -30])
def test_damaged_file_is_named(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(OutputError, match="not a checkpoint") as caught:
        run_folder.load_checkpoint(saved, blank())
    assert caught.value.code == "damaged"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"model/000": Variable(np.zeros((2, 3)))}, "'optimizer/000' is in one of"),
        (
            blank() | {"model/000": Variable(np.zeros((3, 2)))},
            r"model/000: shape \(2, 3\), the model has \(3, 2\)",
        ),
    ],
)
def test_another_models_checkpoint_is_refused(
    saved: Path, variables: dict[str, Variable], message: str
) -> None:
    with pytest.raises(OutputError, match=message):
        run_folder.load_checkpoint(saved, variables)


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
