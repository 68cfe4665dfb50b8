"""The Hub through its real client, against a server on the loopback (rows 65 to 72).

The client reads its environment when it is imported, so each load runs in a process of
its own. Ids name the rows of the fault table.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import h5py
import pytest
from hub_server import Fault, HubServer
from processes import COMMAND, Program

from artist_features.zoo import folder as model_folder

HANDLE = "hf://owner/name"
CARD, WEIGHTS = model_folder.CARD_FILE, model_folder.WEIGHTS_FILE
# 1.x lists no tree, resumes partial files, and does need a lock that locks
CLIENT_2 = int(version("huggingface_hub").split(".")[0]) >= 2
TOKEN = "hf_verySecretToken0123456789"

CHILD = """
import hashlib, json, os, sys, time, traceback, types
task = json.loads(sys.argv[1])
if task["no_locks"]:
    import fcntl
    fcntl.flock = lambda *_: None
from artist_features.errors import WeightsError
from artist_features.zoo import hub
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http
# the client's retries wait for seconds
_http.time = file_download.time = types.SimpleNamespace(**vars(time))
_http.time.sleep = lambda seconds: None
if task["patience_s"]:
    constants.HF_HUB_DOWNLOAD_TIMEOUT = hub._TIMEOUT_S = task["patience_s"]
if task["warm_up"]:
    hub.load_verified(task["warm_up"])
    for folder, _, _ in os.walk(constants.HF_HUB_CACHE):
        os.chmod(folder, 0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)
started = time.monotonic()
try:
    card, weights = hub.load_verified(task["handle"])
except WeightsError as error:
    outcome = {"code": error.code, "message": str(error)}
    traceback.print_exc()
else:
    arrays = b"".join(a.tobytes() for layer in sorted(weights) for a in weights[layer])
    outcome = {"digest": hashlib.sha256(arrays).hexdigest()}
print(json.dumps(outcome | {"seconds": time.monotonic() - started}))
"""


@dataclass
class Outcome:
    """Outcome of a process that loads a model."""

    seconds: float
    output: str
    digest: str | None = None
    code: str | None = None
    message: str = ""


def environment(endpoint, home, **changes):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not re.match("(?i)HF_|HUGGING|TRANSFORMERS_|.*_proxy$", name)
    }
    fixed = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    return {**kept, **fixed, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), **changes}


def start(endpoint, home, handle=HANDLE, *, no_locks=False, warm_up=None, patience_s=0, **env):
    task = {"handle": handle, "no_locks": no_locks, "warm_up": warm_up, "patience_s": patience_s}
    env = environment(endpoint, home, **env)
    return Program(CHILD, json.dumps(task), env=env)


def finish(process):
    done = process.finish(timeout_s=120)
    assert done.returncode == 0, done.stderr
    return Outcome(output=done.stdout + done.stderr, **json.loads(done.stdout.splitlines()[-1]))


def load(endpoint, home, handle=HANDLE, **options):
    return finish(start(endpoint, home, handle, **options))


def digest_of(weights):
    arrays = b"".join(a.tobytes() for layer in sorted(weights) for a in weights[layer])
    return hashlib.sha256(arrays).hexdigest()


@pytest.fixture(scope="session")
def files(tiny_folder):
    """The model as a repository: with the files that every repository has, and a script."""
    contents = {path.name: path.read_bytes() for path in tiny_folder.iterdir()}
    return {
        **contents,
        ".gitattributes": b"*.h5 filter=lfs diff=lfs merge=lfs -text\n",
        "extra.py": b'raise SystemExit("executed")\n',
    }


@pytest.fixture(scope="session")
def digest(tiny_folder):
    return digest_of(model_folder.read_folder(tiny_folder)[1])


@pytest.fixture(scope="session")
def other_files(files, tmp_path_factory):
    """The next version of the model: the same network, other numbers."""
    path = tmp_path_factory.mktemp("other")
    (path / WEIGHTS).write_bytes(files[WEIGHTS])
    with h5py.File(path / WEIGHTS, "r+") as file:
        file["layers/conv1d/vars/1"][...] = 0.5
    weights = (path / WEIGHTS).read_bytes()
    card = json.loads(files[CARD])
    card["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    return {**files, WEIGHTS: weights, CARD: json.dumps(card).encode()}


@pytest.fixture
def hub(files):
    with HubServer() as server:
        server.commit(files)
        yield server


@pytest.fixture
def home():
    """A cache folder that other users may enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="hf-home-"))
    path.chmod(0o755)
    yield path
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o755)
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def full_home(files, tmp_path_factory):
    """A cache that holds the model; for copying."""
    path = tmp_path_factory.mktemp("full")
    with HubServer() as server:
        server.commit(files)
        assert load(server.endpoint, path).digest
    return path


