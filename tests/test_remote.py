"""URIs: what is one, what is fetched, what a failure is called, what is never told."""

import contextlib
import http.server
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from conftest import music, shard_rows, write_audio
from hypothesis import given
from hypothesis import strategies as st

from artist_features import extract
from artist_features.cli.main import main
from artist_features.errors import AudioError, OutputError, display_path, without_secrets
from artist_features.extraction import remote
from artist_features.extraction.decode import Source
from artist_features.extraction.extractor import Extractor
from artist_features.library import inputs
from artist_features.library.inputs import find_audio

fsspec = pytest.importorskip("fsspec", reason="the extra [remote] is not installed")
pytest.importorskip("aiohttp", reason="the extra [remote] is not installed")


class Server(http.server.SimpleHTTPRequestHandler):
    """A folder; and pages that are forbidden, broken off, never sent, or no audio."""

    def do_GET(self):
        name = self.path.partition("?")[0]
        if name == "/forbidden.mp3":
            self.send_error(403)
        elif name == "/fails.mp3":
            self.send_error(503)
        elif name == "/half.flac":
            self.send_response(200)
            self.send_header("Content-Length", "4000000")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"fLaC" + bytes(100_000))
                self.wfile.flush()
                self.connection.close()
        elif name == "/silent.mp3":
            self.server.released.wait(60)
        elif name == "/drip.mp3":
            self.send_response(200)
            self.end_headers()
            while self.command == "GET" and not self.server.released.wait(0.05):
                self.wfile.write(b"x" * 100)
                self.wfile.flush()
        elif name == "/page.mp3":
            self.send_response(200)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"<!DOCTYPE html><html><body>Please log in</body></html>")
        elif name == "/songs.zip" and "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            with open(self.translate_path(name), "rb") as file:
                file.seek(int(first))
                part = file.read(int(last) + 1 - int(first))
                total = file.seek(0, os.SEEK_END)
            self.send_response(206)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{total}")
            self.end_headers()
            self.wfile.write(part)
        elif self.command == "HEAD":
            super().do_HEAD()
        else:
            super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Three files: a.flac, b.wav, deep/c.flac, beside a text."""
    folder = tmp_path_factory.mktemp("songs")
    (folder / "deep").mkdir()
    for number, name in enumerate(("a.flac", "b.wav", "deep/c.flac")):
        write_audio(folder / name, music(seconds=4 + number, seed=number))
    (folder / "notes.txt").write_text("no music")
    return folder


@pytest.fixture(scope="module")
def server(songs):
    def handler(*args):
        return Server(*args, directory=str(songs))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.released = threading.Event()
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.released.set()
        server.shutdown()


@pytest.fixture
def memory(songs):
    store = fsspec.filesystem("memory")
    for name in ("a.flac", "b.wav", "deep/c.flac", "notes.txt"):
        store.pipe(f"/music/{name}", (songs / name).read_bytes())
    yield "memory://music"
    store.rm("/music", recursive=True)


@pytest.fixture
def archive(songs, tmp_path):
    path = tmp_path / "songs.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("a.flac", "b.wav", "deep/c.flac", "notes.txt"):
            file.write(songs / name, name)
    return path


@pytest.fixture(autouse=True)
def _no_copy_is_left(tmp_path, monkeypatch):
    folder = tmp_path / "copies"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.glob("artist-features-*"))


@pytest.mark.parametrize(
    "text",
    [
        *("s3://bucket/a.mp3", "gs://b/a b.mp3", "hf://datasets/o/d/a.flac", "HTTPS://host/a"),
        *("zip://a.mp3::/music/all.zip", "zip://a.mp3::https://host/all.zip", "memory://a"),
    ],
)
def test_uris(text):
    assert remote.is_uri(text)


@pytest.mark.parametrize(
    "text",
    [
        *("a.mp3", "/music/a.mp3", "C:\\music\\a.mp3", "C:/a.mp3", "C://a.mp3", "", "://a"),
        *("s3:/a", "Suite: No. 1.mp3", "10:15 to Nowhere.mp3", "what:ever?", "a::b.mp3"),
        *("./s3://bucket/a.mp3", b"s3://bucket/a.mp3", None, "my song://a.mp3"),
    ],
)
def test_no_uris(text):
    assert not remote.is_uri(text)


@given(st.text())
def test_a_text_without_a_scheme_is_never_a_uri(text):
    assert not remote.is_uri(text.replace("://", ":/"))
    assert not remote.is_uri("/" + text)
    assert not remote.is_uri("./" + text)


def test_a_file_of_that_name_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert remote.is_uri("memory://a.mp3")
    (tmp_path / "memory:").mkdir()
    (tmp_path / "memory:" / "a.mp3").touch()
    assert not remote.is_uri("memory://a.mp3")


@contextlib.contextmanager
def local_copy(uri: str, is_stopped: Callable[[], bool] = bool) -> Iterator[str]:
    with remote.fetched(Source(uri), is_stopped) as source:
        yield source.audio


@pytest.mark.parametrize("kind", ["http", "memory", "zip", "zip in http", "local"])
def test_a_copy_has_the_bytes_and_goes_away(kind, songs, server, memory, archive):
    if kind == "zip in http":
        shutil.copy(archive, songs / "songs.zip")
    uri = {
        "http": f"{server}/deep/c.flac",
        "memory": f"{memory}/deep/c.flac",
        "zip": f"zip://deep/c.flac::{archive}",
        "zip in http": f"zip://deep/c.flac::{server}/songs.zip",
        "local": f"local://{songs}/deep/c.flac",
    }[kind]
    with local_copy(uri) as path:
        assert os.stat(path).st_mode & 0o077 == 0
        with open(path, "rb") as file:
            assert file.read() == (songs / "deep" / "c.flac").read_bytes()
    assert not os.path.exists(path)
    with pytest.raises(ZeroDivisionError), local_copy(uri) as path:  # noqa: PT012
        assert os.path.exists(path)
        _ = 1 / 0
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("gone.mp3", "not_found", "no such object"),
        ("forbidden.mp3", "no_permission", "HTTP status 403"),
        ("fails.mp3", "unavailable", "HTTP status 503"),
        ("half.flac", "unavailable", "ClientPayloadError|of 4000000 bytes"),
    ],
)
def test_refusals_of_a_server_show_no_secrets(name: str, code: str, text: str, server: str) -> None:
    uri = server.replace("//", "//me:secret@") + f"/{name}?X-Amz-Signature=secret"
    with pytest.raises(AudioError, match=text) as caught, local_copy(uri):
        raise AssertionError
    assert (caught.value.code, caught.value.path) == (code, uri)
    assert "secret" not in str(caught.value)
    assert "secret" not in caught.value.message
    assert name in str(caught.value)


def test_a_server_that_says_nothing(server, monkeypatch):
    monkeypatch.setattr(remote, "_SILENCE_LIMIT_S", 0.3)
    with pytest.raises(AudioError, match="Timeout") as caught:
        local_copy(f"{server}/silent.mp3").__enter__()
    assert caught.value.code == "unavailable"


def test_a_server_that_drips_is_given_up(server, monkeypatch):
    monkeypatch.setattr(remote, "_SLOWEST_OVER_S", 0.5)
    monkeypatch.setattr(remote, "BLOCK_BYTES", 100)
    started = time.monotonic()
    with pytest.raises(AudioError, match=r"only \d+ bytes came in 1 s") as caught:
        local_copy(f"{server}/drip.mp3").__enter__()
    assert caught.value.code == "unavailable"
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("uri", "code", "text"),
    [
        ("http://127.0.0.1:9/a.mp3", "unavailable", "Connect"),
        ("nonsense://a.mp3", "unavailable", "nonsense"),
        ("memory://none/a.mp3", "not_found", "no such object"),
        ("zip://a.mp3::/nowhere/all.zip", "not_found", "no such object"),
        ("zip://none.mp3::{archive}", "not_found", "no such object"),
        ("zip://a.mp3::{notes}", "unavailable", "BadZipFile"),
        ("zip://a.mp3::{server}/deep/c.flac", "unavailable", "range requests"),
        ("local://{folder}", "not_a_file", "end the URI in '/'"),
    ],
)
def test_what_cannot_be_fetched(uri, code, text, archive, songs, server):
    notes = songs / "notes.txt"
    uri = uri.format(archive=archive, notes=notes, folder=songs, server=server)
    with pytest.raises(AudioError, match=text) as caught, local_copy(uri):
        raise AssertionError
    assert (caught.value.code, caught.value.path) == (code, uri)


def test_limits_of_a_copy(memory, monkeypatch):
    uri = f"{memory}/a.flac"
    with pytest.raises(AudioError, match="stopped"), local_copy(uri, lambda: True):
        raise AssertionError
    monkeypatch.setattr(remote, "MAX_BYTES", 1000)
    with pytest.raises(AudioError) as caught, local_copy(uri):
        raise AssertionError
    assert caught.value.code == "too_long"
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(OutputError, match="TMPDIR") as caught, local_copy(uri):
        raise AssertionError
    assert caught.value.code == "no_space"


def test_a_full_disk_ends_the_job(memory, tiny_folder, tmp_path, monkeypatch):
    """Every other recording would meet it, too: no row says that this one is at fault."""

    def full(**_):
        path = tmp_path / "copy"
        path.touch()
        return os.open("/dev/full", os.O_WRONLY), str(path)

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        extract([f"{memory}/a.flac"], model=tiny_folder, on_error="skip")
    assert caught.value.code == "no_space"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an open file keeps its name")
def test_a_copy_has_no_name_that_a_kill_could_leave(memory):
    with local_copy(f"{memory}/a.flac") as path:
        assert os.listdir(tempfile.gettempdir()) == []
        assert os.path.getsize(path) > 1000
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://me:secret@host/a.mp3", "https://***@host/a.mp3"),
        ("https://secret@host/a.mp3", "https://***@host/a.mp3"),
        ("ftp://me:sec@ret@host/a.mp3", "ftp://***@host/a.mp3"),
        ("https://h/a.mp3?X-Amz-Signature=secret&b=1", "https://h/a.mp3?***"),
        ("zip://a.mp3::https://h/all.zip?sig=secret", "zip://a.mp3::https://h/all.zip?***"),
        ("zip://a.mp3::https://u:secret@h/all.zip", "zip://a.mp3::https://***@h/all.zip"),
        ("403, url='https://h/a?sig=secret', no", "403, url='https://h/a?***', no"),
        ("hf://owner/data@main/a.mp3", "hf://owner/data@main/a.mp3"),
        ("/music/What? Why@home: a.mp3", "/music/What? Why@home: a.mp3"),
    ],
)
def test_secrets_are_not_shown(given, shown):
    assert without_secrets(given) == shown
    assert display_path(given) == shown


def test_the_words_of_a_store_are_told_without_secrets() -> None:
    error = OSError("url='https://me:secret@h/a.mp3?sig=secret'")
    assert "secret" not in remote.failure("s3://bucket/a.mp3", error).message


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("{memory}/", ["a.flac", "b.wav", "deep/c.flac"]),
        ("{memory}/*.flac", ["a.flac"]),
        ("{memory}/**/*.flac", ["a.flac", "deep/c.flac"]),
        ("{memory}/*", ["a.flac", "b.wav"]),
        ("{memory}/deep/", ["deep/c.flac"]),
    ],
)
def test_folders_and_patterns_of_a_store(pattern, found, memory, tmp_path):
    pattern = pattern.format(memory=memory)
    listing = tmp_path / "list.txt"
    listing.write_text(f"{pattern}\n")
    for argument in (pattern, f"@{listing}"):
        assert list(find_audio([argument])) == [f"{memory}/{name}" for name in found]


def test_folders_in_archives_and_on_servers(archive, server):
    found = ["a.flac", "b.wav", "deep/c.flac"]
    assert list(find_audio([f"zip://::{archive}"])) == [f"zip://{n}::{archive}" for n in found]
    assert list(find_audio([f"zip://deep/::{archive}"])) == [f"zip://deep/c.flac::{archive}"]
    assert list(find_audio([f"{server}/"])) == [f"{server}/{name}" for name in found]
    (error,) = find_audio([f"{server}/gone/"])
    assert (error.code, error.path) == ("not_found", f"{server}/gone/")
    (error,) = find_audio(["nonsense://a/"])
    assert error.code == "unavailable"


def test_uris_have_no_stamp(memory):
    assert inputs.stamp_of(f"{memory}/a.flac") == inputs.NO_FILE


@pytest.mark.parametrize("isolated", [False, True])
def test_a_uri_gives_what_its_file_gives(isolated, songs, memory, server, archive, tiny_folder):
    extractor = Extractor(tiny_folder, isolated=isolated, n_workers=2)
    uris = [f"{memory}/a.flac", f"{server}/b.wav", f"zip://deep/c.flac::{archive}"]
    paths = [str(songs / name) for name in ("a.flac", "b.wav", "deep/c.flac")]
    mine, theirs = extractor.extract(uris), extractor.extract(paths)
    np.testing.assert_allclose(mine, theirs, atol=1e-6)
    with pytest.raises(AudioError, match=r"page\.mp3: ") as caught:
        extractor.extract(f"{server}/page.mp3")
    assert (caught.value.code, caught.value.path) == ("unsupported", f"{server}/page.mp3")


def test_a_job_over_uris(songs, memory, server, archive, tiny_folder, tmp_path, capsys):
    secret = server.replace("//", "//me:secret@") + "/forbidden.mp3"
    uris = [f"{memory}/", f"{server}/gone.mp3", secret, f"{server}/page.mp3", "nonsense://a"]
    uris += [f"zip://b.wav::{archive}", str(songs / "a.flac")]
    out, report = tmp_path / "out", tmp_path / "report.json"
    words = ["extract", *uris, "-o", str(out), "--model", str(tiny_folder), "--content-hash"]
    assert main([*words, "--report", str(report)]) == 1
    assert json.loads(report.read_text())["seconds"]["fetch"] > 0.001
    said = capsys.readouterr().err
    assert "secret" not in said
    assert "//***@127" in said
    rows = shard_rows(out)
    found = {row["path"]: row["status"] for row in rows}
    assert found == {
        **dict.fromkeys([f"{memory}/{n}" for n in ("a.flac", "b.wav", "deep/c.flac")], "ok"),
        **dict.fromkeys(uris[-2:], "ok"),
        f"{server}/gone.mp3": "not_found",
        secret: "no_permission",
        f"{server}/page.mp3": "unsupported",
        "nonsense://a": "unavailable",
    }
    by_name = {row["path"]: row for row in rows}
    pair = by_name[f"{memory}/a.flac"], by_name[str(songs / "a.flac")]
    assert pair[0]["content_sha256"] == pair[1]["content_sha256"] != ""
    assert main(words) == 1
    assert "9 already there (4 of them failed)" in capsys.readouterr().err


def test_missing_packages_are_told_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    def missing(name):
        raise ImportError("Install s3fs to access S3")

    remote._require_scheme.cache_clear()
    monkeypatch.setattr("fsspec.get_filesystem_class", missing)
    words = ["extract", "s3://bucket/a.mp3", "-o", str(tmp_path / "out.npz")]
    assert main(words) == 2
    assert "s3:// needs another package (Install s3fs" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert main(words) == 2
    assert "pip install 'artist-features[remote]'" in capsys.readouterr().err
    with pytest.raises(ImportError, match="needs fsspec"):
        Extractor().extract("s3://bucket/a.mp3")
    assert not (tmp_path / "out.npz").exists()
