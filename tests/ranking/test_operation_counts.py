"""What a list costs, in operations and not in seconds: pairs that the networks score, weights read, dense arrays."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_universal import UniversalRanker
from recbole_universal.graph import regression_scores, sequence_scores
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.sequence_scores import SequenceScores
from recbole_universal.ranking.pair_products import PairProducts

N_USERS, N_ITEMS = 700, 900


@pytest.fixture(scope="module")
def ranker() -> UniversalRanker:
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(N_USERS), 12)
    columns = (N_ITEMS * rng.random(len(rows)) ** 2).astype(np.int64)
    columns = np.where(rng.random(len(rows)) < 0.7, columns // 4 * 4 + rows % 4, columns) % N_ITEMS
    matrix = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(N_USERS, N_ITEMS))
    return UniversalRanker(matrix)


@pytest.fixture(scope="module")
def sequential(ranker) -> UniversalRanker:
    """The same interactions as walks, mostly one step on."""
    rng = np.random.default_rng(1)
    steps = np.where(rng.random((N_USERS, 12)) < 0.8, 1, rng.integers(2, N_ITEMS, (N_USERS, 12)))
    items = (rng.integers(0, N_ITEMS, N_USERS)[:, None] + steps.cumsum(axis=1)) % N_ITEMS
    histories = Histories.of_events(np.repeat(np.arange(N_USERS), 12), items.ravel(), N_USERS)
    return UniversalRanker(histories.matrix(N_ITEMS), "universal-sequential", histories=histories)


class Widths(TorchDispatchMode):
    """The results of PyTorch's operations with a column an item, in the calling thread."""

    def __init__(self) -> None:
        super().__init__()
        self.dense: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dim() > 1 and result.shape[-1] == N_ITEMS:
            self.dense.append(str(function))
        return result


def test_lists_are_made_without_scores_of_all_items(ranker):
    users = np.arange(40)
    with torch.no_grad(), Widths() as widths:
        ranker.network.score_all(torch.from_numpy(users[:8]))
    assert widths.dense
    with Widths() as widths:
        ranker.top_k(users, 20)
    assert not widths.dense


def test_the_networks_score_few_pairs_of_a_user(ranker, monkeypatch):
    scored = []
    call = PairProducts.__call__

    def counted(products, features):
        scored.append((len(features), features.shape[1]))
        return call(products, features)

    monkeypatch.setattr(PairProducts, "__call__", counted)
    ranker.top_k(np.arange(N_USERS), 20)
    assert sum(n_users for n_users, _ in scored) == N_USERS
    # Four sources draw as many items as a scorer's list has, and popularity draws 20.
    assert max(width for _, width in scored) <= 4 * ranker.network.candidate_pairs.top_k + 20


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("filtered", [False, True])
def test_lists_are_the_best_of_the_scores_of_all_items(ranker, exclude_seen, filtered):
    """Candidates, and popular items after them: 300 items are more than the candidates of a user."""
    users = np.arange(0, N_USERS, 9)
    allowed = np.random.default_rng(0).random(N_ITEMS) < 0.8 if filtered else None
    items, values = ranker.top_k(users, 300, exclude_seen, allowed=allowed)
    some = AllowedItems.checked(allowed, len(users), N_ITEMS)
    with torch.no_grad():
        scores = ranker.network.score_all(torch.from_numpy(users), exclude_seen, some).numpy()
    if exclude_seen:
        scores[ranker.matrix[users].nonzero()] = -np.inf
    if filtered:
        scores[:, ~allowed] = -np.inf
    expected = -np.sort(-scores, axis=1)[:, :300]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(scores, items, 1), expected, rtol=1e-4, atol=1e-4)


def test_the_regression_draws_by_its_largest_weights():
    weights = np.random.default_rng(0).standard_normal((1300, 1300)).astype(np.float32)
    items = np.random.default_rng(1).permutation(2000)[:1300]
    strong = regression_scores.strong_weights(weights, items, 2000)
    assert strong.nnz / 1300 == pytest.approx(512, rel=0.03)
    dense = strong.toarray()[:, items]
    kept = dense != 0
    np.testing.assert_array_equal(dense[kept], weights[kept])
    assert np.abs(weights[kept]).min() >= np.abs(weights[~kept]).max()
    few = regression_scores.strong_weights(weights[:5, :5].copy(), items[:5], 2000)
    np.testing.assert_array_equal(few.toarray()[:, items[:5]], weights[:5, :5])  # all of few weights


def test_the_regression_of_small_components_draws_by_no_weight_of_0():
    """Without a common user, the weights of two items are exactly 0."""
    weights = np.kron(np.eye(200, dtype=np.float32), np.ones((5, 5), dtype=np.float32))
    assert regression_scores.strong_weights(weights, np.arange(1000), 1000).nnz == 200 * 25


def test_scorers_of_histories_score_few_pairs_without_scores_of_all_items(sequential, monkeypatch):
    asked, call = [], SequenceScores.of

    def counted(scores, items, lengths):
        asked.append(items.shape)
        return call(scores, items, lengths)

    monkeypatch.setattr(SequenceScores, "of", counted)
    pairs = sequential.network.candidate_pairs
    with Widths() as widths:
        sequential.top_k_of(pairs.scorers.histories[:60], 20)
    assert not widths.dense and sum(n for n, _ in asked) == 60
    # Five sources draw half as many items again as a scorer's list has, and popularity draws 20.
    assert 50 < max(width for _, width in asked) <= 5 * 1.5 * pairs.top_k + 20 < N_ITEMS / 2


def test_relations_of_histories_are_read_twice(sequential, monkeypatch):
    """Once to draw and once for all scorers of a relation, and no more than the rows of the history's items."""
    scorers = sequential.network.candidate_pairs.scorers
    histories = scorers.histories[:60]
    read = dict.fromkeys(("transitions", "neighbors", "reversed_transitions", "next"), 0)

    def spied(name, items_of):
        function = getattr(sequence_scores, name)

        def counting(weights, relations, *args):
            for relation in read:
                if relations is scorers.relations[relation]:
                    read[relation] += int(np.diff(relations.indptr)[items_of(weights)].sum())
            return function(weights, relations, *args)

        monkeypatch.setattr(sequence_scores, name, counting)

    spied("weighted_sums_at", lambda weights: weights.pattern.indices)
    for name in ("best_of_sums", "sums_at"):
        spied(name, lambda weights: weights.indices)
    sequential.top_k_of(histories, 20)
    whole = {name: int(np.diff(scorers.relations[name].indptr)[histories.items].sum()) for name in read}
    assert 0 < read["next"] <= whole["next"] / 6
    assert whole["reversed_transitions"] / 2 < read["reversed_transitions"] <= whole["reversed_transitions"]
    for name in ("transitions", "neighbors"):
        assert whole[name] < read[name] <= 2 * whole[name]
