"""The demo as strangers meet it: a real server on loopback, hostile requests, a browser."""

import contextlib
import csv
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import music, write_audio
from map_data import open_browser, wait_for

pytest.importorskip("gradio", reason="no gradio")
SPACE = Path(__file__).resolve().parents[1] / "examples" / "space"
pytestmark = pytest.mark.slow
TITLES = [
    "<script>window.ran = 1</script>",
    "\u202eesrever",
    "$x$ **b**",
    '"><img src=x onerror=ran=1>',
]
LIMITS = {
    "upload_bytes": 2_000_000,
    "patience_s": 3.0,
    "patience_bytes": 20_000,
    "n_uploads": 4,
    "n_waiting": 2,
    "retry_after_s": 7,
}
BOUNDARY = "b" * 20
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The demo's modules can be imported, as beside app.py."""
    sys.path.insert(0, str(SPACE))
    yield
    sys.path.remove(str(SPACE))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What prepare.py makes of six tracks; the last two may not be cut into previews."""
    import prepare

    folder = tmp_path_factory.mktemp("music")
    rows = [["file", "artist", "title", "licence", "source"]]
    for number in range(6):
        write_audio(folder / f"{number}.ogg", music(3.2, 22050, 1, seed=number), 22050)
        title = TITLES[number] if number < len(TITLES) else f"song {number}"
        licence = ["CC0-1.0", "CC-BY-SA-4.0", "CC0", "CC-BY-3.0", "CC-BY-ND-4.0", ""][number]
        rows.append([f"{number}.ogg", ["Ann", "<b>Bob"][number % 2], title, licence, "a:b"])
    with open(folder / "m.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    assert prepare.main([str(folder / "m.csv"), str(folder / "data")]) == 0
    return folder / "data"


class Server:
    """app.py in a process of its own, and raw requests to it."""

    def __init__(self, folder, data, **more):
        self.uploads = folder / "uploads"
        self.uploads.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        environment = {
            **os.environ,
            "SPACE_DATA": str(data),
            "SPACE_LIMITS": json.dumps(LIMITS),
            "GRADIO_SERVER_PORT": str(self.port),
            "GRADIO_TEMP_DIR": str(self.uploads),
            "PYTHONPATH": os.pathsep.join(
                [str(SPACE.parents[1]), os.environ.get("PYTHONPATH", "")]
            ),
        }
        for name in ("GRADIO_SERVER_NAME", "SPACE_ID"):
            environment.pop(name, None)
        self.log = open(folder / "log", "w+b")  # noqa: SIM115 - closed in `stop`
        self.process = subprocess.Popen(
            [sys.executable, str(SPACE / "app.py")],
            env=environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        wait_for(self._answers, "the server", 120)

    def _answers(self):
        assert self.process.poll() is None, Path(self.log.name).read_text()
        with contextlib.suppress(OSError):
            return self.get("/health")[0] == 200

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def get(self, path):
        return self.request("GET", path)

    def upload(self, body, content_type=TYPE):
        headers = {"Content-Type": content_type}
        with contextlib.suppress(ConnectionResetError):
            return self.request("POST", "/gradio_api/upload", body, headers)
        # refused before all was sent: where the machine is busy, the answer may be lost on the way
        return self.request("POST", "/gradio_api/upload", body, headers)

    def join(self, path, **more):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}, **more}
        body = {"data": [file], "fn_index": 0, "session_hash": "s"}
        return self.request(
            "POST", "/gradio_api/queue/join", json.dumps(body), {"Content-Type": "application/json"}
        )

    def stored(self):
        return [path for path in self.uploads.rglob("*") if path.is_file()]

    def held(self):
        """Return the open files among the uploads, those without a name, too."""
        names = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                names.append(os.readlink(link))
        return [name for name in names if name.startswith(str(self.uploads))]

    def rss_mb(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


@pytest.fixture(scope="module")
def server(data, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), data)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request):
    """No test leaves a nameless or half file: what is stored is whole and named by us."""
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        assert server.process.poll() is None
        assert {path.stem for path in server.stored()} <= {"clip"}
        wait_for(lambda: not server.held(), "temporary files to go", 5)


def form(data=b"x", name="a.wav", extra=b""):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
    return head.encode() + extra + b"\r\n" + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def head(more=f"Content-Type: {TYPE}\r\n", path="/gradio_api/upload"):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}".encode()


def status_of(connection, deadline_s=20):
    """Read an answer's status line; 0 if the other side has closed without one."""
    connection.settimeout(deadline_s)
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while b"\r\n\r\n" not in data and (block := connection.recv(65536)):
            data += block
    return int(data.split()[1]) if data else 0


