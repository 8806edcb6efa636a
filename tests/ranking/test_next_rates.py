"""How often the item at each rank is the user's next one."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from recbole_universal.features.self_check import SelfCheck
from recbole_universal.ranking.next_rates import next_rates, popular_rates
from recbole_universal.ranking.ranker import UniversalRanker


def planted(n_users: int = 120, n_items: int = 60) -> sp.csr_matrix:
    generator = np.random.default_rng(0)
    likes = np.arange(n_users)[:, None] % 4 == np.arange(n_items) % 4
    return sp.csr_matrix((generator.random(likes.shape) < np.where(likes, 0.5, 0.03)).astype(np.float32))


def test_rates_of_a_self_check():
    """Two users with two held-out items each, at the ranks 1 and 3, and at rank 2."""
    label = torch.tensor([[True, False, True], [False, True, False]])
    zeros = torch.zeros(2, dtype=torch.float64)
    check = SelfCheck(
        features=torch.zeros(2, 3, 1),
        mask=torch.ones(2, 3, dtype=torch.bool),
        label=label,
        n_held_out=torch.tensor([2, 2]),
        tail_ndcg=zeros,
        popularity_ndcg=zeros,
        linear_scores=torch.zeros(2, 3),
        users=torch.arange(2),
    )
    rates = check.result(torch.tensor([[3.0, 2.0, 1.0]] * 2)).next_rate
    assert rates[:4].tolist() == [0.25, 0.25, 0.25, 0.0] and not rates[3:].any()


def test_a_ranker_has_the_rates_of_its_self_check():
    ranker = UniversalRanker(planted())
    rates, fast = next_rates(ranker), next_rates(ranker, fast=True)
    popular = popular_rates(ranker.matrix)
    assert not ranker.fallback_reason()
    assert rates[:10].sum() > 1.3 * popular[:10].sum() and fast[:10].sum() > 1.3 * popular[:10].sum()
    assert rates[:5].sum() > rates[20:25].sum() and rates.sum() <= 1 + 1e-9
    assert not np.array_equal(rates, fast)
    again = UniversalRanker.from_arrays(ranker.arrays(), ranker.pretrained)
    assert np.array_equal(next_rates(again), rates)


def test_where_popularity_ranks_the_rates_are_those_of_popularity():
    generator = np.random.default_rng(0)
    rows = np.zeros((300, 30), dtype=np.float32)
    popular = np.array([1 / (1 + item) for item in range(30)])
    for user in range(300):
        items = generator.choice(30, size=2 if user % 3 == 0 else 1, replace=False, p=popular / popular.sum())
        rows[user, items] = 1
    ranker = UniversalRanker(sp.csr_matrix(rows))
    assert ranker.fallback_reason()
    assert np.array_equal(next_rates(ranker), popular_rates(ranker.matrix))
    rates = popular_rates(ranker.matrix)
    assert np.isclose(rates.sum(), 1) and rates[0] == rates.max()


def test_without_two_interactions_of_a_user_nothing_is_known():
    assert not popular_rates(sp.csr_matrix(np.eye(5, dtype=np.float32))).any()
