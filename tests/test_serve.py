"""`artist-features serve` in a process of its own, asked over HTTP by a player's library."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import pytest

from artist_features.cli.main import main
from artist_features.cli.serve import _listening
from artist_features.search import Index, IndexedTrack

pytest.importorskip("starlette", reason="of the extra [serve]")
from artist_features.search import server
from artist_features.search.lookup import indexed_query
from artist_features.search.ranking import PrunedSearch
from artist_features.search.result_filter import ResultFilter

N, ARTISTS = 40, ("Ann", "Bob", "Cy", "")
# a server that says at its end whether anything loaded TensorFlow
PROGRAM = (
    "import sys; from artist_features.cli.main import main; code = main(sys.argv[1:]);"
    "print(sorted({'tensorflow', 'keras'} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
)


def path_of(row):
    return f"/music/{row} \udcfc&.mp3" if row == 3 else f"/music/{row} é&.mp3"


def track_of(row):
    artist = ARTISTS[row % 4]
    extra = {"id": f"t{row}" if row != 5 else "", "artist_id": artist and f"id of {artist}"}
    return IndexedTrack(path_of(row), artist, f"T{row}", 61.5, {**extra, "album": "LP"})


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    vectors = np.random.default_rng(0).standard_normal((N, 8)) + 1
    vectors[[20, 21]] = vectors[7] + 0.01  # the same recording under two other names
    made_with = {"model": "none", "weights_sha256": "0" * 64}
    index = Index.build(vectors, [track_of(row) for row in range(N)], made_with)
    index.save(tmp_path_factory.mktemp("serve") / "lib.index")
    return Index.load(next(tmp_path_factory.getbasetemp().glob("serve*/lib.index")))


class Server:
    def __init__(self, path):
        command = [sys.executable, "-c", PROGRAM, "serve", str(path), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.hello = self.process.stderr.readline()
        self.port = int(re.search(r"http://127.0.0.1:(\d+)/docs", self.hello)[1])

    def ask(self, address, data=None, headers=None, **params):
        """Return (status, object or text)."""
        address = f"http://127.0.0.1:{self.port}{address}?{urllib.parse.urlencode(params)}"
        request = urllib.request.Request(address, data, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        return status, json.loads(text) if text.startswith(("{", "[")) else text

    def stop(self, number=signal.SIGTERM):
        """Return (exit code, what it said since its hello)."""
        self.process.send_signal(number)
        said = self.process.communicate(timeout=240)[1]
        return self.process.returncode, said


@pytest.fixture(scope="module")
def asked(index):
    found = Server(index._data.path)
    yield found
    found.stop()


def nearest(index, row, n):
    """Return the matches of a row, its copies left out."""
    copies = ResultFilter(index, [indexed_query(index, row)], files=False)
    return index.query(index.vector(row), n, exclude_rows=[row], skip=copies)


def test_plain_json_by_id_and_path(asked, index):
    right = [
        {
            "id": f"t{m.row}" if m.row != 5 else path_of(5),
            "similarity": m.similarity,
            "artist": ARTISTS[m.row % 4],
            "title": f"T{m.row}",
            "album": "LP",
            "path": path_of(m.row).replace("\udcfc", "\\xfc"),
            "duration_s": 61.5,
        }
        for m in nearest(index, 7, N)
    ]
    assert asked.ask("/similar", id="t7", n=N) == (200, {"results": right})
    assert asked.ask("/similar", id=path_of(7)) == (200, {"results": right[:10]})
    for named in (path_of(5), path_of(3).replace("\udcfc", "\\xfc")):
        assert asked.ask("/similar", id=named)[0] == 200
    status, found = asked.ask("/path", start="t7", end="t9", n=4)
    assert status == 200
    assert [step["id"] for step in found["results"]][:: len(found["results"]) - 1] == ["t7", "t9"]
    status, page = asked.ask("/")
    assert "/api/similar_artists?artist=" in page


def test_answers_have_what_navidromes_plugin_reads(asked, index):
    """AudioMuse-AI-NV-plugin: the structs of main.go and audiomuse_api.go, its parameters."""
    params = {"item_id": "t7", "n": 3, "eliminate_duplicates": "true", "radius_similarity": "true"}
    status, tracks = asked.ask("/api/similar_tracks", **params)
    (first, *_) = found = nearest(index, 7, 3)
    assert (status, [track["item_id"] for track in tracks]) == (200, [f"t{m.row}" for m in found])
    names = {"title": f"T{first.row}", "author": ARTISTS[first.row % 4], "album": "LP"}
    distance = round(1 - first.similarity, 6)
    assert tracks[0] == {"item_id": f"t{first.row}", **names, "distance": distance}
    params = {"start_song_id": "t1", "end_song_id": "t2", "count": 5, "max_steps": 5}
    status, found = asked.ask("/api/find_path", path_fix_size="false", mood_pct=100, **params)
    path = [step["item_id"] for step in found["path"]]
    assert (path[0], path[-1]) == ("t1", "t2")
    assert 2 <= len(path) <= 5
    params = {"artist": "id of Ann", "n": 10, "include_component_matches": "true"}
    status, artists = asked.ask("/api/similar_artists", **params)
    right = index.query_artists(index.artist_vector("Ann"), exclude_artists=["Ann"])
    assert [(a["artist"], a["artist_id"]) for a in artists] == [
        (match.artist, f"id of {match.artist}") for match in right
    ]
    (component,) = artists[0]["component_matches"]
    assert len(component["artist1_representative_songs"]) == 3
    for song in component["artist2_representative_songs"]:
        row = int(song["title"][1:])
        assert (ARTISTS[row % 4], song["item_id"]) == (artists[0]["artist"], f"t{row}")
    assert asked.ask("/api/similar_artists", artist="Ann")[1] == [
        {k: v for k, v in artist.items() if k != "component_matches"} for artist in artists
    ]


@pytest.mark.parametrize("use_get", [False, True])
def test_library_for_opensubsonic(asked, index, use_get):
    libopensonic = pytest.importorskip("libopensonic", reason="of the extra [dev]")

    async def player():
        login = {"username": "u", "password": "secret", "port": asked.port, "use_get": use_get}
        player = libopensonic.AsyncConnection("http://127.0.0.1", **login)
        try:
            assert await player.ping()
            extensions = await player.get_open_subsonic_extensions()
            similar = await player.get_sonic_similar_tracks("t7", count=N)
            path = await player.find_sonic_path("t7", "t9", count=6)
            with pytest.raises(libopensonic.errors.DataNotFoundError, match="'x' is not in the"):
                await player.get_sonic_similar_tracks("x")
        finally:
            await player.cleanup()
        return extensions, similar, path

    extensions, similar, path = asyncio.run(player())
    assert [(e.name, e.versions) for e in extensions] == [
        ("sonicSimilarity", [1]),
        ("formPost", [1]),
    ]
    found = nearest(index, 7, N)
    assert [(m.entry.id, m.similarity) for m in similar] == [
        (f"t{m.row}" if m.row != 5 else path_of(5), max(0, m.similarity)) for m in found
    ]
    assert similar[-1].similarity == 0 > found[-1].similarity
    entry = similar[0].entry
    assert (entry.title, entry.album, entry.duration) == (f"T{found[0].row}", "LP", 62)
    assert (entry.suffix, entry.type, entry.is_dir) == ("mp3", "music", False)
    assert (path[0].entry.id, path[0].similarity, path[-1].entry.id) == ("t7", 1, "t9")


@pytest.mark.parametrize(
    ("address", "params", "status", "text"),
    [
        ("/similar", {}, 400, "parameter id is missing"),
        ("/similar", {"id": "/etc/passwd"}, 404, "id '/etc/passwd' is not in the index"),
        ("/similar", {"id": "x" * 5000}, 404, "xxx...xxx"),
        ("/similar", {"id": "x" * 9000}, 400, "more than 8192 bytes"),
        ("/similar", {"id": "t1", "n": 0}, 400, "n is '0'; allowed is 1 to 500"),
        ("/similar", {"id": "t1", "n": "\u0665"}, 400, "allowed is 1 to 500"),
        ("/similar", {"id": "t1", "n": 501}, 400, "n is '501'"),
        ("/similar", {"id": "t1", "n": "-1"}, 400, "n is '-1'"),
        ("/path", {"start": "t1", "end": path_of(1)}, 400, "start and end are one track"),
        ("/path", {"start": "t1", "end": "t2", "n": 101}, 400, "allowed is 2 to 100"),
        ("/api/similar_artists", {"artist": "Dee"}, 404, "artist 'Dee' has no track"),
        ("/rest/getSonicSimilarTracks", {"id": "t1"}, 200, "ask with f=json"),
        ("/rest/getSonicSimilarTracks", {"f": "json"}, 200, '"code": 10'),
        ("/rest/getSong.view", {"f": "json"}, 200, "'getSong' is not answered"),
        ("/music/1.mp3", {}, 404, '{"error": "Not Found"}'),
    ],
)
def test_what_is_refused(asked, address, params, status, text):
    found = asked.ask(address, **params)
    assert found[0] == status
    assert text in (found[1] if isinstance(found[1], str) else json.dumps(found[1]))
    assert len(str(found[1])) < 400


def test_form_is_bounded_and_other_hosts_names_are_refused(asked):
    assert asked.ask("/similar", data=b"id=t1&n=2")[0] == 200
    assert asked.ask("/similar", data=b"id=" + b"x" * 9000)[0] == 400
    raw = f"id={path_of(5)}".replace("&", "%26").encode()  # as curl -d sends it
    assert asked.ask("/similar", data=raw)[0] == 200
    assert asked.ask("/docs", headers={"Host": "evil.example"})[0] == 400


def test_log_and_end(index):
    """One line a request, no passwords in it; a signal ends it, and TensorFlow was not loaded."""
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        found = Server(index._data.path)
        assert f"{N} recordings of" in found.hello
        found.ask("/rest/ping", u="me", p="secret", f="json")
        found.ask("/no%0Asuch")
        with socket.create_connection(("127.0.0.1", found.port)):  # one that stays open
            exit_code, said = found.stop(number)
        assert exit_code == code
        *lines, stopped, loaded = said.splitlines()
        assert (loaded, stopped[:28]) == ("[]", "artist-features: stopped by ")
        records = [json.loads(line) for line in lines]
        assert [(r["path"], r["status"]) for r in records] == [
            ("/rest/ping", 200),
            ("/no\nsuch", 404),
        ]
        assert records[0]["client"] == "127.0.0.1"
        assert "secret" not in said


def test_a_client_that_leaves_and_a_websocket_leave_no_traceback(index):
    """Half a form, and an upgrade, which is answered as if it were not asked for."""
    found = Server(index._data.path)
    head = "Host: localhost\r\n"
    with socket.create_connection(("127.0.0.1", found.port)) as client:
        client.sendall(f"POST /similar HTTP/1.1\r\n{head}Content-Length: 50\r\n\r\nid=".encode())
    head += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    with socket.create_connection(("127.0.0.1", found.port), timeout=240) as client:
        client.sendall(f"GET /docs HTTP/1.1\r\n{head}Sec-WebSocket-Key: a\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert found.ask("/docs")[0] == 200
    said = found.stop()[1]
    *lines, _, _ = said.splitlines()
    records = [json.loads(line) for line in lines]
    assert sorted(r["status"] for r in records if "status" in r) == [200, 200, 499], said
    assert "Traceback" not in said


def test_what_is_no_request_is_a_line_of_json_too(index):
    found = Server(index._data.path)
    with socket.create_connection(("127.0.0.1", found.port), timeout=240) as client:
        client.sendall(b"no request at all\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")
    record, *_ = found.stop()[1].splitlines()
    assert json.loads(record) == {"level": "WARNING", "message": "Invalid HTTP request received."}


@pytest.mark.parametrize(("scale", "n_narrow"), [(0.02, 100), (1.0, 2000)])
def test_narrowed_search_is_exact(scale, n_narrow):
    """Few axes that matter, as in embeddings, or none; equal vectors; more than there are."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((2000, 96)) * np.where(np.arange(96) < 8, 1, scale)
    vectors[1000:1010] = vectors[7]
    tracks = [IndexedTrack(f"/{row}") for row in range(2000)]
    index = Index.build(vectors, tracks, {"model": "none", "weights_sha256": "0" * 64})
    narrowed = PrunedSearch(index.vectors)
    assert len(narrowed._candidates(7, 5)) <= n_narrow
    for row, k in [(7, 5), (7, 12), (1004, 1), (3, 200), (4, 1999), (5, 5000)]:
        rows, similarities = narrowed.query(row, k)
        right = index.query(index.vector(row), k, exclude_rows=[row])
        assert rows.tolist() == [match.row for match in right]
        assert similarities.tolist() == [match.similarity for match in right]


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 257])
def test_a_row_is_never_its_own_neighbour(n):
    """Also where it is alone in the last group of rows, and as many are asked for as groups."""
    vectors = np.random.default_rng(0).standard_normal((n, 8))
    tracks = [IndexedTrack(f"/{row}") for row in range(n)]
    index = Index.build(vectors, tracks, {"model": "none", "weights_sha256": "0" * 64})
    for k in range(1, 5):
        found = PrunedSearch(index.vectors).query(n - 1, k)[0].tolist()
        right = index.query(index.vector(n - 1), k, exclude_rows=[n - 1])
        assert found == [match.row for match in right]


def test_every_address_is_on_the_page(index):
    routes = [route.path for route in server.create_app(index).routes]
    assert routes[-2:] == ["/docs", "/"]
    for path in routes[:-2]:
        assert path.split("{")[0] in server._DOCS


def test_wrong_usage(index, tmp_path, capsys):
    assert main(["serve", str(tmp_path / "none.index")]) == 2
    assert "none.index: cannot be read" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for given, text in ((port, "cannot be listened on"), (65536, "allowed is 0 to 65535")):
            assert main(["serve", os.fspath(index._data.path), "--port", str(given)]) == 2
            assert text in capsys.readouterr().err


def test_answers_do_not_wait_for_acknowledgements():
    with (
        _listening("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