def repository(home):
    return home / "hub" / "models--owner--name"


def cached(home, name):
    (link,) = (repository(home) / "snapshots").glob(f"*/{name}")
    return link


def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


# what works


def test_second_load_makes_no_network_call(hub, home, digest):
    assert load(hub.endpoint, home).digest == digest
    assert hub.count("GET", "/blob/") == 1
    assert not hub.count(containing="extra.py")
    hub.log.clear()
    again = load(hub.endpoint, home)
    assert again.digest == digest
    assert not hub.log
    assert load(closed_port(), home).digest == digest


def test_offline_with_and_without_a_cache(hub, home, digest, tmp_path):
    load(hub.endpoint, home)
    hub.log.clear()
    assert load(hub.endpoint, home, HF_HUB_OFFLINE="1").digest == digest
    empty = load(hub.endpoint, tmp_path, HF_HUB_OFFLINE="1")
    assert empty.code == "unavailable"
    assert "not in the cache, and HF_HUB_OFFLINE is set" in empty.message
    assert not hub.log


def test_revisions_are_pinned(hub, home, files, other_files, digest):
    first = hub.refs["main"]
    hub.tag("v1.0", first)
    hub.commit(files, branch="stable")
    hub.commit(other_files)
    newest = load(hub.endpoint, home)
    assert newest.digest not in (None, digest)
    for revision in ("v1.0", first, "stable"):
        assert load(hub.endpoint, home, f"{HANDLE}@{revision}").digest == digest
    hub.log.clear()
    for revision in ("v1.0", first, "stable"):
        assert load(hub.endpoint, home, f"{HANDLE}@{revision}").digest == digest
    assert load(hub.endpoint, home).digest == newest.digest
    assert not hub.log


def test_pull_gets_the_newest_files_and_the_folder_loads(hub, home, other_files, tmp_path):
    load(hub.endpoint, home)
    hub.commit(other_files)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("precious")
    options = {"env": environment(hub.endpoint, home)}
    for repository, folder, code, text in [
        ("owner/name", tmp_path / "m", 0, "tiny: siamese model written"),
        ("owner/none", tmp_path / "n", 2, "answered 404"),
        ("nonsense", tmp_path / "n", 2, "not a Hub id"),
        ("own..er/name", tmp_path / "n", 2, "no name of a repository (Cannot have -- or .."),
        ("owner/name", cached(home, CARD), 2, "cannot be written"),
        ("owner/name", tmp_path / "mine", 2, "holds 'README.md' but no model"),
        ("owner/name", tmp_path / "m", 0, "tiny: siamese model written"),
    ]:
        done = Program(COMMAND, "pull", repository, folder, **options).finish()
        assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert (tmp_path / "m" / WEIGHTS).read_bytes() == other_files[WEIGHTS]
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == sorted(model_folder.FILES)
    assert model_folder.read_folder(tmp_path / "m")
    assert not (tmp_path / "n").exists()
    assert [path.read_text() for path in (tmp_path / "mine").iterdir()] == ["precious"]
    alone = {"env": environment(closed_port(), tmp_path / "empty")}
    done = Program(COMMAND, "pull", HANDLE, tmp_path / "n", **alone).finish()
    assert done.returncode == 2
    assert "Run it again with network" in done.stderr
    assert "artist-features pull owner/name" not in done.stderr
    words = ("pull", "owner/name", tmp_path / "mine", "--force")
    assert Program(COMMAND, *words, **options).finish().returncode == 0
    assert (tmp_path / "mine" / "README.md").read_bytes() == other_files["README.md"]


