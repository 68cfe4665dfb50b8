"""The Hugging Face Hub through its own client: pinned, cached, verified.

The client compares sizes, not content, so every load checks the sha256 of the weights
against the card (`zoo.folder`) and fetches once more if it does not match. For a
repository of somebody else that hash travels with the file: it proves that the file is
whole, not who made it.
"""

import re
from pathlib import Path
from typing import Any

from artist_features.config import ModelCard
from artist_features.errors import OutputError, WeightsError
from artist_features.files import write_atomically
from artist_features.zoo import folder as model_folder
from artist_features.zoo.hub_client import cause, client_errors, offline, one_line

_HANDLE = re.compile(r"hf://([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")
_TIMEOUT_S = 10


def parse_handle(handle):
    """Split "hf://owner/name[@revision]" into ("owner/name", revision or None).

    Raises:
        ValueError: not of that form, or a name that the Hub does not have.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    match, reason = _HANDLE.fullmatch(handle), "not a Hub id"
    try:
        if match:
            validate_repo_id(match[1])
            return match[1], match[2]
    except HFValidationError as error:
        reason = f"no name of a repository ({one_line(error).rstrip('.')})"
    raise ValueError(
        f"model {handle!r}: {reason}; allowed is hf://owner/name or hf://owner/name@revision "
        "(a branch, a tag or a full commit hash)."
    )


def load_verified(handle):
    """Fetch a model folder if it is not cached, verify it, read it.

    A cached copy is used without any network call; `HF_ENDPOINT`, `HF_TOKEN`,
    `HF_HOME` and `HF_HUB_OFFLINE` work as the Hub's client documents them.

    Returns:
        (`ModelCard`, weights) as `zoo.folder` gives them.

    Raises:
        WeightsError: `unavailable`, or what `zoo.folder` raises after a second fetch.
    """
    return _verified(*parse_handle(handle))[1:]


def pull(handle, out, *, force=False):
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
        _check_nothing_else(out)
    if not offline():
        _download(repo_id, revision, force=False, pulled=True)
    folder, card, _ = _verified(repo_id, revision, pulled=True)
    files = {
        name: model_folder.read_file(folder, name, root=_root(folder))
        for name in model_folder.FILES
        if (folder / name).is_file()
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"cannot be written ({error.strerror}); choose another folder."
        raise OutputError("not_writable", text, out) from None
    for name, data in files.items():
        write_atomically(out / name, data)
    return card


def _check_nothing_else(out):
    """Refuse a folder in which files of these names belong to something else."""
    there = [name for name in model_folder.FILES if (out / name).exists()]
    if there and model_folder.CARD_FILE not in there:
        text = f"holds {there[0]!r} but no model; choose another folder (--force replaces it)."
        raise OutputError("not_writable", text, out)


def _verified(
    repo_id: str, revision: str | None, pulled: bool = False
) -> tuple[Path, ModelCard, dict[str, Any]]:
    """Return (snapshot folder, card, weights); see `load_verified`."""
    folder = _cached(repo_id, revision)
    fetched = folder is None
    if fetched:
        folder = _download(repo_id, revision, force=False, pulled=pulled)
    try:
        return folder, *_read(folder)
    except WeightsError as error:
        if offline() or (fetched and error.code == "incompatible"):
            raise
        flaw = error
    try:
        folder = _download(repo_id, revision, force=True, pulled=pulled)  # a damaged cache heals
    except WeightsError as error:
        message = f"{flaw.message} Fetching it again failed: {error.message}"
        raise WeightsError(flaw.code, message, flaw.path) from None
    return folder, *_read(folder)


def _root(folder):
    # snapshots/<commit>/ links to blobs/ of its repository, which may link to the blobs/
    # that all repositories of the cache share
    return folder.parents[2]


def _read(folder):
    root = _root(folder)
    card = model_folder.read_card(folder, root=root)
    return card, model_folder.read_weights(folder, card, root=root)


def _cached(repo_id, revision):
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    needed = [model_folder.CARD_FILE, model_folder.WEIGHTS_FILE]
    try:
        # without the patterns a repository's other files would count as missing
        found = snapshot_download(
            repo_id, revision=revision, local_files_only=True, allow_patterns=needed
        )
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    folder = Path(found)
    return folder if all((folder / name).is_file() for name in needed) else None


def _check_listed(sizes, repo_id):
    """Refuse before anything is fetched what no model folder holds, by the Hub's own list."""
    if model_folder.CARD_FILE not in sizes:
        needed = ", ".join(model_folder.FILES)
        text = f"no such file in the repository: no model of this package. Needed are {needed}."
        raise WeightsError("unavailable", text, f"hf://{repo_id}/{model_folder.CARD_FILE}")
    for name in model_folder.FILES:
        limit = model_folder.largest(name)
        if (sizes.get(name) or 0) > limit:
            text = f"{name} has {sizes[name]} bytes; allowed is up to {limit}. Nothing was fetched."
            raise WeightsError("damaged", text, f"hf://{repo_id}")


def _download(repo_id: str, revision: str | None, force: bool, pulled: bool = False) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download

    try:
        # asked once, without the client's retries: no network is known in a second
        info = HfApi().model_info(
            repo_id, revision=revision, timeout=_TIMEOUT_S, files_metadata=True
        )
        _check_listed({file.rfilename: file.size for file in info.siblings}, repo_id)
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
        if pulled:  # the command must not advise itself
            remedy = "Run it again with network"
        if isinstance(error, OSError) and error.filename:
            remedy = "Set HF_HOME to a folder that can be written"
        raise WeightsError(
            "unavailable",
            f"{cause(error, constants.ENDPOINT)} Cache folder: {constants.HF_HUB_CACHE}. "
            f"{remedy}; the bundled models need no network.",
            f"hf://{name}",
        ) from None
    return Path(folder)
