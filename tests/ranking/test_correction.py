"""The linear correction of a network's scores for a dataset: its loss, its cross-fit, and its way into lists."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal import list_weights
from recbole_universal.features import FeaturePipeline
from recbole_universal.features.candidate_columns import n_columns
from recbole_universal.features.self_check import SelfCheck
from recbole_universal.ranking import checked_network, correction, ranking_network
from recbole_universal.ranking.correction import choose_correction, corrected, fit_correction
from recbole_universal.ranking.ranking_network import RankingNetwork


def random_matrix(n_users: int, n_items: int, density: float) -> sp.csr_matrix:
    dense = np.random.default_rng(0).random((n_users, n_items)) < density
    return sp.csr_matrix(dense.astype(np.float32))


def attached(matrix: sp.csr_matrix) -> RankingNetwork:
    pipeline = FeaturePipeline(["proximity"], seed=0)
    torch.manual_seed(0)
    return RankingNetwork(pipeline.dims, [4], 4, 0.0, "concatenation").eval().attach(pipeline(matrix))


def made_check(n_users: int, n_candidates: int, informative: int) -> SelfCheck:
    """A self-check with random columns, in which the held-out items, one or two a user, are high in one of them."""
    rng = np.random.default_rng(0)
    features = rng.random((n_users, n_candidates, n_columns()))
    label = np.zeros((n_users, n_candidates), dtype=bool)
    for _ in range(2):
        label[np.arange(n_users), rng.integers(n_candidates // 2, size=n_users)] = True
    features[..., informative] += 0.5 * label
    mask = np.arange(n_candidates) < rng.integers(n_candidates // 2, n_candidates + 1, size=n_users)[:, None]
    return SelfCheck(
        features=torch.from_numpy(features * mask[..., None]).half(),
        mask=torch.from_numpy(mask),
        label=torch.from_numpy(label),
        n_held_out=torch.from_numpy(label.sum(axis=1)),
        tail_ndcg=torch.zeros(n_users, dtype=torch.float64),
        popularity_ndcg=torch.zeros(n_users, dtype=torch.float64),
        linear_scores=torch.zeros(n_users, n_candidates).half(),
        users=torch.arange(n_users),
    )


def loss_by_hand(check: SelfCheck, scores: torch.Tensor, weights: np.ndarray) -> float:
    """The loss of the correction, user by user in NumPy."""
    total = correction.CORRECTION_PENALTY * (weights**2).sum()
    for user in range(len(scores)):
        mask = check.mask[user].numpy()
        values = scores[user].double().numpy()[mask] + check.features[user].double().numpy()[mask] @ weights
        total -= (values[check.label[user].numpy()[mask]] - np.logaddexp.reduce(values)).sum()
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
    assert sizes[0] == 0 and sizes[1] < 0.2 and sizes == sorted(sizes)


@pytest.mark.parametrize(("penalty", "scale", "halves"), [(10.0, 3e4, False), (0.3, 20.0, True)])
def test_scores_far_apart_have_the_best_correction(monkeypatch, penalty, scale, halves):
    """With a light penalty, Newton's first step goes too far."""
    monkeypatch.setattr(correction, "CORRECTION_PENALTY", penalty)
    check = made_check(40, 20, informative=0)
    scores = torch.where(check.label, -scale, scale) * torch.rand(40, 20, generator=torch.Generator().manual_seed(0))
    losses = []
    derivatives = list_weights._derivatives
    monkeypatch.setattr(list_weights, "_derivatives", lambda *of: losses.append(derivatives(*of)) or losses[-1])
    weights = fit_correction(check, scores, torch.arange(40)).double().numpy()
    values = [loss for loss, _, _ in losses]
    assert halves == any(after > before for before, after in pairwise(values))
    best = loss_by_hand(check, scores, weights)
    assert best < min(loss_by_hand(check, scores, factor * weights) for factor in (0.0, 0.5, 0.9, 1.1, 2.0))
    lists = list_weights.Lists(check.features, scores, check.mask, check.label)
    zeros = torch.zeros(len(weights), dtype=torch.float64)
    _, gradient, _ = derivatives(lists, penalty, torch.arange(40), torch.from_numpy(weights), zeros)
    assert gradient.abs().max() < 0.01