@pytest.mark.parametrize(
    ("name", "size", "text"),
    [
        ("README.md", (1 << 20) + 1, "README.md has 1048577 bytes; allowed is up to 1048576"),
        (CARD, None, f"{CARD}: no such file in the repository: no model of this package. Needed"),
    ],
    ids=["huge", "row69-repository-of-something-else"],
)
def test_what_no_model_folder_holds_is_not_fetched(hub, home, files, name, size, text):
    changed = {key: data for key, data in files.items() if key != name}
    hub.commit(changed if size is None else {**changed, name: b" " * size})
    outcome = load(hub.endpoint, home)
    assert outcome.code in ("damaged", "unavailable")
    assert text in outcome.message
    assert hub.count(containing="/resolve/") == 0


def test_token_is_used_and_stays_with_the_hub(hub, home, digest):
    hub.token = TOKEN
    outcome = load(hub.endpoint, home, HF_TOKEN=TOKEN)
    assert outcome.digest == digest
    assert TOKEN not in outcome.output
    large = [request for request in hub.log if request.path.startswith("/blob/")]
    assert large
    for request in hub.log:
        expected = None if request in large else f"Bearer {TOKEN}"
        assert request.authorization == expected


@pytest.mark.parametrize("token", [TOKEN, f"{TOKEN}\x0bx", f"{TOKEN}\u00e9", ""])
def test_row69_refused_token_is_never_printed(hub, home, token):
    hub.token = "another"
    outcome = load(hub.endpoint, home, HF_TOKEN=token)
    assert outcome.code == "unavailable"
    assert TOKEN not in outcome.output
    if token in (TOKEN, ""):
        assert re.search("answered 401: .*set HF_TOKEN to a token that may read", outcome.message)
    else:
        assert "HF_TOKEN holds a character that no token has" in outcome.message


@pytest.mark.parametrize(
    "no_locks", [False] + [True] * CLIENT_2, ids=["flock"] + ["flock-does-nothing"] * CLIENT_2
)
def test_row70_six_processes_at_once(hub, home, digest, no_locks):
    processes = [start(hub.endpoint, home, no_locks=no_locks) for _ in range(6)]
    assert [finish(process).digest for process in processes] == [digest] * 6
    if not no_locks:
        assert hub.count("GET", "/blob/") == 1
    assert not list(home.rglob("*.incomplete")) or not CLIENT_2


def test_store_shared_by_repositories(hub, home, digest):
    """With Xet the client keeps blobs once for all repositories and links to them."""
    load(hub.endpoint, home)
    blob = cached(home, WEIGHTS).resolve()
    shared = home / "hub" / "blobs" / "ab" / "abcd"
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to("../../blobs/ab/abcd")
    hub.log.clear()
    assert load(hub.endpoint, home).digest == digest
    assert not hub.log


