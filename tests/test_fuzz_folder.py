"""Mutated model folders: each gives a named error or the right model, and no process dies.

`FUZZ_MUTANTS=1000000 FUZZ_SEED=7 pytest tests/test_fuzz_folder.py` searches longer and
elsewhere. The message of a failure has the number by which `fuzz_folder.py` loads it again.
"""

import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import fuzz_folder
import pytest

from artist_features.errors import WEIGHTS_CODES

MUTANTS = int(os.environ.get("FUZZ_MUTANTS", "10000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
PROGRAM = Path(__file__).with_name("fuzz_folder.py")
N_BUILT = max(12, MUTANTS // 1000)  # models, each takes a second


def start(folder, work, kind, *action):
    work.mkdir(exist_ok=True)
    command = [sys.executable, str(PROGRAM), str(folder), str(work), kind, str(SEED)]
    command += map(str, action)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report_of(process, work):
    out, err = process.communicate()
    number = (work / "number").read_text().strip()
    assert process.returncode == 0, f"exit {process.returncode}, mutant {number}\n{err}"
    return json.loads(out)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", fuzz_folder.KINDS)
def test_every_mutant_gives_a_named_error_or_the_right_model(tiny_folder, tmp_path, kind):
    n_mutants = int(MUTANTS * fuzz_folder.KINDS[kind])
    works, half = [tmp_path / "a", tmp_path / "b"], n_mutants // 2
    parts = [start(tiny_folder, works[0], kind, "load", 0, half)]
    parts.append(start(tiny_folder, works[1], kind, "load", half, n_mutants))
    counts, graphs = collections.Counter(), []
    for process, work in zip(parts, works, strict=True):
        report = report_of(process, work)
        counts.update(report["counts"])
        graphs += report["graphs"].values()
        assert report["slowest_s"] < 5
        assert report["grown_kb"] < 200_000
    print(kind, dict(counts), len(graphs))
    assert counts.total() == n_mutants
    n_refused = sum(counts[code] for code in WEIGHTS_CODES)
    if "other files" in kind:
        assert n_refused == 0  # they are not read
    else:  # the mutants reach the checks, and what lies behind them
        assert n_mutants / 20 < n_refused < n_mutants
    if "of the card" in kind:
        assert len(graphs) > n_mutants / 100
        report = report_of(start(tiny_folder, works[0], kind, "build", *graphs[:N_BUILT]), works[0])
        assert report["built"] == min(N_BUILT, len(graphs))
        assert report["peak_kb"] < 3_000_000
    else:
        assert not graphs


def test_mutants_are_the_same_in_each_run(tiny_folder, tmp_path):
    files = {path.name: path.read_bytes() for path in tiny_folder.iterdir()}
    for kind in fuzz_folder.KINDS:
        if kind.startswith("structure of the weights"):
            continue  # HDF5 writes the time into a file
        first, second = (fuzz_folder.mutant(files, kind, 3, 4, tmp_path) for _ in range(2))
        assert first == second
        assert first != files
