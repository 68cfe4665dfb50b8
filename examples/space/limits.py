"""How large, how slow and how many requests may be: the setting SPACE_LIMITS."""

import json
import re
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Attributes:
    upload_bytes: of one recording.
    json_bytes: of any other body.
    stored_bytes: of all recordings kept; the oldest go first.
    n_uploads: at once; more are answered 429.
    n_waiting: clips in the queue; more are answered 429.
    patience_s, patience_bytes: so many bytes at least in so many seconds, else 408.
    retry_after_s: what a 429 recommends.
    framed_by: web addresses whose pages may show this one in a frame.
    """

    upload_bytes: int = 20_000_000
    json_bytes: int = 100_000
    stored_bytes: int = 500_000_000
    n_uploads: int = 4
    n_waiting: int = 8
    patience_s: float = 30.0
    patience_bytes: int = 1_000_000
    retry_after_s: int = 5
    framed_by: tuple = ()


def read_limits(text, **preset):
    """Return the limits that a setting asks for.

    Args:
        text: JSON object of some fields of `Limits`; "" for none.
        **preset: fields that it may change.

    Returns:
        `Limits`.

    Raises:
        ValueError: what was received, what is allowed.
    """
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ValueError(
            f"{text[:200]!r} is no JSON object, such as " + '{"upload_bytes": 5000000}'
        )
    kinds = {field.name: type(field.default) for field in fields(Limits)}
    for name, value in given.items():
        if name not in kinds:
            raise ValueError(f"{name[:200]!r} is no limit; there are {', '.join(kinds)}")
        allowed = _ALLOWED[kinds[name]]
        if not allowed[1](value):
            raise ValueError(f"{name} is {json.dumps(value)[:200]}; {allowed[0]} is allowed")
    limits = Limits(**{**preset, **given})
    if limits.stored_bytes < limits.upload_bytes:
        raise ValueError(
            f"stored_bytes is {limits.stored_bytes:,}, less than upload_bytes, "
            f"{limits.upload_bytes:,}; no recording could be kept"
        )
    return limits


def _is_between(value, least, most):
    return type(value) in (int, float) and least <= value <= most  # not for NaN


_ORIGIN = re.compile(r"https?://[\w.-]+(:\d+)?", re.ASCII)
_ALLOWED = {
    int: (
        "a whole number from 1 to 1e12",
        lambda value: type(value) is int and _is_between(value, 1, 10**12),
    ),
    float: ("a number from 0.1 to 86400", lambda value: _is_between(value, 0.1, 86400)),
    tuple: (
        "a list of addresses such as https://example.org",
        lambda value: (
            isinstance(value, list)
            and all(isinstance(item, str) and _ORIGIN.fullmatch(item) for item in value)
        ),
    ),
}