def test_an_announced_gigabyte_is_refused_before_it_is_sent(server):
    for path in ("/gradio_api/upload", "/gradio_api/queue/join"):
        with server.connect() as connection:
            more = f"Content-Type: {TYPE}\r\nContent-Length: 1000000000\r\n\r\n"
            connection.sendall(head(more, path))
            assert status_of(connection, 1) == 413


@pytest.mark.parametrize("block", [b"x" * 65536, None])
def test_without_a_length_the_limit_holds(server, block):
    """None: a body that announces little and sends much."""
    with server.connect() as connection:
        framing = "Transfer-Encoding: chunked" if block else "Content-Length: 500"
        connection.sendall(head(f"Content-Type: {TYPE}\r\n{framing}\r\n\r\n"))
        start = form(b"")[: -len(BOUNDARY) - 8]
        n_sent = 0
        with contextlib.suppress(OSError):  # it stops reading
            while n_sent < 20_000_000:
                data = start + (block or b"x" * 65536)
                framed = f"{len(data):x}\r\n".encode() + data + b"\r\n" if block else data
                connection.sendall(framed)
                start, n_sent = b"", n_sent + len(data)
        assert status_of(connection) == (413 if block else 400)
        assert n_sent < 20_000_000
    assert server.get("/health")[0] == 200


def test_slow_senders_are_let_go(server):
    started = time.monotonic()
    with server.connect() as of_headers, server.connect() as of_a_body:
        of_headers.sendall(head()[:30])
        of_a_body.sendall(head(f"Content-Type: {TYPE}\r\nContent-Length: 1000\r\n\r\n"))
        of_a_body.setblocking(False)
        answered, rest = b"", form(b"x" * 500)
        while not answered and time.monotonic() < started + 20:
            with contextlib.suppress(OSError):
                of_a_body.send(rest[:1])
                rest = rest[1:]
            with contextlib.suppress(BlockingIOError):
                answered = of_a_body.recv(100)
            time.sleep(0.2)
        assert answered.startswith(b"HTTP/1.1 408 ")
        assert 2 < time.monotonic() - started < 15
        assert status_of(of_headers) == 408


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ("", "GET /health HTTP/1.1\r\nHost"),
        ("", "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost"),
        ("Content-Length: 1000\r\n", "x"),
    ],
    ids=["headers", "headers of a third", "body of an answered one"],
)
def test_half_of_a_later_request_is_not_held(server, first, rest):
    with server.connect() as connection:
        connection.sendall(f"GET /health HTTP/1.1\r\nHost: x\r\n{first}\r\n".encode())
        data = b""
        while b'"ok"' not in data:
            data += connection.recv(65536)
        assert data.startswith(b"HTTP/1.1 200 ")
        started = time.monotonic()
        connection.sendall(rest.encode())
        connection.settimeout(15)
        answer = b""
        while block := connection.recv(65536):  # until it is closed
            answer += block
        assert b"HTTP/1.1 408 " in answer
        assert answer.endswith(b"The request did not come whole")
        assert 2 < time.monotonic() - started < 10
    with server.connect() as connection:  # a later request that comes in pieces, but comes
        for _ in range(2):
            for piece in ("GET /health HTTP/1.1\r\n", "Host: x\r\n\r\n"):
                connection.sendall(piece.encode())
                time.sleep(1)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_aborted_uploads_free_their_places(server):
    before = server.stored()
    for _ in range(LIMITS["n_uploads"] + 1):
        with server.connect() as connection:
            connection.sendall(head(f"Content-Type: {TYPE}\r\nContent-Length: 1000000\r\n\r\n"))
            connection.sendall(form(b"x" * 500_000)[:-50])
    assert wait_for(lambda: server.upload(form())[0] == 200, "a free place", 10)
    assert len(server.stored()) <= len(before) + 1


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (form(name="n" * 1_500_000), TYPE, 400),
        (form(extra=b"A: b\r\n" * 10_000), TYPE, 400),
        (form(extra=b"A: " + b"b" * 100_000 + b"\r\n"), TYPE, 400),
        (form(), "multipart/form-data", 400),
        (form(), "multipart/form-data; boundary=" + "b" * 5000, 400),
        (form(), "multipart/form-data; boundary=other", 400),
        (form(), "text/plain", 415),
        (form()[:-10], TYPE, 400),
        (form()[: -len(BOUNDARY) - 8] + b"\r\n" + form(), TYPE, 400),
        (form().replace(b"; filename", b"; x"), TYPE, 400),
        (b"", TYPE, 400),
        (b"\xff" * 1000, TYPE, 400),
    ],
    ids=[str(number) for number in range(12)],
)
def test_hostile_forms_are_refused(server, body, content_type, status):
    before = server.stored()
    assert server.upload(body, content_type)[0] == status
    assert server.stored() == before


