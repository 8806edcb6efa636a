"""The tables of docs/scale_results.md."""

from __future__ import annotations

import numpy as np
import pandas as pd
from report import markdown, table_of

ZERO_SHOT, FAST = "yelp2018, zero-shot", "yelp2018, zero-shot, fast"
#: RecBole's own run, from the start of its process.
STOCK = "yelp2018, stock run_recbole"
EPOCH = "yelp2018, one epoch of LightGCN in batches of {}"
#: RecBole's default batch size, and the one of the accuracy tables.
BATCHES = (2048, 8192)
#: By table, what its results are called, and for each heading the key and the format of the values.
COLUMNS = {
    "all users": {
        "interactions": ("interactions", ",.0f"),
        "users": ("users", ",.0f"),
        "items": ("items", ",.0f"),
        "minutes": ("minutes", ".1f"),
        "of which fit, s": ("features_s", ".0f"),
        "ms a ranked user": ("ms_a_user", ".1f"),
        "peak GiB": ("peak_gib", ".2f"),
        "`fast` after the fit, s": ("fast_s", ".0f"),
    },
    "cosines": {
        "dataset": ("dataset", ""),
        "seconds": ("cosine_s", ".2f"),
        "seconds of implicit": ("implicit_cosine_s", ".2f"),
        "ratio": ("cosine_ratio", ".2f"),
    },
    "lists": {
        "dataset": ("dataset", ""),
        "users": ("users", ",.0f"),
        "zero-shot, s": ("lists_s", ".1f"),
        "NDCG@20": ("ndcg@20", ".4f"),
        "item-item matrix, s": ("item_item_s", ".1f"),
        "`fast` after it, s": ("fast_lists_s", ".2f"),
        "NDCG@20 of `fast`": ("fast_ndcg@20", ".4f"),
        "implicit, s": ("implicit_lists_s", ".2f"),
        "NDCG@20 of implicit": ("implicit_ndcg@20", ".4f"),
    },
    "busy": {
        "dataset": ("dataset", ""),
        "users": ("ranked", ",.0f"),
        "processor seconds, idle": ("idle_cpu_s", ".2f"),
        "with 8 loops": ("busy_cpu_s", ".2f"),
        "ratio": ("ratio", ".2f"),
        "seconds, idle": ("idle_s", ".2f"),
        "Numba": ("numba", ""),
    },
    "update": {
        "late interactions": ("late", ",.0f"),
        "update with all, s": ("update_s", ".1f"),
        "update with one, lowest s": ("fastest", ".2f"),
        "highest s": ("slowest", ".2f"),
        "new ranker, s": ("rebuild_s", ".1f"),
        "NDCG@20 without them": ("before", ".4f"),
        "updated": ("updated", ".4f"),
        "new ranker": ("rebuilt", ".4f"),
    },
    "sample": {
        "dataset": ("dataset", ""),
        "users": ("users", ",.0f"),
        "share of the interactions": ("share", ".0%"),
        "NDCG@20": ("ndcg@20", ".4f"),
    },
    "growth": {
        "interactions": ("interactions", ",.0f"),
        "users": ("users", ",.0f"),
        "items": ("items", ",.0f"),
        "features, s": ("features_s", ".1f"),
        "ms a ranked user": ("ms_a_user", ".2f"),
        "item-item matrix, s": ("item_item_s", ".1f"),
        "ms a user with `fast`": ("fast_ms_a_user", ".2f"),
        "peak GiB": ("peak_gib", ".2f"),
    },
    "yelp2018": {
        "": ("label", ""),
        "seconds": ("seconds", ".0f"),
        "of which fit": ("features_s", ".0f"),
        "of which scores and metrics": ("ranking_s", ".0f"),
        "peak GiB": ("peak_gib", ".2f"),
        "NDCG@20": ("ndcg@20", ".4f"),
    },
    "epoch": {
        "batch size": ("batch_size", ""),
        "seconds": ("seconds", ".0f"),
        "batches timed": ("timed", ".0f"),
        "of": ("batches", ".0f"),
        "peak GiB": ("peak_gib", ".2f"),
        "zero-shot / epoch": ("ratio", ".2f"),
        "`fast` / epoch": ("fast_ratio", ".2f"),
        "stock run / epoch": ("stock_ratio", ".2f"),
    },
}


_LABELS = {ZERO_SHOT: "zero-shot", FAST: "`fast`", STOCK: "zero-shot, stock `run_recbole`"}
_GROWING = {
    "features_s": "time of the features",
    "item_item_s": "time of the item-item matrix",
    "peak_gib": "memory",
}


def tables_of(results: list[dict]) -> dict[str, str]:
    """Markdown by name of the table, "" for a table without results."""
    last = {result["what"]: result for result in results}
    rows: dict[str, list[dict]] = {name: [] for name in COLUMNS}
    for what, result in last.items():
        dataset = what.split(",")[0]
        if what in _LABELS:
            rows["yelp2018"].append({"label": _LABELS[what], **result})
        elif what.startswith("all users"):
            ms = result["ranking_s"] / result["users"] * 1e3
            rows["all users"].append({**result, "minutes": result["seconds"] / 60, "ms_a_user": ms})
        elif what.endswith("against implicit"):
            rows["lists"].append({"dataset": dataset, **result})
            ratio = result["cosine_s"] / result["implicit_cosine_s"]
            rows["cosines"].append({"dataset": dataset, "cosine_ratio": ratio, **result})
        elif what.endswith(", busy"):
            rows["busy"].append(result)
        elif what.endswith(", update"):
            rows["update"].append({"fastest": min(result["one_s"]), "slowest": max(result["one_s"]), **result})
        elif ", sample of " in what:
            rows["sample"].append(result)
        elif what.startswith("generated"):
            rows["growth"].append(result)
    for size in BATCHES:
        if EPOCH.format(size) in last:
            epoch = last[EPOCH.format(size)]
            timed = {"ratio": ZERO_SHOT, "fast_ratio": FAST, "stock_ratio": STOCK}
            seconds = {key: last.get(what, {}).get("seconds") for key, what in timed.items()}
            ratios = {key: value and value / epoch["seconds"] for key, value in seconds.items()}
            rows["epoch"].append({"batch_size": size, **ratios, **epoch})
    rows["growth"].sort(key=lambda result: result["interactions"])
    tables = {name: table_of(rows[name], columns) for name, columns in COLUMNS.items()}
    return {**tables, "exponents": exponents(rows["growth"], _GROWING), "made with": made_with_table(results)}


def exponents(rows: list[dict], labels: dict[str, str]) -> str:
    """Exponents of growth with the number of interactions: of all sizes, and the largest of two neighbouring sizes.

    Args:
        rows: results by size, ascending.
        labels: what the table calls each key.
    """
    if len(rows) < 2:
        return ""
    results = np.log(pd.DataFrame(rows)[["interactions", *labels]].astype(float))
    lines = []
    for key, label in labels.items():
        size, value = results[["interactions", key]].dropna().to_numpy().T
        exponent, steps = np.polyfit(size, value, 1)[0], np.diff(value) / np.diff(size)
        lines.append([label, f"{exponent:.2f}", f"{steps.max():.2f}"])
    return markdown(["", "exponent", "largest from one size to the next"], lines)


def made_with_table(results: list[dict]) -> str:
    """Threads, version of PyTorch and loads of the machine."""
    loads = ", ".join(f"{result['load']:.1f}" for result in results if "load" in result)
    last = results[-1]
    head = ["threads", "PyTorch", "load average before each measurement"]
    return markdown(head, [[str(last["threads"]), last["torch"], loads]])
