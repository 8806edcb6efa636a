"""Unseen users and items inside one data set: what training never met, beside what it did.

    python benchmarks/unseen.py --data-path DATA --datasets ml-100k --models OUT/models.json --output docs/unseen.md

A fifth of the users and a fifth of the items take no part in in-domain training (keys ``unseen_users``,
``unseen_items``); their training interactions are part of the graph when they are ranked for, as those of any user who
came later. Groups differ in difficulty too, so the frozen model that saw nothing of the domain is judged on the same
groups: a group counts by the trained model's NDCG@10 over the frozen model's.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

import recbole_universal  # noqa: F401  mends RecBole, so it comes before any import of it

# isort: split
from interpolation import universal_scores
from recbole.quick_start import load_data_and_model, run_recbole
from zero_shot import Split, base_scores

from recbole_universal.files import write_text
from recbole_universal.plugin.unseen import unseen_groups

SETTINGS = {
    "train_stage": "in_domain",
    "universal_features": ["proximity"],
    "mlp_hidden_size": [64, 64],
    "n_networks": 4,
    "learning_rate": 0.003,
    "unseen_users": 0.2,
    "unseen_items": 0.2,
    "valid_metric": "NDCG@10",
    "eval_batch_size": 2**19,
}


def of_group(split: Split, scores, users: np.ndarray, items: np.ndarray) -> float:
    """NDCG@10 over the test interactions between some users and some items; both bool by id."""
    whole, everyone = split.test, split.test_users
    rows, columns = sp.diags(users.astype(np.float32)), sp.diags(items.astype(np.float32))
    split.test = (rows @ whole @ columns).tocsr()
    split.test.eliminate_zeros()
    split.test_users = np.flatnonzero(np.diff(split.test.indptr))
    try:
        return split.evaluate(scores, "test")["ndcg@10"]
    finally:
        split.test, split.test_users = whole, everyone


def groups_of(name: str, data_path: str, frozen: str, seed: int) -> dict:
    """Ratio of the trained to the frozen model in each group of one data set."""
    split = Split(name, data_path, seed, 0)
    with tempfile.TemporaryDirectory() as folder:
        run_recbole("UniversalMLP", name, config_dict={**split.keys, **SETTINGS, "checkpoint_dir": folder})
        (file,) = Path(folder).glob("*.pth")
        config, _, dataset, *_ = load_data_and_model(str(file))
        trained = base_scores(file)["test"]
    users, items = unseen_groups(config, dataset)
    untrained = universal_scores(split, frozen)
    found: dict = {"dataset": name, "seed": seed}
    for user, of_users in (("seen", ~users), ("unseen", users)):
        for item, of_items in (("seen", ~items), ("unseen", items)):
            with torch.no_grad():
                ours = of_group(split, trained, of_users, of_items)
                theirs = of_group(split, untrained, of_users, of_items)
            found[f"{user} users, {item} items"] = ours
            found[f"{user} users, {item} items, frozen"] = theirs
    return found


def report(table: pd.DataFrame) -> str:
    """Markdown page."""
    groups = [f"{user} users, {item} items" for user in ("seen", "unseen") for item in ("seen", "unseen")]
    lines = ["# Unseen users and items", "", *(__doc__ or "").strip().splitlines()[4:], ""]
    lines += ["Each cell: NDCG@10 of the trained model / of the frozen one.", ""]
    lines += ["| data set | seed | " + " | ".join(groups) + " |", "|" + "---|" * (len(groups) + 2)]
    for _, row in table.iterrows():
        cells = " | ".join(f"{row[group]:.4f} / {row[group + ', frozen']:.4f}" for group in groups)
        lines.append(f"| {row['dataset']} | {row['seed']} | {cells} |")
    ratio = {group: (table[group] / table[group + ", frozen"]).mean() for group in groups}
    lines.append("| mean ratio | | " + " | ".join(f"{ratio[group]:.3f}" for group in groups) + " |")
    others = [f"{group}: {ratio[group] / ratio[groups[0]] - 1:+.1%}" for group in groups[1:]]
    lines += ["", "Against seen users and seen items: " + "; ".join(others) + "."]
    made = f"Made by `python benchmarks/unseen.py --data-path DATA --datasets {' '.join(table['dataset'])} --models "
    lines += ["", made + "OUT/models.json", "--output docs/unseen.md`, where `OUT` is the folder of "]
    lines[-1] += "`benchmarks/pretrain.py --leave-out`."
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--datasets", nargs="*", default=["ml-100k"])
    parser.add_argument("--models", type=Path, required=True, help="JSON of leave-one-domain-out models")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--output", type=Path, required=True, help="Markdown page")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    logging.disable(logging.WARNING)
    models = json.loads(arguments.models.read_text())["zero-shot"]
    rows = []
    for name in arguments.datasets:
        rows.append(groups_of(name, arguments.data_path, models[name], arguments.seed))
        print(json.dumps(rows[-1]), flush=True)
        write_text(arguments.output, report(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
