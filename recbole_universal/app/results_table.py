"""Results of models as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# RecBole computes these two by default.
_METRICS = ("recall@10", "ndcg@10")


def table(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of test results.

    Args:
        results: Return value of :func:`recbole_universal.app.quick_start.run`, of one or several seeds.

    Returns:
        One row per model: Recall@10 and NDCG@10 if they were computed, otherwise all metrics; then seconds. With
        several seeds, means and ± the standard deviation.
    """
    models = by_model(results)
    if not models:
        return "No test result: the run made no evaluation in this process."
    names = list(next(iter(models.values()))[0]["test_result"])
    names = [name for name in names if name in _METRICS] or names
    lines = [
        "| " + " | ".join(["model", *map(_title, names), "seconds"]) + " |",
        "|" + "---|" * (len(names) + 2),
    ]
    for model, runs in models.items():
        shown = shown_values(runs)
        lines.append("| " + " | ".join([model, *(shown.get(name, "nan") for name in [*names, "seconds"])]) + " |")
    return "\n".join(lines)


def by_model(results: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The results with a test of each model, a seed after the other."""
    models: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result.get("test_result"):
            models.setdefault(result["model"], []).append(result)
    return models


def shown_values(runs: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The metrics and the seconds of a model as texts, with ± the standard deviation over several seeds."""
    shown = {}
    for name in runs[0]["test_result"]:
        values = [run["test_result"][name] for run in runs]
        spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
        shown[name] = f"{np.mean(values):.4f}{spread}"
    return {**shown, "seconds": f"{np.mean([run['seconds'] for run in runs]):.1f}"}


def _title(metric: str) -> str:
    name, at, k = metric.partition("@")
    return {"recall": "Recall", "ndcg": "NDCG"}.get(name, name) + at + k
