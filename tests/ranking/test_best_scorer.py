"""The mixture of a network with the dataset's best scorer: formula, choice, and its way into lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal.features import FeaturePipeline
from recbole_universal.features.proximity_columns import best_scorer_column, n_columns
from recbole_universal.ranking.best_scorer import BEST_SCORER_WEIGHTS, choose_weight, with_best_scorer
from recbole_universal.ranking.ranking_network import RankingNetwork


def random_matrix(n_users: int, n_items: int, density: float) -> sp.csr_matrix:
    dense = np.random.default_rng(0).random((n_users, n_items)) < density
    return sp.csr_matrix(dense.astype(np.float32))


def attached(matrix: sp.csr_matrix) -> RankingNetwork:
    pipeline = FeaturePipeline(["proximity"], seed=0)
    torch.manual_seed(0)
    return RankingNetwork(pipeline.dims, [4], 4, 0.0, "concatenation").eval().attach(pipeline(matrix))


def test_the_column_is_the_best_scorer_alone():
    pairs = attached(random_matrix(60, 50, 0.2)).proximity
    features = pairs.candidates(torch.arange(60)).features
    best = int(pairs.scorer_weights.argmax())
    torch.testing.assert_close(features[..., best_scorer_column()], features[..., best])


@pytest.mark.parametrize("weight", [0.25, 0.5, 1.0])
def test_both_are_standardised_over_the_list(weight):
    rng = np.random.default_rng(0)
    scores, features = 3 * rng.normal(size=(4, 9)) + 7, rng.random((4, 9, n_columns()))
    lengths = [9, 4, 1, 0]
    mask = np.arange(9) < np.array(lengths)[:, None]
    arrays = torch.from_numpy(scores).float(), torch.from_numpy(features).float(), torch.from_numpy(mask)
    mixed = with_best_scorer(*arrays, weight)
    for row, n in enumerate(lengths[:2]):
        own, best = scores[row, :n], features[row, :n, best_scorer_column()]
        expected = (1 - weight) * (own - own.mean()) + weight * (best - best.mean()) / best.std() * own.std()
        np.testing.assert_allclose(mixed[row, :n], expected, rtol=1e-4, atol=1e-4)
    assert mixed.isfinite().all()
    assert with_best_scorer(*arrays, 0.0) is arrays[0]


def test_equal_scores_of_the_best_scorer_keep_the_order_of_the_network():
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    mixed = with_best_scorer(scores, torch.ones(1, 3, n_columns()), torch.ones(1, 3, dtype=torch.bool), 0.5)
    torch.testing.assert_close(mixed, (scores - 2) / 2)


@pytest.mark.parametrize(("right", "expected"), [("network", 0), ("best scorer", 0.5), ("both", 0)])
def test_held_out_interactions_choose_the_weight(right, expected):
    """The held-out item is far ahead by one of the two, and in the middle by the other."""
    check = attached(random_matrix(200, 50, 0.2)).proximity.check
    n_users = len(check.mask)
    mask = torch.ones(n_users, 30, dtype=torch.bool)
    label = torch.zeros_like(mask)
    label[:, 0] = True
    generator = torch.Generator().manual_seed(0)
    network, features = torch.rand(n_users, 30, generator=generator), torch.zeros(n_users, 30, n_columns())
    best = features[..., best_scorer_column()]
    best[:] = torch.rand(n_users, 30, generator=generator)
    network[:, 0] = 0.5 if right == "best scorer" else 9.0
    best[:, 0] = 0.5 if right == "network" else 9.0
    known = {"mask": mask, "label": label, "features": features.half(), "n_held_out": torch.ones(n_users).long()}
    check = replace(check, **known, tail_ndcg=torch.zeros(n_users).double())
    weight, result = choose_weight(check, network)
    ndcg = {w: check.result(with_best_scorer(network, features, mask, w)).ndcg for w in BEST_SCORER_WEIGHTS}
    assert result.ndcg == ndcg[weight] == max(ndcg.values())
    assert weight == expected  # of equal ones the network's own scores


def test_a_gain_by_chance_is_no_reason():
    """A mixture that helps one user of many, and harms none, has a z-score of 1."""
    check = attached(random_matrix(200, 50, 0.2)).proximity.check
    n_users = len(check.mask)
    mask = torch.ones(n_users, 30, dtype=torch.bool)
    label = torch.zeros_like(mask)
    label[:, 0] = True
    network = torch.rand(n_users, 30, generator=torch.Generator().manual_seed(0))
    network[:, 0] = 9.0
    features = torch.zeros(n_users, 30, n_columns())
    features[..., 0, best_scorer_column()] = 9.0
    network[0, 0] = 0.5
    known = {"mask": mask, "label": label, "features": features.half(), "n_held_out": torch.ones(n_users).long()}
    check = replace(check, **known, tail_ndcg=torch.zeros(n_users).double())
    better = check.result(with_best_scorer(network, features, mask, 0.5)).ndcg
    weight, result = choose_weight(check, network)
    assert weight == 0 and result.ndcg < better


def test_lists_and_explanations_have_the_mixture(monkeypatch):
    matrix = random_matrix(200, 50, 0.2)
    network = attached(matrix)
    monkeypatch.setattr(type(network.proximity), "fallback_reason", lambda *_: "")
    users = torch.arange(5)
    check = network.proximity.check
    network._checked = check, 0.0, check.result(network._check_scores(check))
    alone = network.score_all(users)
    network._checked = check, 0.5, network._checked[2]
    mixed = network.score_all(users)
    lists, columns = network.candidate_columns(users)
    expected = with_best_scorer(network(*columns), lists.features, lists.mask, 0.5)
    torch.testing.assert_close(network.candidate_scores(columns, lists.mask), expected)
    for row in range(5):
        items = lists.items[row][lists.mask[row]]
        torch.testing.assert_close(mixed[row, items], expected[row][lists.mask[row]].log_softmax(dim=0))
        rest = np.setdiff1d(np.arange(50), items)
        torch.testing.assert_close(mixed[row, rest], alone[row, rest])
    assert not torch.equal(mixed, alone)


def test_nothing_is_mixed_in_training_or_with_further_families():
    network = attached(random_matrix(200, 50, 0.2))
    check = network.proximity.check
    network._checked = check, 0.5, check.result(network._check_scores(check))
    assert network.best_scorer_weight == 0.5
    assert network.train().best_scorer_weight == 0
    assert network._checked is None  # other weights, another choice
    pipeline = FeaturePipeline(["activity", "proximity"], seed=0)
    more = RankingNetwork(pipeline.dims, [4], 4, 0.0, "concatenation").eval()
    assert more.attach(pipeline(random_matrix(200, 50, 0.2))).best_scorer_weight == 0
