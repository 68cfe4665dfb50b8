"""docs/fine_tuning.md is a notebook: it runs as one, unchanged, from the first cell on."""

import os
import re
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="of the extra [dev]")
nbclient = pytest.importorskip("nbclient", reason="of the extra [dev]")

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs/fine_tuning.md"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The notebook after it has run, and the folder in which it did."""
    folder = tmp_path_factory.mktemp("notebook")
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    cells = jupytext.reads(GUIDE.read_text(encoding="utf-8"), fmt="md")
    client = nbclient.NotebookClient(
        cells,
        timeout=960,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=os.environ | {"PYTHONPATH": paths})
    return cells, folder


def printed(cell):
    return "".join(out.get("text", "") for out in cell.outputs if out.get("name") == "stdout")


@pytest.mark.nightly
def test_the_guide_runs_as_a_notebook_and_learns(notebook):
    cells, folder = notebook
    code = [cell for cell in cells.cells if cell.cell_type == "code"]
    assert len(code) == GUIDE.read_text(encoding="utf-8").count("```python") > 8
    assert all(cell.execution_count for cell in code)
    text = "".join(map(printed, code))
    answers = re.findall(r"expected (\d) found (\d)", text)
    assert len(answers) == 4  # clips that training has not heard
    assert sum(expected == found for expected, found in answers) >= 3
    assert "trained on 2 devices" in text or "GPU" in text
    assert float(re.search(r"least cosine to float32 embeddings (\S+)", text)[1]) > 0.999
    assert (folder / "moods.keras").is_file()


def test_the_guide_becomes_a_notebook_file(tmp_path):
    out = tmp_path / "fine_tuning.ipynb"
    jupytext.write(jupytext.read(GUIDE), out)
    again = jupytext.read(out)
    assert [cell.source for cell in again.cells] == [
        cell.source for cell in jupytext.read(GUIDE).cells
    ]
