"""Single families, the paper's three families and proximity, trained and tested on one dataset.

    python benchmarks/in_domain.py --data-path DATA --datasets ml-100k --seeds 5 --output OUT/in_domain.jsonl
    python benchmarks/in_domain.py --output OUT/in_domain.jsonl --report docs/in_domain.md

All rows of a seed see the same split. A run that is started again skips existing results. docs/in_domain.md describes
the measurement.
"""

from __future__ import annotations

import time
from datetime import date

import pandas as pd
import torch
from harness import DATASET_KEYS, FIVE_CORE, Results, parse, parser_with
from recbole.config import Config
from recbole.quick_start import run_recbole
from report import fill, markdown

import recbole_universal

FAMILIES = ["activity", "cooccurrence", "interaction"]
METRICS = {"recall@10": "Recall@10", "ndcg@10": "NDCG@10"}
ALL_COUNTED = "Pop, every interaction"
SETTINGS = ("mlp_hidden_size", "embedding_size", "dropout_prob", "learning_rate", "train_batch_size", "stopping_step")


def variants() -> dict[str, tuple[str, dict]]:
    """Row name -> (model, config keys)."""
    rows: dict[str, tuple[str, dict]] = {
        "Pop": ("Pop", {}),
        ALL_COUNTED: ("Pop", {"train_batch_size": 1}),
        "ItemKNN": ("ItemKNN", {}),
    }
    for family in FAMILIES:
        rows[f"UniversalMLP, {family}"] = ("UniversalMLP", {"universal_features": [family]})
    paper = {"universal_features": FAMILIES}
    rows["UniversalMLP, the three, concatenation"] = ("UniversalMLP", paper)
    rows["UniversalMLP, the three, interpolation"] = ("UniversalMLP", {**paper, "feature_combination": "interpolation"})
    rows["UniversalMLP, proximity"] = ("UniversalMLP", {"universal_features": ["proximity"], "learning_rate": 0.003})
    return rows


def result_of(dataset: str, data_path: str, seed: int, model: str, keys: dict) -> dict:
    """Test metrics of one run."""
    settings = {"seed": seed, "show_progress": False, "state": "ERROR", "train_stage": "in_domain"}
    if dataset != "ml-100k":
        columns = {"load_col": {"inter": ["user_id", "item_id"]}}
        settings |= {"data_path": data_path, **columns, **FIVE_CORE, **DATASET_KEYS.get(dataset, {})}
    start = time.perf_counter()
    outcome = run_recbole(model, dataset, config_dict={**settings, **keys}, saved=model == "UniversalMLP")
    metrics = {metric: outcome["test_result"][metric] for metric in METRICS}
    return {**metrics, "seconds": time.perf_counter() - start}


def dataset_table(results: pd.DataFrame) -> str:
    """Means and standard deviations over the seeds of one dataset."""
    pop = results.loc[results["row"] == ALL_COUNTED, "ndcg@10"].mean()
    rows = []
    for name in variants():
        runs = results[results["row"] == name]
        if runs.empty:
            continue
        deviations = [f" ± {runs[metric].std():.4f}" if len(runs) > 1 else "" for metric in METRICS]
        means = [f"{runs[metric].mean():.4f}" for metric in METRICS]
        cells = [mean + deviation for mean, deviation in zip(means, deviations, strict=True)]
        rows.append([name, *cells, f"{runs['ndcg@10'].mean() / pop:.2f}", f"{runs['seconds'].mean():.1f}"])
    return markdown(["model", *METRICS.values(), f"NDCG@10 / {ALL_COUNTED}", "seconds"], rows)


def tables_of(results: pd.DataFrame) -> dict[str, str]:
    """Markdown by name of the table."""
    tables = {dataset: dataset_table(rows) for dataset, rows in results.groupby("dataset", sort=False)}
    defaults = Config("UniversalMLP", "ml-100k", config_dict={"show_progress": False})
    tables["settings"] = markdown(["key", "default"], [[f"`{key}`", f"`{defaults[key]}`"] for key in SETTINGS])
    seeds = results.groupby("dataset", sort=False)["seed"].nunique()
    made_with = {
        "seeds": ", ".join(f"{dataset} {n}" for dataset, n in seeds.items()),
        "recbole_universal": recbole_universal.__version__,
        "PyTorch": torch.__version__,
        "threads": ", ".join(str(n) for n in results["threads"].unique()),
        "last measured": results["date"].max(),
    }
    tables["made with"] = markdown(list(made_with), [list(made_with.values())])
    return tables


def main() -> None:
    parser = parser_with(__doc__, "data-path", "datasets", "output", "report")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 2020 on")
    arguments = parse(parser)
    results = Results(arguments.output)
    if arguments.report:
        fill(arguments.report, tables_of(pd.DataFrame(results.rows)))
        return
    for dataset in arguments.datasets:
        for seed in range(2020, 2020 + arguments.seeds):
            for name, (model, keys) in variants().items():
                setting = {"dataset": dataset, "seed": seed, "row": name}
                if not results.has(setting):
                    metrics = result_of(dataset, arguments.data_path, seed, model, keys)
                    made_with = {"threads": torch.get_num_threads(), "date": date.today().isoformat()}
                    results.add({**setting, **metrics, **made_with})


if __name__ == "__main__":
    main()
