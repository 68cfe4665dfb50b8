"""Bad paths: rows 37 to 40 and 44 of the fault table, singly, in a list, by the command line."""

import os
import re
import socket
import stat
import time
from pathlib import Path

import numpy as np
import processes
import pytest
from conftest import music, read_audio
from fault_bytes import encode, good_files
from fault_drivers import as_list, by_command, single, statuses_by_command

from artist_features.audio.folders import search_folder
from artist_features.audio.stream import open_file
from artist_features.errors import AudioError, AudioWarning, shortened
from artist_features.extraction.extractor import Extractor


def _socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # an absolute path may be too long for a socket


def _deep(path):
    path.parent.joinpath("plain.txt").write_text("a file where a folder should be")


# id, function that makes something at a path, name, code, text
FAULTS = (
    ("row37-fifo", os.mkfifo, "x.mp3", "not_a_file", r"is a named pipe"),
    ("row38-folder", os.mkdir, "x.mp3", "not_a_file", r"is a folder"),
    ("row38-socket", _socket, "x.mp3", "not_a_file", r"is a socket"),
    ("row38-null-device", None, "/dev/null", "not_a_file", r"is a device"),
    ("row38-zero-device", None, "/dev/zero", "not_a_file", r"is a device"),
    (
        "row39-dangling",
        lambda path: path.symlink_to("gone.mp3"),
        "x.mp3",
        "not_found",
        r"no such file",
    ),
    (
        "row39-to-itself",
        lambda path: path.symlink_to(path.name),
        "x.mp3",
        "not_found",
        r"links lead in a circle",
    ),
    ("row39-missing", None, "x.mp3", "not_found", r"no such file"),
    ("row39-below-a-file", _deep, "plain.txt/x.mp3", "not_found", r"not a directory"),
    ("row39-name-too-long", None, "x" * 256 + ".mp3", "not_found", r"too long"),
    ("row39-link-to-fifo", None, "link.mp3", "not_a_file", r"is a named pipe"),
)
EVERY_ROW = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[0])


@pytest.fixture(scope="module")
def extractor(tiny_folder):
    return Extractor(tiny_folder, isolated=False)


@pytest.fixture(scope="module")
def good(tmp_path_factory, extractor):
    """A good file and its vector."""
    path = tmp_path_factory.mktemp("good") / "good.flac"
    path.write_bytes(good_files().flac)
    return str(path), extractor.extract(path)


def build(folder, fault):
    """Make one fault in a folder of its own; return its path."""
    folder = folder / fault[0]
    folder.mkdir()
    path = folder / fault[2]
    if fault[0] == "row39-link-to-fifo":
        os.mkfifo(folder / "fifo")
        path.symlink_to("fifo")
    elif fault[1]:
        fault[1](path if fault[1] is not _deep else path.parent)
    return str(path)


def check(fault, outcome, path):
    assert outcome.status == fault[3]
    assert outcome.vector is None
    assert outcome.message.startswith(shortened(path))
    assert re.search(fault[4], outcome.message)


@EVERY_ROW
def test_single(fault, extractor, tmp_path):
    path = build(tmp_path, fault)
    started = time.perf_counter()
    check(fault, single(extractor, path), path)
    assert time.perf_counter() - started < 1.0


def test_in_a_list(tiny_folder, good, tmp_path):
    paths = [build(tmp_path, fault) for fault in FAULTS]
    mixed = [good[0], *(p for path in paths for p in (path, good[0]))]
    outcomes = as_list(Extractor(tiny_folder, isolated=True, n_workers=1), mixed)
    for fault, path, outcome in zip(FAULTS, paths, outcomes[1::2], strict=True):
        check(fault, outcome, path)
    for outcome in outcomes[::2]:
        np.testing.assert_allclose(outcome.vector, good[1], atol=1e-6)


def test_by_command(tiny_folder, good, tmp_path):
    faults = [fault for fault in FAULTS if fault[0] != "row38-folder"]  # is searched instead
    paths = [build(tmp_path, fault) for fault in faults]
    code, outcomes = by_command([*paths, good[0]], tmp_path / "out.npz", tiny_folder)
    assert code == 1
    for fault, path, outcome in zip(faults, paths, outcomes, strict=False):
        check(fault, outcome, path)
    np.testing.assert_allclose(outcomes[-1].vector, good[1], atol=1e-6)


def test_row38_folder_without_audio_by_command(tiny_folder, tmp_path, capsys):
    folder = tmp_path / "x.mp3"
    folder.mkdir()
    assert by_command([str(folder)], tmp_path / "out.npz", tiny_folder) == (2, [])
    assert f"no audio under {folder}" in capsys.readouterr().err


