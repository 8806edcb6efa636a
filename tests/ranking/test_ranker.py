"""UniversalRanker: updates against a rebuild, fast lists, fallback to popularity, and arguments."""

from __future__ import annotations

import gc
import re
import weakref
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal import FeaturePipeline, UniversalRanker
from recbole_universal.features.candidate_columns import column_groups
from recbole_universal.features.proximity_pairs import ProximityPairs
from recbole_universal.graph import SCORERS, GraphScorers
from recbole_universal.ranking import correction
from recbole_universal.ranking.ranking_network import RankingNetwork

DECOMPOSED = {"low_pass", "mid_pass", "full_pass", "regression"}


def communities(seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    group = np.arange(60) % 3
    dense = rng.random((60, 45)) < np.where(group[:, None] == np.arange(45) % 3, 0.35, 0.04)
    dense[7], dense[:, 11] = False, False  # an unused id on each side
    return sp.csr_matrix(dense.astype(np.float32))


def arrived() -> tuple[np.ndarray, np.ndarray]:
    """New interactions of known and unused rows and columns, of further rows and columns, and a repeated one."""
    matrix = communities()
    users = np.array([0, 0, 7, 7, 7, 3, 61, 61, 3], dtype=np.uint32)
    return users, np.array([11, 4, 0, 3, 6, matrix[3].indices[0], 1, 46, 46])


def test_an_updated_ranker_has_the_counts_and_paths_of_a_new_one():
    matrix, (users, items) = communities(), arrived()
    ranker = UniversalRanker(matrix)
    ranker.update(users, items)
    merged = sp.lil_matrix((62, 47), dtype=np.float32)
    merged[:60, :45] = matrix
    merged[users, items] = 1.0
    new = UniversalRanker(merged.tocsr())
    assert (ranker.matrix != new.matrix).nnz == 0
    pairs, expected = ranker.features["proximity"].pair, new.features["proximity"].pair
    groups = column_groups()
    share = [groups[name][0] for name in SCORERS if name not in DECOMPOSED]
    compared = 0
    for user in (0, 3, 7, 20, 61):
        candidates, others = (p.candidates(torch.tensor([user])).items[0] for p in (pairs, expected))
        both = torch.from_numpy(np.intersect1d(candidates, others))
        both = both[both >= 0]
        compared += len(both)
        rows = torch.full_like(both, user)
        torch.testing.assert_close(pairs(rows, both)[:, share], expected(rows, both)[:, share], rtol=1e-4, atol=1e-5)
    assert compared > 50
    lists, scores = ranker.top_k(np.array([0, 7, 61]), 5)
    assert np.isfinite(scores).all()
    for user, items_of_user in zip((0, 7, 61), lists, strict=True):
        assert not set(items_of_user) & set(merged.tocsr()[user].indices)
    # The new user of group 0 gets items of group 0.
    assert (lists[1] % 3 == 0).mean() >= 0.8


def test_an_update_with_nothing_new_changes_no_list():
    matrix = communities()
    ranker = UniversalRanker(matrix)
    before, scores = ranker.top_k(np.arange(60), 10)
    ranker.update(np.array([]), np.array([]))
    known = matrix.nonzero()
    ranker.update(known[0][:5], known[1][:5])
    after, updated = ranker.top_k(np.arange(60), 10)
    np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(scores, updated, rtol=1e-5)


def test_activity_is_that_of_all_interactions():
    matrix = communities()
    pipeline = FeaturePipeline(["activity"])
    merged = matrix.copy().tolil()
    merged[7, 11] = 1.0
    updated, rebuilt = pipeline.with_interactions(pipeline(matrix), merged.tocsr()), pipeline(merged.tocsr())
    np.testing.assert_array_equal(updated["activity"].user, rebuilt["activity"].user)
    np.testing.assert_array_equal(updated["activity"].item, rebuilt["activity"].item)


@pytest.mark.parametrize(
    ("users", "items", "message"),
    [
        ([0.5], [1], "users: must be integers from 0 on"),
        ([0], [-1], "items: must be integers from 0 on"),
        ([0, 1], [1], "users, items: must be equally many, got 2 and 1"),
        ([[0]], [1], "users: must be a list of integers"),
        (0, 1, "users: must be a list of integers"),
        ([0], [2**31 + 5], "items: 2147483653 is too high.* the next new one is 45"),
        ([62, 0], [1, 1], "users: 62 is too high.* the next new one is 60"),
    ],
)
def test_bad_updates_change_nothing(users, items, message):
    ranker = UniversalRanker(communities())
    before = ranker.matrix
    with pytest.raises(ValueError, match=message):
        ranker.update(np.array(users), np.array(items))
    assert ranker.matrix is before


def test_families_that_need_a_rebuild_say_so():
    ranker = UniversalRanker(communities(), "universal-paper")
    with pytest.raises(ValueError, match="feature family 'cooccurrence': cannot be updated"):
        ranker.update(np.array([0]), np.array([11]))


def test_other_types_than_matrices_are_refused():
    with pytest.raises(ValueError, match=r"must be a SciPy sparse matrix .* got str; for a file"):
        UniversalRanker("ratings.csv")
    with pytest.raises(ValueError, match="users: must be row indices from 0 to 59"):
        UniversalRanker(communities()).top_k(61, 5)


def test_fast_lists_are_near_the_lists_of_the_model():
    matrix = communities()
    ranker = UniversalRanker(matrix)
    users = np.flatnonzero(np.diff(matrix.indptr))[::-1]
    items, scores = ranker.top_k(users, 10, fast=True)
    by_network, _ = ranker.top_k(users, 10)
    assert np.mean([len(set(a) & set(b)) for a, b in zip(items, by_network, strict=True)]) > 8
    assert (np.diff(scores, axis=1) <= 0).all() and np.isfinite(scores).all()
    for user, recommended in zip(users, items, strict=True):
        assert len(set(recommended)) == 10 and not set(recommended) & set(matrix[user].indices)
    assert (items % 3 == (users % 3)[:, None]).mean() > 0.6  # of the user's group: a third by chance
    seen, _ = ranker.top_k(users, 10, exclude_seen=False, fast=True)
    assert set(seen[0]) & set(matrix[users[0]].indices)


def test_fast_lists_end_with_the_most_popular():
    matrix = communities()
    ranker = UniversalRanker(matrix)
    popular = np.argsort(-np.asarray(matrix.sum(axis=0))[0], kind="stable")
    items, scores = ranker.top_k(np.array([7]), 45, fast=True)  # without interactions
    np.testing.assert_array_equal(items[0], popular)
    items, scores = ranker.top_k(np.array([3]), 60, fast=True)
    n_unseen = 45 - matrix[3].nnz
    assert (items[0] >= 0).sum() == n_unseen == len(set(items[0]) - {-1})
    assert np.isneginf(scores[0, n_unseen:]).all() and np.isfinite(scores[0, :n_unseen]).all()
    tail = items[0, :n_unseen][scores[0, :n_unseen] <= 0]
    expected = [item for item in popular if item in tail]
    degree = np.asarray(matrix.sum(axis=0))[0]
    np.testing.assert_array_equal(degree[tail], degree[expected])


def test_an_update_renews_the_item_item_matrix():
    ranker = UniversalRanker(communities())
    before = ranker.item_item()
    assert ranker.item_item() is before
    with pytest.raises(ValueError, match="read-only"):
        before.data *= 2
    users, items = arrived()
    ranker.update(users, items)
    assert ranker.item_item().shape == (47, 47)
    assert ranker.item_item()[46].nnz and before.shape == (45, 45)  # an item that came


def test_relations_are_by_the_items_of_the_matrix():
    """The canonical order of the features does not show: relabelled items have relabelled relations."""
    matrix, order = communities(), np.random.default_rng(1).permutation(45)
    relations = UniversalRanker(matrix).item_item().toarray()
    relabelled = UniversalRanker(matrix[:, order].tocsr()).item_item().toarray()
    np.testing.assert_allclose(relabelled, relations[np.ix_(order, order)], rtol=1e-3, atol=1e-5)


def test_a_model_without_proximity_has_no_item_item_matrix():
    ranker = UniversalRanker(communities(), "universal-paper")
    with pytest.raises(ValueError, match=r"Only a model with the family \[proximity\]"):
        ranker.top_k(np.array([0]), 3, fast=True)


def test_fast_lists_cost_neither_scorers_nor_network(monkeypatch):
    ranker = UniversalRanker(communities())
    before, _ = ranker.top_k(np.arange(60), 5, fast=True)
    for cls in (GraphScorers, RankingNetwork):
        for name in ("asked", "score_all", "forward"):
            monkeypatch.setattr(cls, name, None, raising=False)
    again, _ = ranker.top_k(np.arange(60), 5, fast=True)
    np.testing.assert_array_equal(before, again)
    with pytest.raises(TypeError):
        ranker.top_k(np.arange(60), 5)


def turned(ranker: UniversalRanker) -> UniversalRanker:
    """A model whose network reverses the order of the candidates."""
    state = ranker.network.state_dict()
    turned = {name: -value if name.endswith("pair_head.7.weight") else value for name, value in state.items()}
    ranker.network.load_state_dict(turned)
    return ranker


def assert_popular(ranker: UniversalRanker, lists: np.ndarray) -> None:
    degree = np.bincount(ranker.matrix.indices, minlength=ranker.matrix.shape[1])
    for user, recommended in enumerate(lists):
        seen = ranker.matrix[user].indices
        np.testing.assert_array_equal(degree[recommended], np.sort(np.delete(degree, seen))[::-1][: len(recommended)])
        assert not set(recommended) & set(seen)


def test_a_worse_network_falls_back_to_popularity(monkeypatch):
    monkeypatch.setattr(correction, "CORRECTION_PENALTY", 1e9)  # a corrected network would be better than popularity
    ranker = UniversalRanker(communities())
    assert not ranker.network.falls_back()
    before, fast = (ranker.top_k(np.arange(60), 5, fast=fast)[0] for fast in (False, True))
    state = {name: value.clone() for name, value in ranker.network.state_dict().items()}
    turned(ranker)  # other weights, another decision
    assert re.search(r"20 users.* popularity has NDCG@10 0\.\d+ and the model 0\.\d+$", ranker.fallback_reason())
    with pytest.warns(UserWarning, match="All users get the same popular items: on held-out interactions of 20 users"):
        assert ranker.network.falls_back()
    assert not ranker.fallback_reason(fast=True)
    lists, _ = ranker.top_k(np.arange(60), 5)
    assert_popular(ranker, lists)
    np.testing.assert_array_equal(ranker.top_k(np.arange(60), 5, fast=True)[0], fast)  # made without the network
    items, shares = ranker.explain(3, 5)
    np.testing.assert_array_equal(items, lists[3])
    assert list(shares) == ["popularity"] and (shares["popularity"] == 1).all()
    assert not ranker.network.train().falls_back()  # a network that is being trained ranks
    with torch.no_grad():
        for name, parameter in ranker.network.named_parameters():
            parameter.copy_(state[name])
    ranker.network.eval()
    np.testing.assert_array_equal(ranker.top_k(np.arange(60), 5)[0], before)


def test_worse_fast_lists_fall_back_to_popularity(recwarn, monkeypatch):
    ranker = UniversalRanker(communities())
    check = ranker.network.candidate_pairs.check
    ranker.network.candidate_pairs.check = replace(check, popularity_ndcg=torch.ones_like(check.popularity_ndcg))
    monkeypatch.setattr(ProximityPairs, "item_item", None)  # the matrix that popularity replaces is not computed
    ranker.prepare_fast()
    assert "fast lists" in ranker.fallback_reason(fast=True)
    assert ranker.fallback_reason(fast=True) in str(recwarn.pop(UserWarning).message)
    assert_popular(ranker, ranker.top_k(np.arange(60), 5, fast=True)[0])
    assert not len(recwarn)  # one warning


def test_updates_do_not_repeat_the_warning():
    """Neither about lists of the network nor about fast ones, whether the dataset has a self-check or not."""
    one_item_each = sp.csr_matrix((np.ones(60), (np.arange(60), np.arange(60) % 45)), shape=(60, 45))
    for matrix in (communities(), one_item_each):
        ranker = UniversalRanker(matrix)
        check = ranker.network.candidate_pairs.check
        if check is not None:
            better = torch.full_like(check.popularity_ndcg, 0.999)
            ranker.network.candidate_pairs.check = replace(check, popularity_ndcg=better)
        messages: list[str] = []
        ranker.on_fallback = messages.append
        for _ in range(3):
            for fast in (True, False):
                ranker.top_k(np.arange(3), 5, fast=fast)
            n_users = ranker.matrix.shape[0]
            ranker.update(np.array([n_users]), np.array([0]))
        assert len(messages) == (1 if check is None else 2)


def test_a_callback_that_ranks_is_called_once():
    """Also where each update in it makes another dataset, which warns again."""
    ranker = UniversalRanker(sp.eye(20).tocsr())
    messages: list[str] = []

    def rank(message):
        messages.append(message)
        assert len(messages) < 5, "no end"
        ranker.top_k(np.arange(3), 5)
        ranker.top_k(np.arange(3), 5, fast=True)
        assert ranker.network.attach(UniversalRanker(sp.eye(20 + len(messages)).tocsr()).features).falls_back()

    ranker.on_fallback = rank
    for _ in range(2):
        ranker.top_k(np.arange(3), 5)
    assert len(messages) == 2  # a dataset that was attached in the callback warns after it


def test_a_failed_callback_does_not_silence_the_next():
    messages: list[str] = []

    def fail(message):
        messages.append(message)
        raise RuntimeError

    for _ in range(2):
        ranker = UniversalRanker(sp.eye(20).tocsr())
        ranker.on_fallback = fail
        with pytest.raises(RuntimeError):
            ranker.top_k(np.arange(3), 5)
    assert len(messages) == 2


def test_the_callback_is_a_function_or_none(recwarn):
    ranker = UniversalRanker(sp.eye(20).tocsr())
    with pytest.raises(ValueError, match=r"on_fallback must be a function of the message, or None, not 'log'"):
        ranker.on_fallback = "log"
    ranker.on_fallback = None
    assert_popular(ranker, ranker.top_k(np.arange(3), 5)[0])
    assert ranker.on_fallback is None and not len(recwarn)


def test_a_ranker_that_is_replaced_frees_its_memory():
    """Without the garbage collector, since a service replaces its ranker by the next one."""
    ranker = UniversalRanker(communities())
    ranker.top_k(np.arange(3), 5)
    gone = weakref.ref(ranker), weakref.ref(ranker.features)
    gc.disable()
    try:
        del ranker
        assert all(reference() is None for reference in gone)
    finally:
        gc.enable()


def test_few_checked_users_are_checked_anew_when_there_are_twice_as_many():
    """The self-check is that of a new ranker, so the order of arrival does not matter."""
    users, items = np.arange(60), np.arange(60) % 45
    ranker = UniversalRanker(sp.csr_matrix((np.ones(60, dtype=np.float32), (users, items)), shape=(60, 45)))
    checked = []
    for user in range(20):
        ranker.update([user], [(user + 3) % 45])
        checked.append(len(ranker.network.candidate_pairs.check.n_held_out))
    assert checked == [1, 2, 2, 4, 4, 4, 4, *[8] * 8, *[16] * 5]
    again = UniversalRanker(communities()[:, np.random.default_rng(2).permutation(45)].tocsr())
    few = communities().tolil()
    few[1:] = 0
    grown = UniversalRanker(few.tocsr())
    left = (communities() - few.tocsr()).tocsr()
    left.eliminate_zeros()
    grown.update(*left.nonzero())
    np.testing.assert_allclose(
        grown.network.candidate_pairs.scorer_weights, again.network.candidate_pairs.scorer_weights, atol=1e-6
    )  # whatever the numbering


def test_each_dataset_has_one_decision_and_one_warning():
    ranker = UniversalRanker(communities())
    messages = []
    ranker.on_fallback = messages.append
    other = UniversalRanker(communities(1))
    other.network.candidate_pairs.check = replace(
        other.network.candidate_pairs.check, popularity_ndcg=torch.ones(20, dtype=torch.float64)
    )
    assert not ranker.network.falls_back()
    for _ in range(2):
        assert ranker.network.attach(other.features).falls_back()
    assert len(messages) == 1
    assert ranker.network.attach(UniversalRanker(sp.eye(20).tocsr()).features).falls_back()
    assert len(messages) == 2 and "no user has two" in messages[1]  # once for each dataset
    assert ranker.network.attach(UniversalRanker(sp.eye(30).tocsr()).features).falls_back()
    assert len(messages) == 3


def test_popularity_ranks_until_a_user_has_two_interactions():
    users, items = np.arange(60), np.arange(60) % 45
    matrix = sp.csr_matrix((np.ones(60, dtype=np.float32), (users, items)), shape=(60, 45))
    ranker = UniversalRanker(matrix)
    assert ranker.network.falls_back()
    assert_popular(ranker, ranker.top_k(users, 5)[0])
    ranker.update(*communities().nonzero())
    assert not ranker.network.falls_back()
    assert (ranker.top_k(np.array([0]), 5)[0] % 3 == 0).mean() >= 0.6


def test_the_self_check_is_of_proximity_alone():
    pipeline = FeaturePipeline(["activity", "proximity"], seed=0)
    network = RankingNetwork(pipeline.dims, [8], 4, 0.0, "concatenation").eval()
    assert not network.attach(pipeline(sp.eye(20).tocsr())).falls_back()


def test_columns_given_to_a_model_of_lists_are_refused_where_they_differ():
    pipeline = FeaturePipeline(["activity", "proximity"], seed=0)
    network = RankingNetwork(pipeline.dims, [8], 4, 0.0, "concatenation").eval().attach(pipeline(communities()))
    users, items = torch.arange(5), torch.arange(5) + 3
    scores = network.score_pairs(users, items)
    columns = {"user_activity": network.user_activity[users], "item_activity": network.item_activity[items]}
    torch.testing.assert_close(network.score_pairs(users, items, columns), scores, rtol=0, atol=0)
    for name in columns:
        with pytest.raises(ValueError, match=rf"given: \[{name}\] differs from the attached column"):
            network.score_pairs(users, items, {**columns, name: columns[name].flip(1)})
    with pytest.raises(ValueError, match=r"given: \[user_activity\] differs"):
        network.score_pairs(users, items, {"user_activity": columns["user_activity"][:1]})
    with pytest.raises(ValueError, match=r"given: \[pair_proximity\] differs"):
        network.score_pairs(users, items, {"pair_proximity": torch.ones(5, pipeline.dims["proximity"]["pair"])})
    with pytest.raises(ValueError, match=r"given: this model reads .* and no column \[user_cooccurrence\]"):
        network.score_pairs(users, items, {"user_cooccurrence": columns["user_activity"]})


def test_columns_given_to_a_model_of_pairs_replace_the_attached():
    pipeline = FeaturePipeline(["activity"], seed=0)
    network = RankingNetwork(pipeline.dims, [8], 4, 0.0, "concatenation").eval().attach(pipeline(communities()))
    users, items = torch.arange(5), torch.arange(5) + 3
    given = {"user_activity": network.user_activity[users + 10]}
    expected = network.score_pairs(users + 10, items)
    torch.testing.assert_close(network.score_pairs(users, items, given), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "users",
    [[2, 5, 2], np.array([2, 5, 2], np.int32), np.array([2, 5, 2], np.uint64), (2, 5, 2), torch.tensor([2, 5, 2])],
)
def test_users_of_any_integer_type_get_the_same_lists(users):
    ranker = UniversalRanker(communities())
    for fast in (False, True):
        items, scores = ranker.top_k(users, 4, fast=fast)
        expected = ranker.top_k(np.arange(60), 4, fast=fast)
        np.testing.assert_array_equal(items, expected[0][[2, 5, 2]])
        np.testing.assert_allclose(scores, expected[1][[2, 5, 2]], rtol=1e-6)


def test_no_users_and_k_beyond_the_number_of_items():
    ranker = UniversalRanker(communities())
    for fast in (False, True):
        for nobody in ([], range(0), np.array([], dtype=np.uint8)):
            items, scores = ranker.top_k(nobody, 4, fast=fast)
            assert items.shape == scores.shape == (0, 4) and items.dtype == np.int64 and scores.dtype == np.float32
        items, scores = ranker.top_k(range(3), 70, fast=fast)
        shorter, _ = ranker.top_k(range(3), 45, fast=fast)
        np.testing.assert_array_equal(items[:, :45], shorter)
        assert (items[:, 45:] == -1).all() and np.isneginf(scores[items < 0]).all()
        for row, recommended in enumerate(items):
            unseen = set(range(45)) - set(ranker.matrix[row].indices)
            assert set(recommended[recommended >= 0]) == unseen


def test_a_ranker_of_the_arrays_of_another_has_the_same_lists():
    ranker = UniversalRanker(communities())
    ranker.update(*arrived())
    again = UniversalRanker.from_arrays(ranker.arrays(), ranker.pretrained)
    assert (again.matrix != ranker.matrix).nnz == 0
    for _ in range(2):
        for fast in (False, True):
            lists = (each.top_k(np.arange(62), 10, fast=fast) for each in (ranker, again))
            for ours, theirs in zip(*lists, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        for each in (ranker, again):
            each.update([3], [0])
    arrays = ranker.arrays()
    del arrays["features.proximity.pair.top_k"]
    with pytest.raises(LookupError):
        UniversalRanker.from_arrays(arrays, ranker.pretrained)
