"""A Hugging Face Hub on the loopback that takes uploads from the real client.

It speaks what `create_repo`, `create_branch` and `create_commit` ask for: upload modes, the
batch interface of Git LFS with uploads to the second port, checks of the metadata, and
commits that are made as a whole, on top of the commit that the client names or not at all.
"""

import base64
import binascii
import hashlib
import json
import re
import threading
from urllib.parse import unquote, urlsplit

import yaml
from hub_server import Handler, HubServer, etag, is_large

_CREATE, _YAML = "/api/repos/create", "/api/validate-yaml"
_REPOSITORY = re.compile(r"/api/models/([^/]+/[^/]+)/(refs|preupload|branch|commit)(?:/(.+))?")
_LFS = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/(objects/batch|verify)")
_UPLOAD = re.compile(r"/upload/([0-9a-f]{64})")


class UploadServer(HubServer):
    """A Hub with one account and at first no repository.

    Attributes:
        writer: the token that may write; `token`, which may read, is set to it for a private
            repository.
        exists, private: of the repository.
        messages: of the commits, in their order.
        free_bytes: left for large files.
        before_commit: called before a commit is made, as if somebody else were quicker.
        rejected_licenses: what the check of metadata refuses.
    """

    def __init__(self, repo_id="owner/name", *, writer):
        self.writer = writer
        self.handler = _UploadHandler
        super().__init__(repo_id)
        self.reset()

    def reset(self):
        """Be a Hub without a repository again."""
        self.faults.clear()
        self.log.clear()
        self.commits, self.refs, self._blobs, self.objects = {}, {}, {}, {}
        self.exists = self.private = False
        self.token, self.tags, self.messages = None, set(), []
        self.free_bytes, self.before_commit = 1 << 40, None
        self.rejected_licenses = {"wrong"}
        self.committing = threading.Lock()

    def create(self, private=False):
        """Make the repository with what every new one has."""
        self.exists, self.private = True, private
        self.token = self.writer if private else None
        self.commit({".gitattributes": b"*.h5 filter=lfs diff=lfs merge=lfs -text\n"})

    def tag(self, name, commit):
        super().tag(name, commit)
        self.tags.add(name)

    def state(self):
        """Return all that a failed push must leave as it was."""
        return self.exists, self.private, dict(self.refs), sorted(self.commits)


