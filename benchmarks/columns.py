"""What the universal columns bring RecBole's FM and DeepFM.

    python benchmarks/columns.py --data-path DATA --output OUT/columns.jsonl
    python benchmarks/columns.py --output OUT/columns.jsonl --report docs/columns.md

All rows of a seed see the same split. A run that is started again skips what is there. docs/columns.md says how the
figures are measured.
"""

from __future__ import annotations

import tempfile
import time
from datetime import date
from itertools import product

import pandas as pd
import torch
from harness import FIVE_CORE, Results, parse, parser_with
from recbole.quick_start import run_recbole
from report import fill, markdown

import recbole_universal
from recbole_universal.features.fields import column

MODELS = ("FM", "DeepFM")
#: From this rating on an interaction has label 1, about half of the ratings.
THRESHOLDS = {"filmtrust": 3.5, "flixster-mgcnn": 4.0}
NO_COLUMNS = "none"
#: The families of each row. The model reads their columns of users and items.
FAMILIES: dict[str, list[str]] = {
    NO_COLUMNS: [],
    "activity": ["activity"],
    "activity, cooccurrence": ["activity", "cooccurrence"],
}
LEARNING_RATES = (0.003, 0.01)
STOPPING_STEP = 5
#: By RecBole's name in the results, the name in the config and the tables.
METRICS = {"auc": "AUC", "logloss": "LogLoss"}


def config_keys(dataset: str, data_path: str, seed: int, columns: str) -> dict:
    """Config keys of one row: the label, its evaluation, when training stops, and the columns; no other."""
    families = FAMILIES[columns]
    names = [column(side, family) for family in families for side in ("user", "item")]
    keys = {
        "data_path": data_path,
        "load_col": {"inter": ["user_id", "item_id", "rating"]},
        "threshold": {"rating": THRESHOLDS[dataset]},
        "train_neg_sample_args": None,
        "eval_args": {"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"},
        "metrics": list(METRICS.values()),
        "valid_metric": METRICS["auc"],
        "metric_decimal_place": 8,
        "stopping_step": STOPPING_STEP,
        "seed": seed,
        "show_progress": False,
        "state": "ERROR",
    }
    if families:
        keys |= {"universal_features": families, "numerical_features": names, "universal_cache_dir": None}
    return keys | FIVE_CORE


def result_of(model: str, dataset: str, keys: dict) -> dict:
    """Test metrics of the learning rate with the best validation AUC."""
    start, outcomes = time.perf_counter(), {}
    for rate in LEARNING_RATES:
        with tempfile.TemporaryDirectory() as folder:
            run_keys = {**keys, "learning_rate": rate, "checkpoint_dir": folder}
            outcomes[rate] = run_recbole(model, dataset, config_dict=run_keys)
    best = max(outcomes, key=lambda rate: outcomes[rate]["best_valid_score"])
    metrics = {metric: float(outcomes[best]["test_result"][metric]) for metric in METRICS}
    valid = float(outcomes[best]["best_valid_score"])
    return {**metrics, "valid_auc": valid, "learning_rate": best, "seconds": time.perf_counter() - start}


def with_error(differences: pd.Series) -> str:
    """Mean and standard error."""
    error = f" ± {differences.sem():.4f}" if len(differences) > 1 else ""
    return f"{differences.mean():+.4f}{error}"


def tables_of(results: pd.DataFrame) -> dict[str, str]:
    """Markdown by name of the table; a difference is that to the row of the same seed without columns."""
    without = results[results["columns"] == NO_COLUMNS]
    pairs = results.merge(without, on=["model", "dataset", "seed"], suffixes=("", "_without"))
    rows = []
    for dataset, model, columns in product(pairs["dataset"].unique(), MODELS, FAMILIES):
        runs = pairs[(pairs["dataset"] == dataset) & (pairs["model"] == model) & (pairs["columns"] == columns)]
        if runs.empty:
            continue
        row = [dataset, model, columns, str(len(runs))]
        for metric in METRICS:
            difference = with_error(runs[metric] - runs[f"{metric}_without"])
            row += [f"{runs[metric].mean():.4f}", "" if columns == NO_COLUMNS else difference]
        rows.append(row)
    head = ["dataset", "model", "families", "seeds", "AUC", "difference", "LogLoss", "difference"]
    made_with = {
        "recbole_universal": recbole_universal.__version__,
        "PyTorch": torch.__version__,
        "last measured": results["date"].max(),
    }
    return {
        "gain": markdown(head, rows),
        "made with": markdown(list(made_with), [list(made_with.values())]),
    }


def main() -> None:
    parser = parser_with(__doc__, "data-path", "datasets", "output", "report", datasets=list(THRESHOLDS))
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 2020 on")
    arguments = parse(parser)
    results = Results(arguments.output)
    if arguments.report:
        fill(arguments.report, tables_of(pd.DataFrame(results.rows)))
        return
    seeds = range(2020, 2020 + arguments.seeds)
    for columns, seed, dataset, model in product(FAMILIES, seeds, arguments.datasets, MODELS):
        setting = {"dataset": dataset, "seed": seed, "model": model, "columns": columns}
        if not results.has(setting):
            keys = config_keys(dataset, arguments.data_path, seed, columns)
            results.add({**setting, **result_of(model, dataset, keys), "date": date.today().isoformat()})


if __name__ == "__main__":
    main()
