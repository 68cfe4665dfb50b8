"""Training as a user runs it: real files, real processes, real kills."""

import contextlib
import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest
from training_data import SPLITS, Deaf, write_data_set

from artist_features.cli.main import main
from artist_features.errors import OutputError
from artist_features.training import trainer
from artist_features.training.options import TrainingOptions
from artist_features.training.recipes import Schedule
from artist_features.training.run_folder import RunFolder
from artist_features.zoo import folder as model_folder
from artist_features.zoo.registry import read_model

pytestmark = pytest.mark.slow
# Adam turns a gradient that is nothing but rounding into a whole step: no way to compare
PLAIN = ("optimizer=sgd", "learning_rate=0.02")
SMALL = ("n_steps=6", "check_every=2", "n_warmup=1", "n_unlabelled=4", "n_anchors=4")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_data_set(tmp_path_factory.mktemp("music"), splits=SPLITS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def command(kind, manifest, out, *options, changes=SMALL):
    words = [sys.executable, "-m", "artist_features.cli.main", "train", kind, manifest]
    words += ["--out", out, *options]
    return [str(word) for word in words] + [w for c in changes for w in ("--set", c)]


def train(*args, code=0, **options):
    """Run the command in this process; return what it says."""
    said, words = io.StringIO(), command(*args, **options)[2:]
    with contextlib.redirect_stderr(said), mock.patch.object(sys, "argv", words):
        assert main() == code, said.getvalue()
    assert "Traceback" not in said.getvalue()
    return said.getvalue()


def train_alone(words):
    """Run a command in a process of its own, for the last bits of its numbers."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def weights(folder):
    return read_model(str(folder))[1]


def log(folder):
    with open(folder / "log.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def assert_same_weights(a, b, atol):
    for layer, arrays in weights(a).items():
        for mine, theirs in zip(arrays, weights(b)[layer], strict=True):
            np.testing.assert_allclose(mine, theirs, atol=atol, err_msg=layer)


@pytest.fixture(scope="module")
def unbroken(manifest, cache, tmp_path_factory):
    """A Siamese run with a teacher that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    train("siamese", manifest, out, "--cache", cache, "--teacher", "siamese")
    return out


def test_run_folder_holds_everything_and_is_a_model_folder(unbroken, manifest):
    rows = log(unbroken)
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    for name in ("train_loss", "train_cosine", "valid_loss", "valid_map", "valid_cosine"):
        assert all(np.isfinite(float(row[name])) for row in rows), name
    record = json.loads((unbroken / "run.json").read_text())
    assert record["settings"]["recipe"]["n_steps"] == 6
    assert record["versions"]["tensorflow"]
    assert record["command"].startswith("artist-features train siamese manifest.csv --out")
    assert list((unbroken / "tensorboard").glob("events*"))
    assert (unbroken / "checkpoints" / "best.npz").exists()
    card = model_folder.read_card(unbroken)
    assert (card.kind, card.training["n_artists"], card.training["steps"]) == ("siamese", 4, 6)
    # 4 artists of 3 tracks and 2 unlabelled ones, 5 s each
    assert card.training["n_tracks"] == 14
    assert card.training["hours"] == pytest.approx(14 * 5 / 3600, abs=0.005)
    assert card.training["data_sha256"] == record["settings"]["data_sha256"]
    assert weights(unbroken)["block1_conv"][0].shape == (4, 128, 128)


def test_killed_run_goes_on_and_ends_as_an_unbroken_one(unbroken, manifest, cache, tmp_path):
    out = tmp_path / "killed"
    words = command("siamese", manifest, out, "--cache", cache, "--teacher", "siamese")
    process = subprocess.Popen(words, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 800
    while not (out / "checkpoints" / "last.npz").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (out / "artist_features.json").exists()
    said = train("siamese", manifest, out, "--cache", cache, "--teacher", "siamese")
    assert "going on from step" in said
    assert [row["step"] for row in log(out)] == ["2", "4", "6"]
    assert_same_weights(out, unbroken, atol=1e-4)
    # and a finished run stays as it is
    before = (out / "model.weights.h5").read_bytes()
    train("siamese", manifest, out, "--cache", cache, "--teacher", "siamese")
    assert (out / "model.weights.h5").read_bytes() == before


def test_termination_keeps_the_last_checkpoint(manifest, cache, tmp_path):
    out = tmp_path / "terminated"
    words = command("basic", manifest, out, "--cache", cache, changes=(*SMALL, "n_steps=100000"))
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not (out / "checkpoints" / "last.npz").exists():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 143
    assert "stopped by SIGTERM" in said
    assert "Traceback" not in said
    with np.load(out / "checkpoints" / "last.npz") as saved:
        assert json.loads(saved["state"].tobytes())["row"]["step"] >= 2


def test_a_signal_that_got_lost_ends_the_run_after_the_step(manifest, cache, tmp_path, capsys):
    steps = []

    def rate(self, step):
        steps.append(step)
        if len(steps) == 1:
            Deaf()
        return real(self, step)

    real = Schedule.rate
    words = command("basic", manifest, tmp_path / "run", "--cache", cache, changes=SMALL)[3:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Schedule, "rate", rate)
        assert main(words) == 143
    assert steps == [0]
    said = capsys.readouterr().err
    assert "stopped by SIGTERM" in said
    assert "Deaf" not in said
    assert not (tmp_path / "run" / "checkpoints" / "last.npz").exists()


def test_the_log_keeps_a_row_whatever_comes_after_its_checkpoint(manifest, cache, tmp_path, caplog):
    def stop(record):
        if record.getMessage().startswith("step 4"):
            raise KeyboardInterrupt

    few = {"n_steps": 6, "check_every": 2, "n_warmup": 1, "n_unlabelled": 4, "n_anchors": 4}
    options = TrainingOptions("basic", [manifest], tmp_path / "run", changes=few, cache=cache)
    caplog.set_level("INFO", "artist_features")
    trainer.logger.addFilter(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.train(options)
    finally:
        trainer.logger.removeFilter(stop)
    trainer.train(options)
    assert [row["step"] for row in log(tmp_path / "run")] == ["2", "4", "6"]


def test_training_lowers_the_loss_and_basic_learns_its_artists(manifest, cache, tmp_path):
    changes = ("n_steps=60", "check_every=20", "n_warmup=5", "n_anchors=12", "label_weight=1")
    train("basic", manifest, tmp_path / "run", "--cache", cache, changes=changes)
    rows = log(tmp_path / "run")
    assert float(rows[-1]["train_label"]) < 0.5 * float(rows[0]["train_label"])
    assert float(rows[-1]["train_label"]) < np.log(4) / 2  # chance is log 4


@pytest.fixture(scope="module")
def by_track(tmp_path_factory):
    """The paper's kind of split: other tracks of the trained artists check."""
    folder = tmp_path_factory.mktemp("by_track")
    path = write_data_set(folder, n_artists=3, n_tracks=5, splits=["train"] * 3, unlabelled=0)
    text = path.read_text()
    for number in (3, 4):
        text = text.replace(f"Tune {number},train", f"Tune {number},valid")
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", ["siamese", pytest.param("basic", marks=pytest.mark.nightly)])
def test_paper_recipe_checks_and_lowers_its_rate(kind, by_track, cache, tmp_path):
    changes = ("n_steps=8", "check_every=1", "n_anchors=3", "plateau_patience=1")
    out = tmp_path / "run"
    train(kind, by_track, out, "--recipe", "paper", "--cache", cache, changes=changes)
    assert model_folder.read_card(out).training["recipe"] == "paper"
    rows = log(out)
    losses = [float(row["valid_loss"]) for row in rows]
    assert all(row["valid_map"] for row in rows)
    # the rate falls by 0.2 after each check that was not the best so far
    n_worse = sum(loss >= min(losses[:n]) for n, loss in enumerate(losses[:-1]) if n)
    assert float(rows[-1]["learning_rate"]) == pytest.approx(0.1 * 0.2**n_worse, rel=1e-3)
    assert (out / "checkpoints" / "best.npz").exists()
    # the result is the best check's
    assert model_folder.read_card(out).training["steps"] == int(np.argmin(losses)) + 1


def test_recipe_that_needs_a_check_refuses_to_run_without(tmp_path, cache):
    manifest = write_data_set(tmp_path / "music", n_artists=3, n_tracks=2, unlabelled=0)
    out = tmp_path / "run"
    said = train("siamese", manifest, out, "--recipe", "paper", "--cache", cache, code=2)
    assert "no tracks to validate with" in said
    # the other recipe does without, and says so; the failed start does not hold the folder
    assert "warning: no tracks to validate with" in train(
        "siamese", manifest, out, "--cache", cache
    )


def test_folder_with_something_else_in_it_is_left_alone(manifest, cache, tmp_path):
    (tmp_path / "README.md").write_text("precious")
    said = train("siamese", manifest, tmp_path, "--cache", cache, code=2)
    assert "holds 'README.md' but no run" in said
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_cache_that_cannot_be_written_is_named(manifest, tmp_path):
    (tmp_path / "file").write_text("no folder")
    run = ("siamese", manifest, tmp_path / "run", "--cache", tmp_path / "file")
    assert "cannot be written" in train(*run, code=2)


def test_start_model_with_another_front_end_is_refused(manifest, tmp_path, tiny_folder):
    said = train("siamese", manifest, tmp_path / "run", "--init", tiny_folder, code=2)
    assert "start model tiny: another front end or network" in said


MIRRORED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from artist_features.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("kind", "negatives"),
    [
        ("siamese", "in_batch"),
        pytest.param("siamese", "drawn", marks=pytest.mark.nightly),
        pytest.param("basic", None, marks=pytest.mark.nightly),
    ],
)
def test_two_devices_give_what_one_gives(kind, negatives, manifest, cache, tmp_path):
    changes = (*SMALL, *PLAIN, *([f"negatives={negatives}"] if negatives else []))
    options = ("--cache", cache, "--teacher", "siamese")
    train_alone(command(kind, manifest, tmp_path / "one", *options, changes=changes))
    words = command(
        kind, manifest, tmp_path / "two", *options, "--strategy", "mirrored", changes=changes
    )
    words[1:3] = ["-c", MIRRORED]
    train_alone(words)
    assert_same_weights(tmp_path / "one", tmp_path / "two", atol=1e-4)
    assert model_folder.read_card(tmp_path / "two").training["device"].startswith("2 x")


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.mark.nightly  # two devices of one process are tested in every run
def test_two_processes_give_what_one_gives(manifest, cache, tmp_path):
    options = ("--cache", cache, "--teacher", "siamese")
    changes = (*SMALL, *PLAIN)
    train_alone(command("siamese", manifest, tmp_path / "one", *options, changes=changes))
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    out = tmp_path / "two"
    words = command(
        "siamese", manifest, out, *options, "--strategy", "multiworker", changes=changes
    )
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        env = {**os.environ, "TF_CONFIG": json.dumps(task)}
        processes.append(subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True))
    try:
        for process in processes:
            _, said = process.communicate(timeout=1000)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
    assert_same_weights(out, tmp_path / "one", atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.nightly)])
