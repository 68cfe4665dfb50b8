"""Threads of TensorFlow, and how many calls of the model keep the cores busy."""

import os

import processes
import pytest
import tensorflow as tf
from conftest import music, write_audio

from artist_features import devices
from artist_features.devices import usable_cores

EXTRACTOR = """
import sys
from artist_features.extraction.extractor import Extractor
from artist_features.devices import calls_at_once
Extractor(sys.argv[1], dedicated={}).model
print(calls_at_once(64)[0])
"""
COMMAND = """
import sys
from artist_features.cli.main import main
main(sys.argv[1:])
"""


def printed(script, *arguments, **environment):
    """Return what a program prints in a process of its own, then the threads of an operation."""
    script += "import tensorflow as tf\n"
    script += "print(tf.config.threading.get_intra_op_parallelism_threads())"
    known = {k: v for k, v in os.environ.items() if k != "TF_NUM_INTRAOP_THREADS"}
    done = processes.run(script, *arguments, env={**known, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(tf.config.list_physical_devices("GPU"), reason="for a CPU alone")
@pytest.mark.parametrize(
    ("dedicated", "environment", "expected"),
    [
        (True, {}, [str(min(usable_cores(), 4)), "1"]),
        (False, {}, ["1", "0"]),  # 0: TensorFlow's own choice
        (True, {"TF_NUM_INTRAOP_THREADS": "3"}, ["1", "0"]),
    ],
    ids=["its own process", "somebody else's", "threads set by the user"],
)
def test_threads_are_set_in_a_process_of_its_own_only(
    tiny_folder, dedicated, environment, expected
):
    assert printed(EXTRACTOR.format(dedicated), tiny_folder, **environment) == expected


@pytest.mark.skipif(tf.config.list_physical_devices("GPU"), reason="for a CPU alone")
def test_the_command_line_has_the_process_for_itself(tiny_folder, tmp_path):
    song = write_audio(tmp_path / "song.wav", music(7, seed=1))
    words = ("extract", song, "--model", tiny_folder, "-o", tmp_path / "out.npz")
    assert printed(COMMAND, *words)[-1] == "1"
    assert (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("cores", "batch_size", "threads", "calls"),
    [
        (1, 64, 1, (1, 64)),
        (2, 64, 1, (2, 16)),
        (4, 64, 1, (4, 16)),
        (8, 64, 2, (4, 16)),  # all cores have something to do
        (16, 256, 4, (4, 16)),
        (2, 33, 1, (2, 16)),  # never more at once than asked for
        (2, 31, 1, (1, 31)),
        (2, 1, 1, (1, 1)),
    ],
)
def test_calls_at_once(monkeypatch, cores, batch_size, threads, calls):
    chosen = []
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr(devices, "_side_by_side", False)
    of_tensorflow = tf.config.threading
    monkeypatch.setattr(of_tensorflow, "set_intra_op_parallelism_threads", chosen.append)
    monkeypatch.setattr(of_tensorflow, "get_intra_op_parallelism_threads", lambda: sum(chosen[-1:]))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    devices.configure_devices(dedicated=True)
    assert chosen == [threads]
    assert devices.calls_at_once(batch_size) == calls


def test_one_thread_that_somebody_else_chose_is_no_leave_to_take_all_cores(monkeypatch):
    monkeypatch.setattr(devices, "_side_by_side", False)
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 1)
    devices.configure_devices(dedicated=True)
    assert devices.calls_at_once(64) == (1, 64)
