"""What `extract` takes besides paths: audio in memory, tensors, rows of data sets, folders."""

import io
from pathlib import Path

import numpy as np
import pytest
from conftest import music, write_audio

from artist_features import AudioError, Extractor, extract
from artist_features.extraction.recordings import several, to_source
from artist_features.signal.decoders import WHOLE

RATE = 22050


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    return [
        write_audio(folder / f"{n}.wav", music(4.0, RATE, 1, seed=n)[:, 0], RATE) for n in range(3)
    ]


@pytest.fixture(scope="module")
def samples():
    return music(4.0, RATE, 1, seed=0)[:, 0].astype(np.float32)


@pytest.fixture(scope="module")
def wanted(songs):
    return extract([str(song) for song in songs])


class Tensor:
    """As PyTorch's: NumPy may have it after `detach` and `cpu` only."""

    def __init__(self, samples, steps=()):
        self._samples, self._steps, self.ndim = samples, steps, samples.ndim

    def detach(self):
        return Tensor(self._samples, (*self._steps, "detach"))

    def cpu(self):
        return Tensor(self._samples, (*self._steps, "cpu"))

    def __array__(self, dtype=None, copy=None):
        if self._steps != ("detach", "cpu"):
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return self._samples


def test_an_audio_file_in_memory(songs, wanted):
    data = songs[0].read_bytes()
    for given in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        np.testing.assert_allclose(extract(given), wanted[0], atol=1e-5)
    with open(songs[0], "rb") as file:
        np.testing.assert_allclose(extract(file), wanted[0], atol=1e-5)
    found = extract([io.BytesIO(data), songs[1], data] * 3)  # in decode processes
    np.testing.assert_allclose(found[3:6], wanted[[0, 1, 0]], atol=1e-5)


def test_audio_in_memory_that_is_none():
    with pytest.raises(AudioError, match="no known audio format") as caught:
        extract(b"nothing at all, but long enough to be looked at" * 3)
    assert caught.value.path is None
    with pytest.raises(AudioError, match="0 bytes") as caught:
        extract(io.BytesIO(b""))
    assert "seek(0)" in str(caught.value)
    with pytest.raises(TypeError, match="binary mode, 'rb'"):
        extract(io.StringIO("text"))


def test_a_bad_one_in_memory_costs_itself(songs, wanted):
    row = {"bytes": b"", "path": "cut.mp3"}
    with pytest.warns(UserWarning, match=r"cut\.mp3: a row of NaN, empty"):
        found = extract([row, songs[1]], on_error="nan")
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-5)


def test_rows_of_datasets(songs, samples):
    alone = extract(samples, RATE)
    rows = [
        {"array": samples, "sampling_rate": RATE, "path": None},
        {"array": samples.tolist(), "sampling_rate": RATE},
        (samples, RATE),
        (samples, np.int64(RATE)),
    ]
    for row in rows:
        np.testing.assert_array_equal(extract(row), alone)
    np.testing.assert_allclose(extract(rows), np.stack([alone] * 4), atol=1e-5)
    data = songs[1].read_bytes()
    rows = [{"bytes": data, "path": "a.wav"}, {"bytes": None, "path": str(songs[1])}]
    np.testing.assert_allclose(*extract(rows), atol=1e-5)
    with pytest.raises(ValueError, match="leave sample_rate out"):
        extract((samples, RATE), RATE)
    with pytest.raises(TypeError, match=r"\['audio'\]; allowed are \{'array'"):
        extract({"audio": data})


def test_tensors_leave_their_device_and_gradient(samples):
    np.testing.assert_array_equal(extract(Tensor(samples), RATE), extract(samples, RATE))


def test_iterables_and_arrays_of_paths(songs, wanted):
    pandas = pytest.importorskip("pandas")
    names = [str(song) for song in songs]
    for given in (
        np.array(names),
        np.array(songs, object),
        pandas.Series(names, index=[5, 6, 7]),
        pandas.Series(names, dtype="string"),
        (Path(name) for name in names),
        dict.fromkeys(names).keys(),
        songs[0].parent,
        str(songs[0].parent),
    ):
        np.testing.assert_allclose(extract(given), wanted, atol=1e-5)
    assert extract([]).shape == extract(x for x in ()).shape == (0, 256)


def test_folders_without_audio(tmp_path):
    with pytest.raises(AudioError, match="no audio in this folder"):
        extract(tmp_path)


def test_what_is_no_recording_is_quoted_briefly():
    for wrong in (7, None, ["a" * 10_000, None], [float("nan")], [[0.0] * 100_000]):
        with pytest.raises((TypeError, AudioError)) as caught:
            extract(wrong)
        assert len(str(caught.value)) < 600
    with pytest.raises(TypeError, match="audio is int 7; allowed are a path, an open binary"):
        extract(7)


def test_pairs_and_lists_are_told_apart(samples):
    assert several((samples, RATE)) is None
    assert several(("a.wav", "b.wav")) == ["a.wav", "b.wav"]
    assert several([samples]) is not None
    assert several(samples) is several(b"RIFF") is several({"path": "a"}) is None
    source = to_source({"bytes": b"RIFF", "path": "a.wav"}, None, WHOLE, "auto", None)
    assert source.path == "a.wav"
    assert "RIFF" not in repr(source)  # megabytes in a traceback


def test_times_of_segments(songs):
    extractor = Extractor()
    hop_s = extractor.front_end.segment_hop_s
    long = music(10.0, RATE, 1, seed=4)[:, 0]
    rows, times = extractor.extract(long, RATE, pool=None, return_times=True)
    assert times.dtype == np.float64
    np.testing.assert_allclose(times, hop_s * np.arange(len(rows)))
    rows, times = extractor.extract(long, RATE, pool=None, offset=2.5, return_times=True)
    np.testing.assert_allclose(times, 2.5 + hop_s * np.arange(len(rows)))
    rows, times = extractor.extract(songs[:2], pool=None, return_times=True)
    assert [len(r) for r in rows] == [len(t) for t in times] == [1, 1]
    for wrong in ({"pool": "mean"}, {"pool": None, "n_segments": 2}):
        with pytest.raises(ValueError, match="return_times needs pool=None"):
            extract(songs[0], return_times=True, **wrong)


def test_progress(songs, wanted, capsys):
    found = extract(songs, progress=True)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    told = capsys.readouterr().err
    assert "3/3" in told
    assert "x real time" in told
    extract(songs)
    assert "3/3" not in capsys.readouterr().err
