"""What has to be in the wheel, what must not be, and that the source archive makes the same one.

python tests/check_dist.py dist build/from_tree      # `make dist` calls it
"""

import hashlib
import json
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("basic", "siamese")
MAX_WHEEL_BYTES = 8_000_000


def main(dist, from_tree):
    """Check the two wheels and the one source archive of `dist`; raise ValueError."""
    (wheel,), (archive,) = dist.glob("artist_features-*.whl"), dist.glob("*.tar.gz")
    (lite,) = dist.glob("artist_features_lite-*.whl")
    (other,) = from_tree.glob("*.whl")
    files = read_wheel(wheel)
    check_size(wheel)
    check_package(files, package_files())
    check_weights(files)
    check_same(files, read_wheel(other))
    check_same(without_info(files), without_info(read_wheel(lite)))
    check_archive(archive)
    print(f"{wheel.name}: {len(files)} files, {wheel.stat().st_size} bytes; {archive.name}: as it")


def read_wheel(path):
    """Return {name: bytes} of the files in a wheel."""
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}


def without_info(files):
    """Return the files of a wheel that are not about the distribution."""
    return {name: data for name, data in files.items() if ".dist-info/" not in name}


def package_files():
    """Return the names of the files that make the package, as this tree has them."""
    package = ROOT / "artist_features"
    found = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    weights = {
        f"artist_features/{path.relative_to(ROOT).as_posix()}"
        for model in MODELS
        for path in (ROOT / "weights" / model).iterdir()
    }
    return found | weights


def check_size(wheel):
    """Refuse a wheel of 8 MB or more."""
    if (n_bytes := wheel.stat().st_size) >= MAX_WHEEL_BYTES:
        raise ValueError(f"{wheel.name} has {n_bytes} bytes; allowed are {MAX_WHEEL_BYTES}.")


def check_package(files, expected):
    """Refuse a wheel that lacks a file of the package, or has one that is not of it."""
    info = {name for name in files if name.split("/")[0].endswith(".dist-info")}
    if missing := sorted(expected - set(files)):
        raise ValueError(f"the wheel lacks {missing[0]} and {len(missing) - 1} more.")
    if foreign := sorted(set(files) - expected - info):
        raise ValueError(f"the wheel has {foreign[0]} and {len(foreign) - 1} more, not of us.")
    if not any(name.endswith("/LICENSE") for name in info):
        raise ValueError("the wheel lacks the licence.")


def check_weights(files):
    """Refuse weights that are not those of their card."""
    for model in MODELS:
        folder = f"artist_features/weights/{model}"
        card = json.loads(files[f"{folder}/artist_features.json"])
        found = hashlib.sha256(files[f"{folder}/model.weights.h5"]).hexdigest()
        if found != card["weights_sha256"]:
            raise ValueError(f"{folder}: weights have sha256 {found[:12]}, not that of their card.")


def check_same(files, others):
    """Refuse two wheels that differ in a name or in a byte."""
    if differing := sorted(
        name for name in {*files, *others} if files.get(name) != others.get(name)
    ):
        raise ValueError(
            f"the wheels of the archive, of the tree and of lite differ in {differing}."
        )


def check_archive(archive):
    """Refuse a source archive from which the tests cannot run."""
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    tests = {f"tests/{path.name}" for path in (ROOT / "tests").iterdir() if path.is_file()}
    needed = tests | {"CITATION.cff", "SECURITY.md", "setup.py", "weights/basic/model.weights.h5"}
    if missing := sorted(needed - names):
        raise ValueError(f"{archive.name} lacks {missing[0]} and {len(missing) - 1} more.")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
