"""The tables of docs/systems_users.md, and the parts of benchmarks/user_systems.py that have a known answer."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import user_systems
import user_systems_tables
import user_systems_vectors
from content_systems_data import Small

sys.path.pop(0)

ROOT = Path(__file__).resolve().parent.parent


def test_the_tables_are_means_over_the_seeds():
    rows = [
        {"system": "peterrec", "seed": seed, "method": "BPR", "attribute": "age", "majority": 0.3}
        | {"accuracy": value, "auc": 0.6}
        for seed, value in ((1, 0.4), (2, 0.6))
    ]
    rows += [
        {"system": "peterrec", "seed": 1, "method": "trained: all", "attribute": "age", "accuracy": 0.7, "auc": 0.8}
        | {"weights": 4321, "seconds": 12.4, "labels": 100},
        {"system": "clue", "seed": 1, "method": "contrast", "attribute": "gender", "accuracy": 0.7, "auc": 0.61},
        {"system": "clue", "seed": 1, "method": "contrast", "attribute": "next item", "ndcg": 0.0123},
    ]
    rows += _conure_rows()
    made = {name: table.splitlines() for name, table in user_systems_tables.tables(rows).items()}
    assert made["peterrec"][2:] == [
        "| majority | 2 | - / 0.500 | 0.300 / 0.500 | - / 0.500 |",
        "| BPR | 2 | - / - | 0.500 / 0.600 | - / - |",
    ]
    assert made["peterrec-trained"][2:] == ["| age | all | all | 1 | 0.700 | 0.800 | 4,321 | 12 |"]
    assert made["conure"][2:] == [
        "| a | 0.2500 | 0.5000 | 0.2500 | -0.2500 ± 0.2500 | 0.5000 | +0.2500 ± 0.2500 |",
        "| b | 0.2500 | 0.5000 | 0.2500 | -0.2500 ± 0.2500 | 0.5000 | +0.2500 ± 0.2500 |",
    ]
    assert made["clue"][2:] == ["| contrast | 1 | 0.610 | - | - | 0.0123 |"]
    assert set(user_systems_tables.tables([]).values()) == {""}
    text = (ROOT / "docs" / "systems_users.md").read_text(encoding="utf-8")
    assert all(f"<!-- table: {name} -->" in text for name in made)


def _conure_rows() -> list[dict]:
    """Two sources in one order; in the better models two of four users have their item at the first place."""
    settings = [("alone", "", "own"), ("in_turn", "a", "own"), ("in_turn", "a", "last"), ("task_masks", "a", "own")]
    rows = []
    for name in ("a", "b"):
        for method, order, when in settings:
            better = method != "alone" and when == "own"
            row = {"system": "conure", "seed": 1, "method": method, "order": order, "when": when, "dataset": name}
            found = {"0": 0.0, "2": 0.0} if better else {"0": 0.0}
            rows.append({**row, "ndcg": len(found) / 4, "users n": 4, "hits": found})
    return rows


def test_items_by_svd_keep_the_products_of_users():
    small = Small("x", Path(), {"u": ["a", "b"], "v": ["b", "c"], "w": ["d"]}, True)
    user_vectors = user_systems_vectors.item_svd(small, 3)
    assert user_vectors @ user_vectors.T == pytest.approx(np.array([[2, 1, 0], [1, 2, 0], [0, 0, 1]]), abs=1e-4)


def test_ndcg_leaves_out_items_of_the_history_and_the_padding():
    head = torch.nn.Linear(1, 15)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.arange(15, 0, -1).float())  # the lower the id, the better
    vectors, spread = torch.zeros(2, 1), torch.ones(1)
    first = vectors, torch.tensor([3, 3]), torch.tensor([[1, 2], [2, 0]])
    assert user_systems._ndcg(head, first, spread) == pytest.approx((1 + 1 / np.log2(3)) / 2)