def test_a_name_of_fifty_megabytes_and_ten_thousand_headers(server):
    with server.connect() as connection:
        connection.sendall(head(f"Content-Type: {TYPE}\r\nContent-Length: 50000200\r\n\r\n"))
        assert status_of(connection) == 413
    with server.connect() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(head("A: b\r\n" * 10_000 + "\r\n"))
        assert 400 <= status_of(connection) < 500


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..%2f..%2fx.wav", "a.wav\\", "x.html"])
def test_stored_names_are_ours(server, name):
    status, _, answer = server.upload(form(name.encode(), name))
    assert status == 200
    (path,) = map(Path, json.loads(answer))
    assert path.name == ("clip.wav" if name.endswith(".wav") else "clip.bin")
    inside = path.resolve().relative_to(server.uploads.resolve())
    assert inside.parts[0].startswith("artist-features-space-")  # where nobody else keeps files
    assert path.read_bytes() == name.encode()


def test_thirty_two_uploads_at_once(server):
    body = form(np.random.default_rng(0).bytes(1_900_000))
    statuses, retry_after = [], set()
    held = threading.Barrier(5, timeout=20)  # four are held half way, and this test
    before_mb = server.rss_mb()

    def halfway():
        with server.connect() as connection:
            connection.sendall(head(f"Content-Type: {TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"))
            connection.sendall(body[:1_000_000])
            held.wait()
            held.wait()
            connection.sendall(body[1_000_000:])
            statuses.append(status_of(connection))

    def refused():
        with server.connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(head(f"Content-Type: {TYPE}\r\nContent-Length: 9\r\n\r\n"))
            answer = connection.recv(4096).decode()
            statuses.append(int(answer.split()[1]))
            retry_after.add(re.search(r"(?i)\r\nretry-after: (\d+)\r\n", answer)[1])

    threads = [threading.Thread(target=halfway) for _ in range(4)]
    for thread in threads:
        thread.start()
    held.wait()
    late = [threading.Thread(target=refused) for _ in range(28)]
    for thread in late:
        thread.start()
    assert server.get("/health")[0] == 200
    for thread in late:
        thread.join()
    held.wait()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 4 + [429] * 28
    assert retry_after == {"7"}
    assert server.rss_mb() - before_mb < 60


def test_a_full_queue_is_busy_and_the_app_answers(server, tmp_path):
    clip = write_audio(tmp_path / "c.wav", music(3.2, 22050, 1), 22050).read_bytes()
    (path,) = json.loads(server.upload(form(clip))[2])
    answers = [server.join(path) for _ in range(12)]
    full = [headers for status, headers, _ in answers if status == 429]
    assert len(full) >= 6
    assert {headers["Retry-After"] for headers in full} == {"7"}
    assert {status for status, *_ in answers} == {200, 429}
    assert server.get("/health")[0] == 200


