"""`artist-features serve`: answer players and programs from a search index, over HTTP."""

import argparse
import json
import logging
import os
import socket

from artist_features.cli import Commands
from artist_features.cli.progress import write_line
from artist_features.cli.stopping import OrderlyStop
from artist_features.errors import counted, display_path
from artist_features.optional import require

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MAX_CONNECTIONS = 256  # more are refused with status 503


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="answer players from an index, over HTTP",
        description="Answer over HTTP which tracks of an index sound alike, as OpenSubsonic's "
        "extension sonicSimilarity, as Navidrome's AudioMuse-AI plugin expects it, and as plain "
        "JSON; /docs lists the addresses. Nothing is written, no file is sent, no model is loaded. "
        "Whoever reaches the port may ask. Needs the extra [serve].",
    )
    parser.add_argument("index", metavar="INDEX", help="file of `artist-features index build`")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument(
        "--port", type=int, default=8000, metavar="N", help="default: 8000; 0 takes a free one"
    )
    parser.set_defaults(command=run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """Load the index, listen, and answer until a signal comes."""
    # a thread for each search; those of a matrix product would wait for one another
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    require("starlette", "serve", "serve")
    uvicorn = require("uvicorn", "serve", "serve")
    from artist_features.search import Index
    from artist_features.search.server import MAX_BYTES, create_app

    index = Index.load(args.index)
    hosts = _LOOPBACK if args.host in _LOOPBACK else ("*",)
    config = uvicorn.Config(
        create_app(index, hosts=hosts),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        h11_max_incomplete_event_size=2 * MAX_BYTES,
        timeout_graceful_shutdown=5,
    )
    logging.getLogger("uvicorn.error").addFilter(_as_json)
    with OrderlyStop(), _listening(args.host, args.port) as listener:
        host, port = listener.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        recordings = f"{counted(len(index), 'recording')} of {display_path(args.index)}"
        write_line(f"{recordings}: http://{address}/docs")
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _as_json(record: logging.LogRecord) -> bool:
    """Logging filter: uvicorn's own messages as JSON, as the lines of requests are."""
    record.msg = json.dumps({"level": record.levelname, "message": record.getMessage()})
    record.args = ()
    return True


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port < 65536:
        raise ValueError(f"--port is {port}; allowed is 0 to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_MAX_CONNECTIONS)
    except OSError as error:
        text = f"--host {host} --port {port} cannot be listened on ({error}); choose another."
        raise ValueError(text) from None
    # connections inherit it; asyncio sets it only on those of its own listeners, and without it
    # one answer in fifty waits 40 ms for the other side's delayed acknowledgement
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
