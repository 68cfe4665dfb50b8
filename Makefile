PYTHON ?= python
# a file of tests stays in one process: its fixtures are made once
PYTEST = $(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile

.PHONY: style check test test-fast docs bench

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

docs:
	$(PYTHON) -m mkdocs build --strict

bench:
	$(PYTHON) benchmarks/run.py
