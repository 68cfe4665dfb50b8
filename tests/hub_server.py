"""A Hugging Face Hub of one repository on the loopback, for the real client.

It speaks what `snapshot_download` asks for: repository info, the file tree, and files
by revision (branch, tag or commit), small ones direct and `.h5` by a redirect to a second
port, as the real Hub sends large files to its content network. It logs every request and
can go wrong on purpose.
"""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

PORTAL = b"<html>Please log in</html>\n"
_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_BLOB = re.compile(r"/blob/([0-9a-f]{40}|[0-9a-f]{64})/(.+)")


@dataclass
class Fault:
    """One way to go wrong.

    Attributes:
        kind: "status", "portal", "json", "cut", "wrong", "stall" or "drop"; uploads: "late".
        where: the fault hits requests whose path contains this.
        value: status code, or the JSON document to answer with.
        times: how many requests it hits; None means all.
        headers, text: sent with a "status", the text as the error that the Hub tells.
    """

    kind: str
    where: str = "/"
    value: object = None
    times: int | None = None
    headers: dict = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Request:
    """One line of the log."""

    method: str
    path: str
    status: int
    authorization: str | None


class HubServer:
    """Serve commits of one model repository; use it as a context manager.

    Attributes:
        endpoint: for `HF_ENDPOINT`.
        token: None means public, otherwise the token that may read.
        handler: class that answers requests.
        faults: list of `Fault`, the first that fits is used.
        log: list of `Request`, both ports.
    """

    handler = None

    def __init__(self, repo_id="owner/name", *, token=None):
        self.repo_id, self.token = repo_id, token
        self.faults, self.log = [], []
        self.commits, self.refs, self._blobs = {}, {}, {}
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._servers = []

    def __enter__(self):
        for _ in range(2):
            server = _Quiet(("127.0.0.1", 0), self.handler or Handler)
            server.hub = self
            # a short poll: the default of half a second is waited for at every shutdown
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            self._servers.append(server)
        return self

    def __exit__(self, *_):
        self._closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def content_network(self):
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def commit(self, files, branch="main"):
        """Add a commit of {name: bytes} and move a branch to it; return its hash."""
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[digest] = dict(files)
        self.refs[branch] = digest
        self._blobs |= {etag(name, data): data for name, data in files.items()}
        return digest

    def tag(self, name, commit):
        self.refs[name] = commit

    def count(self, method=None, containing=""):
        """Return how many logged requests fit."""
        with self._lock:
            return sum(
                (method is None or r.method == method) and containing in r.path for r in self.log
            )

    def _note(self, request):
        with self._lock:
            self.log.append(request)

    def _fault(self, method, path):
        with self._lock:
            for fault in self.faults:
                if method == "HEAD" and fault.kind in ("cut", "wrong", "stall"):
                    continue  # only a body can be so
                if fault.where in path and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None


def is_large(name):
    return name.endswith(".h5")


