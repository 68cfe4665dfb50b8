"""The layers of the package, what an import costs, and what the package never does."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "artist_features"
FLOORS = {
    "errors": 0,
    "config": 0,
    "version": 0,
    "devices": 1,
    "files": 1,
    "optional": 1,
    "progress": 1,
    "metrics": 1,
    "audio": 1,
    "zoo": 2,
    "datasets": 2,
    "extraction": 3,
    "library": 4,
    "evaluation": 4,
    "export": 4,
    "hear": 4,
    "mteb": 4,
    "sklearn": 4,
    "search": 5,
    "training": 5,
    "maps": 6,
    "cli": 7,
    "__main__": 8,
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
HEAVY = {"tensorflow", "keras", "kapre"}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path, *, hints=False):
    """Return the dotted names that a module imports, also inside functions; hints on request."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not hints:
            node.body = []
    package = ("artist_features", *path.relative_to(PACKAGE).parts[:-1])
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            start = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{start}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path):
    return {
        name.split(".")[1] if "." in name else ""
        for name in imports(path)
        if name.split(".")[0] == "artist_features"
    }


def test_modules_were_found():
    assert len(MODULES) > 20
    assert {room_of(path) for path in MODULES} <= set(FLOORS), "a room without a floor"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_lead_downstairs(path):
    room = room_of(path)
    for other in rooms_imported(path):
        # the package itself (its version) is for the command line only
        floor = FLOORS.get(other, FLOORS["cli"] - 1)
        assert other == room or floor < FLOORS[room], f"{room} imports {other or 'the package'}"


def test_imports_form_no_circle_not_even_inside_functions_or_for_hints():
    names = {
        ".".join(("artist_features", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in MODULES
    }
    graph = {}
    for name, path in names.items():
        wanted = imports(path, hints=True)
        parents = {found.rpartition(".")[0] for found in wanted}
        graph[name] = (wanted | parents) & set(names)
    assert sum(map(len, graph.values())) > 20
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_the_ground_floor_needs_the_standard_library_only():
    for path in (PACKAGE / "errors.py", PACKAGE / "config.py", PACKAGE / "version.py"):
        tops = {name.split(".")[0] for name in imports(path)}
        assert tops <= sys.stdlib_module_names | {"artist_features"}


def test_decoding_needs_no_keras():
    for path in (PACKAGE / "audio").glob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & HEAVY, path


@functools.cache
def all_calls():
    """Return (name, path, call) of every call of an attribute or function."""
    return [
        (getattr(node.func, "attr", getattr(node.func, "id", None)), path, node)
        for path in [*MODULES, PACKAGE / "__init__.py"]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]


def calls(name):
    return [(path, call) for called, path, call in all_calls() if called == name]


def test_row81_numpy_load_never_unpickles():
    for path, call in calls("load"):
        owner = getattr(getattr(call.func, "value", None), "id", None)
        if owner not in ("np", "numpy"):
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        value = given.get("allow_pickle")
        where = f"{path}:{call.lineno}"
        assert isinstance(value, ast.Constant), f"{where}: allow_pickle is not written out"
        assert value.value is False, where
    for path in MODULES:  # the names above are the only ones it goes by
        assert not {"numpy.load", "numpy.lib.npyio.NpzFile"} & imports(path), path


def test_nothing_runs_or_unpacks_what_a_file_says():
    """Rows 77 and 81, and section 1.1: no pickle, no archives, no foreign Keras files."""
    forbidden = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "tarfile"}
    for path in MODULES:
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & forbidden, path
    for name in ("eval", "exec", "get_file", "unpack_archive", "model_from_json", "Lambda"):
        assert not calls(name), name
    loaders = [
        path
        for path, call in calls("load_model")
        if getattr(getattr(call.func, "value", None), "attr", "") in ("saving", "models")
    ]
    assert not loaders
    hdf5 = {path.name for path, call in calls("File") if "h5py" in ast.unparse(call)}
    assert hdf5 == {"untrusted_hdf5.py"}, "HDF5 is opened by the strict reader only"


def run(code, *args):
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=480,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light_and_its_names_are_told():
    code = "import sys, artist_features as af; assert set(af.__all__) <= set(dir(af));"
    loaded = {name.split(".")[0] for name in run(f"{code} print(*sys.modules)").split()}
    assert "artist_features" in loaded
    assert not loaded & {*HEAVY, "numpy", "h5py", "soundfile", "huggingface_hub", "sklearn"}


def test_unknown_attribute_is_an_attribute_error():
    import artist_features

    with pytest.raises(AttributeError, match="module 'artist_features' has no attribute 'extrct'"):
        _ = artist_features.extrct


@pytest.mark.parametrize(
    "order",
    [
        "import keras, artist_features",
        "import artist_features, keras",
        pytest.param(
            "import artist_features\nfrom keras import saving\nimport keras",
            marks=pytest.mark.nightly,
        ),
    ],
    ids=["keras-first", "keras-last", "keras-by-part"],
)
def test_layers_are_registered_in_either_order(tiny_folder, tmp_path, order):
    """Nothing of ours is called: importing the package is all that plain Keras needs."""
    import numpy as np

    import artist_features as af

    model = af.load_model(tiny_folder)
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 66560, 1)).astype("float32")
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "audio.npy", audio, allow_pickle=False)
    code = f"""{order}
import sys, numpy as np
folder = sys.argv[1]
model = keras.saving.load_model(folder + "/model.keras", safe_mode=True)
audio = np.load(folder + "/audio.npy", allow_pickle=False)
np.save(folder + "/out.npy", model(audio).numpy(), allow_pickle=False)
import artist_features as af
assert (af.load_model.__name__, af.models.__name__[-13:]) == ("load_model", ".zoo.networks")
"""
    run(code, tmp_path)
    expected = model(audio).numpy()
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy", allow_pickle=False), expected)
