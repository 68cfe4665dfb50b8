"""The Hub's own client: what its errors mean, in one line without secrets; its manners."""

import contextlib
import importlib
import json
import logging
import re
import warnings

from artist_features.errors import display_path

# the client trusts what it parses: a document that is not the Hub's ends in one of these
_FOREIGN_ANSWER = (ValueError, TypeError, LookupError, AttributeError, AssertionError)
_MAX_TEXT = 200  # characters of foreign text in a message
_AUTHORIZATION = re.compile("Bearer.*", re.DOTALL)
_TOKEN = re.compile(r"\bhf_\w{8,}")
_QUERY = re.compile(r"\?[^\s')]+")  # signatures of signed URLs
_FULL = re.compile("storage|quota|space left|too large", re.IGNORECASE)
_AGAIN = "run the same command again"
_WRITER = "set HF_TOKEN to a token that may write there (`hf auth login` keeps one)"
_REFUSALS = {  # status -> (code, what it means and what to do)
    401: ("no_permission", f"no token, or one that is not known; {_WRITER}."),
    403: ("no_permission", f"the token may not write there; {_WRITER}, or choose your own name."),
    404: ("not_found", "no such user, organisation, repository or branch; look at its name."),
    409: ("conflict", f"somebody else changed it meanwhile; look at it, then {_AGAIN}."),
    412: ("conflict", f"somebody else changed it meanwhile; look at it, then {_AGAIN}."),
    429: ("unavailable", f"too many requests or commits; wait an hour, then {_AGAIN}."),
}
_NO_TOKEN = "holds a character that no token has; set it anew (`hf auth login` keeps one)."
_NO_SPACE = ("no_space", f"the account's storage is full; free some, then {_AGAIN}.")


def offline():
    """Return whether `HF_HUB_OFFLINE` is set."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def client_errors():
    """Return what the client raises when the network, the cache or the answer is at fault."""
    from huggingface_hub.errors import HfHubHTTPError

    # its HTTP library (httpx in 1.x, httpx2 in 2.x) is known by the base of its errors
    http_error = next(c for c in HfHubHTTPError.__mro__ if c.__name__ == "HTTPError")
    http = importlib.import_module(http_error.__module__.partition(".")[0])
    return (http_error, http.InvalidURL, OSError, *_FOREIGN_ANSWER)


def status_of(error):
    """Return the status code of the answer that an error is about, or None."""
    return getattr(getattr(error, "response", None), "status_code", None)


def cause(error, endpoint):
    """Say in one line what went wrong, without the client's headers or tokens.

    Args:
        error: of `client_errors`.
        endpoint: URL of the Hub.
    """
    while isinstance(error, (FileNotFoundError, ValueError)) and error.__cause__:
        error = error.__cause__  # "not in the cache" hides why it could not be fetched
    endpoint = re.sub(r"//[^/@]*@", "//", endpoint)  # a mirror's user and password
    status = status_of(error)
    if _is_of_the_token(error):
        return f"HF_TOKEN {_NO_TOKEN}"
    if status in (401, 403):
        return (
            f"{endpoint} answered {status}: the repository is private, gated or does not exist; "
            "set HF_TOKEN to a token that may read it."
        )
    if status == 404:
        return f"{endpoint} answered 404: no such repository, revision or file."
    if status is not None:
        return f"{endpoint} answered {status}; try again later."
    if offline():
        return "not in the cache, and HF_HUB_OFFLINE is set."
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}."
    if isinstance(error, (json.JSONDecodeError, *_FOREIGN_ANSWER[1:])):
        return f"{endpoint} does not answer like a Hub; is it a login page, or a wrong HF_ENDPOINT?"
    return f"{endpoint}: {type(error).__name__}: {one_line(error) or 'no details'}."


def _is_of_the_token(error):
    """Return whether the client could not send the header that holds the token."""
    unsent = error.object if isinstance(error, UnicodeEncodeError) else str(error)
    return status_of(error) is None and "Bearer" in unsent


def one_line(text):
    """Return the first line of a foreign text, up to 200 characters, without secrets."""
    lines = without_tokens(str(text)).strip().splitlines()
    return lines[0][:_MAX_TEXT] if lines else ""


def without_tokens(text):
    """Return a text without tokens, and without what signs a URL.

    Example:
        >>> without_tokens("Invalid header b'Bearer hf_secret'")
        "Invalid header b'Bearer ***"
        >>> without_tokens("hf_0123456789: PUT https://host/blob?Signature=1f failed")
        'hf_***: PUT https://host/blob failed'
    """
    return _QUERY.sub("", _TOKEN.sub("hf_***", _AUTHORIZATION.sub("Bearer ***", text)))


def refusal(error, endpoint):
    """Return the code and the text of a `PublishError` for what `client_errors` names."""
    status = status_of(error)
    told = one_line(getattr(error, "server_message", None) or "")
    if _is_of_the_token(error):
        return "no_permission", f"HF_TOKEN {_NO_TOKEN}"
    if status is None:
        lines = str(error).split("\n") if isinstance(error, ValueError) else []
        told = one_line(" ".join(lines)) if len(lines) > 1 else ""
        if not told:
            text = cause(error, endpoint)
            return "unavailable", f"{text} When it can be reached, {_AGAIN}."
    if status in (413, 507) or (status in (None, 403) and _FULL.search(told)):
        code, text = _NO_SPACE
    elif status is not None and status >= 500:
        code, text = "unavailable", f"try again later: {_AGAIN}."
    else:
        code, text = _REFUSALS.get(status, ("refused", f"mend that, then {_AGAIN}."))
    answer = f"answered {status}" if status else "refused"
    said = f" ({told.rstrip('.')})" if told else ""
    return code, f"{display_path(endpoint)} {answer}{said}: {text}"


@contextlib.contextmanager
def patience(seconds):
    """Let the client give up on a connection that is silent for so long; alone it never does."""
    from huggingface_hub.utils import get_session

    session = get_session()
    before, session.timeout = session.timeout, seconds
    try:
        yield
    finally:
        session.timeout = before


class _WithoutTokens(logging.Filter):
    def filter(self, record):
        """Change the record, which goes on to all handlers."""
        record.msg, record.args = without_tokens(record.getMessage()), ()
        return True


@contextlib.contextmanager
def told_by_client(say):
    """Pass on the client's warnings, and its log without signatures of URLs."""
    masked = _WithoutTokens()
    # its own log has a handler of its own; its HTTP library writes URLs at level INFO
    places = [*logging.getLogger("huggingface_hub").handlers]
    places += [logging.getLogger(name) for name in ("httpx", "httpx2")]
    for place in places:
        place.addFilter(masked)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for place in places:
                place.removeFilter(masked)
            for warning in told:
                say(f"warning: {' '.join(str(warning.message).split())}")
