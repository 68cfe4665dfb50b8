"""Mutated model folders: each gives a named error or the right model, and no process dies.

`FUZZ_MUTANTS=1000000 FUZZ_SEED=7 pytest tests/test_fuzz_folder.py` searches longer and
elsewhere. The message of a failure has the number by which `fuzz_folder.py` loads it again.
"""

import collections
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fuzz_folder
import pytest

from artist_features.errors import WEIGHTS_CODES

MUTANTS = int(os.environ.get("FUZZ_MUTANTS", "1000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
PROGRAM = Path(__file__).with_name("fuzz_folder.py")
N_BUILT = max(4, MUTANTS // 1000)  # models, each takes a second


def run(folder, work, kind, *action):
    """Return the report of a process of mutants."""
    work.mkdir(exist_ok=True)
    command = [sys.executable, str(PROGRAM), str(folder), str(work), kind, str(SEED)]
    done = subprocess.run([*command, *map(str, action)], capture_output=True, text=True)
    number = (work / "number").read_text().strip()
    assert done.returncode == 0, f"exit {done.returncode}, mutant {number}\n{done.stderr}"
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", fuzz_folder.KINDS)
def test_every_mutant_gives_a_named_error_or_the_right_model(tiny_folder, tmp_path, kind):
    n_mutants = int(MUTANTS * fuzz_folder.KINDS[kind])
    half, halves = n_mutants // 2, {}
    with ThreadPoolExecutor(2) as threads:
        for name, *ends in [("a", 0, half), ("b", half, n_mutants)]:
            action = tiny_folder, tmp_path / name, kind, "load", *ends
            halves[name] = threads.submit(run, *action)
    counts, graphs = collections.Counter(), []
    for report in (future.result() for future in halves.values()):
        counts.update(report["counts"])
        graphs += report["graphs"].values()
        assert report["slowest_s"] < 5
        assert report["grown_kb"] < 200_000
    print(kind, dict(counts), len(graphs))
    assert counts.total() == n_mutants
    n_refused = sum(counts[code] for code in WEIGHTS_CODES)
    # the mutants reach the checks, and what lies behind them
    assert n_mutants / 20 < n_refused < n_mutants
    if "of the card" in kind:
        assert len(graphs) > n_mutants / 100
        report = run(tiny_folder, tmp_path / "a", kind, "build", *graphs[:N_BUILT])
        assert report["built"] == min(N_BUILT, len(graphs))
        # 2^24 values of a segment, of which the network holds some dozen at once
        assert report["peak_kb"] < 6_000_000
    else:
        assert not graphs


def test_mutants_are_the_same_in_each_run(tiny_folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in tiny_folder.iterdir()}
    for kind in fuzz_folder.KINDS:
        first, second = (fuzz_folder.mutant(files, kind, 3, 4) for _ in range(2))
        assert first == second
        assert first != files