def test_nothing_is_fetched(server):
    hits = []

    class Canary(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Canary) as canary:
        threading.Thread(target=canary.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{canary.server_port}/x.wav"
        for hostile in (address, " HTTP://x/y.wav", "//x/y.wav", "file:///etc/passwd"):
            assert server.join(hostile)[0] == 400
        (path,) = json.loads(server.upload(form())[2])
        wait_for(lambda: server.join(path, url=address)[0] == 200, "a place in the queue")
        for route in ("proxy=", "file=", "stream/", "run/", "call/"):
            assert server.get(f"/gradio_api/{route}{address}")[0] == 404
        for route in ("run/listen", "call/listen", "process_recording", "component_server"):
            assert server.request("POST", f"/gradio_api/{route}", "{}")[0] == 404
        wait_for(lambda: server.join(path)[0] == 200, "the queue to go on")
        time.sleep(0.5)
        canary.shutdown()
    assert not hits


def test_files_of_the_machine_are_not_served(server):
    for path in ("/etc/passwd", str(SPACE / "app.py"), "../../../../etc/passwd"):
        assert server.get(f"/gradio_api/file={path}")[0] in (403, 404)
    for path in (
        "/previews/../tracks.index",
        "/previews/%2e%2e/tracks.index",
        "/previews/00000.mp3",
    ):
        assert server.get(path)[0] == 404
    assert server.get("/previews/000000.mp3")[1]["Content-Type"] == "audio/mpeg"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/no/such/file",
        "/dev/zero",
        str(SPACE / "app.py"),
        "{folder}/../../../../etc/passwd",
        "{clip}/../clip.wav",
        "{folder}/../x",
        "{folder}",
        "{uploads}",
        "{clip}.missing",
        "{folder}/pipe",
        "{folder}/link",
        "{uploads}/link/passwd",
        "clip.wav",
        "",
        "a\0b",
        "\ud800",
        5,
        None,
        ["/etc/passwd"],
        {"path": "/etc/passwd"},
    ],
    ids=str,
)
def test_no_file_but_an_upload_is_opened(server, path):
    (clip,) = json.loads(server.upload(form())[2])
    folder = Path(clip).parent
    links = {folder / "link": "/etc/passwd", folder.parent / "link": "/etc"}
    os.mkfifo(folder / "pipe")
    for link, target in links.items():
        link.symlink_to(target)
    try:
        if isinstance(path, str):
            path = path.format(folder=folder, clip=clip, uploads=folder.parent)
        before = set(server.uploads.rglob("*"))
        status, _, answer = server.join(path)
        received = json.dumps(path)[:200]
        assert status == 400
        assert json.loads(answer)["detail"] == (
            f"The path {received} is not that of an upload; upload the recording to "
            "/gradio_api/upload and send the path that this answers."
        )
        deep = {"data": [[{"a": {"path": path}}]], "fn_index": 0, "session_hash": "s"}
        for route in ("queue/join", "cancel", "reset"):
            status, _, answer = server.request(
                "POST",
                f"/gradio_api/{route}",
                json.dumps(deep),
                {"Content-Type": "application/json"},
            )
            assert status == 400
        started = time.monotonic()
        assert server.get("/health")[0] == 200
        assert time.monotonic() - started < 3
        assert set(server.uploads.rglob("*")) == before
    finally:
        for made in (folder / "pipe", *links):
            made.unlink()
    wait_for(lambda: server.join(clip)[0] == 200, "a place in the queue")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fn_index": 99}, "The field fn_index of the body is 99; send 0."),
        ({"fn_index": False}, "The field fn_index of the body is false; send 0."),
        ({"data": ["x"]}, r'The field data of the body is \["x"\]; send \[null\] or '),
        ({"data": [None, None]}, r"The field data of the body is \[null, null\]; send "),
        ({"data": None}, "The field data of the body is null; send "),
        ({"data": [{}]}, r"The field data of the body is \[{}\]; send "),
        ({"session_hash": ""}, 'session_hash of the body is ""; send a text of 1 to 100 '),
        ({"session_hash": 5}, "session_hash of the body is 5; send a text of 1 to 100 "),
        (None, "The field fn_index of the body is null; send 0."),
    ],
)
def test_a_request_that_the_page_does_not_make_is_told_so(server, change, message):
    body = {"data": [None], "fn_index": 0, "session_hash": "s"}
    text = json.dumps([] if change is None else {**body, **change})
    status, _, answer = server.request(
        "POST", "/gradio_api/queue/join", text, {"Content-Type": "application/json"}
    )
    assert status == 400
    assert re.search(message, json.loads(answer)["detail"])


