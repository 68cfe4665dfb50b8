"""The version of this package: here, and nowhere else. `pyproject.toml` reads it."""

VERSION = "0.1.0"
