"""Load mutants of a model folder, in a process whose death would tell.

    python tests/fuzz_folder.py FOLDER WORK KIND SEED load FIRST LAST
    python tests/fuzz_folder.py FOLDER WORK KIND SEED build NUMBER...

A mutant is a function of kind, seed and number. Its number is in `WORK/number` before it is
loaded; the first that ends neither in a `WeightsError` nor in the right model ends the process.
"""

import collections
import copy
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

from artist_features.errors import WEIGHTS_CODES, WeightsError
from artist_features.zoo import folder as model_folder

CARD, WEIGHTS = model_folder.CARD_FILE, model_folder.WEIGHTS_FILE
KINDS = {  # name -> share of all mutants
    "any file, the hash unchanged": 0.4,
    "weights, the hash recomputed": 0.35,
    "structure of the card, its hash recomputed": 0.25,
}
_SPARE_BYTES = 768 << 20  # of address space, for a folder of 100 kB
_MAX_S = 10  # for one mutant
_EXTREMES = [bytes(n) for n in (1, 4, 8)] + [b"\xff" * n for n in (1, 4, 8)]
_EXTREMES += [b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\1\0\0\0", b"\0\0\1\0"]
_WORDS = [b"9", b"e9", b'"', b"}", b"[", b",", b"NaN", b"\\u0000", b"\xef\xbb\xbf", b"\xff"]


def mutated_bytes(data, rng):
    """Return `data` with 1 to 32 changes, half of them in the first 4 kB."""
    data = bytearray(data)
    for _ in range(int(2 ** rng.uniform(0, 5))):
        end = min(len(data), 4096) if rng.random() < 0.5 else len(data)
        at, n = rng.randrange(end or 1), int(2 ** rng.uniform(0, 8))
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[at] = rng.randrange(256)
        elif kind == 1 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            extreme = rng.choice(_EXTREMES)
            data[at : at + len(extreme)] = extreme
        elif kind == 3:
            del data[at : at + n]
        elif kind == 4:
            data[at:at] = data[rng.randrange(end or 1) :][:n]
        elif kind == 5:
            data[at:at] = rng.choice(_WORDS)
        elif rng.random() < 0.2:
            del data[at:]
    return bytes(data)


_NUMBERS = [0, 1, 2, 3, 7, 16, 129, 1024, 65536, 2**31, 2**64, 10**400, -1, -(2**63)]
_NUMBERS += [0.5, -0.0, 1e-9, 1e308, float("nan"), float("inf"), -float("inf")]
_OTHERS = [None, True, False, "", "0", "x" * 70_000, "\0", "\ud800", "../../x", [], {}, [[]]]
_OTHERS += [[1], {"": {}}, {"class_name": "Lambda", "config": {}, "module": "builtins"}]


def _places(value, found):
    """Return [(container, key)] of all that a JSON document holds."""
    for key in value if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], (dict, list)):
            _places(value[key], found)
    return found


def _deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def mutated_json(text, rng):
    """Return JSON text (and what only Python calls JSON) with 1 to 3 places changed."""
    document = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = _places(document, [])
        if not places:
            break
        container, key = rng.choice(places)
        value, kind = container[key], rng.randrange(8)
        number = type(value) in (int, float) and abs(value) < 1e300
        if number and kind < 5:
            near = [value * 2, value / 2, value + 1, value - 1, -value, value * 1e6, int(value)]
            container[key] = rng.choice([*_NUMBERS, *near])
        elif kind < 3:
            container[key] = copy.deepcopy(rng.choice([*_NUMBERS, *_OTHERS, _deep(50)]))
        elif kind == 3:
            del container[key]
        elif kind == 4 and isinstance(container, dict):
            container[rng.choice(["x", key.upper(), f"{key} ", "__class__", "weights"])] = value
        elif kind == 5 and isinstance(value, list):
            value.append(copy.deepcopy(rng.choice(value)) if value else 1)
        elif kind == 6:
            other, name = rng.choice(places)
            if isinstance(other, dict) and name in other:
                container[key] = copy.deepcopy(other[name])
        else:
            container[key] = copy.deepcopy(rng.choice(_OTHERS))
    return json.dumps(document).encode("utf-8", "surrogatepass")