def etag(name, data):
    """Return what the Hub names a blob by: sha256 of a large file, else git's hash."""
    if is_large(name):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Quiet(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two packets: 40 ms for each answer

    def log_message(self, *_):
        """Say nothing on stderr."""

    def do_GET(self):
        self._answer()

    def do_HEAD(self):
        self._answer()

    def _answer(self):
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        fault = hub._fault(self.command, path)
        if self._failed(fault, path):
            return
        if match := _BLOB.fullmatch(path):
            self._content(hub._blobs[match[1]], {"ETag": f'"{match[1]}"'}, path, fault)
        elif fault and fault.kind == "stall" and not _FILE.fullmatch(path):
            self._log(path, 0)
            hub._closing.wait(60)
        elif match := _API.fullmatch(path):
            self._api(*match.groups(), path)
        elif match := _FILE.fullmatch(path):
            self._file(*match.groups(), path, fault)
        else:
            self._other(path)

    def _failed(self, fault: Fault | None, path: str) -> bool:
        """Go wrong in a way that needs no file; return whether the request is answered."""
        kind = fault.kind if fault else None
        if kind == "drop":
            self._log(path, 0)
            self.close_connection = True
        elif kind == "status":
            error = json.dumps({"error": fault.text}).encode()
            self._send(fault.value, error, fault.headers, path)
        elif kind == "portal":
            self._send(200, PORTAL, {"Content-Type": "text/html"}, path)
        elif kind == "json":
            self._json(fault.value, path)
        return kind in ("drop", "status", "portal", "json")

    def _other(self, path):
        self._error(404, None, path)

    def _refused(self, repo_id, path):
        """Answer a request for the wrong repository or with the wrong token."""
        hub = self.server.hub
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._error(401, "RepoNotFound", path)
        elif repo_id != hub.repo_id:
            self._error(404, "RepoNotFound", path)
        else:
            return False
        return True

    def _commit_of(self, revision, path):
        hub = self.server.hub
        commit = hub.refs.get(revision, revision)
        if commit in hub.commits:
            return commit
        self._error(404, "RevisionNotFound", path)
        return None

    def _api(self, repo_id, what, revision, path):
        if self._refused(repo_id, path):
            return
        commit = self._commit_of(revision or "main", path)
        if commit is None:
            return
        files = self.server.hub.commits[commit]
        if what == "tree":
            self._json([_tree_entry(name, data) for name, data in files.items()], path)
            return
        self._json(
            {
                "_id": "0" * 24,
                "id": repo_id,
                "modelId": repo_id,
                "sha": commit,
                "private": self.server.hub.token is not None,
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "lastModified": "2026-01-01T00:00:00.000Z",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "siblings": [
                    {"rfilename": name, "size": len(data)} for name, data in files.items()
                ],
            },
            path,
        )

    def _file(self, repo_id, revision, name, path, fault):
        hub = self.server.hub
        if self._refused(repo_id, path):
            return
        commit = self._commit_of(revision, path)
        if commit is None:
            return
        data = hub.commits[commit].get(name)
        if data is None:
            self._error(404, "EntryNotFound", path, {"X-Repo-Commit": commit})
            return
        tag = etag(name, data)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{tag}"', "Accept-Ranges": "bytes"}
        if not is_large(name):
            self._content(data, headers, path, fault)
            return
        headers |= {
            "Location": f"{hub.content_network}/blob/{tag}/{name}?Signature=secret",
            "X-Linked-Etag": f'"{tag}"',
            "X-Linked-Size": str(len(data)),
        }
        self._send(302, b"Found", headers, path)

    def _content(self, data, headers, path, fault):
        """Send a file or the asked range of it, or fail half way."""
        kind = fault.kind if fault else None
        if kind == "wrong":
            data = b"B" * len(data)
        start, status = 0, 200
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start, status = int(asked[1]), 206
            headers = {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        body = data[start:]
        if kind not in ("cut", "stall"):
            self._send(status, body, headers, path)
            return
        self._head(status, len(body), headers, path)
        stop = len(data) // 2 if kind == "cut" else 1000
        self.wfile.write(data[start : max(start, stop)])
        self.wfile.flush()
        if kind == "stall":
            self.server.hub._closing.wait(60)
        self.close_connection = True

    def _json(self, document, path):
        body = json.dumps(document).encode()
        self._send(200, body, {"Content-Type": "application/json"}, path)

    def _error(self, status, code, path, headers=None):
        headers = dict(headers or {})
        if code:
            headers |= {"X-Error-Code": code, "X-Error-Message": code}
        self._send(status, json.dumps({"error": code}).encode(), headers, path)

    def _send(self, status, body, headers, path):
        self._head(status, len(body), headers, path)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status, length, headers, path):
        self._log(path, status)
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _log(self, path, status):
        authorization = self.headers.get("Authorization")
        self.server.hub._note(Request(self.command, path, status, authorization))


def _tree_entry(name, data):
    oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry = {"type": "file", "path": name, "size": len(data), "oid": oid}
    if is_large(name):
        digest = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
    return entry
