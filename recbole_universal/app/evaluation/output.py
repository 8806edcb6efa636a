"""An evaluation as a file: CSV, JSON, LaTeX or HTML."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict

import pandas as pd

from recbole_universal.app.evaluation.page import render
from recbole_universal.app.evaluation.results import Evaluation
from recbole_universal.app.output_files import latex_table, open_form, without_nan


def open_output(path: str | os.PathLike[str]) -> AbstractContextManager[Callable[[Evaluation], None]]:
    """Open a file for an evaluation, as :func:`open_form` does."""
    return open_form(path, _FORMS)


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
        "difference": without_nan(asdict(evaluation.difference)),
        "notes": evaluation.notes,
        "examples": [asdict(example) for example in evaluation.examples],
    }
    return json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _records(table: pd.DataFrame) -> dict:
    return {name: without_nan(row) for name, row in table.to_dict("index").items()}


def latex(evaluation: Evaluation) -> str:
    """A table for the package booktabs, a row per figure."""
    return latex_table(evaluation.shown())


_FORMS: dict[str, Callable[[Evaluation], str]] = {".csv": csv, ".json": as_json, ".tex": latex, ".html": render}