def test_link_out_of_the_cache_is_not_followed(hub, home, tmp_path, files):
    load(hub.endpoint, home)
    (tmp_path / "elsewhere").write_bytes(files[WEIGHTS])
    cached(home, WEIGHTS).unlink()
    (repository(home) / "snapshots" / hub.refs["main"] / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    outcome = load(hub.endpoint, home, HF_HUB_OFFLINE="1")
    assert outcome.code == "damaged"
    assert "is a link out of its folder" in outcome.message


# rows 65, 66, 68, 69: nothing in the cache, and something is wrong


@pytest.mark.parametrize("handle", [HANDLE, f"{HANDLE}@{'0' * 40}"], ids=["main", "commit"])
def test_row65_no_network(home, handle):
    endpoint = closed_port()
    outcome = load(endpoint, home, handle)
    assert outcome.code == "unavailable"
    assert outcome.seconds < 10  # the client alone: 23 s for a commit
    assert outcome.message.startswith(f"{handle}: {endpoint}: ConnectError: ")
    assert f"Cache folder: {home}/hub." in outcome.message
    assert "artist-features pull owner/name" in outcome.message
    assert "the bundled models need no network" in outcome.message


def test_row65_no_network_and_a_bundled_name(home, tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "siamese")
    code = (
        "import sys, pathlib; from artist_features.zoo import registry;"
        "registry.bundled_folder = lambda: pathlib.Path(sys.argv[1]);"
        "print(registry.read_model('siamese')[0].name)"
    )
    env = environment(closed_port(), home)
    done = Program(code, tmp_path, env=env).finish()
    assert (done.returncode, done.stdout) == (0, "tiny\n"), done.stderr


def test_row65_silent_network(hub, home):
    hub.faults = [Fault("stall")]
    outcome = load(hub.endpoint, home, patience_s=0.5)
    assert outcome.code == "unavailable"
    assert outcome.seconds < 8  # without our time-out the client waits for ever
    assert "ReadTimeout" in outcome.message


NOT_A_HUB = "does not answer like a Hub; is it a login page, or a wrong HF_ENDPOINT"
LATER = Fault("status", "/resolve/", 429, headers={"Retry-After": "0"})
GATED = Fault("status", "/resolve/", 403, headers={"X-Error-Code": "GatedRepo"})
FAULTS = [
    (66, "wrong-card", Fault("wrong", CARD), "not a model card"),
    (68, "body-cut", Fault("cut", "/blob/"), "RemoteProtocolError: peer closed"),
    (68, "stalled", Fault("stall", "/blob/"), "ReadTimeout"),
    (68, "hangs-up", Fault("drop"), "RemoteProtocolError: Server disconnected"),
    (69, "portal", Fault("portal"), NOT_A_HUB),
    (69, "portal-for-files", Fault("portal", "/resolve/"), "does not seem to be"),
    (69, "portal-for-weights", Fault("portal", "/blob/"), "should be of size 86"),
    (69, "json-object", Fault("json", value={"ok": 1}), NOT_A_HUB),
    (69, "json-tree", Fault("json", "/tree/", [1]), NOT_A_HUB),
    (69, "500", Fault("status", value=500), "answered 500; try again later"),
    (69, "429-for-files", LATER, "answered 429; try again later"),
    (69, "403", Fault("status", value=403), "answered 403: .*set HF_TOKEN"),
    (69, "403-gated", GATED, "answered 403: the repository is private, gated"),
]


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        pytest.param(*rest, id=f"row{row}-{name}")
        for row, name, *rest in FAULTS
        if CLIENT_2 or "tree" not in name
    ],
)
def test_fault_is_one_line(hub, home, fault, match):
    hub.faults, code = [fault], "damaged" if fault.kind == "wrong" else "unavailable"
    outcome = load(hub.endpoint, home, patience_s=0.5)
    assert outcome.code == code
    assert re.search(match, outcome.message)
    assert "\n" not in outcome.message
    assert len(outcome.message) < 700
    assert "Signature=secret" not in outcome.message
    if code == "unavailable":
        assert hub.endpoint in outcome.message
        assert outcome.message.startswith(f"{HANDLE}: ")
        assert f"Cache folder: {home}/hub" in outcome.message
    assert not list(home.rglob("*.incomplete")) or not CLIENT_2


def test_row66_wrong_bytes_are_fetched_once_more(hub, home, digest):
    hub.faults = [Fault("wrong", "/blob/")]
    outcome = load(hub.endpoint, home)
    assert outcome.code == "hash"
    assert re.search("sha256 starts .* the card says", outcome.message)
    assert hub.count("GET", "/blob/") == 2
    hub.faults = []
    assert load(hub.endpoint, home).digest == digest  # what was cached is not believed


@pytest.mark.parametrize(
    "handle",
    ["hf://owner/other", "hf://owner/name@v9", f"hf://owner/name@{'0' * 40}"],
    ids=["row69-repository", "row69-tag", "row69-commit"],
)
def test_row69_not_found(hub, home, handle):
    outcome = load(hub.endpoint, home, handle)
    assert outcome.code == "unavailable"
    assert outcome.message.startswith(f"{handle}: {hub.endpoint} answered 404: no such repository")


@pytest.mark.parametrize("endpoint", ["nonsense", "http://xn--i\u00f1valid.com", "http://.."])
def test_row69_malformed_endpoint(home, endpoint):
    outcome = load(endpoint, home)
    assert outcome.code == "unavailable"
    assert endpoint in outcome.message