def test_gradio_itself_opens_only_uploads():
    """The second line: `mount_gradio_app` leaves Gradio's own check off."""
    code = """
import app
from gradio.context import LocalContext
from gradio.exceptions import InvalidPathError
from gradio.processing_utils import _check_allowed

LocalContext.blocks.set(app._page(None, None, "", app.read_limits("")))
try:
    _check_allowed("/etc/passwd", True)
except InvalidPathError:
    print("refused")
"""
    path = os.pathsep.join([str(SPACE.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=SPACE, env=environment, capture_output=True, timeout=120)
    assert done.stdout.split() == [b"refused"], done.stderr


def test_page_is_shut_to_foreign_scripts_and_the_server_to_other_machines(server):
    _, headers, page = server.get("/")
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    nonce = re.fullmatch(r"'self' 'nonce-([\w-]+)'", policy["script-src"])[1]
    assert policy["default-src"] == policy["frame-ancestors"] == "'self'"
    assert page.count(b"<script") == page.count(f'<script nonce="{nonce}"'.encode()) > 2
    assert nonce not in server.get("/")[1]["Content-Security-Policy"]
    listening = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()}
    assert f"0100007F:{server.port:04X}" in listening
    assert f"00000000:{server.port:04X}" not in listening


def test_prepared_folder_credits_and_names_no_place_of_this_machine(data):
    from artist_features.search import Index

    with open(data / "previews" / "CREDITS.csv", encoding="utf-8", newline="") as file:
        credits = list(csv.DictReader(file))
    assert [row["file"] for row in credits] == [f"{number:06d}.mp3" for number in range(4)]
    assert credits[1]["licence"] == "CC-BY-SA-4.0"
    assert credits[1]["artist"] == "<b>Bob"
    index = Index.load(data / "tracks.index")
    assert [index.track(row).path for row in range(6)] == [f"{number}.ogg" for number in range(6)]
    assert str(data.parent).encode() not in (data / "tracks.index").read_bytes()
    assert np.load(data / "places.npy").shape == (6, 2)


def cut(data):
    path = data / "tracks.index"
    path.write_bytes(path.read_bytes()[:-100])


def emptied(data):
    (data / "tracks.index").write_bytes(b"")


def removed(data):
    (data / "tracks.index").unlink()


def other_model(data, name="siamese"):
    from artist_features.search import Index, IndexedTrack

    made_with = {"model": name, "weights_sha256": 64 * "0"}
    Index.build(np.eye(6, 256), [IndexedTrack(str(n)) for n in range(6)], made_with).save(
        data / "tracks.index"
    )


def foreign_model(data):
    other_model(data, "mine")


def other_places(data):
    np.save(data / "places.npy", np.zeros((5, 2), np.float32))


def pickled_places(data):
    np.save(data / "places.npy", np.array([{}] * 6), allow_pickle=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "tracks.index: "),
        (emptied, "tracks.index: "),
        (removed, "no index at .*prepare.py MANIFEST"),
        (other_model, "vectors of two models cannot be compared"),
        (foreign_model, "model 'mine', which is not bundled"),
        (other_places, r"shape \(5, 2\)"),
        (pickled_places, "no array of places"),
    ],
)
def test_a_library_that_cannot_be_used_is_told(data, tmp_path, spoil, message):
    import library

    shutil.copytree(data, tmp_path / "data")
    assert library.open_library(tmp_path / "data")[1] == ""
    spoil(tmp_path / "data")
    nothing, problem = library.open_library(tmp_path / "data")
    assert nothing is None
    assert re.search(message, problem)
    assert "python prepare.py MANIFEST.csv data" in problem


