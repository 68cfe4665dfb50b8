"""A model folder to the Hugging Face Hub: verified first, then one commit or none.

Large files travel before the commit, which the Hub makes as a whole and only on top of the
commit that we saw: whatever fails, a repository that was there before is as it was.
"""

import contextlib
import hashlib
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from artist_features.errors import PublishError, WeightsError, display_path
from artist_features.zoo import card_metadata, hub_client, keras_config
from artist_features.zoo import folder as model_folder
from artist_features.zoo.hub import parse_handle

_TIMEOUT_S = 60


@dataclass(frozen=True)
class Published:
    """What the Hub holds now.

    Attributes:
        handle: "hf://owner/name@commit", for `load_model`.
        url: of the commit, to look at.
        changed: False if the Hub had these files already.
    """

    handle: str
    url: str
    changed: bool


def push(folder, repository, *, revision=None, private=False, message=None, say=lambda text: None):
    """Verify a model folder and send its five files to the Hub in one commit.

    The repository is made if there is none, as is the branch, from `main`. README.md is sent
    with `hf://owner/name` where its example says `path/to/NAME` or `model="NAME"`; all else
    as it is. `HF_ENDPOINT` and `HF_TOKEN` work as the Hub's client documents them.

    Args:
        folder: path of a model folder.
        repository: "owner/name".
        revision: branch; None means `main`.
        private: a new repository is to be private; an existing one must be.
        message: of the commit; None names the model and its hash.
        say: takes lines about the progress.

    Returns:
        `Published`.

    Raises:
        ValueError: not "owner/name", or not a branch.
        WeightsError: the folder is not whole; nothing was sent.
        PublishError: the Hub cannot be reached or does not take it.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    repo_id, also = parse_handle(f"hf://{repository.removeprefix('hf://')}")
    if also:
        raise ValueError(f"repository {repository!r}: name the branch as revision, not by '@'.")
    branch = revision or "main"
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", branch) or re.fullmatch("[0-9a-f]{40}", branch):
        raise ValueError(f"revision {branch!r}: allowed is the name of a branch.")
    if hub_client.offline():
        text = "HF_HUB_OFFLINE is set; unset it to publish."
        raise PublishError("unavailable", text, f"hf://{repo_id}")
    say(f"verifying {display_path(folder)}")
    card, contents = _verified(Path(folder), repo_id)
    message = message or f"{card.name}, weights sha256 {card.weights_sha256[:12]}"
    additions = [CommitOperationAdd(name, data) for name, data in contents.items()]
    api, state = HfApi(library_name="artist-features"), _State()
    with (
        _named_errors(repo_id, state, say),
        hub_client.patience(_TIMEOUT_S),
        hub_client.told_by_client(say),
    ):
        # between the client and its HTTP library; the user can do nothing about them
        warnings.simplefilter("ignore", DeprecationWarning)
        _make_repository(api, repo_id, private, state)
        head, known = _head(api, repo_id, branch)
        n_mb = sum(map(len, contents.values())) / 1e6
        say(f"sending {len(additions)} files, {n_mb:.1f} MB, to {repo_id} ({branch})")
        # before the branch is made: what goes wrong with the bytes leaves no trace
        start = branch if known else "main"
        api.preupload_lfs_files(repo_id, additions, revision=start, free_memory=False)
        if not known:
            api.create_branch(repo_id, branch=branch, revision=head)
            state.left.append(f"branch {branch} was made and is equal to main")
        state.committing = True
        commit = api.create_commit(
            repo_id, additions, commit_message=message, revision=branch, parent_commit=head
        )
    return Published(f"hf://{repo_id}@{commit.oid}", str(commit.commit_url), commit.oid != head)


def _verified(folder, repo_id):
    """Return (`ModelCard`, {file name: bytes to send}) of a folder that loads."""
    contents = {name: model_folder.read_file(folder, name) for name in model_folder.FILES}
    card = model_folder.read_card(folder)
    model = model_folder.build(card, model_folder.read_weights(folder, card))
    sent = hashlib.sha256(contents[model_folder.WEIGHTS_FILE]).hexdigest()
    if sent != card.weights_sha256:
        path = folder / model_folder.WEIGHTS_FILE
        raise WeightsError("hash", "changed while it was read; try again.", path)
    keras_config.check_config(contents["config.json"], model, folder / "config.json")
    contents["README.md"] = _readme(contents["README.md"], card, folder, repo_id)
    return card, contents


def _readme(data, card, folder, repo_id):
    """Return the model card to publish; refuse one that does not say what its record says."""
    path = folder / "README.md"
    text = data.decode("utf-8", "replace")
    wrong = [*card_metadata.differences(card, _metadata(text, path))]
    hashes = re.findall("`model.weights.h5` has sha256 `([0-9a-f]{64})`", text)
    wrong += [
        f"its sha256 of the weights starts {digest[:12]}, the card gives {card.weights_sha256[:12]}"
        for digest in hashes
        if digest != card.weights_sha256
    ]
    if wrong:
        raise WeightsError(
            "incompatible",
            f"{'; '.join(wrong)}. Mend {model_folder.CARD_FILE} or README.md, whichever is wrong; "
            "this writes README.md anew, without text of your own: "
            f"artist-features models {display_path(folder)} > {display_path(path)}",
            path,
        )
    # a bare name loads what is bundled: by now, or one day, other weights
    name, handle = card.name, f'"hf://{repo_id}"'
    for old, new in ((f'"path/to/{name}"', handle), (f'model="{name}"', f"model={handle}")):
        data = data.replace(old.encode(), new.encode())
    return data


def _metadata(text, path):
    """Return the parsed metadata of a README.md, {} if there is none."""
    import yaml  # comes with the Hub's client

    block = re.match(r"---\s*?\n(.*?)\n---\s*?(\n|$)", text, re.DOTALL)
    try:
        found = yaml.safe_load(block[1]) if block else {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 2}" if where else ""
        text = f"its metadata is not YAML{line}; mend that."
        raise WeightsError("damaged", text, path) from None
    return found if isinstance(found, dict) else {}


@dataclass
class _State:
    """How far it went, for the message of an error."""

    left: list[str] = field(default_factory=list)
    committing: bool = False

    def told(self, unknown):
        """Return what became of the Hub; `unknown`: its last answer may have been lost."""
        if self.committing and unknown:
            return "It is not known whether it was published; what is there is not sent again."
        return f"Nothing was published: {', '.join(self.left) or 'the repository is as it was'}."


def _make_repository(api, repo_id, private, state):
    """Make the repository if there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repo_id, timeout=_TIMEOUT_S)
    except RepositoryNotFoundError:
        api.create_repo(repo_id, private=private or None)
        state.left.append("the repository was made and is empty")
        info = api.model_info(repo_id, timeout=_TIMEOUT_S)
    if private and not info.private:
        text = "is public; make it private in its settings, or choose another name."
        raise PublishError("refused", text, f"hf://{repo_id}")


def _head(api, repo_id, branch):
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
def _named_errors(repo_id, state, say):
    """Turn what the client raises into `PublishError`, with what was left behind."""
    from huggingface_hub import constants

    try:
        yield
    except (RuntimeError, *hub_client.client_errors()) as error:
        while isinstance(error, RuntimeError) and error.__cause__:
            error = error.__cause__  # "could not upload" hides why
        code, text = hub_client.refusal(error, constants.ENDPOINT)
        text = f"{text} {state.told(code == 'unavailable')}"
        raise PublishError(code, text, f"hf://{repo_id}") from None
    except KeyboardInterrupt:
        say(f"stopped. {state.told(True)}")
        raise
