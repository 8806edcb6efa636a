"""Single families, the paper's three and proximity, trained and tested on one data set, beside Pop and ItemKNN.

    python benchmarks/in_domain.py --dataset ml-100k --seeds 5 --output docs/in_domain.md

RecBole's default split (random 80/10/10 for each user), full ranking. A seed draws the split, the features and the
initial weights; all rows of a seed see the same split. The result file is written anew after every run.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from datetime import date
from pathlib import Path

import recbole_universal  # mends RecBole, so it comes before any import of it

# isort: split
import torch
from recbole.config import Config
from recbole.quick_start import run_recbole

FAMILIES = ["activity", "cooccurrence", "interaction"]
METRICS = ("recall@10", "ndcg@10")


def variants() -> dict[str, tuple[str, dict]]:
    """Row name -> (model, config keys)."""
    rows: dict[str, tuple[str, dict]] = {"Pop": ("Pop", {}), "ItemKNN": ("ItemKNN", {})}
    for family in FAMILIES:
        rows[f"UniversalMLP, {family}"] = ("UniversalMLP", {"universal_features": [family]})
    paper = {"universal_features": FAMILIES}
    rows["UniversalMLP, the three, concatenation"] = ("UniversalMLP", paper)
    rows["UniversalMLP, the three, interpolation"] = ("UniversalMLP", {**paper, "feature_combination": "interpolation"})
    rows["UniversalMLP, proximity"] = ("UniversalMLP", {"universal_features": ["proximity"], "learning_rate": 0.003})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", nargs="*", help="only rows whose name contains one of these")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    command = " ".join(["python", f"benchmarks/{Path(__file__).name}", *sys.argv[1:]])
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config

    results: dict[str, list[dict]] = {}
    for seed in range(2020, 2020 + arguments.seeds):
        for name, (model, keys) in variants().items():
            if arguments.rows and not any(part in name for part in arguments.rows):
                continue
            settings = {"data_path": arguments.data_path, "seed": seed, "show_progress": False, "state": "ERROR"}
            settings["train_stage"] = "in_domain"
            start = time.perf_counter()
            config = {**settings, **keys}
            outcome = run_recbole(model, arguments.dataset, config_dict=config, saved=model == "UniversalMLP")
            row = {metric: outcome["test_result"][metric] for metric in METRICS}
            row["seconds"] = time.perf_counter() - start
            results.setdefault(name, []).append(row)
            print(seed, name, row, flush=True)
            if arguments.output:
                arguments.output.write_text(page(results, arguments, command), encoding="utf-8")
    print(table(results))


def table(results: dict[str, list[dict]]) -> str:
    """Mean and standard deviation over seeds, and NDCG@10 as a multiple of Pop's (mean over mean)."""
    pop = results.get("Pop")
    lines = ["| model | Recall@10 | NDCG@10 | NDCG@10 / Pop's | seconds |", "|---|---|---|---|---|"]
    for name, rows in results.items():
        cells = [spread([row[metric] for row in rows]) for metric in METRICS]
        ratio = "-"
        if pop and len(pop) == len(rows):
            ratio = f"{mean(rows, 'ndcg@10') / mean(pop, 'ndcg@10'):.2f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio} | {mean(rows, 'seconds'):.1f} |")
    return "\n".join(lines)


def mean(rows: list[dict], key: str) -> float:
    return statistics.fmean(row[key] for row in rows)


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.4f} ± {deviation:.4f}"


def page(results: dict[str, list[dict]], arguments: argparse.Namespace, command: str) -> str:
    defaults = Config("UniversalMLP", "ml-100k")
    keys = ("mlp_hidden_size", "embedding_size", "dropout_prob", "learning_rate", "train_batch_size", "stopping_step")
    settings = ", ".join(f"`{key}: {defaults[key]}`" for key in keys)
    return f"""# In-domain: single families against all

Trained and tested on {arguments.dataset}; RecBole's default split, full ranking, mean ± standard deviation over
{arguments.seeds} seeds (split, features and weights). Defaults:
{settings}.

{table(results)}

Made by `{command}`:
recbole_universal {recbole_universal.__version__}, PyTorch {torch.__version__},
{platform.machine()}, {torch.get_num_threads()} threads, {date.today().isoformat()}.
"""


if __name__ == "__main__":
    main()
