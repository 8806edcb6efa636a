"""A ranker with weights: the laws of equal weights, of factors, and of weight 0."""

from __future__ import annotations

import dense_reference as dense
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal import Histories, UniversalRanker
from recbole_universal.checkpoint import load_pretrained
from recbole_universal.features import self_check
from recbole_universal.features.pipeline import pipeline_of
from recbole_universal.graph.interaction_graph import InteractionGraph

USERS = np.arange(90)


def likes(seed: int = 0) -> sp.csr_matrix:
    """Two tastes."""
    rng = np.random.default_rng(seed)
    same = np.arange(90)[:, None] % 2 == np.arange(60) % 2
    return sp.csr_matrix((rng.random((90, 60)) < 0.3 * same + 0.03).astype(np.float32))


def with_values(matrix: sp.csr_matrix, values: np.ndarray) -> sp.csr_matrix:
    return sp.csr_matrix((values, matrix.indices, matrix.indptr), shape=matrix.shape, copy=True)


def some_weights(matrix: sp.csr_matrix) -> sp.csr_matrix:
    return with_values(matrix, 2.0 ** np.random.default_rng(1).integers(-3, 4, matrix.nnz))


def with_zeros(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """A third of the interactions has weight 0, among them all of user 4; the others have weight 3."""
    values = np.where(np.random.default_rng(2).random(matrix.nnz) < 1 / 3, 0.0, 3.0)
    values[matrix.indptr[4] : matrix.indptr[5]] = 0.0
    return with_values(matrix, values)


def lists(ranker: UniversalRanker, fast: bool = False, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    return ranker.top_k(USERS, k, fast=fast)


def assert_same(one: UniversalRanker, other: UniversalRanker) -> None:
    for fast in (False, True):
        for ours, theirs in zip(lists(one, fast), lists(other, fast), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def plain() -> UniversalRanker:
    return UniversalRanker(likes())


@pytest.fixture(scope="module")
def weighted() -> UniversalRanker:
    return UniversalRanker(likes(), weights=some_weights(likes()))


@pytest.mark.parametrize("value", [1.0, 0.7, 20.0])
def test_equal_weights_change_no_bit(plain, value):
    assert_same(UniversalRanker(likes(), weights=likes() * value), plain)


def test_other_weights_change_the_lists(plain, weighted):
    for fast in (False, True):
        assert (lists(weighted, fast)[0] != lists(plain, fast)[0]).mean() > 0.1


def test_the_scorers_read_the_weights(plain, weighted):
    name = "features.proximity.pair.scorers.matrix.data"
    assert name not in plain.arrays()
    np.testing.assert_array_equal(np.sort(weighted.arrays()[name]), np.sort(weighted.evidence.data))


def test_candidates_and_columns_follow_the_formulas(monkeypatch):
    """The lists of a ranker with weights are those of dense products of the weighted interactions."""
    monkeypatch.setattr(self_check, "_best_penalty", lambda *arguments: 3.0)
    weights = sp.csr_matrix(dense.WEIGHTED["weighted"])
    ranker = UniversalRanker(weights.sign(), weights=weights)
    evidence, pairs = ranker.evidence.toarray().astype(np.float64), ranker.network.candidate_pairs
    np.testing.assert_allclose(evidence, weights.toarray(), rtol=1e-6)
    by_id = np.flatnonzero(pairs.item_index >= 0), np.flatnonzero(pairs.user_index >= 0)
    used = evidence[np.ix_(by_id[1], by_id[0])]
    order = np.argsort(pairs.user_index[by_id[1]]), np.argsort(pairs.item_index[by_id[0]])
    used = used[np.ix_(*order)]
    expected = dense.Columns(used, dense.scores(used), pairs.scorer_weights.astype(np.float64), pairs.top_k)
    users = np.arange(len(evidence))
    lists = pairs.candidates(torch.from_numpy(users))
    for user in users:
        row, mask = pairs.user_index[user], lists.mask[user].numpy()
        if row < 0:
            assert not mask.any()
            continue
        items = pairs.item_index[lists.items[user].numpy()[mask]]
        sure, possible = expected.candidates(row)
        assert sure <= set(items.tolist()) <= possible
        columns, *_ = expected.of(row, items)
        np.testing.assert_allclose(
            lists.features[user].numpy()[mask][:, :20], columns[:, :20], rtol=2e-3, atol=4e-3, err_msg=str(user)
        )


def test_a_factor_of_all_weights_or_of_a_users_weights_changes_nothing(weighted):
    weights = some_weights(likes())
    assert_same(UniversalRanker(likes(), weights=weights * 4), weighted)
    factor = sp.diags(2.0 ** (np.arange(90) % 5))
    assert_same(UniversalRanker(likes(), weights=sp.csr_matrix(factor @ weights)), weighted)


def test_weight_0_is_a_removed_interaction_that_the_user_has_seen():
    matrix = likes()
    weights = with_zeros(matrix)
    kept = with_values(matrix, (weights.data > 0).astype(np.float32))
    kept.eliminate_zeros()
    ours, theirs = UniversalRanker(matrix, weights=weights), UniversalRanker(kept)
    for name, array in theirs.arrays().items():
        if not name.startswith("matrix."):
            np.testing.assert_array_equal(ours.arrays()[name], array, err_msg=name)
    unseen = sp.csr_matrix(matrix.toarray() == 0)
    for fast in (False, True):
        expected = theirs.top_k(USERS, 10, fast=fast, allowed=unseen)
        for one, other in zip(ours.top_k(USERS, 10, fast=fast), expected, strict=True):
            np.testing.assert_array_equal(one, other)
        everything = [ranker.top_k(USERS, 60, False, fast=fast) for ranker in (ours, theirs)]
        np.testing.assert_array_equal(everything[0][0], everything[1][0])
        filtered = ours.top_k(USERS, 60, fast=fast)[0]
        assert not any(matrix[user, item] for user in USERS for item in filtered[user] if item >= 0)
    assert (lists(ours)[0][4] >= 0).all()  # a user without evidence gets popular items
    items, _ = ours.explain(7, 60)
    assert not matrix[7, items].nnz


def test_weights_are_saved(weighted):
    arrays = weighted.arrays()
    again = UniversalRanker.from_arrays(arrays, load_pretrained("universal-base"))
    assert_same(again, weighted)
    assert (again.evidence != weighted.evidence).nnz == 0
    zeros = UniversalRanker(likes(), weights=with_zeros(likes()))
    assert_same(UniversalRanker.from_arrays(zeros.arrays(), load_pretrained("universal-base")), zeros)


def test_features_with_weights_are_cached_apart(tmp_path, weighted, plain):
    cached = [
        UniversalRanker(likes(), weights=weights, cache_dir=str(tmp_path))
        for weights in (None, some_weights(likes()), some_weights(likes()), None)
    ]
    assert_same(cached[2], weighted)
    assert_same(cached[3], plain)


def test_values_that_count_and_values_that_do_not_are_cached_apart(tmp_path):
    pipeline = pipeline_of(load_pretrained("universal-base").schema["features"], cache_dir=str(tmp_path))
    for is_weighted in (False, True, False):
        pairs = pipeline(InteractionGraph(some_weights(likes()), weighted=is_weighted))["proximity"].pair
        assert ("scorers.matrix.data" in pairs.arrays()) == is_weighted


def test_a_ranker_with_weights_is_not_updated(weighted):
    with pytest.raises(ValueError, match="weights cannot be updated"):
        weighted.update(np.array([0]), np.array([1]))


def test_a_model_of_the_order_leaves_out_events_of_weight_0():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 8)
    items = (np.tile(np.arange(8), 60) + rng.integers(0, 30, 60).repeat(8)) % 30
    histories = Histories.of_events(users, items, 60)
    matrix = histories.matrix(30)
    weights = with_values(matrix, np.where(rng.random(matrix.nnz) < 0.2, 0.0, rng.random(matrix.nnz) + 1))
    kept = with_values(matrix, (weights.data > 0).astype(np.float32))
    kept.eliminate_zeros()
    ours = UniversalRanker(matrix, "universal-sequential", histories=histories, weights=weights)
    theirs = UniversalRanker(kept, "universal-sequential", histories=histories.among(kept))
    rows = np.arange(60)
    np.testing.assert_array_equal(ours.top_k(rows, 30, False)[0], theirs.top_k(rows, 30, False)[0])
    filtered = ours.top_k(rows, 30, True)[0]
    assert not any(matrix[user, item] for user in rows for item in filtered[user] if item >= 0)
