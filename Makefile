PYTHON ?= python
# a file of tests stays in one process: its fixtures are made once
PYTEST = $(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile

.PHONY: style check test test-fast nightly docs bench dist

style:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

check:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

test:
	$(PYTEST)

test-fast:
	$(PYTEST) -m "not slow"

# every test, also those that are slow and rarely break, and tensorflow-io: before a release
nightly:
	$(PYTEST) --nightly
	$(PYTHON) -m nox --error-on-missing-interpreters -s "tfio-3.11" -- core

# the wheel is made from the source archive; another one from this tree has to be the same, and
# that of artist-features-lite has to hold the same files
dist:
	rm -rf build dist packaging/lite/build
	$(PYTHON) -m build --quiet --outdir dist .
	$(PYTHON) -m build --quiet --wheel --outdir build/from_tree .
	$(PYTHON) -m build --quiet --wheel --outdir dist packaging/lite
	$(PYTHON) -m twine check --strict dist/*
	$(PYTHON) tests/check_dist.py dist build/from_tree

docs:
	$(PYTHON) -m mkdocs build --strict

bench:
	$(PYTHON) benchmarks/run.py
