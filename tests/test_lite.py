"""artist-features-lite: what it does without TensorFlow, and beside artist-features.

This file runs in an environment of the lite distribution, too (`nox -s lite`).
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import golden_vectors
import numpy as np
import pytest
import soundfile
from conftest import music, write_audio

from artist_features import Extractor, WeightsError, extract
from artist_features.extraction import onnx_engine
from artist_features.zoo import registry

ROOT = Path(__file__).resolve().parents[1]
# all but what `artist-features-lite` installs, and TensorFlow brings along
ABSENT = ("tensorflow", "keras", "kapre", "h5py", "av", "pyarrow", "wrapt")
WITHOUT = f"""
import sys
for name in {ABSENT}:
    sys.modules[name] = None  # to import one fails from now on
from artist_features.cli.main import main
for arguments in sys.argv[1:]:
    code = main(arguments.split("|"))
    if code:
        sys.exit(code)
"""


def without_tensorflow(*commands, folder):
    """Run commands one after another in one process; return (exit code, stdout, stderr)."""
    given = ["|".join(map(str, command)) for command in commands]
    program = [sys.executable, "-c", WITHOUT, *given]
    done = subprocess.run(program, capture_output=True, text=True, cwd=folder, timeout=1120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_rows_do_not_depend_on_the_batch_nor_on_the_process(tmp_path, batch_size):
    paths = [tmp_path / f"{n}.wav" for n in range(4)]
    for n, path in enumerate(paths):
        write_audio(path, music(4 + 9 * n, 22050, 1, seed=n), 22050)
    paths.insert(2, tmp_path / "missing.wav")
    one = Extractor(isolated=True, batch_size=batch_size, runtime="onnx", n_workers=2)
    with pytest.warns(match=r"missing\.wav"):
        found = one.extract(paths, pool=None, on_error="nan")
    assert [len(rows) for rows in found] == [1, 4, 1, 7, 10]
    assert np.isnan(found[2]).all()
    for path, rows in zip(paths[3:], found[3:], strict=True):
        np.testing.assert_allclose(rows, extract(path, pool=None, runtime="onnx"), atol=1e-5)
    assert one.device.endswith("ONNX Runtime)")


def test_every_command_of_the_lite_package_works_without_tensorflow(tmp_path):
    """`extract`, `index`, `similar` on a new file, `who`, `map`: with what lite installs."""
    for n in range(3):
        path = tmp_path / "music" / f"artist{n % 2}" / f"{n}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, music(4, 22050, 1, seed=n), 22050)
    soundfile.write(tmp_path / "new.wav", golden_vectors.clip(), 44100, subtype="FLOAT")
    (tmp_path / "m.csv").write_text(
        "file,artist,title\n"
        + "".join(f"music/artist{n % 2}/{n}.wav,{n % 2},{n}\n" for n in range(3))
    )
    drawn = [["map", "music.npz", "-o", "map.html", "--manifest", "m.csv"]]
    if importlib.util.find_spec("openTSNE") is None:  # of the extra [map]
        drawn = []
    code, out, err = without_tensorflow(
        ["extract", "music", "-o", "music.npz"],
        ["index", "build", "music.npz", "-o", "music.index", "--manifest", "m.csv"],
        ["similar", "new.wav", "--index", "music.index", "-k", 3],
        ["who", "music/artist0/0.wav", "--index", "music.index", "-k", 1],
        *drawn,
        ["models", "basic"],
        ["extract", "new.wav"],
        folder=tmp_path,
    )
    assert code == 0, err
    assert "ONNX Runtime" in err
    assert (tmp_path / "map.html").exists() == bool(drawn)
    row = json.loads(out.splitlines()[-1])
    golden = json.loads(golden_vectors.FILE.read_text())["models"]["siamese"]["embedding"]
    np.testing.assert_allclose(row["embedding"], golden, atol=golden_vectors.TOLERANCE)


@pytest.mark.parametrize(
    "command", ["train|basic|m.csv|--out|run", "extract|a.wav|--runtime|tensorflow"]
)
def test_what_needs_tensorflow_says_so(tmp_path, command):
    write_audio(tmp_path / "a.wav", music(4))
    (tmp_path / "m.csv").write_text("file,artist,title\na.wav,A,T\n")
    code, out, err = without_tensorflow(command.split("|"), folder=tmp_path)
    assert (code, out) == (2, "")
    assert "is not installed, which artist-features-lite leaves out" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_two_distributions_of_two_versions_are_refused(tmp_path, version):
    (tmp_path / "artist_features").symlink_to(registry._PACKAGE)
    for name in ("artist_features-0.1.0", f"artist_features_lite-{version}", "other-9"):
        (tmp_path / f"{name}.dist-info").mkdir()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import artist_features"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if version == "0.1.0":
        assert done.returncode == 0, done.stderr
    else:
        text = "artist-features-0.1.0 and artist-features-lite-0.2.0 are installed over each other"
        assert text in done.stderr


@pytest.fixture
def other_files(tmp_path, monkeypatch):
    """Folder of copies of the bundled models, for files that are to be spoilt."""
    for name in registry.bundled_names():
        (tmp_path / name).mkdir()
        for file in ("artist_features.json", onnx_engine.ONNX_FILE):
            source = registry.bundled_folder() / name / file
            (tmp_path / name / file).write_bytes(source.read_bytes())
    monkeypatch.setattr(registry, "bundled_folder", lambda: tmp_path)
    onnx_engine._session.cache_clear()
    yield tmp_path
    onnx_engine._session.cache_clear()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda folder, data: data[:-1000], "file_sha256 starts"),
        (lambda folder, data: data[:90_000] + b"\1" + data[90_001:], "file_sha256 starts"),
        (lambda folder, data: b"", "file_sha256 starts None"),
        (lambda folder, data: (folder / "basic/model.onnx").read_bytes(), "weights_sha256 starts"),
    ],
    ids=["cut", "one byte", "empty", "of other weights"],
)
def test_a_wrong_file_gives_no_vectors(other_files, spoil, text):
    path = other_files / "siamese" / onnx_engine.ONNX_FILE
    path.write_bytes(spoil(other_files, path.read_bytes()))
    with pytest.raises(WeightsError, match=text) as caught:
        extract(music(4), 44100, runtime="onnx")
    assert caught.value.code == "hash"


def test_the_bundled_files_give_the_golden_vectors():
    for name, difference in golden_vectors.differences("onnx").items():
        assert difference <= golden_vectors.TOLERANCE, name


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """{distribution: wheel} of this checkout."""
    if not (ROOT / "packaging").is_dir():
        pytest.skip("not in a checkout")
    pytest.importorskip("build")
    folder, found = tmp_path_factory.mktemp("wheels"), {}
    for name, place in (("full", ROOT), ("lite", ROOT / "packaging/lite")):
        options = ["--wheel", "--outdir", folder / name, place]
        subprocess.run([sys.executable, "-m", "build", *map(str, options)], check=True)
        (found[name],) = (folder / name).glob("*.whl")
    return found


@pytest.mark.nightly
def test_the_container_builds_from_the_files_that_it_copies(wheels, tmp_path):
    pytest.importorskip("pip")
    text, ignored = (ROOT / "Dockerfile").read_text(), (ROOT / ".dockerignore").read_text()
    for name in " ".join(re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)).split():
        assert f"!{name}" in ignored.splitlines()
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tmp_path / name)
    (command,) = re.findall(r"^RUN python (-m pip wheel .+)$", text, re.MULTILINE)
    words = command.replace("/wheels", "wheels").split()
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    assert sorted(ZipFile(wheel).namelist()) == sorted(ZipFile(wheels["lite"]).namelist())


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_the_wheel_alone_and_with_the_full_one(wheels, tmp_path):
    """Installed alone it extracts; with the full one both are whole; after one is removed, none."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    pip = [python, "-m", "pip", "install", "--quiet"]
    song = write_audio(tmp_path / "song.wav", music(4))
    code = "import artist_features as af; print(*af.extract('song.wav'), sep=' ')"

    def run(*command, code=0):
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    run(*pip, wheels["lite"])
    run(python, "-c", "import tensorflow", code=1)
    alone = run(python, "-c", code)
    np.testing.assert_allclose(np.array(alone.split(), float), extract(song), atol=1e-4)
    run(tmp_path / "env/bin/artist-features", "extract", "song.wav", "-o", "a.npz")
    run(tmp_path / "env/bin/artist-features", "index", "build", "a.npz", "-o", "a.index")
    write_audio(tmp_path / "new.wav", music(5, seed=1))
    found = run(tmp_path / "env/bin/artist-features", "similar", "new.wav", "--index", "a.index")
    assert str(song) in found
    run(*pip, "--no-deps", wheels["full"])
    assert run(python, "-c", code) == alone
    run(python, "-m", "pip", "uninstall", "--yes", "--quiet", "artist-features-lite")
    assert "No module named 'artist_features'" in run(python, "-c", code, code=1)
    run(*pip, "--no-deps", "--force-reinstall", wheels["full"])
    assert run(python, "-c", code) == alone
