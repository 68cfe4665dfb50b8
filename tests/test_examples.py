"""The examples run as a user would run them; the tables of models are those of the cards."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLE_RATE, music, write_audio

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments, **options):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_extract_one_file(tmp_path):
    song = write_audio(tmp_path / "song.mp3", music(10))
    output = run(ROOT / "examples/extract_one_file.py", song)
    assert "float32 (256,)" in output
    assert "3 segments of 3 s" in output


@pytest.mark.nightly
def test_fine_tune_learns_and_its_model_loads_in_plain_keras(tmp_path):
    rows = ["file,quadrant"]
    for number in range(8):
        # a quadrant is a register, two octaves apart: something that can be heard
        t = np.arange(7 * SAMPLE_RATE) / SAMPLE_RATE
        tone = 0.3 * np.sin(2 * np.pi * (100 + 5 * number) * 4 ** (number % 4) * t)
        write_audio(tmp_path / f"{number}.wav", music(7, seed=number) / 3 + tone[:, None])
        rows.append(f"{number}.wav,{number % 4}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    example = ROOT / "examples/fine_tune.py"
    words = [sys.executable, str(example), "clips.csv", "--out", "mood.txt"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, "a name that ends in .keras" in done.stderr) == (2, True)
    output = run(example, "clips.csv", "--epochs", "30", cwd=tmp_path)
    assert float(re.search(r"training accuracy (\S+);", output)[1]) > 0.5
    program = (
        "import keras, artist_features\n"
        "model = keras.saving.load_model('mood.keras', safe_mode=True)\n"
        "print(model.output_shape)"
    )
    assert "(None, 4)" in run("-c", program, cwd=tmp_path)


@pytest.mark.slow
def test_find_similar_tracks(tmp_path):
    for name, seed in {"a1": 1, "a2": 1, "b": 2}.items():
        noise = 0.002 * np.random.default_rng(ord(name[-1])).standard_normal((3 * 22050, 1))
        samples = music(3, 22050, 1, seed=seed) + noise
        write_audio(tmp_path / f"{name}.wav", np.float32(np.clip(samples, -1, 1)), 22050)
    (tmp_path / "bad.wav").write_text("no music")
    (tmp_path / "new.txt").write_bytes((tmp_path / "b.wav").read_bytes())  # not in the index
    program = (
        "import find_similar_tracks as e; e.main('.'); e.main('.', 'new.txt'); e.main('.', 'b.wav')"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "examples"), str(ROOT)])}
    lines = run("-c", program, cwd=tmp_path, env=environment).splitlines()
    names = [line.split()[-1] for line in lines]
    a1, a2, b = (os.path.realpath(tmp_path / name) for name in ("a1.wav", "a2.wav", "b.wav"))
    assert names[:3] == [a1, a2, b]
    assert names[3:9:3] == [a2, b]  # three tracks, two neighbours each
    assert names[9:11] == ["new.txt", b]
    assert names[13] == "b.wav"
    assert {*names[14:]} == {a1, a2}  # not itself, however it is spelled


@pytest.mark.slow
def test_genre_transfer_of_a_folder(tmp_path):
    for number in range(8):
        genre = ("calm", "wild")[number % 2]
        (tmp_path / genre).mkdir(exist_ok=True)
        # two octaves and a lot of noise apart: something that can be heard
        t = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
        noise = np.random.default_rng(number).standard_normal(len(t))
        tone = 0.3 * np.sin(2 * np.pi * (110 + number) * 4 ** (number % 2) * t)
        wave = np.float32(tone + (0.001, 0.1)[number % 2] * noise)
        write_audio(tmp_path / genre / f"{number}.wav", wave)
    new = tmp_path / "wild" / "1.wav"
    output = run(ROOT / "examples/genre_transfer.py", tmp_path, "--folds", "3", "--predict", new)
    assert "8 tracks of 2 genres, vectors (8, 256)" in output
    assert "accuracy: 1.000 (1.000 to 1.000)\n  calm: 1.00\n  wild: 1.00\n" in output
    assert f"{new}: wild" in output


@pytest.mark.nightly
def test_artist_map_of_a_manifest_and_of_its_folder(tmp_path):
    rows = ["file,artist,title"]
    for number, artist in enumerate(["ann", "ann", "bob"]):
        (tmp_path / artist).mkdir(exist_ok=True)
        wave = music(3.2, sample_rate=22050, seed=number)
        write_audio(tmp_path / artist / f"{number}.wav", wave, 22050)
        rows.append(f"{artist}/{number}.wav,{artist.title()},Song {number}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    for source, groups in (("m.csv", '["Ann","Bob"]'), (".", '["ann","bob"]')):
        run(ROOT / "examples/artist_map.py", source, "map.html", cwd=tmp_path)
        page = (tmp_path / "map.html").read_text(encoding="utf-8")
        assert f'"groups":{groups}' in page


@pytest.mark.slow
def test_onnx_without_tensorflow(tmp_path):
    for package in ("tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    from artist_features import extract
    from artist_features.export import export_model

    song = write_audio(tmp_path / "song.flac", music(13))
    export_model("siamese", tmp_path / "siamese.onnx", format="onnx")
    program = (
        "import runpy, sys\n"
        "for name in ('tensorflow', 'keras', 'kapre', 'artist_features'):\n"
        "    sys.modules[name] = None\n"  # to import one fails from now on
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
    )
    example = ROOT / "examples/onnx_without_tensorflow.py"
    output = run("-c", program, example, "siamese.onnx", "song.flac", cwd=tmp_path)
    vector, expected = np.array(output.split(), float), extract(song)
    assert vector.shape == (256,)
    lengths = np.linalg.norm(vector) * np.linalg.norm(expected)
    assert vector @ expected / lengths >= 0.99999
    np.testing.assert_allclose(vector, expected, atol=1e-3)


def test_tables_of_models_are_those_of_the_cards():
    sys.path.insert(0, str(ROOT / "weights"))
    try:
        import update_readme
    finally:
        sys.path.pop(0)
    assert len(update_readme.PAGES) == 2
    for page in update_readme.PAGES:
        text = page.read_text(encoding="utf-8")
        assert update_readme.with_table(text) == text
        assert "| `siamese` |" in text
