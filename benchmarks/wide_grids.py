"""Whether the baselines of docs/zero_shot.md would be better with hyperparameters beyond their grids.

    python benchmarks/wide_grids.py --data-path DATA --output OUT/wide_grids.jsonl
    python benchmarks/wide_grids.py --output OUT/wide_grids.jsonl --report docs/wide_grids.md

The baselines, datasets, splits and users are those of ``docs/zero_shot.csv``; docs/wide_grids.md describes the method.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from baselines import BASELINES
from harness import Results, Split, parse, parser_with
from report import fill, markdown
from zero_shot_values import best_baseline, comparable, first_seed, ndcg_of, read_csv, whole_datasets

#: Share of the frozen model's NDCG@10 that a baseline must reach.
NEAR = 0.95
#: Values that a result shares with the line of the table that it starts from.
SETTING = ("dataset", "row", "seed", "max_users", "hyperparameters")
TABLE = Path(__file__).parent.parent / "docs" / "zero_shot.csv"


def factors(name: str, hyperparameters: dict) -> dict[str, float]:
    """By hyperparameter at the end of a baseline's grid, the factor of a step beyond that end; none goes below 0."""
    grid = {key: [values[key] for values in BASELINES[name].grid] for key in hyperparameters}
    upper = {key: 2.0 for key, value in hyperparameters.items() if value == max(grid[key])}
    return upper | {key: 0.5 for key, value in hyperparameters.items() if value == min(grid[key]) and value > 0}


def at_an_end(table: pd.DataFrame) -> pd.DataFrame:
    """The baselines near the frozen model that have a hyperparameter at the end of their grid."""
    frozen = table[table["row"] == "zero-shot"].set_index("dataset")["ndcg@10"]
    table = table[table["row"].isin(BASELINES) & (table["ndcg@10"] >= NEAR * table["dataset"].map(frozen))]
    return table[[bool(factors(*line)) for line in zip(table["row"], table["hyperparameters"], strict=True)]]


def followed(split: Split, name: str, hyperparameters: dict) -> tuple[dict, float]:
    """The hyperparameters that validation leads to, and their NDCG@10 on the test part."""

    def fitted(hyperparameters: dict):
        baseline = BASELINES[name](**hyperparameters).fit(split.train)
        return split.evaluate(baseline.scores, "valid")["ndcg@10"], baseline

    score, baseline = fitted(hyperparameters)
    for key, factor in factors(name, hyperparameters).items():
        while True:
            further = {**hyperparameters, key: type(hyperparameters[key])(hyperparameters[key] * factor)}
            next_score, candidate = fitted(further)
            if next_score <= score:
                break
            score, baseline, hyperparameters = next_score, candidate, further
    return hyperparameters, split.evaluate(baseline.scores, "test")["ndcg@10"]


def tables_of(table: pd.DataFrame, results: list[dict]) -> dict[str, str]:
    """Markdown by name of the table: each hyperparameter that was followed, and what it changes in the sum."""
    values = ndcg_of(table)
    wide, frozen, rows = values.copy(), values["zero-shot"], []
    for line in at_an_end(table).to_dict("records"):
        setting = {key: line[key] for key in SETTING}
        result = next((row for row in reversed(results) if setting.items() <= row.items()), None)
        if result is None:
            continue
        dataset, name = line["dataset"], line["row"]
        before, after = (
            ", ".join(f"{key} {value:g}" for key, value in chosen.items())
            for chosen in (line["hyperparameters"], result["followed to"])
        )
        wide.loc[dataset, name] = result["ndcg@10"]
        old, new, ours = (f"{v:.4f}" for v in (values.loc[dataset, name], result["ndcg@10"], frozen[dataset]))
        rows.append([dataset, name, before, old, after, new, ours])
    sums = []
    for label, best in (("from their grids", best_baseline(values)), ("followed beyond them", best_baseline(wide))):
        ratio = frozen / best
        sums.append([label, f"{len(ratio)}", f"{(ratio > 1).sum()}", f"{ratio.mean():.3f}"])
    head = ["dataset", "baseline", "hyperparameters", "NDCG@10", "followed to", "NDCG@10", "zero-shot"]
    sum_head = ["hyperparameters of the baselines", "datasets", "zero-shot above the best on", "mean ratio"]
    return {"followed": markdown(head, rows), "sums": markdown(sum_head, sums)}


def main() -> None:
    arguments = parse(parser_with(__doc__, "data-path", "output", "report"))
    table = whole_datasets(first_seed(comparable(read_csv(TABLE)))).copy()
    table["hyperparameters"] = [value or {} for value in table["hyperparameters"]]
    results = Results(arguments.output)
    if arguments.report:
        fill(arguments.report, tables_of(table, results.rows))
        return
    for dataset, lines in at_an_end(table).groupby("dataset", sort=False):
        settings = [{key: line[key] for key in SETTING} for line in lines.to_dict("records")]
        missing = [setting for setting in settings if not results.has(setting)]
        if missing:
            split = Split(dataset, arguments.data_path, missing[0]["seed"], missing[0]["max_users"])
            for setting in missing:
                hyperparameters, value = followed(split, setting["row"], setting["hyperparameters"])
                results.add({**setting, "followed to": hyperparameters, "ndcg@10": value})


if __name__ == "__main__":
    main()
