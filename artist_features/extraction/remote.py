"""Remote recordings through fsspec (object stores, web servers, archives), and path identity.

A recording is copied into a private temporary file, from which it is decoded, so that decode
processes need neither a network nor credentials. A failure costs that recording alone.
"""

import asyncio
import contextlib
import dataclasses
import errno
import functools
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from artist_features.audio.formats import AUDIO_ENDINGS
from artist_features.errors import AnyPath, AudioError, OutputError, without_secrets
from artist_features.extraction.decode import EncodedAudio, Source
from artist_features.optional import require

BLOCK_BYTES = 1 << 20  # of one read
MAX_BYTES = 8 << 30  # of one recording: a stream without an end must not fill the disk
_READ_AHEAD_BYTES = 8 << 20  # of one request to an object store
_SILENCE_LIMIT_S = 30  # of a web server; fsspec's own limit is 300 s for the whole transfer
# minimum throughput; slower transfers time out, which a limit on silence does not catch
_SLOWEST_BYTES_S, _SLOWEST_OVER_S = 10_000, 60
_WEB = ("http", "https")
# two letters or more: one is a drive of Windows
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_FILE_URI = re.compile(r"(?i)file://(localhost(?=/))?")
_held = threading.local()


def is_uri(path: object) -> bool:
    """Return whether a path is a URI as fsspec knows them, and no file of that name is here.

    Example:
        >>> [is_uri(path) for path in ("s3://bucket/a.mp3", "zip://a.mp3::/music.zip")]
        [True, True]
        >>> [is_uri(path) for path in ("a.mp3", "C:/a.mp3", "Suite: I.mp3", b"s3://bucket/a.mp3")]
        [False, False, False, False]
    """
    return isinstance(path, str) and is_link(path) and not os.path.lexists(path)


def identity(path: AnyPath, folders: dict[str, str] | None = None) -> str:
    """Canonicalise a path: absolute, symbolic links resolved; a URI of no local file stays.

    A link that leads nowhere stands for itself.

    Args:
        path: of a file or folder.
        folders: real paths of folders, kept while many files are looked at.
    """
    path = local_path(os.fsdecode(path))
    if is_uri(path):
        return path
    folder, name = os.path.split(path)
    try:
        if name in ("", ".", "..") or (os.path.islink(path) and os.path.exists(path)):
            return os.path.realpath(path)
        folders = {} if folders is None else folders
        if folder not in folders:
            folders.clear()  # files of one folder come one after the other
            folders[folder] = os.path.realpath(folder or ".")
        return os.path.join(folders[folder], name)
    except ValueError:  # a zero byte: no possible name
        return path