def test_row65_a_mirrors_password_is_not_printed(home: Path) -> None:
    assert "pass123" not in load(closed_port().replace("//", "//user:pass123@"), home).message


# rows 67 and 72: a damaged cache


def truncated(home, files):
    os.truncate(cached(home, WEIGHTS).resolve(), 5)


def flipped(home, files):
    data = bytearray(files[WEIGHTS])
    data[len(data) // 2] ^= 1
    cached(home, WEIGHTS).resolve().write_bytes(data)


def card_cut(home, files):
    os.truncate(cached(home, CARD).resolve(), 50)


def card_of_another_schema(home, files):
    text = files[CARD].replace(b'"schema_version": 1', b'"schema_version": 9')
    cached(home, CARD).resolve().write_bytes(text)


def card_with_another_mean(home, files):
    cached(home, CARD).resolve().write_bytes(files[CARD].replace(b"0.2262", b"0.3262"))


def dangling(home, files):
    cached(home, WEIGHTS).resolve().unlink()


def link_missing(home, files):
    cached(home, CARD).unlink()


def refs_empty(home, files):
    (repository(home) / "refs" / "main").write_bytes(b"")


def refs_missing(home, files):
    shutil.rmtree(repository(home) / "refs")


def listing_damaged(home, files):
    for path in (repository(home) / "trees").glob("*"):
        path.write_bytes(b"{")
    truncated(home, files)


DAMAGES = [
    (67, truncated, "damaged", "5 bytes that start with .* at least"),
    (67, flipped, "hash", "sha256 starts"),
    (67, card_cut, "damaged", "not a model card"),
    (67, card_of_another_schema, "incompatible", "newer version"),
    (67, card_with_another_mean, "hash", "graph_sha256"),
    (67, listing_damaged, "damaged", "5 bytes"),
    (72, dangling, "unavailable", ""),
    (72, link_missing, "unavailable", ""),
    (72, refs_empty, "unavailable", ""),
    (72, refs_missing, "unavailable", ""),
]


@pytest.mark.parametrize(
    ("damage", "code", "match"),
    [pytest.param(*rest, id=f"row{row}-{rest[0].__name__}") for row, *rest in DAMAGES],
)
def test_damaged_cache_heals_with_network_only(
    hub, home, full_home, files, digest, damage, code, match
):
    shutil.copytree(full_home, home, symlinks=True, dirs_exist_ok=True)
    damage(home, files)
    without = [start(hub.endpoint, home, HF_HUB_OFFLINE="1"), start(closed_port(), home)]
    offline, unplugged = map(finish, without)
    assert offline.code == code
    assert re.search(match or "not in the cache, and HF_HUB_OFFLINE is set", offline.message)
    assert unplugged.code == code
    assert re.search(match or "ConnectError", unplugged.message)
    assert "ConnectError" in unplugged.message
    assert load(hub.endpoint, home).digest == digest
    assert load(closed_port(), home).digest == digest


# row 71: a cache that cannot be written


@pytest.fixture
def warm(hub, other_files):
    """A second revision, loaded first so that the process has imported all it needs."""
    hub.commit(other_files, branch="warm-up")
    return f"{HANDLE}@warm-up"


def test_row71_read_only_cache_with_the_file(hub, home, warm, digest):
    load(hub.endpoint, home)
    load(hub.endpoint, home, warm)
    hub.log.clear()
    assert load(hub.endpoint, home, warm_up=warm).digest == digest
    assert not hub.log


def test_row71_read_only_cache_without_the_file(hub, home, warm):
    outcome = load(hub.endpoint, home, warm_up=warm)
    assert outcome.code == "unavailable"
    assert re.search(f"Permission denied: {home}/hub/.*Cache folder: {home}/hub", outcome.message)
    assert "Set HF_HOME to a folder that can be written" in outcome.message
    assert "network:" not in outcome.message


def test_row71_read_only_damaged_cache(hub, home, warm, files):
    load(hub.endpoint, home)
    flipped(home, files)
    outcome = load(hub.endpoint, home, warm_up=warm)
    assert outcome.code == "hash"
    assert re.search("Fetching it again failed: Permission denied", outcome.message)
