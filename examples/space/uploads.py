"""One uploaded file, checked before any web framework sees it: size, speed, form, name.

The body is read into a file without a name, which the system removes whatever happens.
Only a complete, well-formed form is handed on, written anew under a name of ours.
"""

import asyncio
import os
import secrets
import tempfile
import time

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

# what a stored name may end in; decoders go by the bytes, browsers' players by the name
SUFFIXES = (
    *(".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mp3", ".mp4"),
    *(".oga", ".ogg", ".opus", ".wav", ".webm", ".wma"),
)
_FORM_BYTES = 16_384  # of a form besides its file
_HEADER_BYTES, _N_HEADERS = 4096, 8  # of its one part
_LONGEST_BOUNDARY = 70  # Source: RFC 2046, section 5.1.1
_BLOCK = 1 << 16


class Refused(Exception):
    """A request that gets an answer other than 200.

    Attributes:
        status: of HTTP.
        text: of the answer: what was wrong, what is allowed.
    """

    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


class Aborted(Exception):
    """The other side has gone: there is nobody to answer."""


async def body_blocks(receive, headers, limits, most_bytes):
    """Yield the blocks of a request's body; bound their sum and the time they may take.

    Args:
        receive: of ASGI.
        headers: dict of bytes.
        limits: `Limits`.
        most_bytes: of the body.

    Raises:
        Refused: 413, at once if the length is declared, else at the limit; 408 if fewer
            than `limits.patience_bytes` came within `limits.patience_s`.
        Aborted: the other side has gone.
    """
    declared = headers.get(b"content-length")
    if declared is not None and int(declared) > most_bytes:  # the server takes digits only
        raise _too_large(most_bytes, f"{int(declared):,} bytes are announced")
    n_bytes, more = 0, True
    n_recent, until = 0, time.monotonic() + limits.patience_s
    while more:
        try:
            message = await asyncio.wait_for(receive(), until - time.monotonic())
        except (TimeoutError, asyncio.TimeoutError):  # two classes until Python 3.11
            if n_recent < limits.patience_bytes:
                raise Refused(
                    408,
                    f"{n_recent:,} bytes came in {limits.patience_s:g} s; at least "
                    f"{limits.patience_bytes:,} are needed. Try again with a better connection.",
                ) from None
            n_recent, until = 0, time.monotonic() + limits.patience_s
            continue
        if message["type"] == "http.disconnect":
            raise Aborted
        block, more = message.get("body", b""), message.get("more_body", False)
        n_bytes, n_recent = n_bytes + len(block), n_recent + len(block)
        if n_bytes > most_bytes:
            raise _too_large(most_bytes, "more came")
        yield block


async def spool(receive, headers, limits, folder):
    """Read a form with one file into a nameless temporary file.

    Args:
        receive, headers, limits: as for `body_blocks`.
        folder: for the temporary file.

    Returns:
        (open binary file at its start, `str` suffix of `SUFFIXES` or ".bin").

    Raises:
        Refused: 400 or 415 for what is no such form, and as `body_blocks`.
        Aborted: as `body_blocks`.
    """
    form = _Form(_boundary(headers.get(b"content-type", b"")))
    most_bytes = limits.upload_bytes + _FORM_BYTES
    with tempfile.TemporaryFile(dir=folder) as file:
        async for block in body_blocks(receive, headers, limits, most_bytes):
            for data in form.feed(block):
                await asyncio.to_thread(file.write, data)
            if file.tell() > limits.upload_bytes:
                raise _too_large(limits.upload_bytes, "more came")
        if not form.complete:
            raise Refused(400, "The form ends before its end, or holds no file.")
        file.seek(0)
        # a second handle: the first is closed here on every way out
        return os.fdopen(os.dup(file.fileno()), "rb"), form.suffix


def rewritten(file, suffix, receive):
    """Return a form of our own around a file.

    Args:
        file: open binary file at its start; closed once it was handed on.
        suffix: for the name.
        receive: of ASGI, for what comes after the body.

    Returns:
        (list of (name, value) headers, coroutine function to take the place of `receive`).
    """
    boundary = secrets.token_hex(16)
    start = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="clip{suffix}"'
        "\r\nContent-Type: application/octet-stream\r\n\r\n"
    ).encode()
    end = f"\r\n--{boundary}--\r\n".encode()
    n_bytes = len(start) + os.fstat(file.fileno()).st_size + len(end)
    headers = [
        (b"content-type", f"multipart/form-data; boundary={boundary}".encode()),
        (b"content-length", str(n_bytes).encode()),
    ]

    def blocks():
        yield start
        while block := file.read(_BLOCK):
            yield block
        file.close()
        yield end

    waiting = blocks()

    async def receive_form():
        block = await asyncio.to_thread(next, waiting, None)
        if block is None:
            return await receive()
        return {"type": "http.request", "body": block, "more_body": block is not end}

    return headers, receive_form


def _boundary(content_type):
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Refused(415, "An upload is a form of the type multipart/form-data.")
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise Refused(
            400, f"The form's boundary has {len(boundary)} bytes; 1 to {_LONGEST_BOUNDARY} may be."
        )
    return boundary


def _too_large(most_bytes, found):
    return Refused(413, f"Too large: {found}, {most_bytes / 1e6:g} MB are allowed.")


class _Form:
    """Takes the bytes of a form apart: exactly one part, a file; nothing of it is trusted."""

    def __init__(self, boundary):
        self.complete, self.suffix = False, ".bin"
        self._data, self._name, self._value, self._disposition = [], b"", b"", b""
        self._n_headers = self._n_header_bytes = self._n_parts = 0
        callbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_to_name,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, block):
        """Return the bytes of the file that a block of the form held, as a list."""
        self._data = []
        try:
            self._parser.write(block)
        except MultipartParseError as error:
            raise Refused(400, f"The form cannot be read: {str(error)[:200]}") from None
        return self._data

    def _begin_part(self):
        self._n_parts += 1
        if self._n_parts > 1:
            raise Refused(400, "The form has several parts; one file at a time, please.")

    def _count(self, n_bytes):
        self._n_header_bytes += n_bytes
        if self._n_header_bytes > _HEADER_BYTES or self._n_headers > _N_HEADERS:
            raise Refused(
                400,
                f"The form's file has more than {_N_HEADERS} headers or {_HEADER_BYTES} bytes of "
                "them: is its name very long?",
            )

    def _add_to_name(self, data, start, end):
        self._count(end - start)
        self._name += data[start:end]

    def _add_to_value(self, data, start, end):
        self._count(end - start)
        self._value += data[start:end]

    def _end_header(self):
        self._n_headers += 1
        self._count(0)
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _end_headers(self):
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            raise Refused(400, "The form has a part that is no file.")
        suffix = os.path.splitext(options[b"filename"].decode("utf-8", "replace"))[1].lower()
        self.suffix = suffix if suffix in SUFFIXES else ".bin"

    def _end(self):
        self.complete = self._n_parts == 1