def test_sigterm_takes_the_recordings_along(data, tmp_path):
    server = Server(tmp_path, data)
    try:
        assert server.upload(form(b"x" * 1000))[0] == 200
        assert server.stored()
        server.process.terminate()
        assert server.process.wait(30) == 143
        assert list(server.uploads.iterdir()) == []
    finally:
        server.stop()


def test_the_app_lives_without_its_data(tmp_path):
    server = Server(tmp_path, tmp_path / "nowhere")
    try:
        assert json.loads(server.get("/health")[2]) == {"status": "ok", "recordings": 0}
        assert b"python prepare.py MANIFEST.csv data" in server.get("/")[2]
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", "'abc' is no JSON object, such as {\"upload_bytes\": 5000000}"),
        ("[1]", "'[1]' is no JSON object"),
        ('{"upload_byte": 5}', "'upload_byte' is no limit; there are upload_bytes, json_bytes, "),
        ('{"upload_bytes": "x"}', 'upload_bytes is "x"; a whole number from 1 to 1e12 is allowed'),
        ('{"n_waiting": true}', "n_waiting is true; a whole number from 1 to 1e12 is allowed"),
        ('{"n_uploads": 0}', "n_uploads is 0; a whole number"),
        ('{"json_bytes": 1.5}', "json_bytes is 1.5; a whole number"),
        ('{"patience_s": NaN}', "patience_s is NaN; a number from 0.1 to 86400 is allowed"),
        ('{"framed_by": "https://a.b"}', 'framed_by is "https://a.b"; a list of addresses such as'),
        ('{"framed_by": ["https://a.b; x"]}', "framed_by is "),
        ('{"upload_bytes": 600000000}', "stored_bytes is 500,000,000, less than upload_bytes"),
    ],
)
def test_limits_that_cannot_be_are_told(text, message):
    import limits

    with pytest.raises(ValueError, match=re.escape(message)):
        limits.read_limits(text)


