"""Exceptions and warnings: audio files, weights, outputs, manifests, search indexes.

Wrong arguments raise `ValueError` or `TypeError`; everything the caller could not
have known in advance raises a subclass of `ArtistFeaturesError`. Each message says
which thing, what was found with its unit, what is allowed, and what to do.
"""

import numbers
import os
import re
import reprlib
from typing import Any, TypeAlias

AnyPath: TypeAlias = str | bytes | os.PathLike[Any]

AUDIO_CODES = (
    "not_found",
    "not_a_file",
    "no_permission",
    "empty",
    "unsupported",
    "damaged",
    "truncated",
    "not_finite",
    "out_of_range",
    "too_long",
    "timeout",
    "crashed",
    "out_of_memory",
    "unavailable",
)
WEIGHTS_CODES = ("unavailable", "hash", "damaged", "incompatible")
PUBLISH_CODES = ("unavailable", "no_permission", "not_found", "no_space", "conflict", "refused")
OUTPUT_CODES = ("no_space", "not_writable", "locked", "mismatch", "damaged")
INDEX_CODES = ("unavailable", "damaged", "incompatible", "mismatch")


class ArtistFeaturesError(Exception):
    """Base class of every error that this package raises for the outside world."""


class _Coded(Exception):
    """Code, message and path of an error or a warning; it can be pickled."""

    def __init__(self, code: str, message: str, path: AnyPath | None = None) -> None:
        self.code = code
        self.path = path
        self.message = message
        prefix = "" if path is None else f"{shortened(display_path(path))}: "
        super().__init__(f"{prefix}{message}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.path), vars(self)


class _CodedError(_Coded, ArtistFeaturesError):
    codes: tuple[str, ...] = ()

    def __init__(self, code: str, message: str, path: AnyPath | None = None) -> None:
        if code not in self.codes:
            raise ValueError(f"unknown {type(self).__name__} code {code!r}: {self.codes}")
        super().__init__(code, message, path)


class AudioError(_CodedError):
    """A recording that gives no trustworthy embedding.

    Attributes:
        code: one of `AUDIO_CODES`.
        path: the file as the caller named it, or None for an array.
    """

    codes = AUDIO_CODES

    def to_record(self) -> dict[str, str]:
        """Return the error without its path as a dict for JSON."""
        return {"code": self.code, "message": self.message}

    @classmethod
    def from_record(cls, record: dict[str, str], path: AnyPath | None = None) -> "AudioError":
        """Build from `to_record`, after JSON, for the file as the caller named it."""
        return cls(record["code"], record["message"], path)

    def renamed(self, path: AnyPath | None) -> "AudioError":
        """Return the same error of another path, without traceback and context."""
        return type(self)(self.code, self.message, path)


class WeightsError(_CodedError):
    """A model folder that cannot be fetched, verified or read (`WEIGHTS_CODES`)."""

    codes = WEIGHTS_CODES


class ModelError(ArtistFeaturesError):
    """A verified model that cannot be built here: a fault of the installation or its settings."""


class PublishError(_CodedError):
    """A model folder that the Hub does not take (`PUBLISH_CODES`)."""

    codes = PUBLISH_CODES


class OutputError(_CodedError):
    """A result file or folder that cannot be written or read (`OUTPUT_CODES`)."""

    codes = OUTPUT_CODES


class SearchIndexError(_CodedError):
    """A search index that cannot be read, or that belongs to another model (`INDEX_CODES`)."""

    codes = INDEX_CODES


class DecoderError(ArtistFeaturesError):
    """Decode processes that cannot be started: a fault of the machine, not of a recording."""


class ClusterError(ArtistFeaturesError):
    """A cluster that cannot be reached, or that gives nothing back."""


class ManifestError(ArtistFeaturesError):
    """A manifest, list of paths or distillation set that cannot be used as it stands.

    Attributes:
        path: the manifest.
        line: line number in the file, counted from 1, or None.
    """

    def __init__(self, message: str, path: AnyPath, line: int | None = None) -> None:
        self.path = path
        self.line = line
        self.message = message
        where = shortened(display_path(path)) + ("" if line is None else f" line {line}")
        super().__init__(f"{where}: {message}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.path, self.line), vars(self)


class AudioWarning(_Coded, UserWarning):
    """Warning for a flawed recording (embedding computed anyway) or a skipped one.

    Attributes:
        code: `truncated`, `short`, `silent` or `skipped`.
        path: the file as the caller named it, or None for an array.
    """


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, for a message.

    Example:
        >>> counted(1, "file"), counted(2, "file")
        ('1 file', '2 files')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def checked_int(name: str, value: object, least: int = 1) -> int:
    """Return an argument as `int`, or raise ValueError if it is no integer of `least` or more."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        given = shortened(repr(value) if isinstance(value, str) else value)
        raise ValueError(f"{name} is {given}; allowed is an integer of {least} or more.")
    return int(value)


def shortened(value: object, n: int = 200) -> str:
    """Return a text, or the `repr` of another value, with at most `n` characters.

    Of a longer one the middle is left out: the end of a path says most.

    Example:
        >>> shortened("a" * 50 + "b" * 50, 9)
        'aa...bbbb'
    """
    try:
        text = value if isinstance(value, str) else reprlib.repr(value)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        text = f"{type(value).__name__} too large to be printed"
    if len(text) <= n:
        return text
    head = (n - 3) // 3
    return f"{text[:head]}...{text[len(text) - (n - 3 - head) :]}"


def display_path(path: AnyPath) -> str:
    """Return `path` as one printable line: no control characters, valid UTF-8, no secrets."""
    try:
        text = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # no name that the system gave
        text = str(os.fspath(path)).encode("utf-8", "backslashreplace").decode("utf-8")
    text = without_secrets(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def valid_utf8(text: str) -> str:
    """Return a file name as valid UTF-8: a byte of it that is none is shown as an escape."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


# a web address may hold a token alone, elsewhere `name@` is part of a name
_LOGIN = re.compile(r"(?P<scheme>https?://)[^/\s]+@|(?P<other>\w://)[^/\s:]*:[^/\s]+@")
_QUERY = re.compile(r"(?<=\w)(://[^?\s]*\?)[^\s'\"]*?(?=::|[\s'\"]|$)")


def without_secrets(text: str) -> str:
    """Return a text in which URIs have neither a login nor a query: those hold credentials.

    Example:
        >>> without_secrets("https://me:secret@host/a.mp3?X-Amz-Signature=1f")
        'https://***@host/a.mp3?***'
        >>> without_secrets("What now?.mp3")
        'What now?.mp3'
    """
    if "://" not in text:
        return text
    text = _LOGIN.sub(lambda found: f"{found['scheme'] or found['other']}***@", text)
    return _QUERY.sub(r"\1***", text)
