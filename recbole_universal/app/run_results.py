"""Results of runs of RecBole over one or several seeds, as files that a later comparison reads."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal.app.analysis.page import STYLE
from recbole_universal.app.output_files import latex_table, without_nan
from recbole_universal.app.results_table import by_model, shown_values

#: Number of the format of the JSON files.
FORMAT = 1


@dataclass(frozen=True)
class RunResults:
    """Results of a model and its baselines.

    Attributes:
        dataset: name of the dataset.
        eval_args: how the interactions were split and evaluated, as RecBole's key ``eval_args``.
        seeds: the seed of each run.
        results: what :func:`recbole_universal.app.quick_start.run` returned for all seeds, one seed after the other.
    """

    dataset: str
    eval_args: Any
    seeds: list[int]
    results: list[dict[str, Any]]

    def table(self) -> pd.DataFrame:
        """A row per model: the mean of each metric over the seeds, its standard deviation in ``... std``, seconds."""
        rows = {}
        for name, runs in by_model(self.results).items():
            row: dict[str, float] = {}
            for metric in runs[0]["test_result"]:
                values = [run["test_result"][metric] for run in runs]
                row[metric] = float(np.mean(values))
                if len(runs) > 1:
                    row[f"{metric} std"] = float(np.std(values, ddof=1))
            rows[name] = {**row, "seconds": float(np.mean([run["seconds"] for run in runs]))}
        return pd.DataFrame(rows).T.rename_axis("model")

    def shown(self) -> pd.DataFrame:
        """The table as text: a row per model, with ± the standard deviation."""
        return pd.DataFrame({name: shown_values(runs) for name, runs in by_model(self.results).items()}).T


def as_csv(run: RunResults) -> str:
    """A row per model."""
    return run.table().to_csv(lineterminator="\n")


def as_json(run: RunResults) -> str:
    """Everything, with the values of each user."""
    content = {
        "format": FORMAT,
        "dataset": run.dataset,
        "eval_args": run.eval_args,
        "seeds": run.seeds,
        "models": {
            name: {
                "seconds": [one["seconds"] for one in runs],
                "test_result": [without_nan(one["test_result"]) for one in runs],
                "test_hash": [one["test_hash"] for one in runs],
                "by_user": [_columns(one["by_user"]) for one in runs],
            }
            for name, runs in by_model(run.results).items()
        },
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"


def _columns(by_user: pd.DataFrame | None) -> dict[str, Any] | None:
    if by_user is None:
        return None
    values = by_user.round(6).replace([np.inf, -np.inf], np.nan)
    metrics = values.astype(object).where(values.notna(), None).to_dict("list")
    return {"users": [str(user) for user in by_user.index], "metrics": metrics}


def _plain(value: Any) -> Any:
    """A number of NumPy as one of Python, and anything else as text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def as_latex(run: RunResults) -> str:
    """A table for the package booktabs, a row per model."""
    return latex_table(run.shown())


def as_html(run: RunResults) -> str:
    """A page without scripts."""
    seeds = ", ".join(map(str, run.seeds))
    spread = " Each value is the mean over the seeds ± the standard deviation." if len(run.seeds) > 1 else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Results on {html.escape(run.dataset)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Results on {html.escape(run.dataset)}</h1>
<p>Test part of the dataset, evaluated by RecBole. Seeds: {seeds}.{spread}</p>
<div class="wide">{run.shown().to_html(border=0).replace("±", "&plusmn;")}</div>
<p>Split and ranking (eval_args): {html.escape(str(run.eval_args))}</p>
</body>
</html>
"""


FORMS: dict[str, Callable[[RunResults], str]] = {
    ".csv": as_csv,
    ".json": as_json,
    ".tex": as_latex,
    ".html": as_html,
}