def test_limits_are_read():
    import limits

    read = limits.read_limits('{"patience_s": 5, "framed_by": ["https://a.b:80"]}', framed_by=())
    assert read == limits.Limits(patience_s=5, framed_by=["https://a.b:80"])
    assert limits.read_limits("") == limits.Limits()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GRADIO_SERVER_PORT", "abc", "is 'abc'; a whole number from 1 to 65535 is allowed."),
        ("GRADIO_SERVER_PORT", "700000", "is '700000'; a whole number from 1 to 65535 is allowed."),
        ("SPACE_LIMITS", "abc", "cannot be used: 'abc' is no JSON object, such as "),
    ],
)
def test_settings_that_cannot_be_are_told_without_a_traceback(name, value, message):
    path = os.pathsep.join([str(SPACE.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, name: value}
    command = [sys.executable, str(SPACE / "app.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"The environment variable {name} {message}" in done.stderr
    assert "Traceback" not in done.stderr


def test_clips_are_decoded_apart_and_not_for_ever():
    import library

    class Listener:
        def listen(self, path, **options):
            self.options = options
            return type("Heard", (), {"embeddings": np.ones((1, 2)), "flaws": ()})

    listener = Listener()
    assert library.analyse("x", None, listener).tracks == ()
    assert listener.options == {"duration": 600.0, "isolated": True}


def test_silence_is_like_nothing(data, tmp_path):
    import library

    tracks, problem = library.open_library(data)
    assert problem == ""
    quiet = write_audio(tmp_path / "s.wav", np.zeros((70560, 1), np.float32), 22050)
    found = library.analyse(quiet, tracks, tracks.listener)
    assert [code for code, _ in found.heard.flaws] == ["silent"]
    assert found.heard.embeddings.any()
    assert (found.tracks, found.artists, found.place) == ((), (), None)


def test_the_oldest_recordings_make_room(tmp_path):
    import gate

    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"x" * 10)
        os.utime(tmp_path / str(number), (number, number))
    gate.make_room(tmp_path, 25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (TITLES[0], "&lt;script&gt;window.ran = 1&lt;/script&gt;"),
        ("a\u202eb\u2066c\x00d\ne", "abcd e"),
        ('"><i', "&quot;&gt;&lt;i"),
        ("y" * 500, "y" * 159 + "…"),
    ],
)
def test_texts_are_shown_and_do_nothing(text, html):
    import fragments

    assert fragments.shown(text) == html


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = open_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def test_a_clip_in_a_browser(server, browser, tmp_path):
    samples = music(3.2, 22050, 1, seed=3) + 1e-4 * np.random.default_rng(0).standard_normal(
        (70560, 1)
    )
    clip = write_audio(tmp_path / "my clip.wav", np.float32(samples), 22050)
    (tmp_path / "no clip.mp3").write_text("<html>no music")
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(f"http://127.0.0.1:{server.port}/")

    def run(script):
        return browser.execute_script(f"return {script}")

    def choose(path):
        wait_for(lambda: run("!!document.querySelector('#clip input[type=file]')"), "the page")
        browser.find_element("css selector", "#clip input[type=file]").send_keys(str(path))

    choose(clip)
    wait_for(lambda: run("document.querySelectorAll('#nearest li').length") == 6, "results")
    assert run("document.querySelector('#nearest li bdi').textContent") == TITLES[3]
    assert run("document.querySelectorAll('#nearest audio').length") == 4
    assert "<b>Bob" in run("document.querySelector('#artists').textContent")
    assert TITLES[0] in run("document.querySelector('#nearest').textContent")
    assert "$x$ **b**" in run("document.querySelector('#nearest').textContent")
    # the clip lies where the median of its neighbours is, inside the drawing
    assert run("document.querySelectorAll('#map .near').length") == 6
    box = run(
        "(({left, right, top, bottom}) => [left, right, top, bottom])"
        "(document.querySelector('#clip-on-map .clip').getBoundingClientRect())"
    )
    assert box[1] - box[0] > 3
    assert box[3] - box[2] > 3
    run("document.querySelector('#nearest audio').load()")
    browser.execute_script("document.querySelector('#nearest audio').preload = 'auto'")
    duration = "document.querySelector('#nearest audio').duration"
    wait_for(lambda: run(f"{duration} > 3 && {duration} < 3.5"), "a player to know its track")
    wait_for(
        lambda: run("!!document.querySelector('#picture img, #picture canvas')"), "the picture"
    )
    if folder := os.environ.get("SCREENSHOTS"):
        browser.set_window_size(1200, 1900)
        time.sleep(1)
        browser.save_screenshot(f"{folder}/space.png")

    browser.get(f"http://127.0.0.1:{server.port}/")
    choose(tmp_path / "no clip.mp3")
    remark = "document.querySelector('#remark').textContent"
    wait_for(lambda: "starts like HTML" in run(remark), "a remark")
    assert run("document.querySelectorAll('#nearest li').length") == 0
    assert not run("window.ran")
    check_what_the_page_asked_for(browser, server)


def check_what_the_page_asked_for(browser, server):
    """No address but the server's, no breach of the policy, no upload under its own name."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    ours = f"http://127.0.0.1:{server.port}/"
    own = (ours, f"blob:{ours}", "data:", "chrome:", "chrome-untrusted:")
    assert [url for url in urls if not url.startswith(own)] == []
    assert any(
        url.startswith(f"{ours}gradio_api/file=") and url.endswith("/clip.wav") for url in urls
    )
    refused = [entry for entry in browser.get_log("browser") if "Content Security" in str(entry)]
    assert refused == []
