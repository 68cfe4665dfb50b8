"""Faults that users reported of other packages, and that this one had."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import music, write_audio

from artist_features.cli.main import main

NO_CACHE = """
import numba.core.caching as caching
for kind in vars(caching).values():
    if isinstance(kind, type) and hasattr(kind, "_locator_classes"):
        kind._locator_classes = []  # as where neither the installation nor the home is writable
"""


@pytest.mark.parametrize("year", [1902, 2300, 2400])
def test_dates_that_tables_cannot_hold_are_clamped(tiny_folder, tmp_path, year):
    (tmp_path / "music").mkdir()
    path = write_audio(tmp_path / "music" / "a.wav", music(4, 22050, 1), 22050)
    seconds = (year - 1970) * 31556952
    os.utime(path, (seconds, seconds))
    if os.stat(path).st_mtime != seconds:
        pytest.skip("this file system has no such date")
    for out in ("o.npz", "o.parquet", "folder"):
        words = ["extract", str(tmp_path / "music"), "-o", str(tmp_path / out)]
        assert main([*words, "--model", str(tiny_folder)]) == 0
        assert main([*words, "--model", str(tiny_folder)]) == 0  # reads its own table
    with np.load(tmp_path / "o.npz") as table:
        assert table["status"].tolist() == ["ok"]


@pytest.mark.slow
def test_numba_without_a_cache_folder(tiny_folder, tmp_path):
    path = write_audio(tmp_path / "a.wav", music(4, 22050, 1), 22050)
    code = NO_CACHE + (
        "import artist_features, sys\n"
        "print(artist_features.extract(sys.argv[1], model=sys.argv[2]).shape)\n"
        "import numba; assert not numba.config.DISABLE_JIT\n"
    )
    words = [sys.executable, "-c", code, str(path), str(tiny_folder)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(")


LOOP = """
import gc, os, sys, warnings
import numpy as np
import artist_features as af
from artist_features.extraction.decode import Source
folder, kind, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
path = os.path.join(folder, "a.wav")
extractor = af.Extractor(sys.argv[4])
samples = np.random.default_rng(0).uniform(-0.1, 0.1, 22050 * 4).astype("float32")

def call():
    if kind == "file":
        af.extract(path, model=sys.argv[4])
    elif kind == "array":
        af.extract(samples, sample_rate=22050, model=sys.argv[4])
    elif kind == "list":
        extractor.extract([path] * 8)
    elif kind == "segments":
        extractor.extract(path, pool=None)
    elif kind == "error":
        try:
            af.extract(os.path.join(folder, "no.wav"), model=sys.argv[4])
        except af.AudioError:
            pass
    elif kind == "given up":
        sources = [Source(path) for _ in range(3)]
        for _ in extractor.results(sources, n_sources=3):
            break

def state():
    gc.collect()
    with open("/proc/self/statm") as file:
        memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return memory, len(os.listdir("/proc/self/fd"))

for number in range(n):
    call()
    if number == n // 4:
        before = state()
after = state()
print(after[0] - before[0], after[1] - before[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux' /proc")
@pytest.mark.parametrize("kind", ["file", "array", "list", "segments", "error", "given up"])
def test_a_loop_of_calls_keeps_neither_memory_nor_descriptors(kind, tiny_folder, tmp_path):
    write_audio(tmp_path / "a.wav", music(8, 22050, 1), 22050)
    n = 40 if kind == "list" else 80
    words = [sys.executable, "-c", LOOP, str(tmp_path), kind, str(n), str(tiny_folder)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    megabytes, descriptors = map(float, done.stdout.split())
    # from_generator kept 0.7 MB a call of this length, ten times this limit for a list
    assert megabytes < 20, megabytes
    assert descriptors <= 0
