"""Fetch models from the Hugging Face Hub through its own client: pinned, cached, verified.

The client compares sizes, not content, so every load checks the sha256 of the weights
against the card (`zoo.folder`) and fetches once more if it does not match. For a
repository of somebody else that hash travels with the file: it proves that the file is
whole, not who made it.
"""

import importlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from artist_features.config import ModelCard
from artist_features.errors import OutputError, WeightsError
from artist_features.files import write_atomically
from artist_features.zoo import folder as model_folder

_HANDLE = re.compile(r"hf://([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")
_TIMEOUT_S = 10
# the client trusts what it parses: a document that is not the Hub's ends in one of these
_FOREIGN_ANSWER = (ValueError, TypeError, LookupError, AttributeError, AssertionError)
_MAX_TEXT = 200  # characters of foreign text in a message
_AUTHORIZATION = re.compile("Bearer.*", re.DOTALL)
_TOKEN = re.compile(r"\bhf_\w{8,}")
_QUERY = re.compile(r"\?[^\s')]+")  # signatures of signed URLs
WRONG_TOKEN = (
    "HF_TOKEN holds a character that no token has; set it anew (`hf auth login` keeps one)."
)


def parse_handle(handle: str) -> tuple[str, str | None]:
    """Split "hf://owner/name[@revision]" into ("owner/name", revision or None).

    Raises:
        ValueError: not of that form, or a name that the Hub does not have.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    match, reason = _HANDLE.fullmatch(handle), "not a Hub id"
    try:
        if match:
            validate_repo_id(match[1])
            return match[1], match[2]
    except HFValidationError as error:
        reason = f"no name of a repository ({first_line(error).rstrip('.')})"
    raise ValueError(
        f"model {handle!r}: {reason}; allowed is hf://owner/name or hf://owner/name@revision "
        "(a branch, a tag or a full commit hash)."
    )


def load_verified(handle: str) -> tuple[ModelCard, model_folder.Weights]:
    """Fetch a model folder if it is not cached, verify it, read it.

    A cached copy is used without any network call; `HF_ENDPOINT`, `HF_TOKEN`,
    `HF_HOME` and `HF_HUB_OFFLINE` work as the Hub's client documents them.

    Returns:
        (`ModelCard`, weights) as `zoo.folder` gives them.

    Raises:
        WeightsError: `unavailable`, or what `zoo.folder` raises after a second fetch.
    """
    repo_id, revision = parse_handle(handle)
    _, card, weights = _verified_files(repo_id, revision, model_folder.NEEDED_FILES)
    return card, weights


def pull(handle: str, out: model_folder.Folder, *, force: bool = False) -> ModelCard:
    """Fetch the newest files of a model folder, verify them, and copy them to `out`.

    Unlike `load_verified` this asks the Hub even if a copy is cached, and so refreshes
    the cache where no revision is pinned.

    Args:
        handle: "hf://owner/name[@revision]".
        out: folder to write; made if missing. A model folder there is brought up to date.
        force: replace files of these names also where the folder is no model folder.

    Returns:
        The `ModelCard`.

    Raises:
        WeightsError: as `load_verified`.
        OutputError: `not_writable` or `no_space`; a file is replaced whole or not at all.
    """
    repo_id, revision = parse_handle(handle)
    out = Path(out)
    if not force:
        _check_no_other_files(out)
    if not is_offline():
        _download(repo_id, revision, pulling=True)
    contents, card, _ = _verified_files(repo_id, revision, model_folder.FILES, pulling=True)
    model_folder.make_folder(out)
    for name, data in contents.items():
        write_atomically(out / name, data)
    return card


def _check_no_other_files(out: Path) -> None:
    """Refuse a folder in which files of these names belong to something else."""
    found = [name for name in model_folder.FILES if (out / name).exists()]
    if found and model_folder.CARD_FILE not in found:
        text = f"holds {found[0]!r} but no model; choose another folder (--force replaces it)."
        raise OutputError("not_writable", text, out)


def _verified_files(
    repo_id: str, revision: str | None, names: Iterable[str], pulling: bool = False
) -> tuple[dict[str, bytes], ModelCard, model_folder.Weights]:
    """Return ({file name: bytes}, card, weights); a damaged cache is fetched once more."""
    folder = _cached(repo_id, revision)
    fetched = folder is None
    if folder is None:
        folder = _download(repo_id, revision, pulling=pulling)
    try:
        return _read(folder, names)
    except WeightsError as error:
        if is_offline() or (fetched and error.code == "incompatible"):
            raise
        flaw = error
    try:
        folder = _download(repo_id, revision, force=True, pulling=pulling)
    except WeightsError as error:
        message = f"{flaw.message} Fetching it again failed: {error.message}"
        raise WeightsError(flaw.code, message, flaw.path) from None
    return _read(folder, names)


def _read(
    folder: Path, names: Iterable[str]
) -> tuple[dict[str, bytes], ModelCard, model_folder.Weights]:
    """Read files of a snapshot, if they are there or needed, and verify the model."""
    needed = model_folder.NEEDED_FILES
    names = [name for name in names if name in needed or (folder / name).is_file()]
    # snapshots/<commit>/ links to blobs/ of its repository, which may link to the blobs/
    # that all repositories of the cache share
    contents = model_folder.read_files(folder, names, root=folder.parents[2])
    return contents, *model_folder.parse_files(contents, folder)


def _cached(repo_id: str, revision: str | None) -> Path | None:
    """Return the snapshot folder in the cache, or None if a needed file is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    needed = list(model_folder.NEEDED_FILES)
    try:
        # without the patterns a repository's other files would count as missing
        found = snapshot_download(
            repo_id, revision=revision, local_files_only=True, allow_patterns=needed
        )
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    folder = Path(found)
    return folder if all((folder / name).is_file() for name in needed) else None


