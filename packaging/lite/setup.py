"""Build as the full distribution does, from the repository's root; see pyproject.toml beside."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).resolve().parents[2] / "setup.py"))
