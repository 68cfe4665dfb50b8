"""weights/whole_files.py: excerpts are found in the files of a clone by their sound."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import write_audio

ROOT = Path(__file__).resolve().parents[1]
FIELDS = "file,artist,title,seconds,licence,source,kind"


@pytest.fixture
def whole_files(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "weights"))
    return pytest.importorskip("whole_files")


def test_excerpts_are_replaced_by_the_files_that_they_are_from(whole_files, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    waves = [np.float32(0.1 * rng.standard_normal(20 * 44100)) for _ in range(3)]
    clone = tmp_path / "clones" / "ann+game"
    (clone / "music").mkdir(parents=True)
    for name, wave in zip(("a.wav", "ü b.flac"), waves, strict=False):
        write_audio(clone / "music" / name, wave, 44100)
    write_audio(clone / "music" / "beep.wav", waves[0][:4410], 44100)
    (clone / "music" / "bad.ogg").write_text("no music")
    git = ["git", "-C", str(clone), "-c", "user.name=n", "-c", "user.email=n@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    rows = [FIELDS]
    for number, wave in enumerate(waves):  # the last is of no file
        excerpt = (1, -1, 1)[number] * wave[5 * 44100 : 13 * 44100]
        write_audio(tmp_path / f"{number}.wav", excerpt, 44100)
        rows.append(f"{number}.wav,Ann,T{number},8,CC0-1.0,github:ann/game,recorded")
    for number, kind in [(3, "recorded"), (4, "rendered")]:
        write_audio(tmp_path / f"{number}.wav", waves[0][: 8 * 44100], 44100)
        rows.append(f"{number}.wav,Bob,T{number},8,CC0-1.0,github:bob/gone,{kind}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    places = ["--packages-dir", str(tmp_path), "--clones", str(tmp_path / "clones")]
    monkeypatch.setattr(sys, "argv", ["whole_files.py", str(tmp_path), str(out), *places])
    whole_files.main()
    found = {row["title"]: row for row in whole_files.store.read_rows(out / "manifest.csv")}
    assert {title: row["seconds"] for title, row in found.items()} == {
        "T0": "20.0",
        "T1": "8",  # in the same place upside down: another sound
        "T2": "8",
        "T3": "8",
        "T4": "8",
    }
    assert found["T0"]["file"] == "ann+game/0.ogg"
    assert found["T0"]["artist"] == "Ann"
    assert Path(found["T2"]["file"]).samefile(tmp_path / "2.wav")
    before = (out / "manifest.csv").read_bytes()
    whole_files.main()  # what is there is not made again
    assert (out / "manifest.csv").read_bytes() == before
