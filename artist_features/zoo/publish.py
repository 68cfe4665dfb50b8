"""Publish a model folder on the Hugging Face Hub: verified first, then one commit or none.

Large files travel before the commit, which the Hub makes as a whole and only on top of the
commit that we saw: whatever fails, a repository that was there before is as it was.
"""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from artist_features.config import ModelCard
from artist_features.errors import PublishError, display_path
from artist_features.zoo import folder as model_folder
from artist_features.zoo import hub
from artist_features.zoo.card import metadata_block

if TYPE_CHECKING:  # imported when a model is published
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

_TIMEOUT_S = 60
_METADATA = re.compile(r"\A---\s*?\n.*?\n---\s*?(\n|\Z)", re.DOTALL)
_SHA256 = re.compile("(`model.weights.h5` has sha256 `)[0-9a-f]{64}(?=`)")
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
_NO_SPACE = ("no_space", f"the account's storage is full; free some, then {_AGAIN}.")


@dataclass(frozen=True)
class Published:
    """A commit on the Hub.

    Attributes:
        handle: "hf://owner/name@commit", for `load_model`.
        url: of the commit, to look at.
        changed: False if the Hub had these files already.
    """

    handle: str
    url: str
    changed: bool


def push(
    folder: model_folder.Folder,
    repository: str,
    *,
    revision: str | None = None,
    private: bool = False,
    message: str | None = None,
) -> Published:
    """Verify a model folder and send its five files to the Hub in one commit.

    `config.json` and the metadata of README.md are sent as artist_features.json gives them,
    whatever was edited there; the logger names the files concerned. The example in README.md
    gets the handle `hf://owner/name`. The local folder stays as it is. The repository is made
    if there is none, as is the branch, from `main`. `HF_ENDPOINT` and `HF_TOKEN` work as the
    Hub's client documents them.

    Args:
        folder: path of a model folder.
        repository: "owner/name".
        revision: branch; None means `main`.
        private: a new repository is to be private; an existing one must be.
        message: of the commit; None names the model and its hash.

    Returns:
        `Published`.

    Raises:
        ValueError: not "owner/name", or not a branch.
        WeightsError: the folder is not whole; nothing was sent.
        PublishError: the Hub cannot be reached or does not take it.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    repo_id, branch = _parse_target(repository, revision)
    if hub.is_offline():
        text = "HF_HUB_OFFLINE is set; unset it to publish."
        raise PublishError("unavailable", text, f"hf://{repo_id}")
    logger.info("verifying %s", display_path(folder))
    card, contents = _verified_files(Path(folder), f"hf://{repo_id}")
    message = message or f"{card.name}, weights sha256 {card.weights_sha256[:12]}"
    additions = [CommitOperationAdd(name, data) for name, data in contents.items()]
    api, progress = HfApi(library_name="artist-features"), _Progress()
    with _publish_errors(repo_id, progress), _silence_timeout(_TIMEOUT_S), _client_log():
        _make_repository(api, repo_id, private, progress)
        head, exists = _find_head(api, repo_id, branch)
        n_mb = sum(map(len, contents.values())) / 1e6
        logger.info("sending %d files, %.1f MB, to %s (%s)", len(additions), n_mb, repo_id, branch)
        # before the branch is made: what goes wrong with the bytes leaves no trace
        start = branch if exists else "main"
        api.preupload_lfs_files(repo_id, additions, revision=start, free_memory=False)
        if not exists:
            api.create_branch(repo_id, branch=branch, revision=head)
            progress.left_behind.append(f"branch {branch} was made and is equal to main")
        progress.committing = True
        commit = api.create_commit(
            repo_id, additions, commit_message=message, revision=branch, parent_commit=head
        )
    return Published(f"hf://{repo_id}@{commit.oid}", str(commit.commit_url), commit.oid != head)


def _parse_target(repository: str, revision: str | None) -> tuple[str, str]:
    """Return ("owner/name", branch)."""
    repo_id, at = hub.parse_handle(f"hf://{repository.removeprefix('hf://')}")
    if at:
        raise ValueError(f"repository {repository!r}: name the branch as revision, not by '@'.")
    branch = revision or "main"
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", branch) or re.fullmatch("[0-9a-f]{40}", branch):
        raise ValueError(f"revision {branch!r}: allowed is the name of a branch.")
    return repo_id, branch


def _verified_files(folder: Path, handle: str) -> tuple[ModelCard, dict[str, bytes]]:
    """Return the card and {file name: bytes to send} of a folder whose model loads."""
    contents = model_folder.read_files(folder, model_folder.FILES)
    card, weights = model_folder.parse_files(contents, folder)
    page = _METADATA.sub("", contents["README.md"].decode("utf-8", "replace"), count=1)
    page = _SHA256.sub(rf"\g<1>{card.weights_sha256}", page)
    generated = {
        "config.json": model_folder.keras_config(model_folder.build(card, weights), card),
        "README.md": f"{metadata_block(card)}\n{page}".encode(),
    }
    if edited := [name for name, data in generated.items() if data != contents[name]]:
        names = " and ".join(edited).replace("README.md", "the metadata of README.md")
        text = "%s: sent as %s gives it; edits by hand are not sent"
        logger.warning(text, names, model_folder.CARD_FILE)
    # a bare name loads what is bundled: by now, or one day, other weights
    page = generated["README.md"].decode().replace(f'"path/to/{card.name}"', f'"{handle}"')
    page = page.replace(f'model="{card.name}"', f'model="{handle}"')
    return card, contents | generated | {"README.md": page.encode()}


@dataclass
class _Progress:
    """How far a push went, for the message of an error."""

    left_behind: list[str] = field(default_factory=list)
    committing: bool = False

    def outcome(self, answer_lost: bool) -> str:
        """Describe the repository's state after a failed upload; `answer_lost`: unknown."""
        if self.committing and answer_lost:
            return "It is not known whether it was published; what is there is not sent again."
        state = ", ".join(self.left_behind) or "the repository is as it was"
        return f"Nothing was published: {state}."