def test_row39_walk_ends_and_takes_each_file_once(tiny_folder, good, tmp_path):
    library = tmp_path / "library"
    (library / "a").mkdir(parents=True)
    (library / "a" / "one.flac").write_bytes(good_files().flac)
    (library / "a" / "up").symlink_to(library)
    (library / "b").symlink_to(library / "a")
    (library / "two.flac").symlink_to(library / "a" / "one.flac")
    (library / "dangling.mp3").symlink_to("gone")
    (library / "self.mp3").symlink_to("self.mp3")
    found = [os.path.relpath(path, library) for path in search_folder(library)]
    assert found == ["dangling.mp3", "self.mp3", "a/one.flac"]
    out = tmp_path / "out.parquet"
    done = statuses_by_command([str(library)], out, tiny_folder)
    assert done == {
        b"a/one.flac": "ok",
        b"dangling.mp3": "not_found",
        b"self.mp3": "not_found",
    }


def test_row39_a_link_to_what_the_search_passes_over_is_taken(tmp_path):
    """A file in the trash is not found by itself: a link to it is the only way to it."""
    for number, name in enumerate((".Trash-1000/a.mp3", "a/@eaDir/b.mp3", "._c.mp3")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        (tmp_path / f"{number}.mp3").symlink_to(path)
    found = [Path(path).name for path in search_folder(tmp_path)]
    assert found == ["0.mp3", "1.mp3", "2.mp3"]


WITHOUT_RIGHTS = """
import os, sys
from artist_features.extraction.extractor import Extractor
from artist_features.errors import AudioError
model, good, *closed = sys.argv[1:]
extractor = Extractor(model, isolated=False)
extractor.extract(good)
if os.geteuid() == 0:  # nothing is closed to root
    os.seteuid(65534)
for name in closed:
    try:
        extractor.extract(name)
    except AudioError as error:
        print(error.code, error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX permissions")
def test_row40_no_permission(tiny_folder, good, tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IXGRP)
    closed_file, closed_folder = tmp_path / "mine.wav", tmp_path / "closed"
    closed_folder.mkdir()
    for path in (closed_file, closed_folder / "inside.wav"):
        path.write_bytes(good_files().wav)
    closed_file.chmod(0)
    closed_folder.chmod(0)
    closed = [str(closed_file), str(closed_folder / "inside.wav")]
    done = processes.run(WITHOUT_RIGHTS, tiny_folder, good[0], *closed)
    closed_folder.chmod(0o700)
    for path, line in zip(closed, done.stdout.splitlines(), strict=True):
        assert line.startswith(f"no_permission {path}: no permission to read")


def _truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def _append(path):
    with open(path, "ab") as file:
        file.write(bytes(100_000))


def _overwrite(path):
    os.utime(path, ns=(0, time.time_ns() + 10**9))


@pytest.fixture(scope="module")
def long_files():
    """20 s of music in several formats, as bytes; read in more than one block."""
    samples = np.tile(music(2.0), (10, 1))
    return {fmt: encode(samples, fmt.upper()) for fmt in ("wav", "flac", "ogg", "mp3")}


@pytest.mark.parametrize("change", [_truncate, _append, _overwrite])
@pytest.mark.parametrize("fmt", ["wav", "flac", "ogg", "mp3"])
def test_row44_changed_while_read(fmt, change, long_files, tmp_path):
    path = tmp_path / f"a.{fmt}"
    path.write_bytes(long_files[fmt])
    with open_file(path, target_rate=22050) as stream:
        blocks = iter(stream)
        next(blocks)
        change(path)
        with pytest.raises(AudioError, match=r"changed while|decoding failed") as caught:
            list(blocks)
    assert caught.value.code == "damaged"
    assert caught.value.path == path


@pytest.mark.parametrize("change", [Path.unlink, lambda path: os.replace(f"{path}.new", path)])
def test_row44_replaced_while_read_gives_what_was_opened(change, long_files, tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(long_files["flac"])
    (tmp_path / "a.flac.new").write_bytes(long_files["ogg"])
    whole, _ = read_audio(path)
    with open_file(path, target_rate=22050) as stream:
        blocks = iter(stream)
        parts = [next(blocks)]
        change(path)
        parts += blocks
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("isolated", [False, True])
def test_row44_deleted_after_listing(isolated, tiny_folder, good, tmp_path):
    extractor = Extractor(tiny_folder, isolated=isolated, n_workers=1)
    paths = [str(tmp_path / f"{n}.flac") for n in range(3)]
    for path in paths:
        Path(path).write_bytes(good_files().flac)
    os.unlink(paths[1])
    with pytest.warns(AudioWarning, match=rf"{paths[1]}: skipped, not_found: no such file"):
        vectors = extractor.extract(paths, on_error="skip")
    np.testing.assert_allclose(vectors, [good[1]] * 2, atol=1e-6)