def test_each_half_is_ranked_with_the_correction_of_the_other():
    """Columns that tell the held-out items of the one half apart say nothing about those of the other."""
    check = made_check(301, 30, informative=4)
    first = torch.arange(301) < 151
    features = torch.where(first[:, None, None], check.features, check.features.roll(1, dims=2))
    check = replace(check, features=features)
    scores = torch.rand(301, 30, generator=torch.Generator().manual_seed(0))
    weights, result = choose_correction(check, scores)
    halves = torch.arange(151), torch.arange(151, 301)
    ranked = scores.clone()
    for half, others in (halves, halves[::-1]):
        ranked[half] += check.features[half].float() @ fit_correction(check, scores, others)
    assert result[:2] == check.result(ranked)[:2]
    torch.testing.assert_close(weights, fit_correction(check, scores, torch.arange(301)))


@pytest.mark.parametrize("n_users", [1, 2, 3])
def test_a_self_check_of_few_users(n_users):
    check = made_check(n_users, 30, informative=4)
    scores = torch.rand(n_users, 30, generator=torch.Generator().manual_seed(0))
    weights, result = choose_correction(check, scores)
    assert weights.isfinite().all() and bool(weights.any()) == (n_users > 1)
    if n_users == 1:  # no other user could measure a correction
        assert result[:3] == check.result(scores)[:3]


def test_a_dataset_that_differs_from_those_of_the_pre_training_is_learned():
    check = made_check(500, 30, informative=4)
    before = check.result(torch.zeros(500, 30)).ndcg
    _, result = choose_correction(check, torch.zeros(500, 30))
    assert result.ndcg > before + 0.05


def test_equal_columns_have_equal_scores():
    """The sum over the columns does not depend on the position of an item or on the other users."""
    generator = torch.Generator().manual_seed(0)
    row, weights = torch.rand(n_columns(), generator=generator), torch.randn(n_columns(), generator=generator)
    sums = [corrected(torch.zeros(*shape), row.expand(*shape, -1), weights) for shape in ((1, 1), (3, 7), (50, 333))]
    assert {float(value) for block in sums for value in block.unique()} == {float(sums[0])}


def test_lists_and_explanations_have_the_correction(monkeypatch):
    network = attached(random_matrix(200, 50, 0.2))
    monkeypatch.setattr(type(network.candidate_pairs), "fallback_reason", lambda *_: "")
    users = torch.arange(5)
    weights = torch.rand(n_columns(), generator=torch.Generator().manual_seed(0))
    scores = {}
    for name, chosen in (("alone", torch.zeros(n_columns())), ("corrected", weights)):
        monkeypatch.setattr(
            checked_network, "choose_correction", lambda check, scores, of=chosen: (of, check.result(scores))
        )
        network._checked = None
        scores[name] = network.score_all(users)
    lists, columns = network.candidate_columns(users)
    expected = network(*columns) + lists.features @ weights
    torch.testing.assert_close(network.candidate_scores(columns), expected)
    for row in range(5):
        items = lists.items[row][lists.mask[row]]
        torch.testing.assert_close(scores["corrected"][row, items], expected[row][lists.mask[row]].log_softmax(dim=0))
        rest = np.setdiff1d(np.arange(50), items)
        torch.testing.assert_close(scores["corrected"][row, rest], scores["alone"][row, rest])
    assert not torch.equal(scores["corrected"], scores["alone"])


def test_nothing_is_corrected_in_training_or_with_further_families():
    network = attached(random_matrix(200, 50, 0.2))
    assert network.correction is not None
    assert network.train().correction is None
    pipeline = FeaturePipeline(["activity", "proximity"], seed=0)
    more = RankingNetwork(pipeline.dims, [4], 4, 0.0, "concatenation").eval()
    assert more.attach(pipeline(random_matrix(200, 50, 0.2))).correction is None


def changed_by_loading(network: RankingNetwork) -> None:
    network.load_state_dict({name: 2 * value for name, value in network.state_dict().items()})


def changed_by_an_optimizer(network: RankingNetwork) -> None:
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    torch.optim.SGD(network.parameters(), lr=0.1).step()


def changed_in_place(network: RankingNetwork) -> None:
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(2)


def changed_without_a_new_version(network: RankingNetwork) -> None:
    for weight in network.parameters():
        weight.data.mul_(2)