def _make_repository(api: "HfApi", repo_id: str, private: bool, progress: _Progress) -> None:
    """Make the repository if there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repo_id, timeout=_TIMEOUT_S)
    except RepositoryNotFoundError:
        api.create_repo(repo_id, private=private or None)
        progress.left_behind.append("the repository was made and is empty")
        info = api.model_info(repo_id, timeout=_TIMEOUT_S)
    if private and not info.private:
        text = "is public; make it private in its settings, or choose another name."
        raise PublishError("refused", text, f"hf://{repo_id}")


def _find_head(api: "HfApi", repo_id: str, branch: str) -> tuple[str | None, bool]:
    """Return (commit to build on, whether the branch exists)."""
    refs = api.list_repo_refs(repo_id)
    if any(tag.name == branch for tag in refs.tags):
        text = "is a tag, which never moves; name a branch."
        raise PublishError("refused", text, f"hf://{repo_id}@{branch}")
    heads = {ref.name: ref.target_commit for ref in refs.branches}
    if branch in heads or not heads:
        return heads.get(branch), True
    return heads.get("main"), False


@contextlib.contextmanager
def _publish_errors(repo_id: str, progress: _Progress) -> Iterator[None]:
    """Translate the Hub client's exceptions into `PublishError`."""
    try:
        yield
    except hub.client_errors() as error:
        cause: BaseException = error
        while isinstance(cause, RuntimeError) and cause.__cause__:
            cause = cause.__cause__  # "could not upload" hides why
        code, text = _explain(cause)
        text = f"{text} {progress.outcome(code == 'unavailable')}"
        raise PublishError(code, text, f"hf://{repo_id}") from None
    except KeyboardInterrupt:
        logger.info("stopped. %s", progress.outcome(True))
        raise


def _explain(error: BaseException) -> tuple[str, str]:
    """Return the code and the text of a `PublishError` for one of `hub.client_errors`."""
    from huggingface_hub import constants

    status = hub.status_code(error)
    details = hub.first_line(getattr(error, "server_message", None) or "")
    if hub.is_bad_token(error):
        return "no_permission", hub.WRONG_TOKEN
    if status is None:
        lines = str(error).split("\n") if isinstance(error, ValueError) else []
        details = hub.first_line(" ".join(lines)) if len(lines) > 1 else ""
        if not details:
            return "unavailable", f"{hub.explain(error)} When it can be reached, {_AGAIN}."
    if status in (413, 507) or (status in (None, 403) and _FULL.search(details)):
        code, text = _NO_SPACE
    elif status is not None and status >= 500:
        code, text = "unavailable", f"try again later: {_AGAIN}."
    elif status in _REFUSALS:
        code, text = _REFUSALS[status]
    else:
        code, text = "refused", f"mend that, then {_AGAIN}."
    answer = f"answered {status}" if status else "refused"
    quoted = f" ({details.rstrip('.')})" if details else ""
    return code, f"{display_path(constants.ENDPOINT)} {answer}{quoted}: {text}"


@contextlib.contextmanager
def _silence_timeout(seconds: float) -> Iterator[None]:
    """Let the client give up on a silent connection; by itself it never does."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    session = get_session()
    before, session.timeout = session.timeout, seconds
    try:
        yield
    finally:
        session.timeout = before


class _TokenFilter(logging.Filter):
    """Removes tokens and signatures from log records, for all handlers."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = hub.scrub_tokens(record.getMessage()), ()
        return True


@contextlib.contextmanager
def _client_log() -> Iterator[None]:
    """Log the client's warnings, and keep tokens out of its own log."""
    token_filter = _TokenFilter()
    # its own log has a handler of its own; its HTTP library writes URLs at level INFO
    places: list[logging.Filterer] = [*logging.getLogger("huggingface_hub").handlers]
    places += [logging.getLogger(name) for name in ("httpx", "httpx2")]
    for place in places:
        place.addFilter(token_filter)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # between the client and its HTTP library; the user can do nothing about them
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            yield
        finally:
            for place in places:
                place.removeFilter(token_filter)
            for warning in caught:
                logger.warning("%s", display_path(" ".join(str(warning.message).split())))
