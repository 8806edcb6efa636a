"""The adjustment of a network's scores to a dataset: formulas, choices, and its way into lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal.features import FeaturePipeline
from recbole_universal.features.proximity_columns import best_scorer_column, n_columns
from recbole_universal.features.self_check import SelfCheck
from recbole_universal.ranking.adjustment import (
    BEST_SCORER_WEIGHTS,
    CORRECTION_PENALTY,
    Adjustment,
    choose_adjustment,
    choose_best_scorer_weight,
    fit_correction,
    with_best_scorer,
)
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
    weight, result = choose_best_scorer_weight(check, network)
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
    weight, result = choose_best_scorer_weight(check, network)
    assert weight == 0 and result.ndcg < better


def made_check(n_users: int, n_candidates: int, informative: int) -> SelfCheck:
    """A self-check with random columns, in which the held-out item is high in one of them."""
    rng = np.random.default_rng(0)
    features = rng.random((n_users, n_candidates, n_columns()))
    label = np.zeros((n_users, n_candidates), dtype=bool)
    label[np.arange(n_users), rng.integers(n_candidates // 2, size=n_users)] = True
    features[..., informative] += 0.5 * label
    mask = np.arange(n_candidates) < rng.integers(n_candidates // 2, n_candidates + 1, size=n_users)[:, None]
    return SelfCheck(
        features=torch.from_numpy(features * mask[..., None]).half(),
        mask=torch.from_numpy(mask),
        label=torch.from_numpy(label),
        n_held_out=torch.ones(n_users, dtype=torch.int64),
        tail_ndcg=torch.zeros(n_users, dtype=torch.float64),
        popularity_ndcg=torch.zeros(n_users, dtype=torch.float64),
        linear_scores=torch.zeros(n_users, n_candidates).half(),
    )


def loss_by_hand(check: SelfCheck, scores: torch.Tensor, weights: np.ndarray) -> float:
    """The loss of the correction, user by user in NumPy."""
    total = CORRECTION_PENALTY * (weights**2).sum()
    for user in range(len(scores)):
        mask = check.mask[user].numpy()
        values = scores[user].double().numpy()[mask] + check.features[user].double().numpy()[mask] @ weights
        total -= (values[check.label[user].numpy()[mask]] - np.log(np.exp(values).sum())).sum()
    return total


def test_the_correction_minimises_its_loss():
    check = made_check(300, 30, informative=4)
    scores = torch.rand(300, 30, generator=torch.Generator().manual_seed(0))
    weights = fit_correction(check, scores, torch.arange(300)).double().numpy()
    best = loss_by_hand(check, scores, weights)
    assert weights.argmax() == 4 and best < loss_by_hand(check, scores, np.zeros(n_columns())) - 1
    for column in range(n_columns()):
        for step in (-0.01, 0.01):
            moved = weights.copy()
            moved[column] += step
            assert loss_by_hand(check, scores, moved) > best


def test_few_users_change_little():
    check = made_check(300, 30, informative=4)
    scores = torch.zeros(300, 30)
    sizes = [float(fit_correction(check, scores, torch.arange(n)).norm()) for n in (0, 1, 10, 300)]
    assert sizes[0] == 0 and sizes[1] < 0.05 and sizes == sorted(sizes)


def test_scores_far_apart_have_a_finite_correction():
    check = made_check(40, 20, informative=0)
    scores = torch.where(check.label, -3e4, 3e4) * torch.rand(40, 20, generator=torch.Generator().manual_seed(0))
    weights = fit_correction(check, scores, torch.arange(40))
    assert weights.isfinite().all()
    assert loss_by_hand(check, scores.clamp(-300, 300), weights.double().numpy()) < np.inf


def test_each_half_is_measured_with_the_correction_of_the_other():
    """Columns that tell the held-out items of the one half apart say nothing about those of the other."""
    check = made_check(301, 30, informative=4)
    first = torch.arange(301) < 151
    features = torch.where(first[:, None, None], check.features, check.features.roll(1, dims=2))
    check = replace(check, features=features)
    scores = torch.rand(301, 30, generator=torch.Generator().manual_seed(0))
    adjustment, result = choose_adjustment(check, scores)
    halves = torch.arange(151), torch.arange(151, 301)
    corrected = scores.clone()
    for half, others in (halves, halves[::-1]):
        corrected[half] += check.features[half].float() @ fit_correction(check, scores, others)
    weight, expected = choose_best_scorer_weight(check, corrected)
    assert result == expected and adjustment.best_scorer_weight == weight
    torch.testing.assert_close(adjustment.correction, fit_correction(check, scores, torch.arange(301)))


@pytest.mark.parametrize("n_users", [1, 2, 3])
def test_a_self_check_of_few_users(n_users):
    check = made_check(n_users, 30, informative=4)
    scores = torch.rand(n_users, 30, generator=torch.Generator().manual_seed(0))
    adjustment, result = choose_adjustment(check, scores)
    assert adjustment.correction.isfinite().all() and adjustment.correction.any()
    if n_users == 1:  # no other user: the result is that of the network alone
        assert result == choose_best_scorer_weight(check, scores)[1]


def test_a_dataset_that_differs_from_those_of_the_pre_training_is_learned():
    check = made_check(500, 30, informative=4)
    before = check.result(torch.zeros(500, 30)).ndcg
    _, result = choose_adjustment(check, torch.zeros(500, 30))
    assert result.ndcg > before + 0.05


def test_lists_and_explanations_have_the_adjustment(monkeypatch):
    matrix = random_matrix(200, 50, 0.2)
    network = attached(matrix)
    monkeypatch.setattr(type(network.proximity), "fallback_reason", lambda *_: "")
    users = torch.arange(5)
    check = network.proximity.check
    result = check.result(network._check_scores(check))
    network._checked = check, Adjustment(torch.zeros(n_columns()), 0.0), result
    alone = network.score_all(users)
    correction = torch.rand(n_columns(), generator=torch.Generator().manual_seed(0))
    network._checked = check, Adjustment(correction, 0.5), result
    adjusted = network.score_all(users)
    lists, columns = network.candidate_columns(users)
    expected = with_best_scorer(network(*columns) + lists.features @ correction, lists.features, lists.mask, 0.5)
    torch.testing.assert_close(network.candidate_scores(columns, lists.mask), expected)
    for row in range(5):
        items = lists.items[row][lists.mask[row]]
        torch.testing.assert_close(adjusted[row, items], expected[row][lists.mask[row]].log_softmax(dim=0))
        rest = np.setdiff1d(np.arange(50), items)
        torch.testing.assert_close(adjusted[row, rest], alone[row, rest])
    assert not torch.equal(adjusted, alone)


def test_nothing_is_adjusted_in_training_or_with_further_families():
    network = attached(random_matrix(200, 50, 0.2))
    check = network.proximity.check
    present = Adjustment(torch.ones(n_columns()), 0.5)
    network._checked = check, present, check.result(network._check_scores(check))
    assert network.adjustment is present
    assert network.train().adjustment is None
    assert network._checked is None  # other weights, another choice
    pipeline = FeaturePipeline(["activity", "proximity"], seed=0)
    more = RankingNetwork(pipeline.dims, [4], 4, 0.0, "concatenation").eval()
    assert more.attach(pipeline(random_matrix(200, 50, 0.2))).adjustment is None
