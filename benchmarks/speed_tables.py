"""The tables of docs/scale_results.md."""

from __future__ import annotations

import numpy as np
import pandas as pd
from report import cell, markdown

EPOCH = "yelp2018, one epoch of LightGCN in batches of {}"
#: RecBole's default batch size, and the one of the accuracy tables.
BATCHES = (2048, 8192)


def tables_of(results: list[dict]) -> dict[str, str]:
    """Markdown by name of the table, "" for a table without results."""
    last = pd.DataFrame(results).drop_duplicates("what", keep="last").set_index("what")
    growth = last[last.index.str.startswith("generated")]
    return {
        "yelp2018": yelp2018_table(last),
        "epoch": epoch_table(last),
        "all users": all_users_table(last[last.index.str.startswith("all users")]),
        "cosines": cosine_table(last[last.index.str.endswith("against implicit")]),
        "lists": list_table(last[last.index.str.endswith("against implicit")]),
        "update": update_table(last[last.index.str.endswith(", update")]),
        "sample": sample_table(last[last.index.str.contains(", sample of ")]),
        "growth": growth_table(growth.sort_values("interactions")) if len(growth) else "",
        "exponents": exponent_table(growth.sort_values("interactions")) if len(growth) > 1 else "",
        "made with": made_with_table(results),
    }


def yelp2018_table(last: pd.DataFrame) -> str:
    """Zero-shot ranking of all users of yelp2018, with and without the fast path."""
    rows = []
    for what, label in (("yelp2018, zero-shot", "zero-shot"), ("yelp2018, zero-shot, fast", "`fast`")):
        if what in last.index:
            row = last.loc[what]
            seconds = [cell(row.get(key), ".0f") for key in ("seconds", "features_s", "ranking_s")]
            rows.append([label, *seconds, cell(row["peak_gib"], ".2f"), cell(row["ndcg@20"])])
    head = ["", "seconds", "of which fit", "of which scores and metrics", "peak GiB", "NDCG@20"]
    return markdown(head, rows) if rows else ""


def epoch_table(last: pd.DataFrame) -> str:
    """One training epoch of LightGCN by batch size, and the time of zero-shot ranking relative to it."""
    rows = []
    for size in BATCHES:
        if EPOCH.format(size) in last.index:
            epoch = last.loc[EPOCH.format(size)]
            timed = f"{epoch['timed']:.0f} of {epoch['batches']:.0f}"
            names = ("yelp2018, zero-shot", "yelp2018, zero-shot, fast")
            ratios = [last.loc[name, "seconds"] / epoch["seconds"] if name in last.index else None for name in names]
            shown = [f"{epoch['seconds']:.0f}", timed, f"{epoch['peak_gib']:.2f}"]
            rows.append([str(size), *shown, *(cell(ratio, ".2f") for ratio in ratios)])
    head = ["batch size", "seconds", "batches timed", "peak GiB", "zero-shot / epoch", "`fast` / epoch"]
    return markdown(head, rows) if rows else ""


def all_users_table(results: pd.DataFrame) -> str:
    """From generated interactions to recommendations of all users."""
    rows = [
        [
            *(f"{row[key]:,.0f}" for key in ("interactions", "users", "items")),
            f"{row['seconds'] / 60:.1f} min",
            f"{row['features_s']:.0f} s",
            f"{row['ranking_s'] / row['users'] * 1e3:.1f}",
            f"{row['peak_gib']:.2f}",
            f"{row['fast_s']:.0f} s",
        ]
        for _, row in results.iterrows()
    ]
    head = [
        "interactions",
        "users",
        "items",
        "time",
        "of which fit",
        "ms a ranked user",
        "peak GiB",
        "`fast`, after fit",
    ]
    return markdown(head, rows) if rows else ""


