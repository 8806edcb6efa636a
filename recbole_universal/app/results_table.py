"""Results of models as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# RecBole computes these two by default.
_METRICS = ("recall@10", "ndcg@10")


def table(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of test results.

    Args:
        results: Return value of :func:`recbole_universal.app.quick_start.run`.

    Returns:
        One row per model: Recall@10 and NDCG@10 if they were computed, otherwise all metrics; then seconds.
    """
    evaluated = [result for result in results if result.get("test_result")]
    if not evaluated:
        return "No test result: the run made no evaluation in this process."
    names = list(evaluated[0]["test_result"])
    names = [name for name in names if name in _METRICS] or names
    lines = [
        "| " + " | ".join(["model", *map(_title, names), "seconds"]) + " |",
        "|" + "---|" * (len(names) + 2),
    ]
    for result in evaluated:
        values = [f"{result['test_result'].get(name, float('nan')):.4f}" for name in names]
        lines.append("| " + " | ".join([result["model"], *values, f"{result['seconds']:.1f}"]) + " |")
    return "\n".join(lines)


def _title(metric: str) -> str:
    name, at, k = metric.partition("@")
    return {"recall": "Recall", "ndcg": "NDCG"}.get(name, name) + at + k
