"""The proximity family: its laws, its candidates, and the split that excludes a positive from its features."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal.features import FeaturePipeline, proximity, self_check
from recbole_universal.features.binning import percentile
from recbole_universal.features.candidate_columns import n_columns
from recbole_universal.features.proximity import ProximityFeatures
from recbole_universal.features.proximity_pairs import ProximityPairs
from recbole_universal.features.self_check import CheckResult, SelfCheck, falls_back, self_check_of, users_for_penalty
from recbole_universal.graph import scorers
from recbole_universal.graph.held_out import support_query_split
from recbole_universal.graph.scorer_definitions import SCORERS
from recbole_universal.graph.scorers import GraphScorers
from recbole_universal.metrics import ndcg


def random_matrix(n_users: int = 40, n_items: int = 25, density: float = 0.15, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = (rng.random((n_users, n_items)) < density).astype(np.float32)
    dense[0] = dense[:, 0] = 0  # padding
    return sp.csr_matrix(dense)


def pairs_of(matrix: sp.csr_matrix, **args):
    return FeaturePipeline(["proximity"], {"proximity": args}, seed=0)(matrix)["proximity"].pair


def test_the_item_item_matrix_is_that_of_the_weighted_scorers():
    """Each scorer is weighted and divided by its scale, its mean best score of an unseen item over the users."""
    matrix = random_matrix()
    pairs = pairs_of(matrix)
    names = list(SCORERS)
    weights = np.zeros(len(SCORERS), dtype=np.float32)
    weights[[names.index("user_cosine"), names.index("user_squared")]] = 1.0  # the second is no item-item matrix
    weights[names.index("regression")] = 0.95
    weighted = ProximityPairs(pairs.scorers, weights, 50, pairs.user_index, pairs.item_index)
    scores = pairs.scorers.scores(torch.arange(pairs.scorers.n_users)).numpy()
    scores[:, pairs.scorers.matrix.nonzero()[0], pairs.scorers.matrix.nonzero()[1]] = 0.0
    best = dict(zip(names, scores.max(axis=2).mean(axis=1), strict=True))
    share = {"user_cosine": 1.0, "regression": np.exp(20 * -0.05)}
    expected = pairs.scorers.item_item({name: share[name] / best[name] for name in share}, 25).toarray()
    relations = weighted.item_item(25).toarray()
    assert relations.shape == (25, 25) and not relations[0].any() and not relations[:, 0].any()  # padding
    relations = relations[1:, 1:]
    order = pairs.item_index[1:]
    expected = expected[np.ix_(order, order)]
    np.testing.assert_allclose(relations / relations.max(), expected / expected.max(), rtol=1e-3, atol=1e-4)


def test_no_users_have_no_candidates():
    lists = pairs_of(random_matrix()).candidates(torch.zeros(0, dtype=torch.int64))
    assert lists.items.shape[0] == 0 and lists.features.shape[::2] == (0, n_columns())


def test_one_by_one_equals_all_equals_candidates():
    matrix = random_matrix()
    pairs = pairs_of(matrix, top_k=4)
    full = pairs.full(torch.arange(matrix.shape[0]))
    users, items = (index.flatten() for index in np.indices(matrix.shape))
    rows = pairs(torch.from_numpy(users), torch.from_numpy(items)).view_as(full)
    torch.testing.assert_close(rows, full)
    one = pairs(torch.tensor([3]), torch.tensor([5]))
    torch.testing.assert_close(one[0], full[3, 5], rtol=1e-4, atol=1e-5)
    lists = pairs.candidates(torch.arange(matrix.shape[0]))
    assert (full.abs().sum(dim=2) > 0).sum() == lists.mask.sum()


def test_candidates_are_unseen_items_with_a_score():
    matrix = random_matrix()
    pairs = pairs_of(matrix, top_k=3)
    lists = pairs.candidates(torch.arange(matrix.shape[0]))
    for user in range(matrix.shape[0]):
        items = lists.items[user][lists.mask[user]].tolist()
        assert len(set(items)) == len(items) <= 3 * len(SCORERS)
        assert not matrix[user].toarray()[0, items].any()
    assert not lists.mask[0].any()
    seen = pairs.candidates(torch.arange(matrix.shape[0]), exclude_seen=False)
    for user in range(1, matrix.shape[0]):
        assert set(matrix[user].indices) <= set(seen.items[user].tolist())


def test_relabelling_permutes_the_features():
    matrix = random_matrix(60, 40, 0.2, seed=3)
    rng = np.random.default_rng(1)
    users, items = rng.permutation(matrix.shape[0]), rng.permutation(matrix.shape[1])
    one = pairs_of(matrix, top_k=40).full(torch.arange(60))[users][:, items]
    other = pairs_of(matrix[users][:, items].tocsr(), top_k=40).full(torch.arange(60))
    # Ranks may jump where two values agree to the last digits; nothing else may.
    close = torch.isclose(one, other, rtol=1e-3, atol=1e-3)
    assert close.float().mean() > 0.995


def test_the_global_random_state_is_irrelevant():
    matrix = random_matrix()
    torch.manual_seed(1)
    np.random.seed(1)
    one = pairs_of(matrix).full(torch.arange(40))
    torch.manual_seed(2)
    np.random.seed(2)
    torch.testing.assert_close(one, pairs_of(matrix).full(torch.arange(40)), rtol=0, atol=0)


def test_columns_are_finite_and_of_one_scale():
    small, large = random_matrix(30, 20), random_matrix(400, 300, 0.05)
    for matrix in (small, large):
        features = pairs_of(matrix).candidates(torch.arange(matrix.shape[0])).features
        assert features.shape[2] == n_columns() and torch.isfinite(features).all()
        assert features.abs().max() < 10


@pytest.mark.parametrize(
    "dense", [np.ones((1, 1)), np.ones((1, 6)), np.ones((6, 1)), np.eye(5), np.ones((5, 5)), np.diag([1.0, 0, 0])]
)
def test_data_at_the_edge(dense):
    features = pairs_of(sp.csr_matrix(dense)).full(torch.arange(len(dense)))
    assert features.shape == (*dense.shape, n_columns()) and torch.isfinite(features).all()


def test_penalties_that_are_equally_good_leave_the_usual_one():
    """Each user lacks one item of a block, which every regression ranks first."""
    whole = np.kron(np.eye(2), np.ones((10, 15)))
    support = whole.copy()
    support[np.arange(20), np.repeat([0, 15], 10) + np.arange(20) % 10] = 0
    arguments = np.arange(20), sp.csr_matrix(support), sp.csr_matrix(whole - support), 6000
    assert self_check._best_penalty(*arguments) == scorers.PENALTY


@pytest.mark.parametrize(("n_users", "n_chosen"), [(0, 0), (1, 1), (500, 500), (501, 500), (1000, 500)])
def test_users_who_choose_the_penalty(n_users, n_chosen):
    users = users_for_penalty(np.arange(n_users))
    assert len(np.unique(users)) == len(users) == n_chosen and np.isin(users, np.arange(n_users)).all()
    assert abs((users % 2 == 0).sum() - n_chosen / 2) <= 20  # about as many of each half of the self-check


def test_the_penalty_is_chosen_by_some_of_the_users(monkeypatch):
    monkeypatch.setattr(self_check, "_CHOICE_USERS", 20)
    matrix = random_matrix(200, 60, 0.15)
    support, query = support_query_split(matrix, 40, 0.3, np.random.default_rng(0))
    users = np.flatnonzero(np.diff(query.indptr))
    by_some = self_check._best_penalty(users, support, query, 6000)
    chosen = users_for_penalty(users)
    monkeypatch.setattr(self_check, "_CHOICE_USERS", 500)
    assert by_some == self_check._best_penalty(chosen, support, query, 6000)
    assert by_some != self_check._best_penalty(users, support, query, 6000)


def test_scorer_weights_are_relative_to_the_best_scorer():
    pairs = pairs_of(random_matrix(200, 50, 0.1))
    assert pairs.scorer_weights.shape == (len(SCORERS),)
    assert pairs.scorer_weights.max() == 1 and pairs.scorer_weights.min() >= 0
    alone = pairs_of(sp.csr_matrix(np.eye(5)))  # nothing can be held out
    np.testing.assert_array_equal(alone.scorer_weights, 1)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"top_k": 0}, "top_k must be an integer >= 1"),
        ({"max_rank": 2}, "max_rank must be an integer >= 4"),
        ({"check_share": 1.5}, r"check_share must be a number in \(0, 1\)"),
        ({"bins": 3}, "unknown argument bins; valid arguments: top_k"),
    ],
)
def test_errors(args, message):
    with pytest.raises(ValueError, match=f"proximity.*{message}"):
        ProximityFeatures.from_args(args)


def test_stored_scorers_are_the_computed_ones(tmp_path):
    matrix = random_matrix()

    def candidates(cache_dir, **how):
        features = FeaturePipeline(["proximity"], seed=0, cache_dir=cache_dir)(matrix, **how)
        return features, features["proximity"].pair.candidates(torch.arange(matrix.shape[0]))

    _, plain = candidates(None)
    candidates(tmp_path, support=True)
    assert not list(tmp_path.iterdir())
    _, computed = candidates(tmp_path)
    features, loaded = candidates(tmp_path)
    assert len(list(tmp_path.glob("proximity-*.safetensors"))) == 1 and features.seconds == {}
    for lists in (computed, loaded):
        assert torch.equal(lists.items, plain.items) and torch.equal(lists.features, plain.features)


def test_stored_scorers_of_another_form_are_refused():
    arrays = pairs_of(random_matrix()).arrays()
    del arrays["scorers.neighbors.indptr"]
    with pytest.raises(KeyError):
        ProximityPairs.from_arrays(arrays)


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(scorers, "_BLOCK_USERS", 3)
    pairs = pairs_of(random_matrix())
    users, n_threads = torch.arange(40), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(pairs.candidates(users))
            with ThreadPoolExecutor(1) as executor:  # a new thread
                assert torch.get_num_threads() == executor.submit(torch.get_num_threads).result() == threads
    finally:
        torch.set_num_threads(n_threads)
    assert torch.equal(results[0].items, results[1].items) and torch.equal(results[0].features, results[1].features)


def test_memory_is_used_again_outside_of_inference_mode():
    pairs = pairs_of(random_matrix())
    with torch.inference_mode():
        inside = pairs.candidates(torch.arange(5))
        order = pairs.popularity_rank
    assert torch.equal(pairs.candidates(torch.arange(5)).features, inside.features) and not order.is_inference()


def test_many_items_make_small_blocks(monkeypatch):
    monkeypatch.setattr(scorers, "_BLOCK_FLOATS", 8000)
    few, many = GraphScorers(random_matrix(800, 20)), GraphScorers(random_matrix(20, 800))
    assert many.block_users == 10 and few.block_users == scorers._BLOCK_USERS


def test_the_self_check_evaluates_held_out_interactions(monkeypatch):
    """The held-out interactions of its users do not influence scorers, scorer weights or popularity."""
    matrix = random_matrix(200, 50, 0.1)
    splits, built = [], []

    def split(*arguments):
        splits.append(support_query_split(*arguments))
        return splits[-1]

    class Seen(ProximityPairs):
        def __init__(self, scorers, weights, *arguments, **keywords):
            super().__init__(scorers, weights, *arguments, **keywords)
            built.append((scorers, weights))

    monkeypatch.setattr(self_check, "support_query_split", split)
    monkeypatch.setattr(proximity, "ProximityPairs", Seen)
    check = pairs_of(matrix).check
    ((support, query),) = splits
    assert support.multiply(query).nnz == 0
    users = np.flatnonzero(np.diff(query.indptr))
    order = np.concatenate([users[::2], users[1::2]])
    np.testing.assert_array_equal(check.n_held_out, np.diff(query.indptr)[order])
    left = torch.from_numpy(np.log1p(np.diff(support.indptr)[order]) / 5).float()
    torch.testing.assert_close(check.features[..., -1].float().amax(dim=1), left, atol=1e-3, rtol=1e-3)
    for (fitted, weights), half in zip(built[1:3], (users[1::2], users[::2]), strict=True):
        assert (fitted.matrix != support).nnz == 0
        gain = np.zeros(len(SCORERS))
        # Of items with equal scores the more popular comes first, and an item of score 0 is no hit.
        first = 1 + 1e-5 * percentile(fitted.item_degree).astype(np.float32)
        scores = fitted.scores(torch.from_numpy(half)).clamp(min=0) * torch.from_numpy(first)
        candidates = ProximityPairs(fitted, weights, 50).candidates(torch.from_numpy(half))
        others = torch.ones(scores.shape[1:], dtype=torch.bool)
        others[candidates.mask.nonzero()[:, 0], candidates.items[candidates.mask]] = False
        scores[:, others] = -torch.inf
        values, top = (array[..., :10].numpy() for array in scores.sort(dim=2, descending=True, stable=True))
        for index in range(len(SCORERS)):
            hits = np.take_along_axis(query[half].toarray() > 0, top[index], axis=1) & (values[index] > 0)
            gain[index] = ndcg(hits, np.diff(query.indptr)[half]).sum()
        # Measured on the other half alone.
        np.testing.assert_allclose(weights, gain / gain.max(), rtol=0.02)
    degree = np.where(support[order].toarray() > 0, -1.0, support.sum(axis=0).A1)
    held_out = query[order].toarray() > 0
    bounds = []
    for first in (-0.5, 0.5):  # of items with equal scores the held-out ones are last, then first
        top = np.argsort(-(degree + first * held_out), axis=1, kind="stable")[:, :10]
        bounds.append(ndcg(np.take_along_axis(held_out, top, axis=1), held_out.sum(axis=1)))
    popularity = check.popularity_ndcg.numpy()
    assert (bounds[0] <= popularity + 1e-9).all() and (popularity <= bounds[1] + 1e-9).all()
    assert popularity.mean() > 0


def test_the_self_check_evaluates_an_order_of_its_candidates():
    check = pairs_of(random_matrix(200, 50, 0.1)).check
    assert check.features.shape[:2] == check.mask.shape == check.label.shape
    assert not (check.label & ~check.mask).any()
    n_hits = check.label.sum(dim=1)
    assert (n_hits <= check.n_held_out).all()
    best = check.ndcg(check.label.float())
    assert (best[n_hits == check.n_held_out] == 1).all() and (best[n_hits == 0] == check.tail_ndcg[n_hits == 0]).all()
    assert check.ndcg(-check.label.float()).mean() < best.mean()


def checked_by(gain) -> SelfCheck:
    """A self-check in which popularity has these NDCGs."""
    n = len(gain)
    nothing = torch.zeros(n, dtype=torch.float64)
    lists = torch.zeros(n, 3, 1), torch.ones(n, 3).bool(), torch.zeros(n, 3).bool()
    return SelfCheck(
        *lists, torch.ones(n).long(), nothing, torch.as_tensor(gain).double(), torch.zeros(n, 3), torch.arange(n)
    )


def test_the_z_score_is_in_standard_errors():
    noise = np.random.default_rng(0).standard_normal(400)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    no_hits = torch.zeros(400, 3)
    for errors in (-5.0, 0.9, 1.1):
        assert checked_by(noise - errors / 20).result(no_hits).z_score == pytest.approx(errors, abs=1e-5)
    assert checked_by([1.0]).result(no_hits[:1]).z_score == 0  # one user has no standard error
    assert checked_by([0.0, 0.0]).result(no_hits[:2]).z_score == 0
    assert checked_by([1.0, 1.0]).result(no_hits[:2]).z_score == -np.inf
    for n in range(2, 100):  # one non-zero difference is one error, however that is rounded
        assert checked_by([1 / 3] + [0.0] * (n - 1)).result(no_hits[:n]).z_score == -1


@pytest.mark.parametrize(
    ("z_score", "mostly_one_interaction", "expected"),
    [(-1.0, False, False), (-1.1, False, True), (0.5, True, True), (0.6, True, False), (1.1, False, False)],
)
def test_the_threshold_depends_on_the_interactions_of_most_users(z_score, mostly_one_interaction, expected):
    assert falls_back(z_score, mostly_one_interaction) == expected


def test_most_users_have_a_single_interaction():
    two = sp.block_diag([np.ones((2, 2))] * 10).tocsr()
    one = sp.vstack([np.ones((1, 5)), sp.eye(5)]).tocsr()
    empty = sp.vstack([one, sp.csr_matrix((20, 5))]).tocsr()  # users without interactions do not count
    half = sp.csr_matrix(np.vstack([np.ones((4, 5)), np.eye(4, 5)]))
    for matrix, expected in ((two, False), (one, True), (empty, True), (half, False)):
        reason = pairs_of(matrix).fallback_reason("the model", CheckResult(0.25, 0.5))
        assert bool(reason) == expected and ("most users have one interaction" in reason) == expected


def test_popular_items_after_a_short_list_count():
    """The most popular item follows a single candidate. For a user without a candidate it is first."""
    support = np.zeros((8, 6), dtype=np.float32)
    support[0, 0] = support[1, 0] = support[1, 1] = 1  # item 1 is user 0's only candidate
    support[2:7, 4] = 1  # the most popular item is related to no other item
    support[7, 5] = 1
    query = np.zeros_like(support)
    query[0, 4] = query[7, 4] = 1
    built = GraphScorers(sp.csr_matrix(support), n_neighbors=10, max_rank=4, max_regression_size=10)
    pairs = ProximityPairs(built, np.ones(len(SCORERS), dtype=np.float32), 5)
    check = self_check_of(pairs, pairs.candidates(torch.tensor([0, 7])), np.array([0, 7]), sp.csr_matrix(query))
    np.testing.assert_array_equal(check.mask.sum(dim=1), [1, 0])
    np.testing.assert_allclose(check.tail_ndcg, [1 / np.log2(3), 1])
    np.testing.assert_allclose(check.popularity_ndcg, [1, 1])
    np.testing.assert_allclose(check.ndcg(torch.zeros(check.mask.shape)), check.tail_ndcg)


def test_the_fallback_of_fast_lists_reads_the_linear_scorers():
    matrix = random_matrix(200, 50, 0.1)
    pairs = pairs_of(matrix)
    check = pairs.check
    n_users = len(check.n_held_out)
    # Lists with all held-out items or with none, against popularity with an NDCG of a tenth for all but one user.
    some = torch.full((n_users,), 0.1, dtype=torch.float64)
    some[0] = 0.0
    whole = torch.zeros_like(check.label)
    whole[:, 0] = True
    known = {"label": whole, "mask": torch.ones_like(whole), "tail_ndcg": torch.zeros(n_users).double()}
    known["popularity_ndcg"] = some
    known["n_held_out"] = torch.ones(n_users, dtype=torch.int64)
    worse = f"{n_users} users, popularity has NDCG@10 0.0980 and fast lists 0.0000"
    for linear, reason in ((whole.half(), ""), (-whole.half(), worse)):
        checked = replace(check, linear_scores=linear, **known)
        answer = ProximityPairs(pairs.scorers, pairs.scorer_weights, 50, check=checked).linear_fallback_reason
        assert re.search(reason, answer) and bool(answer) == bool(reason)
    columns = [index for index, name in enumerate(SCORERS) if name not in ("user_squared", "popularity")]
    assert (check.linear_scores[~check.mask] == 0).all() and (check.linear_scores[check.mask] > 0).any()
    shares = check.features[..., columns].float()
    nothing = check.mask & (shares == 0).all(dim=-1)
    assert (check.linear_scores[nothing] == 0).all()
    # The scorer "popularity" is not linear. If it alone has weight, all linear scores are zero.
    alone = np.array([float(name == "popularity") for name in SCORERS], dtype=np.float32)
    query = sp.csr_matrix(np.eye(*matrix.shape, k=1, dtype=np.float32))
    pairs = ProximityPairs(pairs.scorers, alone, 50)
    checked = self_check_of(pairs, pairs.candidates(torch.arange(3)), np.arange(3), query)
    assert checked.linear_scores.abs().max() < 1e-6 < checked.features[..., list(SCORERS).index("popularity")].max()


def test_a_stored_self_check_is_the_same():
    pairs = pairs_of(random_matrix(200, 50, 0.1))
    again = ProximityPairs.from_arrays(pairs.arrays())
    assert set(again.arrays()) == set(pairs.arrays())
    for other in (again, pairs.reindexed(pairs.user_index, pairs.item_index)):
        for name, values in vars(pairs.check).items():
            torch.testing.assert_close(getattr(other.check, name), values, rtol=0, atol=0)
    alone = pairs_of(sp.csr_matrix(np.eye(5)))
    assert alone.check is None and ProximityPairs.from_arrays(alone.arrays()).check is None
