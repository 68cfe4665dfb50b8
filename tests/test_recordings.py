"""What `extract` takes besides paths: audio in memory, tensors, rows of data sets, folders."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import music, write_audio

from artist_features import AudioError, Extractor, extract
from artist_features.audio.decoders import Span
from artist_features.extraction.recordings import recordings_in, to_source

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
    many = [item for _ in range(3) for item in (io.BytesIO(data), songs[1], data)]
    found = extract(many)  # in decode processes
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


class Decoded:
    """As torchcodec's `AudioDecoder`, which `datasets` gives."""

    def __init__(self, samples):
        self.data, self.sample_rate = Tensor(samples.T), RATE

    def get_all_samples(self):
        return self

    def __getitem__(self, name):
        raise AssertionError("not a sequence")


def test_decoders_of_torchcodec(samples):
    stereo = np.stack([samples, 0.5 * samples], axis=1)
    wanted = extract(stereo, RATE)
    np.testing.assert_array_equal(extract(Decoded(stereo)), wanted)
    np.testing.assert_allclose(extract([Decoded(stereo)] * 2), [wanted] * 2, atol=1e-5)


def test_a_text_file_and_a_name_in_bytes_are_told(songs):
    with open(songs[0]) as file, pytest.raises(TypeError, match="binary mode, 'rb'"):
        extract(file)
    with pytest.raises(TypeError, match=r"which name a file; .* Decode a name by os\.fsdecode"):
        extract(bytes(songs[0]))


def test_an_iterable_is_taken_one_by_one(songs):
    n_open = most = 0

    class Opened(io.BytesIO):
        def __init__(self, path):
            nonlocal n_open, most
            super().__init__(path.read_bytes())
            n_open += 1
            most = max(most, n_open)

        def read(self, *n):
            nonlocal n_open
            n_open -= 1
            return super().read(*n)

    found = extract(Opened(songs[n % 3]) for n in range(40))
    assert found.shape == (40, 256)
    assert most == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux' /proc")
def test_an_error_that_is_kept_holds_no_process(songs, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    extract(songs * 10)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(AudioError) as kept:
        extract([tmp_path / "bad.wav", *songs * 10])
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()
    assert kept.value.code == "empty"
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    for child in children.split():
        assert "worker" not in Path(f"/proc/{child}/cmdline").read_text()


def test_a_folder_that_cannot_be_searched_is_left_out(songs, wanted, monkeypatch):
    error = AudioError("no_permission", "folder cannot be searched.", "x")
    found = [str(songs[0]), error, str(songs[1])]
    monkeypatch.setattr("artist_features.extraction.recordings.search_folder", lambda _: found)
    with pytest.warns(UserWarning, match="x: folder cannot be searched"):
        rows = extract(songs[0].parent, on_error="skip")
    np.testing.assert_allclose(rows, wanted[:2], atol=1e-5)
    with pytest.raises(AudioError, match="x: folder cannot be searched"):
        extract(songs[0].parent)


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
        (samples.tolist(), RATE),
        (samples, np.int64(RATE)),
    ]
    for row in rows:
        np.testing.assert_array_equal(extract(row), alone)
    np.testing.assert_allclose(extract(rows), np.stack([alone] * 5), atol=1e-5)
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
    with pytest.raises(AudioError, match="is a folder without audio"):
        extract(tmp_path)


def test_what_is_no_recording_is_quoted_briefly():
    long, samples = "a" * 100_000, np.zeros(9, np.float32)
    calls = [
        lambda: extract(7),
        lambda: extract([None]),
        lambda: extract([float("nan")]),
        lambda: extract([[0.0] * 100_000]),
        lambda: extract(long),
        lambda: extract([long]),
        lambda: extract({long: 1}),
        lambda: extract(samples, [0] * 100_000),
        lambda: extract((samples, 8000), [0] * 100_000),
        lambda: extract(samples, 8000, pool=long),
        lambda: extract(samples, 8000, on_error=long),
        lambda: extract(samples, 8000, decoder=long),
        lambda: extract(samples, 8000, n_segments=[0] * 100_000),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError, AudioError)) as caught:
            call()
        assert len(str(caught.value)) < 500, str(caught.value)[:300]
    with pytest.raises(TypeError, match="audio is int 7; allowed are a path, an open binary"):
        extract(7)
    with pytest.raises(TypeError, match="recording 2: audio is NoneType"):
        extract([samples, samples, None], 8000)


def test_pairs_and_lists_are_told_apart(samples):
    for one in (samples, (samples, RATE), b"RIFF", {"path": "a"}, "a.wav", io.BytesIO()):
        assert recordings_in(one) is None
    for several in (("a.wav", "b.wav"), [samples], [(samples, RATE)], {"a.wav"}):
        assert recordings_in(several) is several
    source = to_source({"bytes": b"RIFF", "path": "a.wav"}, None)
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


class ShortReads(io.RawIOBase):
    """A file whose `read` gives 1,000 bytes at most, as that of a socket."""

    def __init__(self, data):
        self._data = io.BytesIO(data)

    def read(self, n=-1):
        return self._data.read(1000)


def test_short_reads_are_read_to_the_end():
    data = bytes(range(256)) * 50
    assert to_source(ShortReads(data), None).audio.data == data


@pytest.mark.parametrize(
    "audio", [{"bytes": 10**9}, {"bytes": "abc"}, {"path": ["a.mp3", "b.mp3"]}, {"path": 5}]
)
def test_a_row_of_datasets_holds_one_recording(audio):
    with pytest.raises(TypeError, match="allowed is one recording"):
        to_source(audio, None)


def test_huge_numbers_are_not_quoted_whole():
    samples = np.zeros(22050, np.float32)
    for build in (
        lambda: Span(0.0, 10**400),
        lambda: to_source(samples, 10**400),
        lambda: to_source(samples, 10**5000),
        lambda: to_source(10**5000, None),
        lambda: Span(10**5000),
        lambda: Span("9" * 9999),
        lambda: Span(0.0, "9" * 9999),
    ):
        with pytest.raises((TypeError, ValueError)) as error:
            build()
        assert len(str(error.value)) < 400
        assert "4300" not in str(error.value)


class Broken(io.RawIOBase):
    """An open file on a disk that fails."""

    def read(self, n=-1):
        raise OSError(5, "Input/output error")


def test_an_open_file_that_fails_costs_itself_alone(songs):
    with pytest.warns(UserWarning, match="recording 1: an open file cannot be read"):
        rows = extract([songs[0], Broken(), songs[1]], on_error="nan")
    np.testing.assert_allclose(rows[[0, 2]], extract(songs[:2]), atol=1e-6)
    assert np.isnan(rows[1]).all()
    with pytest.raises(AudioError, match="Input/output error") as error:
        extract([songs[0], Broken()])
    assert error.value.code == "unavailable"
