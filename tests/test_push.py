"""Publishing through the Hub's real client, against a server on the loopback.

The client reads its environment when it is imported, so the command runs in one process of
its own, which takes one command line after another; only the waiting between the client's
retries is left out there.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import processes
import pytest
from hub_server import Fault
from hub_uploads import UploadServer
from huggingface_hub import ModelCard as HubCard
from test_hub import environment

from artist_features.zoo import folder as model_folder
from artist_features.zoo.card import model_card

TOKEN, OTHER = "hf_verySecretToken0123456789", "hf_anotherSecretToken0123456"
README, CARD, WEIGHTS = "README.md", model_folder.CARD_FILE, model_folder.WEIGHTS_FILE

CHILD = """
import contextlib, io, json, logging, os, signal, sys, time
from huggingface_hub.utils import _http
from artist_features.cli.main import main
class Clock:  # the client's retries wait for up to 23 s
    sleep = staticmethod(lambda seconds: None)
    time, monotonic = time.time, time.monotonic
_http.time = Clock
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
from artist_features.zoo import folder
build, built = folder.build, {}
def build_once(card, weights):
    key = card.weights_sha256, card.graph_sha256
    if key not in built:
        built[key] = build(card, weights)
    return built[key]
folder.build = build_once
print("ready", flush=True)
for line in sys.stdin:
    task = json.loads(line)
    os.environ["HF_TOKEN"] = task["token"]
    if task["debug"]:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, force=True)
        _http.logger.setLevel(logging.DEBUG)
    # the log went to the error stream of the process before: take both at the descriptor
    with open(task["log"], "w+") as log:
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                code = main(task["argv"])
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
    print(json.dumps([code, out.getvalue()]), flush=True)