def _download(
    repo_id: str, revision: str | None, *, force: bool = False, pulling: bool = False
) -> Path:
    """Fetch a model folder into the cache and return its snapshot folder.

    `force` fetches also what is cached; `pulling`: an error must not advise to `pull`.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    try:
        # asked once, without the client's retries: no network is known in a second
        info = HfApi().model_info(
            repo_id, revision=revision, timeout=_TIMEOUT_S, files_metadata=True
        )
        _check_listing({file.rfilename: file.size for file in info.siblings or []}, repo_id)
        folder = snapshot_download(
            repo_id,
            revision=revision,
            allow_patterns=list(model_folder.FILES),
            force_download=force,
            library_name="artist-features",
        )
    except client_errors() as error:
        name = repo_id + (f"@{revision}" if revision else "")
        remedy = f"Fetch it once with network: artist-features pull {name} DIR, then load DIR"
        if pulling:
            remedy = "Run it again with network"
        if isinstance(error, OSError) and error.filename:
            remedy = "Set HF_HOME to a folder that can be written"
        raise WeightsError(
            "unavailable",
            f"{explain(error)} Cache folder: {constants.HF_HUB_CACHE}. {remedy}; the bundled "
            "models need no network.",
            f"hf://{name}",
        ) from None
    return Path(folder)


def _check_listing(sizes: dict[str, int | None], repo_id: str) -> None:
    """Validate a repository's file list before downloading."""
    if model_folder.CARD_FILE not in sizes:
        needed = ", ".join(model_folder.FILES)
        text = f"no such file in the repository: no model of this package. Needed are {needed}."
        raise WeightsError("unavailable", text, f"hf://{repo_id}/{model_folder.CARD_FILE}")
    for name in model_folder.FILES:
        limit = model_folder.max_bytes(name)
        if (sizes.get(name) or 0) > limit:
            text = f"{name} has {sizes[name]} bytes; allowed is up to {limit}. Nothing was fetched."
            raise WeightsError("damaged", text, f"hf://{repo_id}")


def is_offline() -> bool:
    """Return whether `HF_HUB_OFFLINE` is set."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def client_errors() -> tuple[type[Exception], ...]:
    """Return the exception classes of huggingface_hub for network and cache failures."""
    from huggingface_hub.errors import HfHubHTTPError

    # its HTTP library (httpx in 1.x, httpx2 in 2.x) is known by the base of its errors
    http_error = next(c for c in HfHubHTTPError.__mro__ if c.__name__ == "HTTPError")
    http = importlib.import_module(http_error.__module__.partition(".")[0])
    return (http_error, http.InvalidURL, OSError, RuntimeError, *_FOREIGN_ANSWER)


def explain(error: BaseException) -> str:
    """Explain one of `client_errors` in one line, without the client's headers or tokens."""
    from huggingface_hub import constants

    while isinstance(error, (FileNotFoundError, ValueError)) and error.__cause__:
        error = error.__cause__  # "not in the cache" hides why it could not be fetched
    endpoint = re.sub(r"//[^/@]*@", "//", constants.ENDPOINT)  # a mirror's user and password
    status = status_code(error)
    if is_bad_token(error):
        return WRONG_TOKEN
    if status in (401, 403):
        return (
            f"{endpoint} answered {status}: the repository is private, gated or does not exist; "
            "set HF_TOKEN to a token that may read it."
        )
    if status == 404:
        return f"{endpoint} answered 404: no such repository, revision or file."
    if status is not None:
        return f"{endpoint} answered {status}; try again later."
    if is_offline():
        return "not in the cache, and HF_HUB_OFFLINE is set."
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}."
    if isinstance(error, (json.JSONDecodeError, *_FOREIGN_ANSWER[1:])):
        return f"{endpoint} does not answer like a Hub; is it a login page, or a wrong HF_ENDPOINT?"
    return f"{endpoint}: {type(error).__name__}: {first_line(error) or 'no details'}."


def status_code(error: BaseException) -> int | None:
    """Return the HTTP status of the answer that an error is about, or None."""
    return getattr(getattr(error, "response", None), "status_code", None)


def is_bad_token(error: BaseException) -> bool:
    """Return whether the client could not send the header that holds the token."""
    unsent = error.object if isinstance(error, UnicodeEncodeError) else str(error)
    return status_code(error) is None and "Bearer" in unsent


def first_line(text: str | BaseException) -> str:
    """Return the first line of a foreign text, up to 200 characters, without secrets."""
    lines = scrub_tokens(str(text)).strip().splitlines()
    return lines[0][:_MAX_TEXT] if lines else ""


def scrub_tokens(text: str) -> str:
    """Return a text without tokens and without the signatures of URLs.

    Example:
        >>> scrub_tokens("Invalid header b'Bearer hf_secret'")
        "Invalid header b'Bearer ***"
        >>> scrub_tokens("hf_0123456789: PUT https://host/blob?Signature=1f failed")
        'hf_***: PUT https://host/blob failed'
    """
    return _QUERY.sub("", _TOKEN.sub("hf_***", _AUTHORIZATION.sub("Bearer ***", text)))
