"""The tables of docs/systems_users.md out of the results of benchmarks/user_systems.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
from content_systems_ranks import difference, gains
from report import cell, markdown

ATTRIBUTES = ("gender", "age", "occupation")


def tables(rows: list[dict]) -> dict[str, str]:
    """All tables by name, means over the seeds; "" for a table without results."""
    of = {name: pd.DataFrame([row for row in rows if row["system"] == name]) for name in ("peterrec", "conure", "clue")}
    makers = {"peterrec": _frozen, "peterrec-trained": _trained, "clue": _clue, "conure": _conure}
    return {
        name: "" if of[name.partition("-")[0]].empty else make(of[name.partition("-")[0]])
        for name, make in makers.items()
    }


def _value(frame: pd.DataFrame, column: str, form: str = ".3f", **wanted: str) -> str:
    """The mean over the seeds of the rows with these settings as a cell; "-" without one."""
    for key, value in wanted.items():
        frame = frame[frame[key] == value]
    return cell(frame[column].mean() if column in frame else None, form)


def _seeds(frame: pd.DataFrame) -> str:
    return str(frame["seed"].nunique())


def _frozen(frame: pd.DataFrame) -> str:
    frame = frame[~frame["method"].str.startswith("trained")]
    first = [f"{_value(frame, 'majority', attribute=one)} / {0.5:.3f}" for one in ATTRIBUTES]
    lines = [["majority", _seeds(frame), *first]]
    for method, own in frame.groupby("method", sort=False):
        values = [
            f"{_value(own, 'accuracy', attribute=one)} / {_value(own, 'auc', attribute=one)}" for one in ATTRIBUTES
        ]
        lines.append([str(method), _seeds(own), *values])
    return markdown(["vectors", "seeds", *ATTRIBUTES], lines)


def _trained(frame: pd.DataFrame) -> str:
    frame = frame[frame["method"].str.startswith("trained")]
    lines = []
    for (attribute, labels, method), own in frame.groupby(["attribute", "labels", "method"], sort=False):
        values = [
            _value(own, "accuracy"),
            _value(own, "auc"),
            _value(own, "weights", ",.0f"),
            _value(own, "seconds", ".0f"),
        ]
        name = str(method).removeprefix("trained: ")
        shown = "all" if labels == frame["labels"].max() else f"{labels:.0f}"
        lines.append([str(attribute), shown, name, _seeds(own), *values])
    head = ["attribute", "labelled users", "trained weights", "seeds", "accuracy", "AUC", "number of weights"]
    head += ["CPU seconds"]
    return markdown(head, lines) if lines else ""


def _clue(frame: pd.DataFrame) -> str:
    lines = []
    for method, own in frame.groupby("method", sort=False):
        values = [_value(own, "auc", attribute=one) for one in ATTRIBUTES]
        lines.append([str(method), _seeds(own), *values, _value(own, "ndcg", ".4f", attribute="next item")])
    return markdown(["pre-training", "seeds", *(f"{one}, AUC" for one in ATTRIBUTES), "next item, NDCG@10"], lines)


def _conure(frame: pd.DataFrame) -> str:
    names = sorted(frame["dataset"].unique())
    lines = []
    for order in (names, names[::-1]):
        for name in order:
            own = frame[frame["dataset"] == name]
            cells = {"alone": own[own["method"] == "alone"]}
            for method, when in (("in_turn", "own"), ("in_turn", "last"), ("task_masks", "own")):
                is_cell = (own["method"] == method) & (own["when"] == when) & (own["order"] == order[0])
                cells[f"{method}-{when}"] = own[is_cell]
            if any(not len(cell_rows) for cell_rows in cells.values()):
                continue
            values = [_value(cell_rows, "ndcg", ".4f") for cell_rows in cells.values()]
            lost = _change(cells["in_turn-last"], cells["in_turn-own"])
            kept = _change(cells["task_masks-own"], cells["alone"])
            lines.append([name, *values[:3], lost, values[3], kept])
    head = ["source, in this order", "alone", "in turn, at its end", "in turn, after all", "change"]
    return markdown([*head, "task masks, at its end and after all", "against alone"], lines)


def _change(ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    """Difference in NDCG@10 of the same users in the seeds that both have, with its standard error."""
    pairs = ours.merge(theirs, on="seed", suffixes=("", " theirs"))
    found = [[gains(row[f"hits{end}"], row["users n"]) for _, row in pairs.iterrows()] for end in ("", " theirs")]
    mean, error = difference(*map(np.concatenate, found))
    return f"{mean:+.4f} ± {error:.4f}"
