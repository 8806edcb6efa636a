"""The ablation of whole scorers derives from stored values what the package computes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import scorer_ablation

sys.path.pop(0)

from recbole_universal.features.fields import LIST_LABEL, LIST_MASK, column
from recbole_universal.features.proximity import ProximityFeatures, ProximityPairs, support_query_split
from recbole_universal.graph import SCORERS

PAIR = column("pair", "proximity")


@pytest.fixture(scope="module")
def stored() -> tuple[dict[str, torch.Tensor], ProximityPairs, np.ndarray]:
    rng = np.random.default_rng(0)
    taste = np.arange(80)[:, None] % 4 == np.arange(300) % 4
    matrix = sp.csr_matrix((rng.random((80, 300)) < np.where(taste, 0.15, 0.02)).astype(np.float32))
    matrix = scorer_ablation.compact(matrix)[0]
    support, query = support_query_split(matrix, 20, 0.2, rng)
    support, rows, columns = scorer_ablation.compact(support)
    held_out = np.flatnonzero(np.diff(query.indptr))
    users = np.searchsorted(rows, held_out)
    family = ProximityFeatures(top_k=20)
    weights = rng.random(len(SCORERS)).astype(np.float32)
    weights /= weights.max()
    pairs = ProximityPairs(family._scorers(support, "cpu", False), weights, family.top_k)
    arrays = scorer_ablation.stored_values(pairs, users, query[held_out][:, columns])
    arrays |= {"weights": weights, "n_held_out": np.diff(query[held_out].indptr)}
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}, pairs, users


def test_all_scorers_give_the_lists_of_the_package(stored):
    values, pairs, users = stored
    ((lists, n_held_out),) = scorer_ablation.lists_of(values, list(SCORERS), list(SCORERS))
    wanted = pairs.candidates(torch.from_numpy(users))
    assert torch.equal(lists[LIST_MASK], wanted.mask)
    torch.testing.assert_close(lists[PAIR].float(), wanted.features, atol=2e-3, rtol=2e-3)
    assert (lists[LIST_LABEL].sum(dim=1).numpy() <= n_held_out).all()


def test_a_removed_scorer_leaves_columns_and_candidates(stored):
    values, *_ = stored
    ((lists, _),) = scorer_ablation.lists_of(values, ["neighbors"], ["neighbors"])
    assert lists[PAIR].shape[-1] == 3 * (1 + 2) + 6
    assert int(lists[LIST_MASK].sum(dim=1).max()) <= 20
    # One scorer alone has all of the weight: its columns are those of the averages.
    torch.testing.assert_close(lists[PAIR][..., 0], lists[PAIR][..., 3])
    ((more, _),) = scorer_ablation.lists_of(values, ["neighbors"], list(SCORERS))
    assert int(more[LIST_MASK].sum()) > int(lists[LIST_MASK].sum())