def test_mixed_precision_trains_and_saves_float32(dtype, manifest, cache, tmp_path):
    out = tmp_path / "run"
    options = ("--cache", cache, "--mixed-precision", dtype)
    train("siamese", manifest, out, *options, changes=(*SMALL, "mixing=0.5"))
    changes = model_folder.read_card(out).training["recipe_changes"]
    assert changes["augmentation"]["mixing"] == 0.5
    assert changes["n_steps"] == 6
    assert "negatives" not in changes
    assert "float16" not in (out / "config.json").read_text()
    assert all(np.isfinite(a).all() for arrays in weights(out).values() for a in arrays)


def test_second_process_is_kept_out(unbroken):
    with (
        RunFolder(unbroken).writing(),
        pytest.raises(OutputError, match="is writing here"),
        RunFolder(unbroken).writing(),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ((), (*SMALL, "label_weight=0"), "nothing to learn from: no teacher"),
        ((), ("n_step=3",), "--set n_step=3: FIELD=VALUE is needed; fields are"),
        ((), ("n_steps=many",), "recipe: n_steps is 'many'; allowed is an integer of 1 or more"),
        (("--name", "my model"), SMALL, "name 'my model'; allowed are up to 100 letters"),
        (("--device", "gpu"), SMALL, "TensorFlow sees no GPU"),
    ],
)
def test_wrong_use_is_named(options, changes, message, manifest, cache, tmp_path):
    run = ("siamese", manifest, tmp_path / "run", "--cache", cache, *options)
    assert message in train(*run, changes=changes, code=2)