def is_gone(path: str) -> bool:
    """Return whether a file does not exist; a URI is not asked for, and never gone.

    A file that cannot be looked at for another reason, such as a folder's mode, is not gone.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return not is_link(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    except ValueError:
        return False
    return False


def local_path(path: str) -> str:
    """Return the path that a `file://` URI names; anything else as it is."""
    if is_uri(path) and (found := _FILE_URI.match(path)) and "::" not in path and "*" not in path:
        return path[found.end() :]  # as fsspec, which decodes no %20
    return path


def has_known_scheme(uri: str) -> bool:
    """Return whether fsspec knows the schemes of a URI, be their packages installed or not."""
    require_fsspec(uri)
    from fsspec.registry import known_implementations, registry

    return all(scheme in known_implementations or scheme in registry for scheme in schemes(uri))


def is_link(text: str) -> bool:
    """Return whether a text begins like a URI, be there a file of that name or not."""
    return bool(_URI.match(text))


def require_fsspec(uri: str) -> None:
    """Check that the packages are installed which open a URI.

    An unknown scheme passes: it is the fault of that URI alone.

    Raises:
        ImportError: fsspec is missing, or what it needs for a scheme of the URI.
    """
    for scheme in schemes(uri):
        _require_scheme(scheme)


@functools.lru_cache(maxsize=64)
def _require_scheme(scheme: str) -> None:
    fsspec = require("fsspec", f"{scheme}://", "remote")
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        hint = "install that package"
        if scheme in _WEB:
            hint = "install it with `pip install 'artist-features[remote]'`"
        raise ImportError(f"{scheme}:// needs another package ({error}); {hint}.") from None
    except ValueError:
        return


@contextlib.contextmanager
def fetched(source: Source, is_stopped: Callable[[], bool]) -> Iterator[Source]:
    """Context with a source that decoders can open: of a URI or of bytes, a private file.

    Memory stays below some 20 MB whatever the size at a URI.

    Args:
        source: of any kind; of a local file it is yielded as it is.
        is_stopped: function that is asked between blocks whether to give up.

    Raises:
        OutputError: `no_space`.
        AudioError: `empty`, `not_found`, `not_a_file`, `no_permission`, `too_long`, or
            `unavailable` for everything else: network, time out, a missing package.
    """
    if isinstance(source.audio, EncodedAudio):
        if not source.audio.data:
            text = "0 bytes of audio; was it an open file that is read already, seek(0) first."
            raise AudioError("empty", text, source.path)
        with _private_file([source.audio.data]) as copy:
            yield dataclasses.replace(source, audio=copy)
    elif not is_uri(source.path):
        yield source
    elif not is_uri(path := local_path(os.fsdecode(source.path or ""))):
        yield dataclasses.replace(source, audio=path)
    else:
        with _private_file(_blocks(path, is_stopped)) as copy:
            yield dataclasses.replace(source, audio=copy)


@contextlib.contextmanager
def _private_file(blocks: Iterable[bytes]) -> Iterator[str]:
    """Write a file, yield its path, and remove it afterwards."""
    path = None
    try:
        try:
            descriptor, path = tempfile.mkstemp(prefix="artist-features-")
        except OSError as error:
            raise _no_room(error) from None
        with open(descriptor, "wb", buffering=0) as copy:
            place = f"/proc/{os.getpid()}/fd/{descriptor}"
            if os.path.exists(place):  # Linux: without a name, nothing is left after a kill
                os.unlink(path)
                path = None
            for block in blocks:
                _write(block, copy)
            yield path or place
    finally:
        if path is not None:
            os.unlink(path)


def schemes(uri: str) -> list[str]:
    """Return the schemes of a URI's links, the outermost first."""
    links = uri.split("::")
    return [link.partition("://")[0] for link in links if is_link(link)]


def open_system(uri: str) -> tuple[Any, str]:
    """Return (fsspec file system, path in it) of a URI."""
    from fsspec.core import url_to_fs

    inner, _, outer = uri.partition("::")
    if outer and schemes(uri)[0] == "zip":
        return _archive(outer), inner.removeprefix("zip://")
    options: dict[str, Any] = {}
    for scheme in set(schemes(uri)) & set(_WEB):
        import aiohttp

        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=_SILENCE_LIMIT_S, sock_read=_SILENCE_LIMIT_S
        )
        options[scheme] = {"client_kwargs": {"timeout": limits}}
    return url_to_fs(uri, **options)


def _archive(uri: str) -> Any:
    """Return the file system of a zip file; the last one of a thread is kept.

    fsspec would read the whole table of contents again for each recording.
    """
    from fsspec.implementations.zip import ZipFileSystem

    held = getattr(_held, "archive", None)
    if held is None or held[0] != uri:
        system, path = open_system(uri)
        _held.archive = held = uri, ZipFileSystem(system.open(path, "rb"))
    return held[1]


def _blocks(uri: str, is_stopped: Callable[[], bool]) -> Iterator[bytes]:
    """Yield the bytes of a URI in blocks of at most `BLOCK_BYTES`."""
    n_read, started, stopped = 0, time.monotonic(), False
    try:
        system, path = open_system(uri)
        streamed = schemes(uri)[0] in _WEB  # one request, not one for each block
        with system.open(path, "rb", block_size=0 if streamed else _READ_AHEAD_BYTES) as file:
            size = getattr(file, "size", None)
            while block := file.read(BLOCK_BYTES):
                n_read += len(block)
                if n_read > MAX_BYTES:
                    break
                took_s = time.monotonic() - started
                if took_s > _SLOWEST_OVER_S and n_read < _SLOWEST_BYTES_S * took_s:
                    raise TimeoutError(f"only {n_read} bytes came in {took_s:.0f} s")
                if stopped := is_stopped():
                    break
                yield block
    except Exception as error:  # noqa: BLE001 - each store has exceptions of its own
        raise failure(uri, error) from None
    if stopped:
        raise AudioError("unavailable", "stopped while it was fetched.", uri)
    if n_read > MAX_BYTES:
        text = f"has more than {MAX_BYTES >> 30} GiB; fetch it by other means and cut it."
        raise AudioError("too_long", text, uri)
    if isinstance(size, int) and n_read < size:
        text = f"only {n_read} of {size} bytes came; try again with --retry-failed."
        raise AudioError("unavailable", text, uri)