def cosine_table(results: pd.DataFrame) -> str:
    """Item-item cosines by us and by implicit."""
    if results.empty:
        return ""
    rows = [
        [what.split(",")[0], *(f"{value:.2f}" for value in (row["cosine_s"], row["implicit_cosine_s"], row["ratio"]))]
        for what, row in results.assign(ratio=results["cosine_s"] / results["implicit_cosine_s"]).iterrows()
    ]
    return markdown(["dataset", "seconds", "seconds of implicit", "ratio"], rows)


def list_table(results: pd.DataFrame) -> str:
    """Recommendations for all users by us and by implicit."""
    rows = [
        [
            what.split(",")[0],
            f"{row['users']:,.0f}",
            f"{row['lists_s']:.1f} s, {row['ndcg@20']:.4f}",
            f"{row['item_item_s']:.1f} s once, then {row['fast_lists_s']:.2f} s, {row['fast_ndcg@20']:.4f}",
            f"{row['implicit_lists_s']:.2f} s, {row['implicit_ndcg@20']:.4f}",
        ]
        for what, row in results.iterrows()
    ]
    return markdown(["dataset", "users", "zero-shot", "`fast`", "implicit"], rows) if rows else ""


def update_table(results: pd.DataFrame) -> str:
    """Interactions that arrive later."""
    rows = []
    for _, row in results.iterrows():
        alone = f"{min(row['one_s']):.2f} to {max(row['one_s']):.2f}"
        seconds = ["-", f"{row['update_s']:.1f}", alone, f"{row['rebuild_s']:.1f}"]
        before, updated, rebuilt = (f"{row[key]:.4f}" for key in ("before", "updated", "rebuilt"))
        rows += [["seconds", f"{row['late']:,.0f}", *seconds], ["NDCG@20", "", before, updated, "-", rebuilt]]
    head = ["", "late interactions", "without them", "updated with all", "updated with one", "built anew"]
    return markdown(head, rows) if rows else ""


def sample_table(results: pd.DataFrame) -> str:
    """NDCG@20 by the share of the interactions that relates items."""
    rows = [[row["dataset"], f"{row['share']:.0%}", f"{row['ndcg@20']:.4f}"] for _, row in results.iterrows()]
    return markdown(["dataset", "share of the interactions", "NDCG@20"], rows) if rows else ""


def growth_table(results: pd.DataFrame) -> str:
    """Time and memory on generated data of growing size."""
    forms = {"interactions": ",.0f", "users": ",.0f", "items": ",.0f", "features_s": ".1f", "ms_a_user": ".2f"}
    forms |= {"item_item_s": ".1f", "fast_ms_a_user": ".2f", "peak_gib": ".2f"}
    rows = [[cell(row.get(key), form) for key, form in forms.items()] for _, row in results.iterrows()]
    head = ["interactions", "users", "items", "features, s", "ms a ranked user", "item-item matrix, s"]
    return markdown([*head, "ms a user with `fast`", "peak GiB"], rows)


def exponent_table(results: pd.DataFrame) -> str:
    """Exponents of growth with the number of interactions: of all sizes, and the largest of two neighbouring sizes."""
    size = np.log(results["interactions"].astype(float).to_numpy())
    rows = []
    labels = {"features_s": "time of the features", "item_item_s": "time of the item-item matrix", "peak_gib": "memory"}
    for key, label in labels.items():
        value = np.log(results[key].astype(float).to_numpy())
        known = np.isfinite(value)
        steps = np.diff(value[known]) / np.diff(size[known])
        rows.append([label, f"{np.polyfit(size[known], value[known], 1)[0]:.2f}", f"{steps.max():.2f}"])
    return markdown(["", "exponent", "largest from one size to the next"], rows)


def made_with_table(results: list[dict]) -> str:
    """Threads, version of PyTorch and loads of the machine."""
    loads = ", ".join(f"{result['load']:.1f}" for result in results if "load" in result)
    last = results[-1]
    head = ["threads", "PyTorch", "load average before each measurement"]
    return markdown(head, [[str(last["threads"]), last["torch"], loads]])
