"""docs/compatibility.py: from what pytest wrote to a row, and a table that follows from records."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import golden_vectors
import pytest

ROOT = Path(__file__).resolve().parents[1]
JUNIT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="16" time="7.61">
<testcase classname="tests.test_a" name="test_b" time="0.1"/></testsuite></testsuites>
"""
RECORD = {
    "date": "2026-01-02",
    "device": "Some CPU, 2 cores",
    "system": "Linux",
    "versions": {"python": "3.9.9", "tensorflow": "2.16.1", "keras": "3.12.4", "numpy": "1.26.4"},
    "tests": "not slow",
    "passed": 10,
    "skipped": 3,
    "failed": 0,
    "seconds": 8,
    "golden_tolerance": 1e-4,
    "golden_differences": {"basic": 2e-6, "siamese": 3.04e-5},
}


@pytest.fixture(scope="module")
def compatibility():
    spec = importlib.util.spec_from_file_location("compatibility", ROOT / "docs/compatibility.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_record_counts_tests_and_measures_vectors(compatibility, tmp_path, monkeypatch):
    (tmp_path / "junit.xml").write_text(JUNIT)
    monkeypatch.setattr(golden_vectors, "differences", lambda: {"basic": 1e-6, "siamese": 2e-6})
    found = compatibility.record(tmp_path / "junit.xml", "not slow")
    assert set(found) == set(RECORD)
    assert (found["passed"], found["skipped"], found["failed"]) == (10, 3, 3)
    assert found["versions"]["tensorflow"].startswith("2.")
    assert found["golden_differences"]["siamese"] == 2e-6
    assert not compatibility.good(found)
    assert compatibility.good(found | {"failed": 0})
    assert not compatibility.good(found | {"failed": 0, "passed": 0})
    far = {"golden_differences": {"basic": 1e-6, "siamese": 1.1e-4}}
    assert not compatibility.good(found | {"failed": 0} | far)


def test_the_table_is_sorted_by_version(compatibility, tmp_path):
    newer = RECORD | {"versions": RECORD["versions"] | {"python": "3.10.1"}}
    tfio = RECORD | {"versions": RECORD["versions"] | {"tensorflow-io": "0.37.1"}}
    for name, found in (("a", newer), ("b", tfio), ("c", RECORD)):
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    text = compatibility.page(compatibility.read_records(tmp_path))
    rows = [line for line in text.splitlines() if line.startswith("| 3.")]
    row = (
        "| 3.9.9 | 2.16.1 | 3.12.4 | 1.26.4 |  |  | not slow | 10 | 3 | 0 | 3.0e-05 | 2026-01-02 |"
    )
    assert rows[0] == row
    assert "| 0.37.1 |" in rows[1]
    assert rows[2].startswith("| 3.10.1 |")
    assert text.endswith("On Some CPU, 2 cores, Linux.\n")


def test_the_committed_table_follows_from_the_committed_records(compatibility):
    records = compatibility.read_records(ROOT / "docs" / "compatibility")
    assert compatibility.page(records) == (ROOT / "docs/compatibility.md").read_text(
        encoding="utf-8"
    )


def test_the_environments_span_what_the_package_allows():
    noxfile, project = ((ROOT / name).read_text() for name in ("noxfile.py", "pyproject.toml"))
    (node,) = (
        node
        for node in ast.parse(noxfile).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PYTHONS"
    )
    pythons = ast.literal_eval(node.value)
    lowest, above = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project).groups()
    allowed = {f"3.{minor}" for minor in range(int(lowest), int(above))}
    assert {python for each in pythons.values() for python in each} == allowed
    lowest, above = re.search(r'"tensorflow>=2\.(\d+),<2\.(\d+)",', project).groups()
    assert min(pythons) == f"2.{lowest}"
    assert max(pythons) == f"2.{int(above) - 1}"
