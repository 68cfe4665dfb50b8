"""What the suite of tests says on each Python and TensorFlow, in docs/compatibility.md.

    python docs/compatibility.py NAME --junit FILE.xml --tests "not slow"
    python docs/compatibility.py       # the table anew

`nox` runs the first in each of its environments (noxfile.py): it keeps what pytest wrote, the
versions and the differences to the golden vectors as docs/compatibility/NAME.json, and makes
the table of all those files.
"""

import argparse
import datetime
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree

DOCS = Path(__file__).resolve().parent
RECORDS = DOCS / "compatibility"
_PACKAGES = ("tensorflow", "keras", "numpy", "kapre", "tensorflow-io")
_HEAD = [
    "Python",
    "TensorFlow",
    "Keras",
    "NumPy",
    "Kapre",
    "tensorflow-io",
    "tests",
    "passed",
    "skipped",
    "failed",
    "golden vectors",
    "date",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help="of the environment to record")
    parser.add_argument("--junit", type=Path, help="what pytest wrote")
    parser.add_argument("--tests", help="which tests ran, in words")
    args = parser.parse_args()
    found = None
    if args.name is not None:
        found = record(args.junit, args.tests)
        text = json.dumps(found, indent=2) + "\n"
        RECORDS.mkdir(exist_ok=True)
        (RECORDS / f"{args.name}.json").write_text(text, encoding="utf-8")
        print(text)
    (DOCS / "compatibility.md").write_text(page(read_records(RECORDS)), encoding="utf-8")
    return int(found is not None and not good(found))


def record(junit, tests):
    """Return what ran, on what, and how it ended.

    Args:
        junit: path of pytest's `--junit-xml`.
        tests: which tests ran, in words.
    """
    sys.path.insert(0, str(DOCS.parent / "tests"))
    import golden_vectors

    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "device": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | installed(_PACKAGES),
        "tests": tests,
        **counts(junit),
        "golden_tolerance": golden_vectors.TOLERANCE,
        "golden_differences": golden_vectors.differences(),
    }


def counts(junit):
    """Return the number of tests that passed, were skipped and failed, and the seconds."""
    suites = list(ElementTree.parse(junit).getroot().iter("testsuite"))
    total, skipped, failures, errors = (
        sum(int(suite.get(key)) for suite in suites)
        for key in ("tests", "skipped", "failures", "errors")
    )
    failed = failures + errors
    return {
        "passed": total - skipped - failed,
        "skipped": skipped,
        "failed": failed,
        "seconds": round(sum(float(suite.get("time")) for suite in suites)),
    }


def installed(names):
    """Return {name: version} of the packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an extra that this environment does without
    return found


def processor():
    """Return the name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        text = ""
    names = [line.partition(":")[2] for line in text.splitlines() if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0].strip()


def good(found):
    """Whether tests ran, none failed, and the golden vectors are within their tolerance."""
    largest = max(found["golden_differences"].values())
    return found["passed"] > 0 and not found["failed"] and largest <= found["golden_tolerance"]


def read_records(folder):
    """Return the records of a folder, by version of Python and TensorFlow."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted(records, key=lambda found: (*_numbers(found), "tensorflow-io" in _names(found)))


def page(records):
    """Return the text of docs/compatibility.md."""
    rows = [_row(found) for found in records]
    devices = sorted({f"{found['device']}, {found['system']}" for found in records})
    if not records:
        return "# Compatibility\n\nNo environment has been recorded yet: run `nox` (noxfile.py).\n"
    tolerance = max(found["golden_tolerance"] for found in records)
    return "\n".join(
        [
            "# Compatibility",
            "",
            "Written by `nox` (noxfile.py): one environment a row, the newest packages that pip "
            "finds for that Python and TensorFlow, and the suite of tests in it. "
            "`full` is all tests, `not slow` leaves out those marked `slow`, `core` is those of "
            "them that concern the models, the extraction and the measures (noxfile.py). Skipped "
            "are tests of what the environment lacks. Golden vectors: greatest difference "
            "of the bundled models' embeddings of one synthetic clip to "
            f"tests/golden_vectors.json, of at most {tolerance:g} allowed.",
            "",
            f"| {' | '.join(_HEAD)} |",
            f"|{'---|' * len(_HEAD)}",
            *rows,
            "",
            f"On {'; '.join(devices)}.",
            "",
        ]
    )


def _row(found):
    names = _names(found)
    cells = [names.get(name, "") for name in ("python", *_PACKAGES)]
    cells += [found["tests"], *(str(found[key]) for key in ("passed", "skipped", "failed"))]
    cells += [f"{max(found['golden_differences'].values()):.1e}", found["date"]]
    return f"| {' | '.join(cells)} |"


def _names(found):
    return found["versions"]


def _numbers(found):
    return [
        [int(part) for part in _names(found)[name].split(".")[:2]]
        for name in ("python", "tensorflow")
    ]


if __name__ == "__main__":
    sys.exit(main())