class _UploadHandler(Handler):
    def do_POST(self):
        self._change()

    def do_PUT(self):
        self._change()

    def _refused(self, repo_id, path):
        if not self.server.hub.exists:
            # without a token the Hub does not say what there is not
            known = self.headers.get("Authorization") == f"Bearer {self.server.hub.writer}"
            self._error(404 if known else 401, "RepoNotFound", path)
            return True
        return super()._refused(repo_id, path)

    def _other(self, path):
        match = _REPOSITORY.fullmatch(path)
        if not match or match[2] != "refs":
            super()._other(path)
        elif not self._refused(match[1], path):
            hub, found = self.server.hub, {"branches": [], "tags": [], "converts": []}
            for name, commit in hub.refs.items():
                kind, place = ("tags", "tags") if name in hub.tags else ("branches", "heads")
                entry = {"name": name, "ref": f"refs/{place}/{name}", "targetCommit": commit}
                found[kind].append(entry)
            self._json(found, path)

    def _change(self):
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        fault = hub._fault(self.command, path)
        length = int(self.headers.get("Content-Length", 0))
        if fault and fault.kind == "cut":
            self.rfile.read(length // 2)
            self._log(path, 0)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if self._failed(fault, path):
            return
        if match := _UPLOAD.fullmatch(path):
            self._upload(match[1], body, path)
        elif path == _YAML:
            self._check_yaml(json.loads(body), path)
        elif self.headers.get("Authorization") != f"Bearer {hub.writer}":
            self._tell(401, "Invalid username or password.", path)
        elif path == _CREATE:
            self._create(json.loads(body), path)
        elif match := _REPOSITORY.fullmatch(path):
            if not self._refused(match[1], path):
                getattr(self, f"_post_{match[2]}")(match[3], body, path, fault)
        elif match := _LFS.fullmatch(path):
            self._lfs(match[2], json.loads(body), path)
        else:
            self._error(404, None, path)

    def _tell(self, status, text, path):
        self._send(status, json.dumps({"error": text}).encode(), {}, path)

    def _create(self, wanted, path):
        hub = self.server.hub
        if wanted["organization"] != hub.repo_id.partition("/")[0]:
            text = f"You don't have the rights to create a model under {wanted['organization']!r}"
            self._tell(403, text, path)
        elif hub.exists:
            self._tell(409, "You already created this model repo", path)
        else:
            # 1.x of the client says private, 2.x visibility
            hub.create(wanted.get("private") is True or wanted.get("visibility") == "private")
            self._json({"url": f"{hub.endpoint}/{hub.repo_id}"}, path)

    def _check_yaml(self, wanted, path):
        try:
            block = yaml.safe_load(wanted["content"].split("---\n")[1])
            errors = [
                {"message": f"license {block['license']!r} must be one of ..."}
                for _ in range(block["license"] in self.server.hub.rejected_licenses)
            ]
        except (IndexError, KeyError, TypeError, yaml.YAMLError) as error:
            errors = [{"message": f"invalid metadata: {type(error).__name__}"}]
        body = json.dumps({"errors": errors, "warnings": []}).encode()
        self._send(400 if errors else 200, body, {"Content-Type": "application/json"}, path)

    def _post_preupload(self, revision, body, path, _):
        commit = self._commit_of(revision, path)
        if commit is None:
            return
        held = self.server.hub.commits[commit]
        files = []
        for entry in json.loads(body)["files"]:
            name = entry["path"]
            mode = "lfs" if is_large(name) else "regular"
            oid = etag(name, held[name]) if name in held else None
            files.append({"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": files}, path)

    def _post_branch(self, name, body, path, _):
        hub, start = self.server.hub, json.loads(body).get("startingPoint", "main")
        if name in hub.refs:
            self._tell(409, f"Reference {name} exists already", path)
        elif start not in hub.commits and start not in hub.refs:
            self._error(404, "RevisionNotFound", path)
        else:
            hub.refs[name] = hub.refs.get(start, start)
            self._json({}, path)

    def _lfs(self, what, wanted, path):
        hub = self.server.hub
        if what == "verify":
            whole = len(hub.objects.get(wanted["oid"], b"")) == wanted["size"]
            self._send(200 if whole else 404, b"{}", {}, path)
            return
        objects = []
        for entry in wanted["objects"]:
            oid, size = entry["oid"], entry["size"]
            found = {"oid": oid, "size": size}
            if size > hub.free_bytes:
                text = "Private repository storage limit reached, please upgrade your plan"
                found["error"] = {"code": 403, "message": text}
            elif oid not in hub.objects:
                upload = f"{hub.content_network}/upload/{oid}?X-Signature=secretOfTheUrl"
                verify = f"{hub.endpoint}/{hub.repo_id}.git/info/lfs/verify"
                found["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
            objects.append(found)
        self._json({"transfer": "basic", "objects": objects}, path)

    def _upload(self, oid, body, path):
        if hashlib.sha256(body).hexdigest() != oid:
            self._tell(400, "the content does not have this hash", path)
            return
        self.server.hub.objects[oid] = body
        self._send(200, b"", {}, path)

    def _post_commit(self, revision, body, path, fault):
        hub = self.server.hub
        lines = [json.loads(line) for line in body.splitlines()]
        if hub.before_commit:
            hub.before_commit(hub)
        with hub.committing:
            head = hub.refs.get(revision)
            if head is None:
                self._error(404, "RevisionNotFound", path)
                return
            if lines[0]["value"].get("parentCommit", head) != head:
                self._tell(412, "A commit has happened since. Please refresh and try again.", path)
                return
            try:
                files = hub.commits[head] | dict(self._file_of(**line) for line in lines[1:])
            except (KeyError, binascii.Error) as error:
                self._tell(400, f"bad file: {error}", path)
                return
            commit = hub.commit(files, branch=revision)
            hub.messages.append(lines[0]["value"]["summary"])
        if fault and fault.kind == "late":  # made, and nobody hears of it
            self._log(path, 0)
            self.close_connection = True
            return
        url = f"{hub.endpoint}/{hub.repo_id}/commit/{commit}"
        self._json({"success": True, "commitOid": commit, "commitUrl": url}, path)

    def _file_of(self, key, value):
        if key == "lfsFile":
            return value["path"], self.server.hub.objects[value["oid"]]
        return value["path"], base64.b64decode(value["content"], validate=True)
