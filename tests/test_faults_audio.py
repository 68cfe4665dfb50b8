"""Bad bytes: rows 1 to 36 of the fault table, one by one, in a list, by the command line."""

import ctypes
import os
import re
import socket
import sys
import time

import numpy as np
import pytest
from conftest import VICTIM_RATE, music, write_audio
from fault_bytes import good_files, wav
from fault_drivers import as_list, by_command, single
from fault_table import FAULTS, FLAWS

from artist_features.errors import AudioError
from artist_features.extraction.extractor import Extractor

EVERY_ROW = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)


@pytest.fixture(scope="module")
def extractor(tiny_folder):
    return Extractor(tiny_folder, isolated=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Path of each fault by its id, and of each good file by its format."""
    folder, good = tmp_path_factory.mktemp("faults"), good_files()
    contents = {fault.id: (fault.suffix, fault.make(good)) for fault in FAULTS}
    contents |= {fmt: (f".{fmt}", data) for fmt, data in vars(good).items()}
    for name, (suffix, data) in contents.items():
        (folder / f"{name}{suffix}").write_bytes(data)
    return {name: str(folder / f"{name}{suffix}") for name, (suffix, _) in contents.items()}


@pytest.fixture(scope="module")
def good_vectors(extractor, files):
    return {fmt: extractor.extract(files[fmt]) for fmt in vars(good_files())}


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory, extractor):
    """Three good files with different vectors, which will stand between the bad ones."""
    folder = tmp_path_factory.mktemp("neighbours")
    paths = [str(folder / f"good {n}.wav") for n in range(3)]
    for n, path in enumerate(paths):
        with open(path, "wb") as file:
            file.write(wav((music(4.0, seed=n)[:, 0] * 32767).astype("<i2").tobytes()))
    vectors = [extractor.extract(path) for path in paths]
    assert np.ptp(vectors, axis=0).max() > 0.01
    return paths, vectors


def interleave(neighbours, files):
    """Return [good, bad, good, bad, ..., good] for all faults."""
    paths = []
    for n, fault in enumerate(FAULTS):
        paths += [neighbours[0][n % 3], files[fault.id]]
    return [*paths, neighbours[0][len(FAULTS) % 3]]


@pytest.fixture(scope="module")
def list_outcomes(tiny_folder, neighbours, files):
    """Outcomes of all faults in one list, decoded in processes, good files between."""
    extractor = Extractor(tiny_folder, isolated=True, n_workers=2, batch_size=7)
    return as_list(extractor, interleave(neighbours, files))


@pytest.fixture(scope="module")
def command_outcomes(tiny_folder, neighbours, files, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "all.npz"
    return by_command(interleave(neighbours, files), out, tiny_folder)


def check(fault, outcome, path, good_vectors):
    assert outcome.status in fault.statuses, outcome.message
    assert (outcome.vector is not None) == (outcome.status in ("ok", *FLAWS))
    if outcome.status != "ok":
        assert outcome.message.startswith(path)
    for text in fault.texts:
        assert re.search(text, outcome.message)
    if fault.like:
        np.testing.assert_allclose(outcome.vector, good_vectors[fault.like], atol=1e-5)


def check_neighbours(index, outcomes, neighbours):
    for beside in (index - 1, index + 1):
        assert outcomes[beside].status == "ok"
        expected = neighbours[1][beside // 2 % 3]
        np.testing.assert_allclose(outcomes[beside].vector, expected, atol=1e-6)


@EVERY_ROW
def test_single(fault, extractor, files, good_vectors):
    check(fault, single(extractor, files[fault.id]), files[fault.id], good_vectors)


@EVERY_ROW
def test_in_a_list(fault, list_outcomes, files, good_vectors, neighbours):
    index = 2 * FAULTS.index(fault) + 1
    check(fault, list_outcomes[index], files[fault.id], good_vectors)
    check_neighbours(index, list_outcomes, neighbours)


@EVERY_ROW
def test_by_command(fault, command_outcomes, files, good_vectors, neighbours):
    code, outcomes = command_outcomes
    assert code == 1
    index = 2 * FAULTS.index(fault) + 1
    check(fault, outcomes[index], files[fault.id], good_vectors)
    check_neighbours(index, outcomes, neighbours)


def test_table_is_complete():
    elsewhere = {29, 30, 36}  # below, or in test_faults_memory.py
    assert {fault.row for fault in FAULTS} | elsewhere == set(range(1, 37))


def test_row22_impossible_rate_is_refused_at_once(extractor, files):
    started = time.perf_counter()
    for rate in (0, 1, 2**32 - 1):
        assert single(extractor, files[f"row22-rate-{rate}"]).status == "out_of_range"
    assert time.perf_counter() - started < 1.0  # three model-free calls of under 0.1 s, and slack


def test_row28_edges_of_one_segment(extractor, files):
    def segments(n_samples):
        return len(extractor.extract(files[f"row28-{n_samples}-samples"], pool=None))

    assert [segments(n) for n in (65536, 66559, 66560, 66561)] == [1, 1, 1, 1]


def test_row32_m4a_without_fallback_names_the_extra(extractor, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"MP4/AAC needs .*artist-features\[av\]") as caught:
        extractor.extract(files["row32-m4a-as-mp3"])
    assert caught.value.code == "unsupported"


class OpenedFiles:
    """Names of files in a folder that anything in this process opens, also in C (Linux)."""

    _IN_OPEN = 0x20

    def __init__(self, folder):
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._fd, os.fsencode(folder), self._IN_OPEN) > 0

    def names(self):
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return set()
        names, at = set(), 0
        while at < len(data):
            length = int.from_bytes(data[at + 12 : at + 16], sys.byteorder)
            names.add(os.fsdecode(data[at + 16 : at + 16 + length].rstrip(b"\0")))
            at += 16 + length
        return names - {""}

    def close(self):
        os.close(self._fd)


@pytest.fixture
def listener():
    """A local port that counts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server


PLAYLISTS = {
    "m3u": "#EXTM3U\n#EXTINF:8,x\n{secret}\nhttp://127.0.0.1:{port}/x.mp3\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\nfile://{secret}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{secret}'\n",
    "pls": "[playlist]\nFile1={secret}\nNumberOfEntries=1\n",
    "xspf": "<?xml version='1.0'?><playlist><location>{secret}</location></playlist>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio {port} RTP/AVP 14\n",
    "dash": "<MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>",
}


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is of Linux")
@pytest.mark.parametrize("decoder", ["auto", "soundfile", "av"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_row35_playlist_opens_no_other_file(
    kind, decoder, tiny_folder, tmp_path, listener, request
):
    folder, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    secret = elsewhere / "secret.mp3"
    secret.write_bytes(good_files().mp3)
    text = PLAYLISTS[kind].format(secret=secret, port=listener.getsockname()[1])
    (folder / "list.mp3").write_text(text)
    here, there = OpenedFiles(folder), OpenedFiles(elsewhere)
    request.addfinalizer(here.close)
    request.addfinalizer(there.close)
    outcome = single(Extractor(tiny_folder, decoder=decoder), str(folder / "list.mp3"))
    assert outcome.status == "unsupported"
    assert here.names() == {"list.mp3"}
    assert there.names() == set()
    with pytest.raises(TimeoutError):
        listener.accept()
    secret.read_bytes()
    assert there.names() == {"secret.mp3"}  # the watch would have seen it


def test_row36_crash_of_the_decoder_costs_that_file_alone(
    tiny_folder, neighbours, tmp_path, sabotage
):
    sabotage("ctypes.string_at(0)")
    bad = write_audio(tmp_path / "crash.wav", music(4.0, VICTIM_RATE), VICTIM_RATE)
    extractor = Extractor(tiny_folder, isolated=True, n_workers=1)
    paths, vectors = neighbours
    outcomes = as_list(extractor, [paths[0], str(bad), paths[1], paths[2]])
    assert [outcome.status for outcome in outcomes] == ["ok", "crashed", "ok", "ok"]
    assert "signal 11 (SIGSEGV)" in outcomes[1].message
    for outcome, expected in zip([outcomes[0], *outcomes[2:]], vectors, strict=True):
        np.testing.assert_allclose(outcome.vector, expected, atol=1e-6)
    outcome = single(extractor, str(bad))
    assert outcome.status == "crashed"
