"""The results of zero_shot.py as frames, for its tables and for wide_grids.py."""

from __future__ import annotations

import ast
from pathlib import Path

import pandas as pd
from baselines import BASELINES
from models import TRAINED
from report import cell


def ndcg_file(output: Path, result: dict) -> Path:
    """NDCG@10 of each evaluated user of a result, for paired comparisons."""
    return output / "ndcg_by_user" / ("{dataset}-{seed}-{max_users}-{row}.npy".format(**result))


def read_csv(file: Path) -> list[dict]:
    """The results that :func:`write_page` wrote into the folder of the page."""
    rows = pd.read_csv(file).to_dict("records")
    for row in rows:
        for key in ("by_activity", "hyperparameters"):
            row[key] = ast.literal_eval(row[key]) if isinstance(row[key], str) else None
    return rows


def comparable(results: list[dict]) -> pd.DataFrame:
    """The results; of a dataset those with one number of evaluated users, of published splits all."""
    table = pd.DataFrame([result for result in results if "ndcg@10" in result])
    first = table.groupby("dataset")["max_users"].transform("first")
    return table[table["dataset"].str.endswith("published split") | (table["max_users"] == first)]


def first_seed(table: pd.DataFrame) -> pd.DataFrame:
    """The results of the first seed."""
    return table[table["seed"] == table["seed"].min()]


def whole_datasets(table: pd.DataFrame) -> pd.DataFrame:
    """The results on whole datasets with RecBole's random split."""
    return table[~table["dataset"].str.contains(", ")]


def ndcg_of(table: pd.DataFrame) -> pd.DataFrame:
    """NDCG@10 [dataset, row] of the first seed on whole datasets, without the rows of RecBole's models."""
    rows = whole_datasets(first_seed(table))
    rows = rows[~rows["row"].isin(TRAINED)]
    values = rows.pivot(index="dataset", columns="row", values="ndcg@10")  # refuses two results of one cell
    return values.loc[rows["dataset"].unique(), rows["row"].unique()].rename_axis(index="dataset", columns="row")


def baselines_in(values: pd.DataFrame) -> pd.DataFrame:
    """The columns of baselines."""
    return values[[name for name in BASELINES if name in values]]


def best_baseline(values: pd.DataFrame) -> pd.Series:
    """NDCG@10 of the best baseline of each dataset."""
    return baselines_in(values).max(axis=1)


def mean_cell(ratio: pd.DataFrame, row: str) -> str:
    """The mean of a row over datasets; "-" if it was not run on all of them."""
    return cell(ratio[row].mean(skipna=False) if row in ratio else None, ".3f")


def named(ratios: pd.Series) -> str:
    """Datasets with their ratios."""
    return ", ".join(f"{name} {value:.3f}" for name, value in ratios.items())