def _write(block: bytes, copy: BinaryIO) -> None:
    view = memoryview(block)
    try:
        while view:
            view = view[copy.write(view) :]
    except OSError as error:
        raise _no_room(error) from None


def _no_room(error: OSError) -> OutputError:
    """Return an error that ends the job: every other recording would meet it, too."""
    text = (
        f"no copy of a recording can be kept there ({error.strerror}); make room, or name another "
        "folder in the variable TMPDIR. The same command goes on."
    )
    return OutputError("no_space", text, tempfile.gettempdir())


def failure(uri: str, error: BaseException) -> AudioError:
    """Return the `AudioError` for any exception of a store."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    status = next(filter(None, map(_http_status, chain)), None)
    reason = _one_line(error)
    if status:
        reason = f"HTTP status {status}"
    if status in (401, 403) or any(isinstance(e, PermissionError) for e in chain):
        text = f"access is refused ({reason}); check the credentials of this machine for it."
        return AudioError("no_permission", text, uri)
    if isinstance(error, IsADirectoryError):
        text = "is a folder; end the URI in '/' to search it."
        return AudioError("not_a_file", text, uri)
    missing = isinstance(error, (FileNotFoundError, KeyError))
    if status in (404, 410) or (missing and not status and not any(map(_is_network, chain[1:]))):
        return AudioError("not_found", "there is no such object; check the URI.", uri)
    if chain[1:] and not status:  # fsspec says "not found" when a server cannot be reached
        reason = _one_line(chain[1])
    text = f"cannot be fetched ({reason}); try again with --retry-failed."
    return AudioError("unavailable", text, uri)


def _one_line(error: BaseException) -> str:
    """Format an exception as one short line (type and text) without credentials."""
    return " ".join(without_secrets(f"{type(error).__name__}: {error}").split())[:300]


def _http_status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    status = getattr(error, "status", None) or getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def _is_network(error: BaseException) -> bool:
    if isinstance(error, (OSError, asyncio.TimeoutError)):
        return not isinstance(error, FileNotFoundError)
    return type(error).__module__.startswith("aiohttp")


def needs_search(uri: str) -> bool:
    """Return whether a URI names a folder (it ends in "/") or a pattern (it has a "*")."""
    first = uri.partition("::")[0]
    return first.endswith("/") or "*" in first


def search_uri(uri: str) -> Iterator[str | AudioError]:
    """Search a folder or pattern for audio files, one listing after the other, sorted.

    Yields:
        URIs of files with one of `AUDIO_ENDINGS`, or an `AudioError` for a folder that
        cannot be listed.
    """
    try:
        system, root = open_system(uri)
    except Exception as error:  # noqa: BLE001 - each store has exceptions of its own
        yield failure(uri, error)
        return
    first, chained, rest = uri.partition("::")
    # the text in front of the path in the store, as `s3://` or `ftp://host`
    prefix = first[: first.rindex(root)] if root and root in first else f"{schemes(uri)[0]}://"

    def named(path: str) -> str:
        return (path if is_link(path) else prefix + path) + chained + rest

    pending, seen = [root], set[str]()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        try:
            entries = _listing(system, current)
        except Exception as error:  # noqa: BLE001 - as above
            yield failure(named(current), error)
            continue
        folders = []
        for path, kind in entries:
            if kind == "directory":
                folders.append(path)
            elif os.path.splitext(path)[1].lower() in AUDIO_ENDINGS:
                yield named(path)
        pending += reversed(folders)


def _listing(system: Any, path: str) -> list[tuple[str, str]]:
    """Return sorted (path, kind) of what is in a folder, or of the files of a pattern."""
    if "*" in path:
        return [(found, "file") for found in sorted(system.glob(path))]
    entries = system.ls(path, detail=True)
    pairs = sorted((entry["name"], entry["type"]) for entry in entries)
    # a store may list the marker of the folder itself
    return [pair for pair in pairs if pair[0].strip("/") != path.strip("/")]
