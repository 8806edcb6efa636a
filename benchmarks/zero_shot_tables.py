"""The tables and plots of docs/zero_shot.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from baselines import BASELINES
from harness import ACTIVITY, DOMAINS, read_results
from models import TRAINED
from report import cell, fill, markdown, write_csv, write_plot
from zero_shot_values import (
    baselines_in,
    best_baseline,
    comparable,
    first_seed,
    mean_cell,
    named,
    ndcg_file,
    ndcg_of,
    whole_datasets,
)

from recbole_universal.files import atomic_write

#: Fewest evaluated users of a dataset in a group by activity.
MIN_USERS = 100
TRAINED_ROWS = (*TRAINED, "in-domain", "fine-tuned", "zero-shot")
#: A row of which the page shows the ratio to zero-shot alone.
FAST = "zero-shot, fast"


def write_page(output: Path, page: Path) -> None:
    """Write the tables of the page, and the CSV file and plots of the same name."""
    results = read_results(output / "results.jsonl")
    fill(page, tables_of(results, output))
    write_csv(page.with_suffix(".csv"), results)
    plot(results, page.with_suffix(".html"))


def tables_of(results: list[dict], output: Path) -> dict[str, str]:
    """Markdown by name of the table, "" for a table without results.

    Args:
        results: lines of ``output / "results.jsonl"``.
        output: the folder, which also has NDCG@10 by user.
    """
    every_row = comparable(results)
    every_seed = every_row[every_row["row"] != FAST]
    table = first_seed(every_seed)
    values = ndcg_of(table)
    return {
        "ndcg": ndcg_table(values),
        "ratios": ratio_table(values),
        "pairs of rows": pair_table(ndcg_of(first_seed(every_row))),
        "below": below_table(values),
        "significance": significance_table(table, output),
        "splits": seed_table(every_seed),
        "domains": domain_table(values),
        "activity": activity_table(table),
        "unfiltered": unfiltered_table(table),
        "published": published_table(table),
        "trained": trained_table(every_seed),
        "hyperparameters": hyperparameter_table(table),
        "seconds": seconds_table(table),
    }


def ndcg_table(values: pd.DataFrame) -> str:
    """NDCG@10 of every row on every dataset."""
    best = baselines_in(values).idxmax(axis=1)
    rows = [[name, *map(cell, row), best[name]] for name, row in values.iterrows()]
    return markdown(["dataset", *values.columns, "best baseline"], rows)


def ratio_table(values: pd.DataFrame) -> str:
    """NDCG@10 over that of the best baseline, in the mean over datasets."""
    ratios = values.div(best_baseline(values), axis=0)
    rows = []
    for column in [name for name in values if name not in BASELINES]:
        ratio = ratios[column].dropna()
        above = (values[column] > values["MostPop"])[ratio.index].mean()
        frozen = mean_cell(ratios.loc[ratio.index], "zero-shot")
        counts = [f"{share:.0%}" for share in ((ratio >= 1).mean(), above)]
        rows.append([column, f"{len(ratio)}", f"{ratio.mean():.3f}", *counts, frozen])
    head = ["row", "datasets", "mean", "at least 1.0", "above MostPop", "mean of zero-shot on the same"]
    return markdown(head, rows)


def pair_table(values: pd.DataFrame, n_lowest: int = 7) -> str:
    """Ratios of two rows."""
    rows = []
    for above, below in (("zero-shot", "EASE"), (FAST, "zero-shot")):
        if {above, below} <= set(values):
            ratio = (values[above] / values[below]).dropna().sort_values()
            counts = [f"{len(ratio)}", f"{ratio.mean():.3f}", f"{(ratio >= 1).sum()}"]
            rows.append([f"{above} / {below}", *counts, named(ratio.head(n_lowest))])
    return markdown(["ratio", "datasets", "mean", "at least 1.0 on", "lowest"], rows) if rows else ""


def below_table(values: pd.DataFrame) -> str:
    """The datasets on which the best baseline is better than the frozen model."""
    if "zero-shot" not in values:
        return ""
    ratio = (values["zero-shot"] / best_baseline(values)).sort_values()
    best = baselines_in(values).idxmax(axis=1)
    rows = [[name, best[name], f"{value:.3f}"] for name, value in ratio[ratio < 1].items()]
    return markdown(["dataset", "best baseline", "zero-shot / best baseline"], rows)


def significance_table(table: pd.DataFrame, output: Path) -> str:
    """On which datasets the frozen model and the best baseline differ by more than two standard errors over users."""
    best = baselines_in(ndcg_of(table)).idxmax(axis=1)
    rows = table.set_index(["dataset", "row"])
    differs: dict[str, list[str]] = {"above": [], "below": [], "within": []}
    for dataset, baseline in best.items():
        files = [
            ndcg_file(output, {"dataset": dataset, "row": row, **rows.loc[(dataset, row), ["seed", "max_users"]]})
            for row in ("zero-shot", baseline)
            if (dataset, row) in rows.index
        ]
        if len(files) == 2 and all(file.is_file() for file in files):
            difference = np.subtract(*map(np.load, files))
            error = difference.std(ddof=1) / np.sqrt(len(difference))
            mean = difference.mean()
            differs["within" if abs(mean) <= 2 * error else "above" if mean > 0 else "below"].append(str(dataset))
    if not any(differs.values()):
        return ""
    counts = [f"{len(datasets)}" for datasets in differs.values()]
    row = [f"{sum(map(len, differs.values()))}", *counts, ", ".join(differs["below"]) or "-"]
    head = ["datasets", "above by more than two standard errors", "below by more than two", "within two"]
    return markdown([*head, "below on"], [row])


def hyperparameter_table(table: pd.DataFrame) -> str:
    """How often the chosen value of a hyperparameter is the lowest or the highest of the grid."""
    table, rows = whole_datasets(table), []
    for name, baseline in BASELINES.items():
        chosen = [values for values in table.loc[table["row"] == name, "hyperparameters"] if values]
        for key in baseline.grid[0] if chosen else ():
            grid = sorted({values[key] for values in baseline.grid})
            ends = [sum(values[key] == end for values in chosen) / len(chosen) for end in (grid[0], grid[-1])]
            rows.append([name, key, ", ".join(f"{value:g}" for value in grid), *(f"{share:.0%}" for share in ends)])
    return markdown(["baseline", "hyperparameter", "grid", "lowest", "highest"], rows) if rows else ""


def seed_table(table: pd.DataFrame) -> str:
    """The ratios of the frozen model for other seeds of the split, and for the first seed on the same datasets."""
    (_, first), *others = [(seed, ndcg_of(rows)) for seed, rows in table.groupby("seed")]
    names, rows = ["zero-shot", *BASELINES], []
    for seed, values in others:
        shared = first.index.intersection(values.index)
        before, after = (part.reindex(columns=names).loc[shared] for part in (first, values))
        # Each seed has the same baselines, since fewer baselines would make a lower best.
        same = (before.notna() == after.notna()).all(axis=1) & before["zero-shot"].notna()
        before, after = before[same], after[same]
        if before.empty:
            continue
        old, ratio = (part["zero-shot"] / best_baseline(part) for part in (before, after))
        means = [f"{value:.3f}" for value in (ratio.mean(), old.mean(), (ratio - old).abs().mean())]
        lowest, above = named(ratio.nsmallest(1)), (after["zero-shot"] > after["MostPop"]).mean()
        rows.append([str(seed), f"{len(ratio)}", *means, f"{(ratio >= 1).mean():.0%}", lowest, f"{above:.0%}"])
    head = ["seed of the split", "datasets", "mean", "mean with the first seed", "mean absolute change of a ratio"]
    return markdown([*head, "at least 1.0", "lowest", "above MostPop"], rows) if rows else ""


def domain_table(values: pd.DataFrame) -> str:
    """Ratios to the best baseline by domain."""
    names = [name for name in ("MostPop", "ItemKNN", "EASE", "zero-shot") if name in values]
    ratios = values[names].div(best_baseline(values), axis=0)
    rows = []
    for domain, datasets in DOMAINS.items():
        ratio = ratios.loc[[name for name in datasets.split() if name in ratios.index]]
        if len(ratio):
            rows.append([domain, ", ".join(ratio.index), *(mean_cell(ratio, name) for name in names)])
    return markdown(["domain", "datasets", *names], rows)


def activity_table(table: pd.DataFrame) -> str:
    """Ratios to the best baseline of a group of users by their interactions."""
    if "by_activity" not in table:
        return ""
    names = [name for name in (*BASELINES, "zero-shot") if name in set(table["row"])]
    table = whole_datasets(table[table["row"].isin(names)])
    # Without the groups of one row the best of the others would be too low.
    table = table[table["by_activity"].notna().groupby(table["dataset"]).transform("all")]
    cells = [
        {"from": int(low), "dataset": dataset, "row": row, "users": users, "ndcg@10": value}
        for dataset, row, groups in table[["dataset", "row", "by_activity"]].itertuples(index=False)
        for low, (users, value) in groups.items()
        if users >= MIN_USERS
    ]
    rows = []
    for low, group in pd.DataFrame(cells).groupby("from") if cells else ():
        values = group.pivot(index="dataset", columns="row", values="ndcg@10")
        ratio = values.div(best_baseline(values), axis=0)
        users = group.groupby("dataset")["users"].first().sum()
        high = next((f" to {end - 1}" for end in ACTIVITY if end > low), " or more")
        rows.append([f"{low}{high}", f"{len(ratio)}", f"{users:,}", *(mean_cell(ratio, name) for name in names)])
    return markdown(["interactions", "datasets", "users", *names], rows) if rows else ""


def unfiltered_table(table: pd.DataFrame) -> str:
    """NDCG@10 without the 5-core filter."""
    table = table[table["dataset"].str.endswith(", unfiltered")]
    if table.empty:
        return ""
    values = table.pivot(index="dataset", columns="row", values="ndcg@10").reindex(table["dataset"].unique())
    values = values[[name for name in (*BASELINES, "zero-shot") if name in values]]
    values.index = values.index.str.removesuffix(", unfiltered")
    ratio = values.div(best_baseline(values), axis=0)
    rows = [[name, *map(cell, row), f"{ratio.loc[name, 'zero-shot']:.3f}"] for name, row in values.iterrows()]
    rows.append(["mean ratio to the best baseline", *(mean_cell(ratio, name) for name in values), ""])
    return markdown(["dataset", *values.columns, "zero-shot / best baseline"], rows)


def published_table(table: pd.DataFrame) -> str:
    """Recall@20 / NDCG@20 on published splits."""
    table = table[table["dataset"].str.endswith("published split")]
    names, rows = list(table["row"].unique()), []
    for (dataset, users), group in table.groupby(["dataset", "max_users"], sort=False):
        metrics = group.set_index("row")[["recall@20", "ndcg@20"]]
        shown = {row: " / ".join(map(cell, values)) for row, *values in metrics.itertuples()}
        rows.append([dataset, f"{users:,}" if users else "all", *(shown.get(name, "-") for name in names)])
    return markdown(["dataset", "evaluated users", *names], rows) if rows else ""


def trained_table(table: pd.DataFrame) -> str:
    """NDCG@10 and seconds of trained models and of the frozen one."""
    names = [name for name in TRAINED_ROWS if name in set(table["row"])]
    table = table[~table["dataset"].str.endswith(("published split", "unfiltered"))]
    rows = []
    for (dataset, seed), group in table.groupby(["dataset", "seed"], sort=False):
        metrics = group.drop_duplicates("row").set_index("row")[["ndcg@10", "seconds"]]
        if set(metrics.index) & set(TRAINED_ROWS[:-1]):
            label = dataset if seed == table["seed"].min() else f"{dataset}, seed {seed}"
            shown = {row: f"{value:.4f} ({seconds:.0f} s)" for row, value, seconds in metrics.itertuples()}
            best = metrics.loc[[name for name in BASELINES if name in metrics.index], "ndcg@10"]
            baseline = f"{best.max():.4f} ({best.idxmax()})" if len(best) else "-"
            rows.append([label, *(shown.get(name, "-") for name in names), baseline])
    return markdown(["dataset", *names, "best baseline"], rows) if rows else ""


def seconds_table(table: pd.DataFrame) -> str:
    """Median seconds a dataset."""
    table = whole_datasets(table)
    table = table[table["row"].isin([*BASELINES, "zero-shot"])]
    seconds = table.pivot_table(index="row", values="seconds", aggfunc="median", sort=False)["seconds"]
    return markdown(list(seconds.index), [[f"{value:.1f}" for value in seconds]])


def plot(results: list[dict], file: Path) -> None:
    """Ratios to the best baseline: a plot for the page and, where matplotlib is installed, one for the README."""
    import plotly.express

    values = ndcg_of(comparable([result for result in results if result["row"] != FAST]))
    ratio = values.div(best_baseline(values), axis=0)
    long = ratio.reset_index().melt("dataset", value_name="NDCG@10 / best baseline's")
    figure = plotly.express.scatter(long, x="dataset", y=long.columns[-1], color="row")
    figure.add_hline(y=1)
    write_plot(file, figure)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        return
    picture = Figure(figsize=(8, 3.6), layout="constrained")
    axes = picture.subplots()
    ratio = ratio.sort_values("zero-shot", ascending=False)
    for name in ("MostPop", "ItemKNN", "GF-CF", "EASE"):
        axes.plot(ratio.index, ratio[name], "o", markersize=3.5, label=name, alpha=0.55)
    axes.plot(ratio.index, ratio["zero-shot"], "D", markersize=5.5, color="black", label="universal-base, zero-shot")
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set_ylabel("NDCG@10 / the best baseline's")
    axes.tick_params(axis="x", rotation=90, labelsize=7)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    # No date and no random ids, so that the same figures give the same file.
    matplotlib.rcParams["svg.hashsalt"] = "recbole_universal"
    with atomic_write(file.with_suffix(".svg")) as stream:
        picture.savefig(stream, format="svg", metadata={"Date": None}, facecolor="white")