def sealed(files):
    """Make the card state the hash of the weights as they now are."""
    record = json.loads(files[CARD])
    record["weights_sha256"] = hashlib.sha256(files[WEIGHTS]).hexdigest()
    return {**files, CARD: json.dumps(record).encode()}


def mutant(files: dict[str, bytes], kind: str, seed: int, number: int) -> dict[str, bytes]:
    """Return the files of a mutant, {name: bytes}."""
    rng = random.Random(f"{kind}, {seed}, {number}")
    if kind.startswith("any file"):
        name = rng.choices(model_folder.FILES, (6, 1, 1, 4, 1))[0]
        return {**files, name: mutated_bytes(files[name], rng)}
    if kind.startswith("weights"):
        return sealed({**files, WEIGHTS: mutated_bytes(files[WEIGHTS], rng)})
    record = json.loads(files[CARD])
    del record["graph_sha256"]  # as if it had been computed again
    return {**files, CARD: mutated_json(json.dumps(record), rng)}


def _check_error(error, folder):
    text = str(error)
    assert error.code in WEIGHTS_CODES, error.code
    assert text.startswith(f"{folder}/"), text
    assert len(text) < len(str(folder)) + 900, text
    assert text.isprintable(), text


def check(folder, kind, good, weights):
    """Load a mutant; return (outcome, card if its graph is another one, else None)."""
    try:
        card, found = model_folder.read_folder(folder)
    except WeightsError as error:
        _check_error(error, folder)
        return error.code, None
    assert set(found) == set(weights)
    same = all(
        np.array_equal(a, b)
        for name in found
        for a, b in zip(found[name], weights[name], strict=True)
    )
    for arrays in found.values():
        assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays)
    if "weights" not in kind:
        assert same
    if not kind.startswith("structure of the card"):
        assert card.graph_sha256 == good.graph_sha256
    outcome = "the same model" if same else "other numbers"
    return outcome, card if card.graph_sha256 != good.graph_sha256 else None


def load(folder, work, kind, seed, first, last):
    files = {name: (folder / name).read_bytes() for name in model_folder.FILES}
    good, weights = model_folder.read_folder(folder)
    target, progress = work / "mutant", os.open(work / "number", os.O_CREAT | os.O_WRONLY)
    shutil.copytree(folder, target, dirs_exist_ok=True)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    counts, graphs, slowest = collections.Counter(), {}, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    on_disk = files
    for number in range(first, last):
        changed = mutant(files, kind, seed, number)
        for name in model_folder.FILES:
            if changed[name] is not on_disk[name]:
                (target / name).write_bytes(changed[name])
        on_disk = changed
        os.pwrite(progress, b"%12d" % number, 0)
        started = time.monotonic()
        signal.alarm(_MAX_S)  # ends the process, be it in the middle of C
        outcome, other = check(target, kind, good, weights)
        signal.alarm(0)
        counts[outcome] += 1
        if other:
            graphs[other.graph_sha256] = number
        slowest = max(slowest, time.monotonic() - started)
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    report = {"counts": counts, "graphs": graphs, "slowest_s": slowest, "grown_kb": grown_kb}
    print(json.dumps(report))


def build(folder, work, kind, seed, *numbers):
    """Build mutants that are models with another graph; a segment of noise must give numbers."""
    import keras

    files = {name: (folder / name).read_bytes() for name in model_folder.FILES}
    noise = np.random.default_rng(0).normal(0, 0.3, 1 << 24).astype("float32")
    for number in numbers:
        for name, data in mutant(files, kind, seed, number).items():
            (work / "mutant" / name).write_bytes(data)
        (work / "number").write_text(str(number))
        card, weights = model_folder.read_folder(work / "mutant")
        signal.alarm(60)
        model = model_folder.build(card, weights)
        found = model(noise[: card.front_end.segment_samples][None, :, None]).numpy()
        signal.alarm(0)
        assert found.shape == (1, card.embedding_dim)
        assert np.isfinite(found).all(), card
        keras.backend.clear_session()
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"built": len(numbers), "peak_kb": peak_kb}))


if __name__ == "__main__":
    place, workplace, what, seeded, action, *which = sys.argv[1:]
    run = {"load": load, "build": build}[action]
    run(Path(place), Path(workplace), what, int(seeded), *map(int, which))
