"""The ablation of whole scorers derives from stored scores what the package computes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import scorer_ablation
import scorer_build

sys.path.pop(0)

from recbole_universal.features.fields import LIST_LABEL, LIST_MASK, column
from recbole_universal.features.proximity import ProximityFeatures
from recbole_universal.graph import SCORERS, InteractionGraph
from recbole_universal.graph.held_out import support_query_split

PAIR = column("pair", "proximity")
TOP_K = 20


@pytest.fixture(scope="module")
def parts() -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Support part and held-out part."""
    rng = np.random.default_rng(0)
    taste = np.arange(80)[:, None] % 4 == np.arange(300) % 4
    matrix = sp.csr_matrix((rng.random((80, 300)) < np.where(taste, 0.15, 0.02)).astype(np.float32))
    return support_query_split(scorer_build.compact(matrix)[0], 20, 0.2, rng)


@pytest.fixture(scope="module")
def stored(parts) -> dict[str, np.ndarray]:
    return scorer_ablation.scored_users(*parts, top_k=TOP_K)


def test_all_scorers_give_the_lists_of_the_package(parts, stored):
    ((lists, n_held_out),) = scorer_ablation.lists_of(stored, list(SCORERS), list(SCORERS))
    support, held_out = parts
    dense, rows, columns = scorer_build.compact(support)
    users = np.flatnonzero(np.diff(held_out.indptr))
    graph = InteractionGraph(dense)
    pairs = ProximityFeatures(top_k=TOP_K).compute(graph, seed=scorer_ablation.SEED).pair
    wanted = pairs.candidates(torch.from_numpy(np.searchsorted(rows, users)))
    assert torch.equal(lists[LIST_MASK], wanted.mask)
    assert torch.equal(lists[PAIR], wanted.features.half())
    label = torch.from_numpy(held_out[users][:, columns].toarray() > 0).gather(1, wanted.items.clamp(min=0))
    assert torch.equal(lists[LIST_LABEL], label & wanted.mask)
    assert (n_held_out == np.diff(held_out.indptr)[users]).all()


def test_a_removed_scorer_leaves_columns_and_candidates(stored):
    ((lists, _),) = scorer_ablation.lists_of(stored, ["neighbors"], ["neighbors"])
    assert lists[PAIR].shape[-1] == 3 * (1 + 2) + 6
    assert int(lists[LIST_MASK].sum(dim=1).max()) <= TOP_K
    # One scorer alone has all of the weight: its columns are those of the averages.
    torch.testing.assert_close(lists[PAIR][..., 0], lists[PAIR][..., 3])
    ((more, _),) = scorer_ablation.lists_of(stored, ["neighbors"], list(SCORERS))
    assert int(more[LIST_MASK].sum()) > int(lists[LIST_MASK].sum())


def test_held_out_items_outside_of_the_candidates_are_misses():
    class First(torch.nn.Module):
        """Scores a pair by its first column."""

        families = ("proximity",)

        def forward(self, user, item, pair):
            return pair["proximity"][..., 0]

    block = {
        PAIR: torch.tensor([[[1.0], [3.0], [9.0]]]),
        LIST_LABEL: torch.tensor([[False, True, False]]),
        LIST_MASK: torch.tensor([[True, True, False]]),
    }
    quality = scorer_ablation.quality(First(), [(block, np.array([2]))])
    assert quality == pytest.approx({"ndcg": 1 / (1 + 1 / np.log2(3)), "recall": 0.5, "candidates": 2})


def test_the_ratio_is_to_the_mean_of_all_scorers_over_seeds():
    other = {"recall": 0.5, "candidates": 100.0}
    gains = {("all 16", 1): (0.2, 0.4), ("all 16", 2): (0.4, 0.4), ("six", 1): (0.15, 0.4)}
    results = [
        {"subset": subset, "seed": seed, "dataset": dataset, "ndcg": value, **other}
        for (subset, seed), values in gains.items()
        for dataset, value in zip("ab", values, strict=True)
    ]
    tables = scorer_ablation.tables_of(pd.DataFrame(results), [])
    assert tables["scorers"].splitlines()[-1] == "| six | 6 | 1 | 0.7500 | 0.2500 | 0.500 (a) | 0.500 | 100 | - |"
    assert "| all 16 | 0.2357 | 0.8333, 1.1667 |" in tables["seed noise"]
    assert scorer_ablation.tables_of(pd.DataFrame(results[4:]), [])["scorers"] == ""


def test_parts_of_a_build_are_what_it_takes(parts):
    seconds = scorer_build.build_seconds(scorer_build.compact(parts[0])[0])
    names = list(seconds)
    assert sum(seconds[name] for name in names[: names.index("all")]) == pytest.approx(seconds["all"], abs=0.01)
    assert scorer_build.remaining_share(list(SCORERS), [seconds]) == pytest.approx(1, abs=0.01)
    assert scorer_build.remaining_share(["popularity"], [{**seconds, "neighbors": 50.0, "all": 100.0}]) < 0.5
