"""Odd names, duplicates and lists of paths: rows 41 to 43 and 45 of the fault table."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from fault_bytes import good_files
from fault_drivers import by_command, statuses_by_command

from artist_features.cli.main import main
from artist_features.datasets.manifest import read_manifest
from artist_features.errors import AudioError, ManifestError, display_path
from artist_features.extraction.extractor import Extractor


@pytest.fixture(scope="module")
def extractor(tiny_folder):
    return Extractor(tiny_folder, isolated=False)


ODD_NAMES = [
    b"caf\xe9.flac",  # row 41: not UTF-8
    b"\xff\xfe.flac",
    b"\xed\xa0\x80.flac",  # a surrogate, encoded
    b"new\nline.flac",
    b"tab\tand\rreturn.flac",
    b"quote'\"`.flac",
    b"%s %d {}.flac",
    b"-rf.flac",
    b"*.flac",
    b"[a-z]?.flac",
    b"$(id).flac",
    b" leading and trailing .flac",
    b"back\\slash.flac",
    b"a,b;c|d&e.flac",
    b"@list.flac",
    b"#1.flac",
    b"http:..x.flac",
    unicodedata.normalize("NFC", "Ångström").encode() + b".flac",
    unicodedata.normalize("NFD", "Ångström").encode() + b".flac",
    "音楽🎵‮.flac".encode(),
    b"n" * 250 + b".flac",
]


@pytest.fixture
def odd_library(tmp_path):
    folder = os.fsencode(tmp_path / "odd")
    os.mkdir(folder)
    for n, name in enumerate(ODD_NAMES):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(good_files().flac if n % 2 else good_files().wav)
    return folder


@pytest.fixture(scope="module")
def odd_vectors(extractor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    (folder / "0").write_bytes(good_files().wav)
    (folder / "1").write_bytes(good_files().flac)
    return [extractor.extract(folder / str(n % 2)) for n in range(len(ODD_NAMES))]


@pytest.mark.parametrize("kind", [os.fsdecode, lambda path: Path(os.fsdecode(path))])
@pytest.mark.parametrize("isolated", [False, True])
def test_rows41_42_odd_names(kind, isolated, tiny_folder, odd_library, odd_vectors):
    paths = [kind(os.path.join(odd_library, name)) for name in ODD_NAMES]
    vectors = Extractor(tiny_folder, isolated=isolated).extract(paths)
    np.testing.assert_allclose(vectors, odd_vectors, atol=1e-5)


def test_rows41_42_names_survive_in_npz(tiny_folder, odd_library, odd_vectors, tmp_path):
    paths = [os.fsdecode(os.path.join(odd_library, name)) for name in ODD_NAMES]
    code, outcomes = by_command(paths, tmp_path / "odd.npz", tiny_folder)
    assert code == 0
    np.testing.assert_allclose([o.vector for o in outcomes], odd_vectors, atol=1e-5)


@pytest.mark.parametrize("out", ["odd.parquet", "shards"])
def test_rows41_42_names_survive_in_parquet(out, tiny_folder, odd_library, tmp_path):
    statuses = statuses_by_command([os.fsdecode(odd_library)], tmp_path / out, tiny_folder)
    assert statuses == dict.fromkeys(ODD_NAMES, "ok")


def test_rows41_42_message_about_an_odd_name_is_one_printable_line(extractor, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9\n\x1b[31m.mp3")
    with open(path, "wb"):
        pass
    with pytest.raises(AudioError, match=r"caf\\(udc|x)e9\\n\\x1b\[31m\.mp3: 0 bytes") as caught:
        extractor.extract(os.fsdecode(path))
    assert str(caught.value).isprintable()
    assert display_path(path) in str(caught.value)


def test_row42_current_folder_and_dash(tiny_folder, odd_library, tmp_path, monkeypatch):
    monkeypatch.chdir(os.fsdecode(odd_library))
    code, outcomes = by_command(
        ["-rf.flac", "*.flac", "@list.flac"], tmp_path / "o.npz", tiny_folder
    )
    assert code == 0
    assert [outcome.status for outcome in outcomes] == ["ok"] * 3


def test_row43_duplicates(tiny_folder, tmp_path, monkeypatch):
    (tmp_path / "a.flac").write_bytes(good_files().flac)
    os.link(tmp_path / "a.flac", tmp_path / "b.flac")
    (tmp_path / "c.flac").symlink_to("a.flac")
    monkeypatch.chdir(tmp_path)
    paths = ["a.flac", "a.flac", "./a.flac", str(tmp_path / "a.flac"), "b.flac", "c.flac"]
    vectors = Extractor(tiny_folder, isolated=True).extract(paths)
    assert vectors.shape[0] == len(paths)
    np.testing.assert_allclose(vectors, vectors[[0] * len(paths)], atol=1e-6)
    assert main(["extract", *paths, "-o", "out.npz", "--model", str(tiny_folder)]) == 0
    with np.load("out.npz") as table:  # a link has no row of its own, another name of a file has
        assert table["name"].tolist() == ["a.flac", "b.flac"]
        np.testing.assert_allclose(table["embedding"], vectors[[0, 4]], atol=1e-6)


def test_row45_list_of_paths(tiny_folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "ü 1.flac").write_bytes(good_files().flac)
    (tmp_path / "2.flac").write_bytes(good_files().flac)
    lines = ["\ufeffü 1.flac", "", str(tmp_path / "2.flac"), "  ", "missing.flac", ""]
    (tmp_path / "list.txt").write_bytes("\r\n".join(lines).encode())
    monkeypatch.chdir(tmp_path)
    statuses = statuses_by_command(["@list.txt"], tmp_path / "out.parquet", tiny_folder)
    assert statuses == {
        "ü 1.flac".encode(): "ok",
        b"2.flac": "ok",
        b"missing.flac": "not_found",
    }
    (tmp_path / "bad.txt").write_bytes(b"2.flac\nzero\0byte.flac\n")
    assert by_command(["@bad.txt"], tmp_path / "bad.npz", tiny_folder) == (2, [])
    assert "bad.txt line 2: zero byte in a path" in capsys.readouterr().err
    assert by_command(["@none.txt"], tmp_path / "none.npz", tiny_folder) == (2, [])
    assert "none.txt: list cannot be read (No such file" in capsys.readouterr().err


def test_a_manifest_of_excel_is_told_its_separator(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("file;artist;title\na.wav;A;T\n")
    with pytest.raises(ManifestError, match="separated by ';'; commas are needed"):
        read_manifest(path)
