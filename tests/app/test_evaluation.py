"""The metrics of the analysis: known answers and laws."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal import UniversalRanker
from recbole_universal.app.analysis import evaluation, statistics
from recbole_universal.features import FeaturePipeline, self_check
from recbole_universal.features.candidate_columns import column_groups, n_columns
from recbole_universal.features.proximity import ProximityFeatures
from recbole_universal.graph import InteractionGraph
from recbole_universal.metrics import gini
from recbole_universal.ranking.attribution import contributions


def communities(n_users: int = 120, n_items: int = 50, seed: int = 0) -> sp.csr_matrix:
    """Users of two communities who mostly take items of their community. Every user and item has interactions."""
    rng = np.random.default_rng(seed)
    same = np.arange(n_users)[:, None] % 2 == np.arange(n_items) % 2
    dense = rng.random((n_users, n_items)) < np.where(same, 0.4, 0.05)
    dense[:, 0] |= ~dense.any(axis=1)
    dense[0] |= ~dense.any(axis=0)
    return sp.csr_matrix(dense.astype(np.float32))


def test_k_core_is_the_largest_submatrix_with_k_interactions():
    dense = np.zeros((5, 5))
    dense[:3, :3] = 1  # stays
    dense[3, [0, 3]] = dense[4, [3, 4]] = 1  # a chain that falls away link by link
    core = statistics.k_core(sp.csr_matrix(dense), 3)
    assert core.shape == (3, 3) and core.nnz == 9
    assert statistics.k_core(sp.csr_matrix(dense), 4).nnz == 0


def test_gini():
    assert gini(np.ones(10)) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.zeros(3)) == 0


def test_training_and_held_out_interactions_make_the_matrix():
    matrix = communities()
    held_out = evaluation.HeldOut(matrix, 30, 1)
    assert abs(held_out.train + held_out.test - matrix).nnz == 0
    assert held_out.train.multiply(held_out.test).nnz == 0
    assert len(held_out.users) == 30


def test_of_users_with_few_interactions_half_are_evaluated():
    """If each user lost one of two interactions, no user would relate items."""
    two = sp.csr_matrix(np.tile(np.eye(10), (1, 2))[np.arange(40) % 10])
    held_out = evaluation.HeldOut(two, 1000, 1)
    assert len(held_out.users) == 20 and (np.diff(held_out.train.indptr) == 2).sum() == 20
    many = evaluation.HeldOut(communities(), 1000, 1)
    assert (np.diff(many.test.indptr) > 0).sum() == len(many.users) == communities().shape[0]
    some = evaluation.HeldOut(communities(), 7, 1)
    # Every user who loses an interaction is evaluated.
    np.testing.assert_array_equal(np.flatnonzero(np.diff(some.test.indptr)), some.users)


def test_a_family_without_values_has_no_distance():
    pipeline = FeaturePipeline(["activity", "proximity"], seed=0)
    features = {"one": pipeline(communities()), "none": pipeline(sp.eye(12).tocsr())}
    assert list(statistics.feature_distances(features, 0)["family"]) == ["activity"]


def test_the_verdict_separates_differences_from_chance():
    held_out = evaluation.HeldOut(communities(), 40, 1)
    nothing = np.full((40, 10), -1)
    ideal = nothing.copy()
    for row, user in enumerate(held_out.users):
        items = held_out.test[user].indices[:10]
        ideal[row, : len(items)] = items
    lists = dict.fromkeys(("MostPop", "ItemKNN", "EASE"), nothing)
    said = evaluation.verdict(held_out, {**lists, "universal model": ideal})
    assert "reaches 1.0000" in said and "0.0000: better by more than two" in said
    said = evaluation.verdict(held_out, {**lists, "EASE": ideal, "universal model": nothing})
    assert "(EASE) 1.0000: worse by more than two" in said
    one = nothing.copy()
    one[0] = ideal[0]
    assert "the difference may be chance" in evaluation.verdict(held_out, {**lists, "universal model": one})


def test_ndcg_of_recommendations():
    held_out = evaluation.HeldOut(communities(), 5, 1)
    ideal = np.full((5, 20), -1)
    for row, user in enumerate(held_out.users):
        items = held_out.test[user].indices[:20]
        ideal[row, : len(items)] = items
    np.testing.assert_allclose(held_out.ndcg(ideal), 1.0)
    assert (held_out.ndcg(np.full((5, 20), -1)) == 0).all()
    later = np.roll(ideal, 1, axis=1)
    later[:, 0] = -1
    assert (held_out.ndcg(later) < 1).all() and (held_out.ndcg(later) > 0).all()


def test_lists_of_scorers_hold_unseen_items_best_first():
    held_out = evaluation.HeldOut(communities(), 40, 1)
    lists = evaluation.scorer_top_k(held_out, 6)
    degree = np.bincount(held_out.train.indices, minlength=50)
    for name, recommended in lists.items():
        for user, items in zip(held_out.users, recommended, strict=True):
            items = items[items >= 0]
            assert not np.isin(items, held_out.train[user].indices).any(), name
    for user, items in zip(held_out.users, lists["popularity"], strict=True):
        unseen = np.setdiff1d(np.arange(50), held_out.train[user].indices)
        assert degree[items].tolist() == sorted(degree[unseen], reverse=True)[:6]


def test_popularity_has_the_lists_of_popularity():
    held_out = evaluation.HeldOut(communities(), 40, 1)
    lists = evaluation.scorer_top_k(held_out, 6)
    lists = {"MostPop": lists["popularity"], "user_cosine": lists["user_cosine"]}
    table = evaluation.popularity(held_out, lists).set_index("model")
    assert table.loc["MostPop", "overlap@6 with MostPop"] == 1
    assert table.loc["user_cosine", "overlap@6 with MostPop"] < 1
    assert table.loc["user_cosine", "item coverage"] > table.loc["MostPop", "item coverage"]
    accuracy = evaluation.accuracy(held_out, lists).set_index("model")
    assert accuracy.loc["user_cosine", "by MostPop's"] > 1.5


def test_deciles_average_to_the_whole():
    held_out = evaluation.HeldOut(communities(), 200, 1)
    lists = evaluation.scorer_top_k(held_out, 20)
    table = evaluation.deciles(held_out, {"user_cosine": lists["user_cosine"]}).set_index(["by", "decile"])["value"]
    decile = evaluation._decile(np.diff(held_out.train.indptr))[held_out.users]
    weighted = sum(table["user activity", k + 1] * (decile == k).sum() for k in range(10) if (decile == k).any())
    assert weighted / len(decile) == pytest.approx(held_out.ndcg(lists["user_cosine"]).mean())


def test_padding_is_no_recommended_item():
    held_out = evaluation.HeldOut(communities(), 40, 1)
    nothing = np.full((40, 20), -1)
    table = evaluation.deciles(held_out, {"nothing": nothing})
    assert table["value"].max() == 0
    assert evaluation.popularity(held_out, {"MostPop": nothing})["overlap@20 with MostPop"][0] == 0


def test_marginals():
    table = statistics.marginals(communities()).set_index("side")
    assert table.loc["users", "number"] == 120 and table.loc["items", "number"] == 50
    assert table.loc["users", "mean"] * 120 == pytest.approx(table.loc["items", "mean"] * 50)


def test_a_log_normal_is_no_power_law():
    pytest.importorskip("powerlaw")
    rng = np.random.default_rng(0)
    assert statistics._tail(np.ceil(rng.lognormal(3, 0.5, 3000)).astype(int))["better fit"] == "log-normal"
    pareto = np.floor((rng.pareto(1.5, 3000) + 1) * 3).astype(int)
    assert statistics._tail(pareto)["power-law exponent"] == pytest.approx(2.5, abs=0.3)


def test_clusters_of_one_seed_agree_with_themselves():
    agreement, stats = statistics.clusters(communities(), range(2))
    assert len(agreement) == 1 and 0 < agreement["normalised mutual information"][0] <= 1
    assert stats["size"].sum() == 170


def test_a_dataset_has_no_distance_from_itself():
    features = FeaturePipeline(["activity", "proximity"], seed=0)(communities())
    table = statistics.feature_distances({"one": features, "other": features}, 0)
    assert set(table["family"]) == {"activity", "proximity"}
    assert table["distance"].max() < 0.2
    same = statistics._feature_rows(features, 0)
    assert [len(rows) for rows in same.values()] == [2, 1]


def test_sizes_of_cores():
    table = evaluation.cores(communities(), 50, 0).set_index("filter")
    assert table.loc["raw", "interactions"] >= table.loc["5-core", "interactions"] > 0
    assert table.loc["raw", "NDCG@10, ItemKNN"] > table.loc["raw", "NDCG@10, MostPop"]


def test_explanations_cover_the_list():
    ranker = UniversalRanker(communities())
    items, shares = ranker.explain(3, 5)
    assert items.tolist() == ranker.top_k(np.array([3]), 5)[0][0].tolist()
    assert set(shares) == set(column_groups())
    np.testing.assert_allclose(sum(np.abs(values) for values in shares.values()), 1, rtol=1e-5)


def test_columns_that_are_equal_for_all_candidates_contribute_nothing():
    ranker = UniversalRanker(communities())
    pairs = ranker.features["proximity"].pair
    columns = column_groups()["user_cosine"]
    original = pairs.candidates

    def flat(users, exclude_seen=True, allowed=None):
        lists = original(users, exclude_seen)
        lists.features[..., columns] = 0.5
        return lists

    pairs.candidates = flat
    _, by_scorer = contributions(ranker.network, *ranker.network.candidate_columns(torch.tensor([3])))
    assert by_scorer["user_cosine"].abs().max() < 1e-5 < max(values.abs().max() for values in by_scorer.values())


def test_column_groups_name_each_column_once():
    columns = [index for group in column_groups().values() for index in group]
    assert sorted(columns) == list(range(n_columns()))


def test_values_of_interactions_count_once():
    matrix = communities()
    weighted = matrix.copy()
    weighted.data[:] = np.random.default_rng(0).integers(-3, 6, matrix.nnz)
    weighted.data[weighted.data == 0] = 9
    for one, other in zip(*(UniversalRanker(m).top_k(np.arange(120), 5) for m in (matrix, weighted)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("user", "k", "message"), [(-1, 5, "user"), (120, 5, "user"), (3.0, 5, "user"), (3, 0, "k:")])
def test_bad_arguments_of_the_ranker(user, k, message):
    ranker = UniversalRanker(communities())
    with pytest.raises(ValueError, match=message):
        ranker.explain(user, k)
    with pytest.raises(ValueError, match=message):
        ranker.top_k(np.array([user]), k)


def test_a_user_without_interactions_cannot_be_explained():
    matrix = sp.vstack([communities(), sp.csr_matrix((1, 50))]).tocsr()
    with pytest.raises(ValueError, match="no interaction"):
        UniversalRanker(matrix).explain(120)


def test_models_without_candidates_cannot_be_explained():
    with pytest.raises(ValueError, match="proximity"):
        UniversalRanker(communities(), "universal-paper").explain(0)


def test_lists_of_a_trained_model_do_not_depend_on_the_global_random_state():
    held_out = evaluation.HeldOut(communities(), 20, 0)
    lists = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        lists.append(evaluation.trained_top_k(held_out, ["activity"], 5, 0))
        assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(*lists)
    assert not held_out.train[held_out.users[:, None], lists[0]].sum()


def test_a_model_trained_on_proximity_beats_one_trained_on_activity():
    held_out = evaluation.HeldOut(communities(), 40, 0)
    recommended = {name: evaluation.trained_top_k(held_out, [name], 10, 0) for name in ("activity", "proximity")}
    gains = {name: held_out.ndcg(lists).mean() for name, lists in recommended.items()}
    assert gains["proximity"] > 1.3 * gains["activity"]


def test_the_analysis_credits_scorers_as_the_self_check_does(monkeypatch):
    """Also if scorers know few items: the same held-out items have the same NDCG."""
    rng = np.random.default_rng(3)
    matrix = sp.csr_matrix((rng.random((80, 60)) < 0.03).astype(np.float32))
    matrix = statistics.k_core(matrix, 1)
    family = ProximityFeatures(n_check_users=1000, check_share=evaluation.HELD_OUT_SHARE)
    gains = []
    relative = self_check.relative_to_best
    monkeypatch.setattr(self_check, "relative_to_best", lambda gain: gains.append(gain) or relative(gain))
    split = self_check.support_query_split
    splits = []
    monkeypatch.setattr(self_check, "support_query_split", lambda *args: splits.append(split(*args)) or splits[-1])
    family.compute(InteractionGraph(matrix), seed=5)
    held_out = evaluation.HeldOut(matrix, 10, 0)
    held_out.train, held_out.test = splits[0]
    held_out.users = np.flatnonzero(np.diff(held_out.test.indptr))
    lists = evaluation.scorer_top_k(held_out, family.top_k)
    del lists["popularity"]
    totals = [held_out.ndcg(lists[name]).sum() for name in lists]
    np.testing.assert_allclose(totals, gains[-1][:-1], rtol=1e-12)
    scores = evaluation.GraphScorers(held_out.train).scores(torch.from_numpy(held_out.users))[:-1]
    assert ((scores > 0).sum(dim=2) < 10).any()  # some lists end with items of score 0
