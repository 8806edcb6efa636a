"""NDCG@10 for users and items that in-domain training leaves out, and for the others.

    python benchmarks/unseen.py --data-path DATA --datasets ml-100k --models OUT/models.json --output OUT/unseen.jsonl
    python benchmarks/unseen.py --output OUT/unseen.jsonl --report docs/unseen.md

A run that is started again skips existing results. docs/unseen.md says how the figures are measured.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from harness import Results, Scores, Split, parse, parser_with
from models import IN_DOMAIN, checkpoint_scores, universal_scores
from recbole.quick_start import load_data_and_model, run_recbole
from report import fill, markdown

from recbole_universal.plugin.unseen import unseen_groups

SETTINGS = {
    **IN_DOMAIN,
    "n_networks": 4,
    "unseen_users": 0.2,
    "unseen_items": 0.2,
    "valid_metric": "NDCG@10",
    "eval_batch_size": 2**19,
}
GROUPS = [f"{user} users, {item} items" for user in ("seen", "unseen") for item in ("seen", "unseen")]


def ndcg_between(split: Split, scores: Scores, users: np.ndarray, items: np.ndarray) -> float:
    """NDCG@10 over the test interactions between some users and some items; both bool by index."""
    test, test_users = split.test, split.test_users
    rows, columns = sp.diags(users.astype(np.float32)), sp.diags(items.astype(np.float32))
    split.test = (rows @ test @ columns).tocsr()
    split.test.eliminate_zeros()
    split.test_users = np.flatnonzero(np.diff(split.test.indptr))
    try:
        return split.evaluate(scores, "test")["ndcg@10"]
    finally:
        split.test, split.test_users = test, test_users


def result_of(name: str, data_path: str, frozen: str, seed: int) -> dict:
    """NDCG@10 of the trained and of the frozen model in each group of one dataset."""
    split = Split(name, data_path, seed, 0)
    with tempfile.TemporaryDirectory() as folder:
        run_recbole("UniversalMLP", name, config_dict={**split.keys, **SETTINGS, "checkpoint_dir": folder})
        (file,) = Path(folder).glob("*.pth")
        config, _, dataset, *_ = load_data_and_model(str(file))
        trained = checkpoint_scores(file)["test"]
    users, items = unseen_groups(config, dataset)
    untrained, result = universal_scores(split, frozen), {}
    pairs = [(some_users, some_items) for some_users in (~users, users) for some_items in (~items, items)]
    for group, (some_users, some_items) in zip(GROUPS, pairs, strict=True):
        result[group] = ndcg_between(split, trained, some_users, some_items)
        result[f"{group}, frozen"] = ndcg_between(split, untrained, some_users, some_items)
    return result


def tables_of(results: pd.DataFrame) -> dict[str, str]:
    """Markdown by name of the table."""
    rows = [
        [row["dataset"], str(row["seed"]), *(f"{row[group]:.4f} / {row[f'{group}, frozen']:.4f}" for group in GROUPS)]
        for _, row in results.iterrows()
    ]
    ratio = {group: (results[group] / results[f"{group}, frozen"]).mean() for group in GROUPS}
    rows.append(["mean ratio", "", *(f"{value:.3f}" for value in ratio.values())])
    others = [f"{ratio[group] / ratio[GROUPS[0]] - 1:+.1%}" for group in GROUPS[1:]]
    rows.append([f"against {GROUPS[0]}", "", "", *others])
    return {"groups": markdown(["dataset", "seed", *GROUPS], rows)}


def main() -> None:
    parser = parser_with(__doc__, "data-path", "datasets", "models", "seed", "output", "report")
    arguments = parse(parser)
    results = Results(arguments.output)
    if arguments.report:
        fill(arguments.report, tables_of(pd.DataFrame(results.rows)))
        return
    if not arguments.models:
        parser.error("--models is needed to run")
    models = json.loads(arguments.models.read_text())["zero-shot"]
    for name in arguments.datasets:
        setting = {"dataset": name, "seed": arguments.seed}
        if not results.has(setting):
            results.add({**setting, **result_of(name, arguments.data_path, models[name], arguments.seed)})


if __name__ == "__main__":
    main()
