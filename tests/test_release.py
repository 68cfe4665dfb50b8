"""One version everywhere, metadata that can be published, and the check of what is built."""

import importlib
import inspect
import re
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import check_dist
import pytest
import yaml

import artist_features as af
from artist_features.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version_everywhere(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.splitlines()[0] == af.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", af.__version__)
    project = read("pyproject.toml")
    assert 'version = { attr = "artist_features.version.VERSION" }' in project
    assert af.__version__ not in project
    assert citation()["version"] == af.__version__


def test_every_extra_is_explained():
    extras = set(metadata("artist-features").get_all("Provides-Extra"))
    table = re.search(r"\| extra \| for \|\n((?:\|.*\n)+)", (ROOT / "docs/index.md").read_text())[1]
    firsts = [line.split("|")[1] for line in table.splitlines()[1:]]
    named = set(re.findall(r"`(\w+)`", " ".join(firsts)))
    assert named == extras - {"test", "dev"}


def test_the_changelog_begins_with_this_version():
    headings = re.findall(r"^## (.*)$", read("CHANGELOG.md"), re.MULTILINE)
    pattern = r"(\d+\.\d+\.\d+) - (unreleased|\d{4}-\d{2}-\d{2})"
    versions = [re.fullmatch(pattern, heading)[1] for heading in headings]
    assert versions[0] == af.__version__
    assert len(set(versions)) == len(versions)
    kinds = set(re.findall(r"^### (.*)$", read("CHANGELOG.md"), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def citation():
    return yaml.safe_load(read("CITATION.cff"))


def test_citation_names_the_software_and_the_paper():
    """What the schema of the Citation File Format 1.2.0 asks for; `nox -s citation` asks it."""
    found = citation()
    (paper,) = found["references"]
    assert (found["cff-version"], found["type"]) == ("1.2.0", "software")
    assert paper["type"] == "conference-paper"
    for work in (found, paper):
        assert work["title"]
        assert work["authors"]
        for author in work["authors"]:
            assert set(author) in ({"name"}, {"family-names", "given-names"})
    assert found["message"]
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Park", "Lee", "Park", "Ha", "Nam"]
    assert paper["identifiers"][0]["value"].removeprefix("arXiv:") in read("README.md")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_commands_that_exist(path):
    """`nox -s workflows` asks GitHub's schema."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", True, "permissions", "jobs"} <= set(found)  # YAML reads the key on as true
    steps = [step for job in found["jobs"].values() for step in job["steps"]]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    commands = "\n".join(step.get("run", "") for step in steps)
    for target in re.findall(r"make (\S+)", commands):
        assert f"\n{target}:" in read("Makefile")
    for session in re.findall(r"nox -s ([a-z ]+)", commands):
        for name in session.split():
            assert f"\ndef {name}(session" in read("noxfile.py")
    for script in re.findall(r"bash (\S+)", commands):
        assert (ROOT / script).is_file()
    assert {job["timeout-minutes"] for job in found["jobs"].values()} <= set(range(5, 61))


def test_workflows_and_forms_were_found():
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "publish.yml"]
    assert len(FORMS) == 2
    for path in FORMS:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form)
        assert any(part.get("validations", {}).get("required") for part in form["body"])


PUBLIC = ("artist_features", "artist_features.errors", "artist_features.config")
PUBLIC += ("artist_features.files", "artist_features.metrics", "artist_features.search")
PUBLIC += ("artist_features.hear", "artist_features.zoo.networks")


def public_callables():
    """Yield (name, function or method) of the public surface."""
    for module_name in PUBLIC:
        module = importlib.import_module(module_name)
        own = [name for name in dir(module) if is_of(module_name, getattr(module, name))]
        for name in getattr(module, "__all__", own):
            value = getattr(module, name)
            members = vars(value).items() if inspect.isclass(value) else [("", value)]
            for key, member in members:
                member = getattr(member, "fget", getattr(member, "__func__", member))
                if inspect.isfunction(member) and not (name.startswith("_") or key.startswith("_")):
                    yield f"{module_name}.{name}.{key}", member


def is_of(module_name, value):
    return getattr(value, "__module__", None) == module_name


def test_every_public_function_has_type_hints():
    found = dict(public_callables())
    assert len(found) > 60
    for name, function in found.items():
        signature = inspect.signature(function)
        own = [each for key, each in signature.parameters.items() if key not in ("self", "cls")]
        assert all(each.annotation is not each.empty for each in own), name
        assert signature.return_annotation is not signature.empty, name


def wheel_files():
    """Return what a right wheel of this tree holds."""
    weights = check_dist.ROOT / "weights"
    prefix = "artist_features/weights/"
    files = {
        name: (weights / name.removeprefix(prefix)).read_bytes() if name.startswith(prefix) else b""
        for name in check_dist.package_files()
    }
    return files | {"artist_features-0.dist-info/licenses/LICENSE": b"MIT"}


def test_a_right_wheel_passes():
    files = wheel_files()
    assert {
        "artist_features/py.typed",
        "artist_features/datasets/gtzan_split.json",
        "artist_features/maps/page_files/page.html",
        "artist_features/weights/siamese/model.weights.h5",
    } <= set(files)
    check_dist.check_package(files, check_dist.package_files())
    check_dist.check_weights(files)
    check_dist.check_same(files, dict(files))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("artist_features/py.typed", None, "lacks artist_features/py.typed and 0 more"),
        ("artist_features/weights/basic/config.json", None, "lacks artist_features/weights/basic"),
        ("tests/test_cli.py", b"", "has tests/test_cli.py and 0 more"),
        ("examples/fine_tune.py", b"", "has examples/fine_tune.py"),
        ("artist_features-0.dist-info/licenses/LICENSE", None, "lacks the licence"),
        ("artist_features/weights/basic/model.weights.h5", b"0", "basic: weights have sha256 5fec"),
        ("artist_features/errors.py", b"#", r"differ in \['artist_features/errors.py'\]"),
    ],
)
def test_a_wrong_wheel_is_refused(name, content, message):
    right = wheel_files()
    wrong = {key: value for key, value in right.items() if key != name}
    if content is not None:
        wrong[name] = content

    def check():
        check_dist.check_package(wrong, check_dist.package_files())
        check_dist.check_weights(wrong)
        check_dist.check_same(wrong, right)

    with pytest.raises(ValueError, match=message):
        check()


def test_a_wheel_is_read_and_measured(tmp_path, monkeypatch):
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("artist_features/errors.py", "text")
    assert check_dist.read_wheel(path) == {"artist_features/errors.py": b"text"}
    check_dist.check_size(path)
    monkeypatch.setattr(check_dist, "MAX_WHEEL_BYTES", 10)
    with pytest.raises(ValueError, match="allowed are 10"):
        check_dist.check_size(path)
