"""An evaluation as a file: CSV, JSON, LaTeX or HTML."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from recbole_universal.app.evaluation.page import render
from recbole_universal.app.evaluation.results import Evaluation
from recbole_universal.app.recommendation_files import output_file

_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$"}


@contextmanager
def open_output(path: str | os.PathLike[str]) -> Iterator[Callable[[Evaluation], None]]:
    """Open a file for an evaluation, which takes its place when the ``with`` block ends without an error.

    Args:
        path: the file; its ending says its format.

    Yields:
        A function that writes the evaluation.

    Raises:
        ValueError: if the ending is unknown.
        OSError: if the file cannot be written.
    """
    file = Path(os.path.expanduser(path))
    form = _FORMS.get(file.suffix.lower())
    if form is None:
        raise ValueError(f"output (--output): the name of [{file}] must end in one of {', '.join(_FORMS)}.")
    with output_file(file, "output (--output)") as opened:

        def write(evaluation: Evaluation) -> None:
            opened.write(form(evaluation).encode())

        yield write


def csv(evaluation: Evaluation) -> str:
    """A row per recommender: the figures, and the margins in columns that end in ``margin``."""
    return evaluation.table.join(evaluation.margins.add_suffix(" margin")).to_csv(lineterminator="\n")


def as_json(evaluation: Evaluation) -> str:
    """Everything but the values of single users."""
    figures = {
        name: {"value": _records(evaluation.table)[name], "margin": _records(evaluation.margins)[name]}
        for name in evaluation.table.index
    }
    content = {
        "answer": evaluation.answer,
        "comparison": evaluation.comparison,
        "split": evaluation.split,
        "users": evaluation.n_users,
        "top_k": evaluation.top_k,
        "recommenders": figures,
        "difference": _without_nan(asdict(evaluation.difference)),
        "notes": evaluation.notes,
        "examples": [asdict(example) for example in evaluation.examples],
    }
    return json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _records(table: pd.DataFrame) -> dict:
    return {name: _without_nan(row) for name, row in table.to_dict("index").items()}


def _without_nan(values: dict) -> dict:
    """JSON has no NaN and no infinity."""
    return {
        key: None if isinstance(value, float) and not abs(value) < float("inf") else value
        for key, value in values.items()
    }


def latex(evaluation: Evaluation) -> str:
    """A table for the package booktabs, a row per figure."""
    shown = evaluation.shown()
    rows = [[name, *values] for name, *values in shown.itertuples()]
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in [["", *shown.columns], *rows]]
    columns = "l" + "r" * len(shown.columns)
    body = "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:]])
    return body + "\n\\bottomrule\n\\end{tabular}\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


_FORMS: dict[str, Callable[[Evaluation], str]] = {".csv": csv, ".json": as_json, ".tex": latex, ".html": render}
