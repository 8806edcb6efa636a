"""Jupyter: bars are lines of text, frames are tables, and stderr has bars and warnings alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

CELLS = [
    "import numpy as np\nimport pandas as pd\nfrom recbole_universal import Recommender",
    "rng = np.random.default_rng(0)",
    "frame = pd.DataFrame({'user': rng.integers(0, 60, 900), 'item': rng.integers(0, 40, 900)}).drop_duplicates()",
    "rec = Recommender.fit(frame, model='universal-base')",
    "rec",
    "rec.recommend([1, 2], k=2)",
]


@pytest.mark.slow
def test_a_notebook(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    *before, fit, shown, table = (cell.outputs for cell in notebook.cells)
    assert not any(before)
    assert all(output.output_type == "stream" and output.name == "stderr" for output in fit)
    text = re.sub(r"\x1b\[\w", "", "".join(output.text for output in fit))
    bars = r"(universal features|graph scorers|sequence scorers): +\d+%\|.*"
    warned = r".*UserWarning: All users get the same popular items: .*|  rec = Recommender\.fit\(.*"
    odd = [line for line in re.split("[\r\n]", text) if line.strip() and not re.fullmatch(f"{bars}|{warned}", line)]
    assert "universal features: 100%" in text and not odd
    (out,) = shown
    assert out.data["text/plain"].startswith("<Recommender: 60 users, 40 items, ")
    (out,) = table
    assert "<table" in out.data["text/html"] and "score" in out.data["text/html"]
