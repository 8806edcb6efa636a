"""Single families, the paper's three and proximity, trained and tested on one data set, beside Pop and ItemKNN.

    python benchmarks/in_domain.py --data-path DATA --datasets ml-100k filmtrust --seeds 5 --output OUT/in_domain.jsonl
    python benchmarks/in_domain.py --output OUT/in_domain.jsonl --report docs/in_domain.md

RecBole's default split (random 80/10/10 for each user), full ranking; ml-100k as RecBole ships it, other data sets with
the filters of `benchmarks/zero_shot.py` (5-core). A seed draws the split, the features and the initial weights; all
rows of a seed see the same split. RecBole's Pop counts an item once a batch, however often it is in it, and so ranks
worse than popularity does; with batches of one interaction it counts them all, which is the Pop that others are divided
by. ItemKNN is RecBole's with its defaults; tuned ones are in zero_shot.md. One result a line; a run that is started
again skips what is there.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

import recbole_universal  # mends RecBole, so it comes before any import of it
from recbole_universal.files import write_text

# isort: split
import pandas as pd
import torch
from recbole.config import Config
from recbole.quick_start import run_recbole
from results import add_result, read_results
from zero_shot import CORE, SPECIAL, markdown

FAMILIES = ["activity", "cooccurrence", "interaction"]
METRICS = ("recall@10", "ndcg@10")


def variants() -> dict[str, tuple[str, dict]]:
    """Row name -> (model, config keys)."""
    rows: dict[str, tuple[str, dict]] = {
        "Pop": ("Pop", {}),
        "Pop, every interaction": ("Pop", {"train_batch_size": 1}),
        "ItemKNN": ("ItemKNN", {}),
    }
    for family in FAMILIES:
        rows[f"UniversalMLP, {family}"] = ("UniversalMLP", {"universal_features": [family]})
    paper = {"universal_features": FAMILIES}
    rows["UniversalMLP, the three, concatenation"] = ("UniversalMLP", paper)
    rows["UniversalMLP, the three, interpolation"] = ("UniversalMLP", {**paper, "feature_combination": "interpolation"})
    rows["UniversalMLP, proximity"] = ("UniversalMLP", {"universal_features": ["proximity"], "learning_rate": 0.003})
    return rows


def result(dataset: str, data_path: str, seed: int, model: str, keys: dict) -> dict:
    """One run."""
    settings = {"seed": seed, "show_progress": False, "state": "ERROR", "train_stage": "in_domain"}
    if dataset != "ml-100k":
        only = {"load_col": {"inter": ["user_id", "item_id"]}}
        settings |= {"data_path": data_path, **only, **CORE, **SPECIAL.get(dataset, {})}
    start = time.perf_counter()
    outcome = run_recbole(model, dataset, config_dict={**settings, **keys}, saved=model == "UniversalMLP")
    found = {metric: outcome["test_result"][metric] for metric in METRICS}
    return {**found, "seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="*", default=["ml-100k"])
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, required=True, help="file of results, one a line")
    parser.add_argument("--report", type=Path, help="write the Markdown page of what is there, run nothing")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    results = read_results(arguments.output)
    if arguments.report:
        write_text(arguments.report, page(pd.DataFrame(results)))
        print(arguments.report.read_text())
        return
    for dataset in arguments.datasets:
        for seed in range(2020, 2020 + arguments.seeds):
            for name, (model, keys) in variants().items():
                setting = {"dataset": dataset, "seed": seed, "row": name}
                if any(setting.items() <= found.items() for found in results):
                    continue
                results.append({**setting, **result(dataset, arguments.data_path, seed, model, keys)})
                results[-1] |= {"threads": torch.get_num_threads(), "date": date.today().isoformat()}
                add_result(arguments.output, results[-1])


def page(table: pd.DataFrame) -> str:
    """Markdown page."""
    defaults = Config("UniversalMLP", "ml-100k")
    keys = ("mlp_hidden_size", "embedding_size", "dropout_prob", "learning_rate", "train_batch_size", "stopping_step")
    settings = ", ".join(f"`{key}: {defaults[key]}`" for key in keys)
    lines = ["# In-domain: single families against all", "", *(__doc__ or "").strip().splitlines()[5:], ""]
    lines += [
        f"Mean ± standard deviation over seeds (split, features and weights). Defaults: {settings}; "
        "`proximity`: `learning_rate: 0.003`."
    ]
    for dataset, rows in table.groupby("dataset", sort=False):
        pop = rows.loc[rows["row"] == "Pop, every interaction", "ndcg@10"].mean()
        cells = []
        for name in variants():
            runs = rows[rows["row"] == name]
            values = [
                f"{runs[metric].mean():.4f}" + (f" ± {runs[metric].std():.4f}" if len(runs) > 1 else "")
                for metric in METRICS
            ]
            cells.append([name, *values, f"{runs['ndcg@10'].mean() / pop:.2f}", f"{runs['seconds'].mean():.1f}"])
        n_seeds = rows["seed"].nunique()
        lines += ["", f"## {dataset}, {n_seeds} seed{'s' * (n_seeds != 1)}"]
        lines += markdown(["model", "Recall@10", "NDCG@10", "NDCG@10 / that Pop's", "seconds"], cells)
    threads = ", ".join(str(number) for number in table["threads"].unique())
    lines += [
        "",
        f"recbole_universal {recbole_universal.__version__}, PyTorch {torch.__version__}, threads: {threads}, ",
    ]
    lines[-1] += f"to {table['date'].max()}. Made by `make in-domain`."
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