"""


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def server():
    with UploadServer(writer=TOKEN) as hub:
        yield hub


@pytest.fixture
def hub(server):
    server.reset()
    return server


@pytest.fixture(scope="module")
def child(server, tmp_path_factory):
    home = tmp_path_factory.mktemp("hf-home")
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env=environment(server.endpoint, home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.communicate(timeout=120)


@pytest.fixture
def push(child, tiny_folder, tmp_path):
    """Return a function that runs the command: `push(*options, folder=, token=)`."""

    def run(*options, folder=tiny_folder, name="owner/name", token=TOKEN, debug=False):
        argv = ["push", str(folder), name, *options]
        task = {"argv": argv, "token": token, "debug": debug, "log": str(tmp_path / "log")}
        child.stdin.write(json.dumps(task) + "\n")
        child.stdin.flush()
        code, out = json.loads(child.stdout.readline())
        outcome = Outcome(code, out, (tmp_path / "log").read_text())
        assert "Traceback" not in outcome.err
        for secret in (TOKEN, OTHER, "secretOfTheUrl"):
            assert secret not in outcome.out + outcome.err
        return outcome

    return run


@pytest.fixture
def copy(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "copy")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in model_folder.FILES}


def published(hub, branch="main"):
    files = dict(hub.commits[hub.refs[branch]])
    del files[".gitattributes"]
    return files


# what works


def test_all_five_files_in_one_commit_and_nothing_else(hub, push, copy):
    for name in ("extra.py", ".env", "model.partial.keras"):
        (copy / name).write_text("secret")
    outcome = push(folder=copy)
    assert outcome.code == 0
    assert outcome.out == f"hf://owner/name@{hub.refs['main']}\n"
    assert f"published: {hub.endpoint}/owner/name/commit/" in outcome.err
    assert "sending 5 files" in outcome.err
    assert "warning" not in outcome.err
    sent, ours = published(hub), contents(copy)
    example = with_handle(ours[README])
    assert example != ours[README]
    assert sent == {**ours, README: example}
    assert len(hub.messages) == 1
    assert hub.messages[0].startswith("tiny, weights sha256 ")
    assert not hub.private
    for request in hub.log:  # the token goes to the Hub only, not to where the bytes go
        expected = None if request.path.startswith("/upload/") else f"Bearer {TOKEN}"
        assert request.authorization == expected


def test_the_same_again_sends_nothing(hub, push):
    first = push()
    before, n_uploads = hub.state(), hub.count("PUT")
    again = push()
    assert (again.code, again.out) == (0, first.out)
    assert "nothing to send: the Hub has these files already" in again.err
    assert hub.state() == before
    assert hub.count("PUT") == n_uploads == 1
    assert hub.count("POST", "/commit/") == 1


def test_a_new_version_replaces_files_and_keeps_others(hub, push, copy):
    push()
    first = hub.refs["main"]
    files = {**hub.commits[first], "LICENSE": b"MIT"}
    hub.commit(files)
    (copy / README).write_bytes(contents(copy)[README] + b"\nMore.\n")
    outcome = push("--message", "Say more", folder=copy)
    assert outcome.code == 0
    assert hub.messages[-1] == "Say more"
    now = hub.commits[hub.refs["main"]]
    assert now == {**files, README: files[README] + b"\nMore.\n"}
    assert hub.count("PUT") == 1  # the weights were there


def test_private_is_not_published_in_public(
    hub: UploadServer, push: Callable[..., Outcome]
) -> None:
    assert push("--private").code == push("--private").code == 0
    assert hub.private
    hub.reset()
    hub.create()
    before = hub.state()
    outcome = push("--private")
    assert outcome.code == 1
    assert "hf://owner/name: is public; make it private in its settings" in outcome.err
    assert hub.state() == before


def test_branches(hub, push, copy):
    push()
    main = hub.refs["main"]
    outcome = push("--revision", "v2/try")
    assert outcome.out == f"hf://owner/name@{main}\n"
    assert hub.refs["v2/try"] == main
    (copy / README).write_bytes(contents(copy)[README] + b"2")
    assert push("--revision", "v2/try", folder=copy).code == 0
    assert published(hub, "v2/try")[README].endswith(b"2")
    assert push("--revision", "v3", folder=copy).code == 0
    assert published(hub, "v3") == published(hub, "v2/try")
    assert hub.refs["main"] == main


def test_warnings_of_the_hub_are_passed_on(hub, push):
    answer = {"errors": [], "warnings": [{"message": "no such data set"}]}
    hub.faults = [Fault("json", "validate-yaml", answer)]
    outcome = push()
    assert outcome.code == 0
    assert "warning: Warnings while validating metadata in README.md: - no such" in outcome.err


def test_pushed_pulled_and_loaded_by_plain_keras(hub, push, tiny_folder, tmp_path):
    """A fresh process for each reader: ours by branch and commit, `pull`, plain Keras."""
    assert push("--private", "--revision", "v2").code == 0
    outcome = push("--private")
    code = (
        "import sys, artist_features as af; import numpy as np;"
        "assert 'keras' not in sys.modules; from artist_features.cli.main import main;"
        "assert main(['pull', sys.argv[1].removeprefix('hf://'), sys.argv[3]]) == 0;"
        "assert 'keras' not in sys.modules; import keras;"
        "x = np.random.default_rng(0).normal(0, .1, (2, 66560, 1)).astype('float32');"
        "a = keras.saving.load_model('hf://owner/name')(x).numpy();"
        "handles = sys.argv[1], 'hf://owner/name@v2', sys.argv[2], sys.argv[3];"
        "assert np.ptp(a) > 0;"
        "[np.testing.assert_array_equal(af.load_model(h)(x).numpy(), a) for h in handles];"
        "print('equal')"
    )
    pulled = tmp_path / "pulled"
    command = [sys.executable, "-c", code, outcome.out.strip(), str(tiny_folder), str(pulled)]
    env = environment(hub.endpoint, tmp_path / "home", HF_TOKEN=TOKEN)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=480)
    assert done.stdout.endswith("equal\n"), done.stderr
    assert contents(pulled) == published(hub)
    assert {**contents(pulled), README: b""} == {**contents(tiny_folder), README: b""}


# a folder that is not whole: nothing is sent


def flipped(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def edited(name, change):
    def edit(folder):
        record = json.loads((folder / name).read_text())
        change(record)
        (folder / name).write_text(json.dumps(record))

    return edit


def linked_out(folder):
    (folder / "metadata.json").rename(folder.parent / "metadata.json")
    (folder / "metadata.json").symlink_to(folder.parent / "metadata.json")


NOT_WHOLE = {
    "flipped": (flipped, f"{WEIGHTS}: sha256 starts"),
    "no-config": (lambda f: (f / "config.json").unlink(), "config.json: cannot be read (No such"),
    "no-card": (lambda f: (f / CARD).unlink(), f"{CARD}: cannot be read (No such"),
    "no-folder": (shutil.rmtree, f"{CARD}: cannot be read (No such"),
    "linked-out": (linked_out, "metadata.json: is a link out of its folder"),
}


@pytest.mark.parametrize("name", NOT_WHOLE)
def test_nothing_is_sent_of_a_folder_that_is_not_whole(hub, push, copy, name):
    spoil, match = NOT_WHOLE[name]
    spoil(copy)
    outcome = push(folder=copy)
    assert outcome.code == 2
    assert match in outcome.err
    assert not hub.log


# edits by hand: sent without them, and said so


def readme(change):
    def edit(folder):
        path = folder / README
        path.write_text(change(path.read_text()))

    return edit


def put_lambda(config):
    layer = config["config"]["layers"][5]
    layer |= {"class_name": "Lambda", "module": "keras.layers", "registered_name": None}


EXEC = {"optimizer": {"module": "builtins", "class_name": "exec", "config": {}}}
CONFIG, METADATA = "config.json", "the metadata of README.md"
EDITS = {
    "config-cut": (lambda f: (f / CONFIG).write_text("{"), CONFIG),
    "lambda": (edited(CONFIG, put_lambda), CONFIG),
    "compiled": (edited(CONFIG, lambda c: c.update(compile_config=EXEC)), CONFIG),
    "no-metadata": (readme(lambda text: text.partition("---\n\n")[2]), METADATA),
    "own-licence": (readme(lambda text: text.replace("license: mit", "license: isc")), METADATA),
    "no-yaml": (readme(lambda text: text.replace("license: mit", "license: [")), METADATA),
    "own-keys": (
        readme(lambda text: text.replace("\nlicense:", "\nbase_model: x\nlicense:")),
        METADATA,
    ),
    "sha256": (readme(lambda text: re.sub("sha256 `....", "sha256 `beef", text)), METADATA),
}


@pytest.mark.parametrize("name", EDITS)
def test_edits_by_hand_are_not_sent(hub, push, copy, tiny_folder, name):
    edit, named = EDITS[name]
    edit(copy)
    before = contents(copy)
    outcome = push(folder=copy)
    assert outcome.code == 0
    assert f"warning: {named}: sent as {CARD} gives it; edits by hand are not" in outcome.err
    assert contents(copy) == before
    sent, whole = published(hub), contents(tiny_folder)
    assert sent.pop(README).split() == with_handle(whole.pop(README)).split()
    assert sent == whole


def with_handle(page):
    return page.replace(b'"path/to/tiny"', b'"hf://owner/name"')


def test_a_score_in_the_card_is_published_and_own_words_are_kept(hub, push, copy):
    edited(CARD, lambda c: c.update(scores={"held_out_artist_map": 0.461}))(copy)
    readme(lambda text: text.replace("# tiny", "# My own words") + "\nMore of them.\n")(copy)
    assert push(folder=copy).code == 0
    page = published(hub)[README].decode()
    assert HubCard(page).data.eval_results[0].metric_value == 0.461
    assert "# My own words" in page
    assert page.endswith("\nMore of them.\n")


def test_a_name_of_a_bundled_model_is_not_its_handle(hub, push, copy):
    """An earlier version wrote `model="siamese"` for every model of that name."""
    edited(CARD, lambda c: c.update(name="siamese"))(copy)
    new = model_card(model_folder.read_card(copy), "path/to/siamese")
    for text in (new, new.replace("path/to/siamese", "siamese")):
        (copy / README).write_text(text)
        assert push(folder=copy).code == 0
        expected = new.replace("path/to/siamese", "hf://owner/name")
        assert published(hub)[README].decode() == expected


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("nonsense", [], "not a Hub id"),
        ("owner/name@v1", [], "name the branch as revision"),
        ("owner/name", ["--revision", "0" * 40], "allowed is the name of a branch"),
        ("owner/name", ["--revision", "../x y"], "allowed is the name of a branch"),
    ],
)
def test_wrong_usage(hub, push, name, options, match):
    outcome = push(*options, name=name)
    assert (outcome.code, match in outcome.err) == (2, True)
    assert not hub.log


# the Hub does not take it: named, and the repository is as it was


AGAIN = "run the same command again"
FAULTS = {
    "401": ([Fault("status", "/api/", 401)], "answered 401: no token, or one that is not known"),
    "403": ([Fault("status", "preupload", 403)], "answered 403: the token may not write there"),
    "403-storage": (
        [Fault("status", "preupload", 403, text="Private repository storage limit reached")],
        "(Private repository storage limit reached): the account's storage is full; free some",
    ),
    "404": ([Fault("status", "preupload", 404)], "answered 404: no such user, organisation"),
    "409": ([Fault("status", "/commit/", 409)], "answered 409: somebody else changed it"),
    "413": ([Fault("status", "/commit/", 413)], "storage is full"),
    "422": ([Fault("status", "/commit/", 422, text="bad file")], "422 (bad file): mend that"),
    "429": ([Fault("status", "/commit/", 429)], "answered 429: too many requests or commits; wait"),
    "500": ([Fault("status", "preupload", 500)], "answered 500: try again later"),
    "upload-500": ([Fault("status", "/upload/", 500)], "answered 500: try again later"),
    "upload-cut": ([Fault("cut", "/upload/")], f"When it can be reached, {AGAIN}"),
    "drop": ([Fault("drop")], f"When it can be reached, {AGAIN}"),
    "drop-commit": ([Fault("drop", "/commit/")], "not known whether it was published"),
    "portal": ([Fault("portal")], "does not answer like a Hub; is it a login page"),
    "json-preupload": ([Fault("json", "preupload", {"ok": 1})], "preupload_info is improperly"),
    "json-refs": ([Fault("json", "/refs", [])], "does not answer like a Hub"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_and_the_repository_is_as_it_was(hub, push, name):
    faults, match = FAULTS[name]
    hub.create()
    hub.faults = [Fault(**vars(fault)) for fault in faults]
    before = hub.state()
    outcome = push()
    last = outcome.err.strip().splitlines()[-1]
    assert outcome.code == 1
    assert match in last
    assert last.startswith("artist-features: hf://owner/name: ")
    assert hub.endpoint in last
    assert len(last) < 500
    assert ("the repository is as it was" in last) != ("not known whether" in last)
    assert outcome.out == ""
    assert hub.state() == before
    hub.faults = []
    assert push().code == 0  # the advice


def test_an_answer_that_is_lost(hub, push):
    hub.create()
    hub.faults = [Fault("late", "/commit/", times=1)]
    outcome = push()
    assert outcome.code == 1
    assert "It is not known whether it was published" in outcome.err
    again = push()
    assert "nothing to send: the Hub has these files already" in again.err
    assert (again.code, len(hub.messages)) == (0, 1)


def test_somebody_else_was_quicker(hub, push):
    hub.create()
    hub.before_commit = lambda hub: hub.commit({"README.md": b"theirs"})
    outcome = push()
    assert outcome.code == 1
    assert "answered 412 (A commit has happened since. Please refresh and try again)" in outcome.err
    assert "somebody else changed it meanwhile; look at it, then run" in outcome.err
    assert hub.commits[hub.refs["main"]] == {"README.md": b"theirs"}


def test_no_room_for_the_weights(hub, push):
    hub.create()
    hub.free_bytes, before = 1000, hub.state()
    outcome = push("--revision", "v2")
    assert outcome.code == 1
    assert "Private repository storage limit reached" in outcome.err
    assert "the account's storage is full; free some" in outcome.err
    assert hub.state() == before  # not even the branch


def test_metadata_that_the_hub_refuses(hub: UploadServer, push: Callable[..., Outcome]) -> None:
    hub.create()
    hub.rejected_licenses, before = {"mit"}, hub.state()
    outcome = push()
    assert outcome.code == 1
    assert "Invalid metadata in README.md. - license 'mit' must be one of" in outcome.err
    assert "mend that, then" in outcome.err
    assert hub.state() == before


def test_what_was_made_before_the_fault_is_said(hub, push):
    hub.faults = [Fault("status", "preupload", 400)]
    assert "Nothing was published: the repository was made and is empty." in push().err
    hub.faults = [Fault("status", "/commit/", 400)]
    outcome = push("--revision", "v2")
    assert "Nothing was published: branch v2 was made and is equal to main." in outcome.err
    assert hub.refs["v2"] == hub.refs["main"]


@pytest.mark.parametrize(
    ("place", "match"),
    [
        ("/refs", "stopped. Nothing was published: the repository was made and is empty."),
        ("/commit/", "stopped. It is not known whether it was published; what is there is not"),
    ],
)
def test_what_is_left_by_an_interrupt_is_said(hub, push, child, monkeypatch, place, match):
    def interrupting(command, path, fault=hub._fault):
        if place in path:
            child.send_signal(signal.SIGINT)
        return fault(command, path)

    monkeypatch.setattr(hub, "_fault", interrupting)
    outcome = push()
    assert (outcome.code, outcome.out) == (130, "")
    assert match in outcome.err
    monkeypatch.undo()
    assert push().code == 0  # the advice


def test_a_tag_is_no_branch(hub, push):
    hub.create()
    hub.tag("v1", hub.refs["main"])
    before = hub.state()
    outcome = push("--revision", "v1")
    assert (outcome.code, "is a tag, which never moves" in outcome.err) == (1, True)
    assert hub.state() == before


@pytest.mark.parametrize(
    ("token", "exists"),
    [
        ("", False),
        (OTHER, False),
        (OTHER, True),
        (f"{OTHER}\x0bx", False),
        (f"{OTHER}\u00e9", True),
    ],
)
def test_a_token_that_may_not_write(hub, push, token, exists):
    if exists:
        hub.create()
    before = hub.state()
    outcome = push(token=token)
    assert outcome.code == 1
    if token in ("", OTHER):
        assert "answered 401" in outcome.err
        assert "set HF_TOKEN to a token that may write there" in outcome.err
    else:
        assert "HF_TOKEN holds a character that no token has" in outcome.err
    assert hub.state() == before


def test_no_secret_in_the_log_of_a_debugger(hub, push):
    """Last in this file: the level of the log stays."""
    hub.faults = [Fault("status", "/upload/", 503, times=1)]
    outcome = push(debug=True)
    assert outcome.code == 0
    assert "DEBUG" in outcome.err
    assert "/upload/" in outcome.err


def test_offline(hub, tiny_folder, tmp_path):
    env = environment(hub.endpoint, tmp_path, HF_HUB_OFFLINE="1", HF_TOKEN=TOKEN)
    done = processes.run(processes.COMMAND, "push", tiny_folder, "owner/x", env=env)
    assert done.returncode == 1
    assert "HF_HUB_OFFLINE is set; unset it to publish" in done.stderr
    assert not hub.log
