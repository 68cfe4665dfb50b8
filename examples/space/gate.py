"""What stands before the app: which requests it sees, how large, how slow, how many.

Pure ASGI. Everything that the page does not need is shut (Gradio's routes that fetch web
addresses, run functions by name, or record), uploads are read here (`uploads.py`), other
bodies are small JSON that names no file but an upload, and every answer carries a content
security policy under which no script runs that Gradio's page does not bring along.
"""

import contextlib
import json
import os
import re
import secrets
import stat
from pathlib import Path

from uploads import Aborted, Refused, body_blocks, rewritten, spool

API = "/gradio_api"
UPLOAD, JOIN = f"{API}/upload", f"{API}/queue/join"
_GET = re.compile(
    r"/(?:|config|health|theme\.css|favicon\.ico|robots\.txt|manifest\.json|pwa_icon"
    r"|(?:assets|static|svelte|previews)/[^\0]*"
    r"|gradio_api/(?:file=[^\0]*|queue/data|upload_progress|startup-events|app_id"
    r"|heartbeat/\w+|theme\.css))"
)
_POST = (UPLOAD, JOIN, f"{API}/cancel", f"{API}/reset")
_ADDRESS = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:|[/\\])[/\\]", re.IGNORECASE)


class Gate:
    """ASGI app in front of another.

    Args:
        app: Gradio's, mounted at "/".
        limits: `Limits`.
        folder: where Gradio keeps uploads, and nothing else is: old files in it are removed.
    """

    def __init__(self, app, limits, folder):
        self._app, self._limits, self._folder = app, limits, os.path.realpath(folder)
        self.n_uploads = 0  # being received

    async def __call__(self, scope, receive, send):
        """Answer a request, or let it through."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} requests are not served")
        answer = _Answer(send, scope, self._limits)
        try:
            await self._let_through(scope, receive, answer)
        except Refused as refused:
            await answer.refuse(refused)
        except Aborted:
            return None

    async def _let_through(self, scope, receive, answer):
        method, path = scope["method"], scope["path"]
        if method in ("GET", "HEAD"):
            if not _GET.fullmatch(path) or _ADDRESS.match(path.partition("file=")[2]):
                raise Refused(404, "There is nothing here.")
        elif method != "POST" or path not in _POST:
            raise Refused(404, "There is nothing here.")
        elif path == UPLOAD:
            return await self._upload(scope, receive, answer)
        else:
            receive = await self._small_json(scope, receive)
        await self._app(answer.scope, receive, answer)

    async def _upload(self, scope, receive, answer):
        if self.n_uploads >= self._limits.n_uploads:
            raise Refused(429, "Busy with the uploads of others; try again in some seconds.")
        self.n_uploads += 1
        try:
            make_room(self._folder, self._limits.stored_bytes - self._limits.upload_bytes)
            file, suffix = await spool(receive, dict(scope["headers"]), self._limits, self._folder)
            with file:
                headers, receive = rewritten(file, suffix, receive)
                dropped = (b"content-type", b"content-length", b"transfer-encoding")
                kept = [pair for pair in scope["headers"] if pair[0] not in dropped]
                await self._app({**answer.scope, "headers": [*kept, *headers]}, receive, answer)
        finally:
            self.n_uploads -= 1

    async def _small_json(self, scope, receive):
        """Return what takes the place of `receive`, once the body is checked."""
        headers, most_bytes = dict(scope["headers"]), self._limits.json_bytes
        blocks = [b async for b in body_blocks(receive, headers, self._limits, most_bytes)]
        body = b"".join(blocks)
        try:
            value = json.loads(body or b"{}")
            refuse_files(value, self._folder)
            value = event(value) if scope["path"] == JOIN else value
            body = json.dumps(value).encode()  # what was checked, nothing else
        except (ValueError, RecursionError):
            raise Refused(400, "The body is not JSON.") from None
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay():
            return messages.pop() if messages else await receive()

        return replay


def refuse_files(value, folder, key=""):
    """Refuse JSON that names a file or something to fetch: files come by upload only.

    Gradio, when mounted, opens any file of the machine that is named as `path`, and fetches
    it if it is a web address. A `url`, which the page sends along, is where the page plays
    the file, and is not looked at.

    Args:
        value: parsed JSON.
        folder: real path of the uploads.
        key: under which the value is.

    Raises:
        Refused: 400; with one text, whatever lies at the path.
    """
    if key == "path":
        if not is_upload(value, folder):
            raise Refused(
                400,
                f"The path {json.dumps(value)[:200]} is not that of an upload; upload the "
                f"recording to {UPLOAD} and send the path that this answers.",
            )
    elif isinstance(value, str):
        if key != "url" and _ADDRESS.match(value):
            raise Refused(400, "Web addresses are not fetched here; upload the recording.")
    elif isinstance(value, dict):
        for name, inner in value.items():
            refuse_files(inner, folder, name)
    elif isinstance(value, list):
        for inner in value:
            refuse_files(inner, folder, key)


def event(value):
    """Return the body of a request for the page's one event, of what it needs only.

    Args:
        value: parsed JSON, with a path of an upload if with any.

    Raises:
        Refused: 400.
    """
    body = value if isinstance(value, dict) else {}
    fn_index, session, data = (body.get(key) for key in ("fn_index", "session_hash", "data"))
    if type(fn_index) is not int or fn_index != 0:
        raise _no_event("fn_index", fn_index, "0")
    if not isinstance(session, str) or not 0 < len(session) <= 100:
        raise _no_event("session_hash", session, "a text of 1 to 100 characters")
    file = data[0] if isinstance(data, list) and len(data) == 1 else ""
    if file is not None and not (isinstance(file, dict) and "path" in file):
        raise _no_event("data", data, '[null] or [{"path": PATH}], PATH being that of an upload')
    if file is not None:
        file = {"path": file["path"], "meta": {"_type": "gradio.FileData"}}
    return {"data": [file], "fn_index": 0, "session_hash": session}


def _no_event(name, value, allowed):
    found = json.dumps(value)[:200]
    return Refused(400, f"The field {name} of the body is {found}; send {allowed}.")


def is_upload(path, folder):
    """Return whether a path, of any type, is a regular file in a folder of the uploads' folder.

    Nothing is opened, and outside of the folder nothing is looked at.
    """
    try:
        return (
            isinstance(path, str)
            and os.path.dirname(os.path.dirname(path)) == folder
            and os.path.realpath(path) == path  # no link, no ".."
            and stat.S_ISREG(os.lstat(path).st_mode)
        )
    except (OSError, ValueError):  # not there, or no name of a file
        return False


def make_room(folder, most_bytes):
    """Remove the oldest files of a folder until the others have so many bytes or fewer."""
    found = []
    for path in Path(folder).rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found.append((path.stat().st_mtime, path.stat().st_size, path))
    n_bytes = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if n_bytes <= most_bytes:
            return
        path.unlink(missing_ok=True)
        n_bytes -= size


class _Answer:
    """`send` of ASGI that adds headers, and to pages the nonce by which their scripts run."""

    def __init__(self, send, scope, limits):
        self._send, self._limits, self._path = send, limits, scope["path"]
        self._start, self._body = None, []
        self._nonce = secrets.token_urlsafe(16)
        self.scope = scope
        if self._path == "/":  # uncompressed, so that the nonce can be put in
            headers = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
            self.scope = {**scope, "headers": headers}

    async def refuse(self, refused):
        """Answer for the app; the connection ends, as the body may not have been read."""
        text = refused.text
        if self._path != UPLOAD:  # as Gradio's page wants it
            text = json.dumps({"error": text, "detail": text})
        kind = b"text/plain; charset=utf-8" if self._path == UPLOAD else b"application/json"
        headers = [(b"content-type", kind), (b"connection", b"close")]
        await self._send_start(refused.status, [*headers, _length(text.encode())])
        await self._send({"type": "http.response.body", "body": text.encode()})

    async def __call__(self, message):
        if message["type"] == "http.response.start":
            full = self._path == JOIN and message["status"] == 503
            message = {**message, "status": 429 if full else message["status"]}
            if self._path == "/":
                self._start = message
            else:
                await self._send_start(message["status"], message.get("headers", []))
        elif self._start is None:
            await self._send(message)
        else:
            self._body.append(message.get("body", b""))
            if not message.get("more_body"):
                await self._send_page(b"".join(self._body))

    async def _send_page(self, page):
        # no text of a track is in it: those come later, as data
        page = page.replace(b"<script", f'<script nonce="{self._nonce}"'.encode())
        kept = [pair for pair in self._start["headers"] if pair[0].lower() != b"content-length"]
        await self._send_start(self._start["status"], [*kept, _length(page)])
        await self._send({"type": "http.response.body", "body": page})

    async def _send_start(self, status, headers):
        extra = [
            (b"content-security-policy", self._policy().encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
        ]
        if status == 429:
            extra.append((b"retry-after", str(self._limits.retry_after_s).encode()))
        message = {"type": "http.response.start", "status": status, "headers": [*headers, *extra]}
        await self._send(message)

    def _policy(self):
        frames = " ".join(("'self'", *self._limits.framed_by))
        return (
            "default-src 'self'; "
            f"script-src 'self' 'nonce-{self._nonce}'; "
            "style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
            "connect-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; "
            f"base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
        )


def _length(body):
    return b"content-length", str(len(body)).encode()
