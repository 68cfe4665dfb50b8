"""docs/results.py: one command from a manifest to docs/results.md."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import music, write_audio

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "results.py"


@pytest.fixture
def manifest(tmp_path):
    lines = ["file,artist,title,split"]
    for artist, number in ((artist, number) for artist in "ab" for number in range(2)):
        wave = music(seconds=3.2, sample_rate=22050, n_channels=1, seed=ord(artist))
        noise = np.random.default_rng(number).standard_normal(wave.shape)
        name = f"{artist}{number}.wav"
        write_audio(tmp_path / name, np.float32(0.9 * wave + 0.005 * noise), 22050)
        lines.append(f"{name},{artist},{number},test")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments):
    words = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True)


@pytest.mark.nightly
def test_one_command_writes_the_table(manifest, tiny_folder, tmp_path):
    out = tmp_path / "results.md"
    done = run(manifest, "--model", tiny_folder, "--data", "four tones", "--out", out)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert text.startswith(
        "# Artist retrieval\n\nWritten by `python docs/results.py MANIFEST` on 20"
    )
    assert "Data: four tones, manifest sha256 " in text
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")]
    assert names == [f"`{tiny_folder}`", "`mfcc`", "`mfcc-raw`", "`chance`"]
    assert "| `mfcc` | 40 | 1.000 [1.000, 1.000] |" in text
    assert "4 tracks of 2 artists (split test), 0 left out" in text
    assert "`artist-features evaluate artists manifest.csv --split test --model " in text
    assert "(2 cores)" in text or "CPU" in text or "GPU" in text
    assert "tensorflow 2." in text
    (manifest.parent / "a0.wav").unlink()
    out.unlink()
    done = run(manifest, "--model", tiny_folder, "--out", out)
    assert done.returncode == 2  # one artist with two tracks is left: nothing to compare
    assert not out.exists()
