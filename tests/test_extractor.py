"""The one call: the same vector however it is asked for, and errors where they belong."""

import os
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import processes
import pytest
from conftest import music, write_audio

import artist_features as af
from artist_features.audio.decoders import Span
from artist_features.errors import AudioError, AudioWarning
from artist_features.extraction import extractor as extractor_module
from artist_features.extraction.decode import Source
from artist_features.extraction.extractor import Extractor
from artist_features.zoo import folder

RATE = 22050
SECONDS = (3.5, 13.0, 7.2, 3.1, 22.0)
N_SEGMENTS = (1, 4, 2, 1, 7)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return af.load_model(tiny_folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Five recordings of 1 to 7 segments, the second at 44.1 kHz in stereo."""
    audio = tmp_path_factory.mktemp("audio")
    forms = [(RATE, 1), (44100, 2), (RATE, 1), (RATE, 1), (RATE, 1)]
    return [
        str(write_audio(audio / f"{n}.flac", music(seconds, rate, channels, seed=n), rate))
        for n, (seconds, (rate, channels)) in enumerate(zip(SECONDS, forms, strict=True))
    ]


@pytest.fixture(scope="module")
def alone(model, files):
    """The vector of each file, extracted by itself."""
    return np.stack([af.extract(path, model=model) for path in files])


@pytest.fixture
def broken(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"not audio")
    return str(tmp_path / "broken.wav")


def same(found, expected):
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("isolated", [False, True])
def test_a_vector_does_not_depend_on_company(model, files, alone, batch_size, isolated):
    assert len(np.unique(alone.round(4), axis=0)) == len(files)
    extractor = Extractor(model, batch_size=batch_size, isolated=isolated, n_workers=3)
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1], [1, 1, 4, 1], [3]):
        same(extractor.extract([files[n] for n in order]), alone[order])


def test_threads_and_processes_give_the_same_bits(model, files):
    many = files * 4  # one worker: the same segments share a batch
    rows = [
        Extractor(model, isolated=isolated, n_workers=1, batch_size=7).extract(many)
        for isolated in (False, True)
    ]
    np.testing.assert_array_equal(*rows)


def test_rows_of_segments(model, files, alone):
    rows = af.extract(files, model=model, pool=None)
    assert [row.shape for row in rows] == [(count, 8) for count in N_SEGMENTS]
    for path, row, vector in zip(files, rows, alone, strict=True):
        same(af.extract(path, model=model, pool=None), row)
        same(row.mean(axis=0), vector)


def test_paths_of_every_type(model, files, alone, tmp_path):
    odd = tmp_path / "Lied mit ü, 'x' und \n.wav"
    odd.write_bytes(Path(files[0]).read_bytes())
    paths = (odd, str(odd), os.fsdecode(os.fsencode(odd)))
    for isolated in (False, True):
        same(Extractor(model, isolated=isolated).extract(paths), alone[[0, 0, 0]])


@pytest.mark.parametrize(("offset", "duration"), [(0.0, 5.0), (4.25, None), (2.5, 7.75)])
def test_offset_and_duration_equal_a_slice(model, files, offset, duration):
    samples = music(SECONDS[1], 44100, 2, seed=1)
    samples = np.round(samples * 32768).clip(-32768, 32767).astype(np.int16)  # as FLAC keeps them
    span = {"offset": offset, "duration": duration}
    part = samples[round(offset * 44100) :][: round((duration or 99) * 44100)]
    expected = af.extract(part, sample_rate=44100, model=model)
    same(af.extract(files[1], model=model, **span), expected)
    same(af.extract(samples, sample_rate=44100, model=model, **span), expected)


def test_arrays_and_files_in_one_list(model, files, alone):
    clip = music(SECONDS[2], RATE, 1, seed=2)[:, 0]
    clip = np.round(clip * 32768).astype(np.int16)
    for isolated in (False, True):
        extractor = Extractor(model, isolated=isolated)
        found = extractor.extract([files[0], clip, files[4], clip[:, None]], sample_rate=RATE)
        same(found, alone[[0, 2, 4, 2]])


def test_a_raised_error_is_that_of_the_file(model, files, broken):
    with pytest.raises(AudioError, match=r"broken\.wav: 9 bytes, no audio") as caught:
        af.extract([files[0], broken, files[1]], model=model)
    assert caught.value.path == broken
    for on_error in ("raise", "skip", "nan"):
        with pytest.raises(AudioError):
            af.extract(broken, model=model, on_error=on_error)


@pytest.mark.parametrize("isolated", [False, True])
def test_skip_and_nan(model, files, alone, broken, isolated):
    paths = [broken, files[0], "/no/such.wav", files[1]]
    extractor = Extractor(model, isolated=isolated)
    with pytest.warns(AudioWarning) as caught:
        same(extractor.extract(paths, on_error="skip"), alone[:2])
    told = {warning.message.path: warning.message for warning in caught}
    assert {message.code for message in told.values()} == {"skipped"}
    assert str(told["/no/such.wav"]).startswith("/no/such.wav: skipped, not_found: no such file")
    assert str(told[broken]).startswith(f"{broken}: skipped, empty: 9 bytes")
    with pytest.warns(AudioWarning) as caught:
        rows = extractor.extract(paths, on_error="nan")
    kinds = sorted(str(w.message).split(": ")[1] for w in caught)
    assert kinds == ["a row of NaN, empty", "a row of NaN, not_found"]
    same(rows[[1, 3]], alone[:2])
    assert np.isnan(rows[[0, 2]]).all()
    with pytest.warns(AudioWarning):
        rows = extractor.extract(paths, on_error="nan", pool=None)
    assert [row.shape for row in rows] == [(1, 8), (1, 8), (1, 8), (4, 8)]


def test_nothing_left(model, broken):
    for empty in ([], ()):
        for on_error in ("raise", "skip", "nan"):
            found = af.extract(empty, model=model, on_error=on_error)
            assert (found.shape, found.dtype) == ((0, 8), np.float32)
        assert af.extract(empty, model=model, pool=None) == []
    with pytest.warns(AudioWarning, match="skipped"):
        assert af.extract([broken] * 2, model=model, on_error="skip").shape == (0, 8)
    with pytest.warns(AudioWarning, match="skipped"):
        assert af.extract([broken] * 2, model=model, on_error="skip", pool=None) == []
    with pytest.warns(AudioWarning, match="a row of NaN"):
        found = af.extract([broken] * 2, model=model, on_error="nan")
    assert found.shape == (2, 8)
    assert np.isnan(found).all()


def test_flaws_are_warnings(model):
    short, silent = np.full(RATE, 0.1, np.float32), np.zeros(4 * RATE, np.float32)
    with pytest.warns(AudioWarning, match=r"short: clip is 1\.00 s, one segment needs 2\.97 s"):
        assert np.isfinite(af.extract(short, sample_rate=RATE, model=model)).all()
    with pytest.warns(AudioWarning, match=r"silent: all 4\.0 s are digital silence") as caught:
        af.extract([silent], sample_rate=RATE, model=model)
    assert caught[0].message.code == "silent"
    assert caught[0].filename == __file__


def test_other_wrong_settings(model: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="reading is Span; allowed are ReadingOptions"):
        Source("a.wav", reading=Span(1.0, 2.0))
    with pytest.raises(ValueError, match="n_workers is 0; allowed is an integer of 1 or more"):
        Extractor(model, n_workers=0)
    monkeypatch.setattr(extractor_module, "av_installed", lambda: False)
    with pytest.raises(ImportError, match=r"decoder 'av' needs PyAV.*artist-features\[av\]"):
        Extractor(model, decoder="av")


def test_models_of_every_kind(model, tiny_folder, files, alone):
    same(af.extract(files[0], model=str(tiny_folder)), alone[0])
    same(af.extract(files[0], model=tiny_folder), alone[0])
    found = Extractor(tiny_folder)
    assert (found.embedding_dim, found.front_end) == (8, Extractor(model).front_end)
    tower = af.load_model(tiny_folder)
    tuned = keras.Model(tower.input, keras.layers.Dense(3, name="mine")(tower.output))
    same(af.extract(files[:2], model=tuned), tuned.layers[-1](alone[:2]).numpy())
    with pytest.warns(AudioWarning, match="NaN"):
        assert af.extract(["/no/such"], model=tuned, on_error="nan").shape == (1, 3)
    with pytest.raises(ValueError, match="no STFT layer found"):
        af.extract(files[0], model=keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))


def test_weights_changed_after_the_first_call_count(tiny_folder, files):
    tower = af.load_model(tiny_folder)
    before = af.extract(files[0], model=tower)
    beta = tower.get_layer("block3_norm").beta
    beta.assign(beta + 1.0)
    assert (af.extract(files[0], model=tower) > before).all()


def test_a_bundled_name_is_loaded_once(tiny_folder, files, alone, monkeypatch):
    monkeypatch.setattr("artist_features.zoo.registry.bundled_folder", lambda: tiny_folder.parent)
    built = []
    monkeypatch.setattr(folder, "build", lambda *a, real=folder.build: built.append(1) or real(*a))
    extractor_module._BUILT.clear()
    for _ in range(3):
        same(af.extract(files[0], model="tiny", runtime="tensorflow"), alone[0])
    extractor_module._BUILT.clear()
    assert len(built) == 1


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        ({"audio": "a.wav", "sample_rate": RATE}, ValueError, "a.wav: sample_rate is for arrays"),
        ({"audio": ["a.wav"], "sample_rate": RATE}, ValueError, "a.wav: sample_rate is for"),
        ({"audio": np.zeros(9)}, ValueError, "sample_rate is missing"),
        ({"audio": 3.5}, TypeError, "audio is float 3.5; allowed are a path, an open"),
        ({"audio": [1, 2]}, TypeError, "recording 0: audio is int 1; allowed are a path, an open"),
        ({"pool": "max"}, ValueError, "pool 'max'; allowed are 'mean' and None"),
        ({"on_error": "ignore"}, ValueError, "on_error 'ignore'; allowed are 'raise', 'skip'"),
        ({"offset": -1.0}, ValueError, r"offset is -1\.0 s; allowed is"),
        ({"duration": 0.0}, ValueError, r"duration is 0\.0 s; allowed is"),
        ({"batch_size": 0}, ValueError, "batch_size is 0; allowed is an integer of 1 or more"),
        ({"batch_size": 1.5}, ValueError, r"batch_size is 1\.5; allowed is an integer"),
        ({"batch_size": 5000}, ValueError, "batch_size is 5000 segments; allowed is 1 to 4096"),
        ({"decoder": "sox"}, ValueError, "decoder 'sox'; allowed are auto, soundfile, av, tfio"),
        ({"decoder": np.zeros(2)}, ValueError, "decoder array.*; allowed are auto, soundfile"),
        ({"audio": None}, TypeError, "allowed are a path, an open binary"),
        ({"audio": [[0.1, 0.2]]}, TypeError, "allowed are a path, an open binary"),
        ({"audio": np.array([b"a.mp3"])}, TypeError, r"array of dtype \|S5; allowed are floats"),
        ({"offset": np.complex64(1)}, TypeError, "offset is .*1.*; allowed is a number of seconds"),
        ({"audio": np.zeros(9), "sample_rate": 1j}, TypeError, "sample_rate is 1j; allowed is a"),
    ],
)
def test_wrong_arguments(model, call, error, text):
    with pytest.raises(error, match=text):
        af.extract(**{"audio": "a.wav", "model": model, **call})


def test_equal_weights_are_built_once_and_load_model_gives_a_fresh_one(tiny_folder):
    first, second = Extractor(tiny_folder).model, Extractor(str(tiny_folder)).model
    assert first is second
    assert af.load_model(tiny_folder) is not first


def test_many_files_are_compiled_and_agree_with_few(tmp_path, tiny_folder, monkeypatch):
    paths = [write_audio(tmp_path / f"{n}.wav", music(4 + n, seed=n)) for n in range(4)]
    few = Extractor(tiny_folder).extract(paths)
    asked = []
    real = extractor_module.inference_function
    monkeypatch.setattr(extractor_module, "COMPILE_FROM", 4)
    monkeypatch.setattr(
        extractor_module, "inference_function", lambda m, n: asked.append(n) or real(m, n)
    )
    many = Extractor(tiny_folder, batch_size=3).extract(paths)
    assert asked == [3]
    np.testing.assert_allclose(many, few, atol=1e-4)


@pytest.mark.parametrize(
    ("level", "shown"), [(None, False), pytest.param("0", True, marks=pytest.mark.nightly)]
)
def test_xla_is_quiet_unless_asked(tiny_folder, level, shown):
    """Its lines come at the first compiled call of a process, and pass TensorFlow's level by."""
    if version("tensorflow") >= "2.21" and not shown:
        pytest.skip("TensorFlow 2.21 prints lines of its import at any level")
    program = (
        "import sys, numpy as np\n"
        "from artist_features.extraction import extractor\n"
        "extractor.COMPILE_FROM = 2\n"
        "noise = np.random.default_rng(0).uniform(-0.1, 0.1, 22050 * 4)\n"
        "extractor.Extractor(sys.argv[1], isolated=False).extract([noise] * 2, 22050)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    done = processes.run(program, tiny_folder, env=environment)
    assert done.returncode == 0, done.stderr
    if shown:
        assert "Compiled cluster using XLA" in done.stderr
    else:
        assert done.stderr == ""
