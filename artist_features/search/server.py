"""HTTP server of a search index, for players (extra `[serve]`): JSON only, nothing is changed.

`answers` says what is answered, and after which programs.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from artist_features.errors import shortened
from artist_features.search.answers import (
    GENERIC,
    MAX_N,
    MAX_PATH,
    NOT_FOUND,
    Answers,
    Params,
    Refusal,
)
from artist_features.search.index import Index

MAX_BYTES = 8192  # of the parameters of one request
_LOG = logging.getLogger(__name__)

_DOCS = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>artist-features serve</title>
<h1>artist-features serve</h1>
<p>Parameters go into the address or a form, {MAX_BYTES} bytes at most; answers are JSON, of {MAX_N}
results at most (paths: {MAX_PATH}). What is refused has status 400 or 404 and a text,
<code>error</code>. The id of a track is the index's column <code>id</code>, or its path.
<pre>
/similar?id=ID&amp;n=10                          nearest tracks
/path?start=ID&amp;end=ID&amp;n=25                  tracks in even steps from one to the other

as AudioMuse-AI
/api/similar_tracks?item_id=ID&amp;n=10          nearest tracks
/api/find_path?start_song_id=ID&amp;end_song_id=ID&amp;max_steps=25
/api/similar_artists?artist=ID or name&amp;n=10&amp;include_component_matches=true

as OpenSubsonic (f=json; no user is asked for)
/rest/getSonicSimilarTracks?id=ID&amp;count=10&amp;f=json
/rest/findSonicPath?startSongId=ID&amp;endSongId=ID&amp;count=25&amp;f=json
/rest/getOpenSubsonicExtensions?f=json
/rest/ping?f=json
</pre></html>
"""


def create_app(index: Index, *, hosts: Sequence[str] = ("*",)) -> Starlette:
    """Return the ASGI application that answers from an index: one request, and one path, at a time.

    Args:
        index: `Index`.
        hosts: names by which it may be called, against web pages whose own name points here;
            "*" is any.
    """
    answers, path_finder = Answers(index), ThreadPoolExecutor(1)

    def route(address: str, answer: Callable[[Params], Any]) -> Route:
        async def endpoint(request: Request) -> Response:
            params = await _params(request)
            if "path" not in request.url.path.lower():  # milliseconds: no thread pays
                return JSONResponse(answer(params))
            loop = asyncio.get_running_loop()
            return JSONResponse(await loop.run_in_executor(path_finder, answer, params))

        return Route(address, endpoint, methods=["GET", "POST"])

    return Starlette(
        routes=[
            route("/similar", answers.similar),
            route("/path", answers.path),
            route("/api/similar_tracks", answers.similar_tracks),
            route("/api/find_path", answers.find_path),
            route("/api/similar_artists", answers.similar_artists),
            route("/rest/{method}", answers.subsonic),
            Route("/docs", lambda _: HTMLResponse(_DOCS)),
            Route("/", lambda _: RedirectResponse("/docs")),
        ],
        middleware=[
            Middleware(_RequestLog),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        ],
        exception_handlers={Refusal: _refused, HTTPException: _http_error},
    )


class _RequestLog:
    """ASGI middleware: a line of JSON for each request, without its parameters.

    They hold the passwords of OpenSubsonic's users.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:  # its parameters never came to their end: nobody to answer
            status = 499
        finally:
            record = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "client": (scope.get("client") or [""])[0],
                "method": scope["method"],
                "path": shortened(scope["path"]),
                "status": status,
                "ms": round(1000 * (time.perf_counter() - started), 1),
            }
            _LOG.info(json.dumps(record))


async def _params(request: Request) -> Params:
    """Return the parameters of an address and of a form; of one given twice, the last."""
    texts = [request.scope["query_string"], b"&"]
    async for chunk in request.stream():
        texts.append(chunk)
        if sum(map(len, texts)) > MAX_BYTES:
            raise Refusal(GENERIC, f"parameters of more than {MAX_BYTES} bytes.")
    pairs = parse_qsl(b"".join(texts).decode("utf-8", "replace"))
    return {**dict(pairs), **request.path_params}


def _refused(_: Request, refusal: Exception) -> Response:
    code = getattr(refusal, "code", GENERIC)
    return JSONResponse({"error": str(refusal)}, 404 if code == NOT_FOUND else 400)


def _http_error(_: Request, error: Exception) -> Response:
    """Return a refusal of Starlette's own, such as of an unknown address, as JSON."""
    refusal = cast(HTTPException, error)
    return JSONResponse({"error": refusal.detail}, refusal.status_code, refusal.headers)