def changed_in_its_buffers(network: RankingNetwork) -> None:
    for family_network in network.family_networks():
        family_network.pair_scale.mul_(3)


def changed_in_inference_mode(network: RankingNetwork) -> None:
    with torch.inference_mode():
        changed_by_loading(network)


CHANGES = [
    changed_by_loading,
    changed_by_an_optimizer,
    changed_in_place,
    changed_without_a_new_version,
    changed_in_its_buffers,
    changed_in_inference_mode,
]


@pytest.mark.parametrize("change", CHANGES)
def test_other_weights_have_another_correction(change):
    """Also in a network that shares the weights."""
    matrix = random_matrix(200, 50, 0.2)
    network = attached(matrix)
    shared = network.with_features(FeaturePipeline(["proximity"], seed=1)(matrix))
    before = network.correction, shared.correction
    assert network.correction is before[0] and shared.correction is before[1]  # cached
    network.eval()
    assert network.correction is before[0]
    change(network)
    for one, old in zip((network, shared), before, strict=True):
        assert not torch.allclose(one.correction, old)
        check = one.candidate_pairs.check
        torch.testing.assert_close(one.correction, choose_correction(check, one._check_scores(check))[0])


def test_another_self_check_has_another_correction():
    network = attached(random_matrix(200, 50, 0.2))
    before = network.correction
    network.attach(FeaturePipeline(["proximity"], seed=1)(random_matrix(200, 50, 0.2)))
    assert not torch.allclose(network.correction, before)


def test_a_constant_added_to_a_users_scores_changes_nothing():
    check = made_check(100, 30, informative=4)
    scores = torch.randint(8, (100, 30), generator=torch.Generator().manual_seed(0)).float()
    weights, result = choose_correction(check, scores)
    others, same = choose_correction(check, scores - 1024 * torch.arange(100)[:, None])
    torch.testing.assert_close(others, weights)
    assert same[:2] == result[:2]


def test_gradients_after_a_first_call_in_inference_mode():
    network = attached(random_matrix(200, 50, 0.2))
    with torch.inference_mode():
        assert network.correction is not None
    _, columns = network.candidate_columns(torch.arange(5))
    columns[2]["proximity"].requires_grad_(True)
    network.candidate_scores(columns).sum().backward()
    assert columns[2]["proximity"].grad.isfinite().all()


def test_candidates_far_below_the_best_keep_their_order(monkeypatch):
    network = attached(random_matrix(200, 50, 0.2))
    monkeypatch.setattr(type(network.candidate_pairs), "fallback_reason", lambda *_: "")
    users = torch.arange(5)
    with torch.no_grad():
        for family_network in network.family_networks():
            family_network.pair_head[-1].weight.mul_(3000)
        lists, columns = network.candidate_columns(users)
        raw, scores = network.candidate_scores(columns), network.score_all(users)
    assert (raw.amax(dim=1) - raw.masked_fill(~lists.mask, torch.inf).amin(dim=1)).min() > 100
    for row in range(5):
        items = lists.items[row][lists.mask[row]]
        order = raw[row][lists.mask[row]].argsort(descending=True)
        ranked = scores[row, items[order]]
        assert (ranked.diff() < 0).all() and ranked[0] <= 0
        assert ranked[-1] > ranking_network.MIN_CANDIDATE_SCORE
        assert scores[row, np.setdiff1d(np.arange(50), items)].max() < ranking_network.MIN_CANDIDATE_SCORE


def test_a_network_that_was_made_in_inference_mode():
    with torch.inference_mode():
        network = attached(random_matrix(200, 50, 0.2))
    assert network.correction.isfinite().all()


def test_the_self_check_runs_on_one_thread(monkeypatch):
    """Its small operations would wait for a second thread each time, and so for ever longer on a busy machine."""
    network, threads = attached(random_matrix(60, 40, 0.2)), set()
    forward = RankingNetwork.forward
    monkeypatch.setattr(RankingNetwork, "forward", lambda *args: threads.add(torch.get_num_threads()) or forward(*args))
    fit = correction.fit_correction
    monkeypatch.setattr(correction, "fit_correction", lambda *args: threads.add(torch.get_num_threads()) or fit(*args))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        network.fallback_reason()
        assert threads == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
