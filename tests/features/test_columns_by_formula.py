"""Columns of all families, scorer weights and self-check against a dense reference (tests/dense_reference.py)."""

from __future__ import annotations

import itertools

import dense_reference as dense
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal.features import ActivityFeatures, CooccurrenceFeatures, InteractionFeatures, proximity
from recbole_universal.features.candidate_columns import column_groups, n_columns
from recbole_universal.features.candidates import CandidateGenerator
from recbole_universal.features.proximity import ProximityFeatures
from recbole_universal.features.proximity_pairs import ProximityPairs
from recbole_universal.graph import InteractionGraph
from recbole_universal.graph import scorers as scorers_module
from recbole_universal.graph.held_out import support_query_split
from recbole_universal.graph.scorer_definitions import LINEAR, SCORERS
from recbole_universal.graph.scorers import GraphScorers

# All weights differ, the first is not the best, and the softmax (of sharpness 20) enlarges the differences.
WEIGHTS = np.array([0.9 - 0.013 * ((3 * index) % 10) for index in range(10)], dtype=np.float32)
WEIGHTS[8] = 1.0


@pytest.fixture(
    scope="module",
    params=[("small", 50), ("small", 5), ("large", 50), ("large", 22), ("large", 8, 30), ("weighted", 22)],
    ids=lambda setting: "-".join(map(str, setting)),
)
def built(request):
    name, top_k, *most_filtered = request.param
    interactions = (dense.MATRICES | dense.WEIGHTED)[name]
    with pytest.MonkeyPatch.context() as patch:
        for most in most_filtered:
            patch.setattr(scorers_module, "_MOST_FILTERED", most)
        scorers = GraphScorers(sp.csr_matrix(interactions), weighted=name in dense.WEIGHTED)
    pairs = ProximityPairs(scorers, WEIGHTS, top_k)
    scores, weights = dense.scores(interactions), WEIGHTS.astype(np.float64)
    return interactions, pairs, dense.Columns(interactions, scores, weights, top_k, *most_filtered)


def test_there_are_42_columns():
    assert n_columns() == 42
    assert sorted(itertools.chain(*column_groups().values())) == list(range(42))
    assert column_groups()["neighbors"] == [4, 14, 24]  # as dense_reference.Columns puts them
    assert column_groups()["scorer averages"] == [*range(30, 36)] and column_groups()["activity"] == [*range(36, 42)]


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_candidates_and_their_columns(built, exclude_seen):
    interactions, pairs, expected = built
    lists = pairs.candidates(torch.arange(len(interactions)), exclude_seen)
    exact = total = 0
    # Weights spread the scores, so that more of them are near the step of rounding.
    tolerance = 4e-4 if (interactions == (interactions > 0)).all() else 4e-3
    for user in range(len(interactions)):
        mask = lists.mask[user].numpy()
        items, features = lists.items[user].numpy()[mask], lists.features[user].numpy()[mask]
        assert not lists.features[user].numpy()[~mask].any()
        if not interactions[user].any():
            assert not len(items)
            continue
        sure, possible = expected.candidates(user)
        seen = set() if exclude_seen else set(np.flatnonzero(interactions[user]))
        assert sure <= set(items) - seen <= possible and seen <= set(items)
        columns, least, largest = expected.of(user, items)
        scored = np.array([index < 20 or (30 <= index and index not in (32, 35)) for index in range(42)])
        np.testing.assert_allclose(features[:, scored], columns[:, scored], rtol=2e-3, atol=tolerance)
        # Items with equal scores may have their ranks in any order.
        assert (features >= np.minimum(least, largest) - max(2e-3, tolerance)).all()
        assert (features <= np.maximum(least, largest) + max(2e-3, tolerance)).all()
        # Of popularity most scores are equal.
        exact += np.isclose(features[:, 20:29], columns[:, 20:29], atol=1e-4).sum()
        total += features[:, 20:29].size
    assert exact > 0.9 * total


def test_the_best_items_of_each_scorer_are_candidates(built):
    """Of the ten best unseen items of the other scorers, most are among the best of the cheap ones."""
    interactions, pairs, expected = built
    lists = pairs.candidates(torch.arange(len(interactions)))
    found, total = 0, 0
    for user in range(len(interactions)):
        items = set(lists.items[user][lists.mask[user]].tolist())
        for row in expected.unseen(user):
            best = np.argsort(-row, kind="stable")[:10]
            best = best[row[best] > 1e-6]
            found, total = found + len(items & set(best.tolist())), total + len(best)
    assert found > 0.9 * total


def test_items_of_equal_score_are_ranked_by_popularity():
    """Items 1 and 3 are equally near to user 0 by user-user cosine, and item 3 has more users; likewise 4 and 2."""
    interactions = np.zeros((9, 6))
    interactions[0, 0] = 1
    interactions[1, [0, 1, 3]] = interactions[2, [0, 4, 2]] = 1
    interactions[3:6, 3] = 1
    interactions[6:9, 2] = interactions[6, 5] = 1
    pairs = ProximityPairs(GraphScorers(sp.csr_matrix(interactions)), WEIGHTS, 50)
    lists = pairs.candidates(torch.tensor([0]))
    ranks = lists.features[0, :, 20 + list(SCORERS).index("user_cosine")]
    order = lists.items[0][ranks.argsort(descending=True)].tolist()
    assert order.index(3) < order.index(1) and order.index(2) < order.index(4)
    assert len(set(ranks.tolist())) == len(order)  # one rank each


def test_a_list_of_a_scorer_ends_where_its_scores_do():
    scorers = GraphScorers(sp.csr_matrix(dense.small()))
    block = CandidateGenerator(scorers, 50)(scorers.histories)
    assert ((block.top_items < 0) == (block.top_values <= 0)).all()
    assert (block.top_items < 0).any() and (block.top_items >= 0).any()


def test_non_candidates_are_in_the_order_of_popularity():
    interactions = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 1, 0, 0]])
    scorers = GraphScorers(sp.csr_matrix(interactions[:, [0, 2, 3]]))
    pairs = ProximityPairs(scorers, WEIGHTS, 5, item_index=np.array([0, -1, 1, 2, -1]))
    # Degrees 1, 3, 2, and 0 of two items without an index: four ranks.
    np.testing.assert_allclose(pairs.popularity_rank, [0.5, 0.75, 0.0, 0.25, 0.75])


def checked(interactions: np.ndarray, n_users: int, share: float, seed: int):
    """The pair features with scorer weights and self-check, and the split of the self-check."""
    family = ProximityFeatures(n_check_users=n_users, check_share=share, top_k=12)
    pair = family.compute(InteractionGraph(sp.csr_matrix(interactions)), seed=seed).pair
    most = min(n_users, max(20, len(interactions) // 4))
    halves = support_query_split(sp.csr_matrix(interactions), most, share, np.random.default_rng(seed))
    return pair, *(half.toarray() for half in halves)


def bounds(values: np.ndarray, held_out: np.ndarray) -> tuple[float, float]:
    """NDCG@10 of an order by ``values``, held-out items last and first among near equals; a value of 0 is no hit."""
    values_of_orders = []
    for first in (-1, 1):
        order = np.lexsort((np.arange(len(values)), -first * held_out, -np.round(values, 4)))
        hits = held_out[order[:10]] & (values[order[:10]] > 0)
        values_of_orders.append(dense.ndcg(hits, int(held_out.sum())))
    return min(values_of_orders), max(values_of_orders)


@pytest.fixture(scope="module")
def self_check():
    pair, support, query = checked(dense.large(), 500, 0.3, 3)
    return pair, support, query, dense.scores(support, 100, 6000, best_penalty(support, query))


def best_penalty(support: np.ndarray, query: np.ndarray) -> float:
    """The penalty of the regression with the highest NDCG@10, whatever the order of equal scores."""
    gain = {p: gains(support, query, dense.scores(support, 100, 6000, p)[8:9]).sum(axis=(1, 2)) for p in (1, 3, 10)}
    best = max(gain, key=lambda penalty: gain[penalty][0])
    assert all(gain[best][0] > high for penalty, (_, high) in gain.items() if penalty != best)
    return best


@pytest.mark.parametrize(
    ("name", "seed", "penalty"), [("large", 3, 10), ("large", 18, 3), ("wide", 3, 1), ("wide", 5, 3), ("wide", 7, 10)]
)
def test_the_penalty_is_the_best_on_held_out_interactions(name, seed, penalty):
    """The scorers of all interactions have the penalty that is best on the held-out ones."""
    interactions = dense.MATRICES[name]
    pair, support, query = checked(interactions, 500, 0.3, seed)
    assert best_penalty(support, query) == penalty
    scores = pair.scorers.scores(torch.arange(len(interactions)))[8].numpy()
    expected = dense.scores(interactions, 100, 6000, penalty)[8]
    np.testing.assert_allclose(scores, expected, atol=2**-15 * expected.max())


def test_held_out_interactions_are_a_share_of_the_drawn_users(self_check):
    _, support, query, _ = self_check
    drawn = np.flatnonzero(query.sum(axis=1))
    degree = (support + query).sum(axis=1)[drawn]
    assert len(drawn) == 104 // 4
    np.testing.assert_array_equal(
        query.sum(axis=1)[drawn], np.minimum(np.maximum(np.round(0.3 * degree), 1), degree - 1)
    )


def gains(support: np.ndarray, query: np.ndarray, scores: np.ndarray, top_k: int | None = None) -> np.ndarray:
    """Least and largest NDCG@10 of each scorer on each drawn user, [2, n_scorers, n_drawn].

    With ``top_k`` each scorer ranks the candidates alone.
    """
    drawn = np.flatnonzero(query.sum(axis=1))
    unseen = np.where(support > 0, -1e9, scores)
    if top_k is not None:
        columns = dense.Columns(support, scores, np.ones(len(scores)), top_k)
        for user in drawn:
            others = np.setdiff1d(np.arange(support.shape[1]), list(columns.candidates(user)[1]))
            unseen[:, user, others] = -1e9
    bounds_of_users = [[bounds(values[user], query[user] > 0) for user in drawn] for values in unseen]
    return np.moveaxis(np.array(bounds_of_users), 2, 0)


def assert_relative(weights: np.ndarray, gain: np.ndarray) -> None:
    """``weights`` are sums of gains over the users, relative to the largest sum, for gains between two bounds."""
    low, high = gain.sum(axis=2)
    best = low.max(), high.max()
    assert (weights >= low / best[1] - 1e-5).all() and (weights <= high / best[0] + 1e-5).all()
    assert (high / best[0] - low / best[1]).mean() < 0.12  # otherwise the bounds are too wide


def test_scorer_weights_are_the_ndcg_on_held_out_interactions_relative_to_the_best(self_check):
    pair, support, query, scores = self_check
    assert_relative(pair.scorer_weights, gains(support, query, scores, 12))
    assert pair.scorer_weights.max() == 1 and len(np.unique(pair.scorer_weights)) == 10


def test_the_self_check_has_the_scorer_weights_of_the_other_half(self_check, monkeypatch):
    pair, support, query, scores = self_check
    check = pair.check
    drawn = np.flatnonzero(query.sum(axis=1))
    gain = gains(support, query, scores, 12)
    popular = dense.most_popular(support)
    seen = []

    class Seen(ProximityPairs):
        def __init__(self, scorers, weights, *arguments, **keywords):
            super().__init__(scorers, weights, *arguments, **keywords)
            seen.append(weights)

    monkeypatch.setattr(proximity, "ProximityPairs", Seen)
    checked(dense.large(), 500, 0.3, 3)
    row = 0
    seen.pop(0)  # of the candidates, which do not depend on scorer weights
    for half in (0, 1):
        assert_relative(seen[half], gain[:, :, 1 - half :: 2])
        expected = dense.Columns(support, scores, seen[half].astype(np.float64), 12)
        linear = [index for index, name in enumerate(SCORERS) if name in LINEAR]
        for user in drawn[half::2]:
            held_out = query[user] > 0
            mask = check.mask[row].numpy()
            features = check.features[row].float().numpy()[mask]
            sure, possible = expected.candidates(user)
            assert len(sure) <= mask.sum() <= len(possible)
            assert check.label[row].sum() >= len(sure & set(np.flatnonzero(held_out)))
            assert check.label[row].sum() <= len(possible & set(np.flatnonzero(held_out)))
            assert check.n_held_out[row] == held_out.sum()
            if sure == possible:  # the lists are sorted by item
                items = np.array(sorted(sure))
                np.testing.assert_array_equal(check.label[row].numpy()[mask], held_out[items])
                columns, *_ = expected.of(user, items)
                np.testing.assert_allclose(features[:, :20], columns[:, :20], atol=4e-3)
                np.testing.assert_allclose(features[:, 36:], columns[:, 36:], atol=4e-3)
                linear_scores = check.linear_scores[row].float().numpy()[mask]
                np.testing.assert_allclose(linear_scores, columns[:, linear] @ expected.averages[0][linear], atol=4e-3)
            order = [item for item in popular if not support[user, item]]
            assert check.popularity_ndcg[row] == pytest.approx(dense.ndcg(held_out[order[:10]], held_out.sum()))
            row += 1
    assert row == len(check.n_held_out) == len(drawn)


def test_the_ndcg_and_the_z_score_of_an_order(self_check):
    check = self_check[0].check
    scores = torch.from_numpy(np.random.default_rng(0).random(check.mask.shape))
    gain = []
    for row, values in enumerate(scores.numpy()):
        order = [index for index in np.argsort(-values) if check.mask[row, index]]
        ndcg = dense.ndcg(check.label[row].numpy()[order[:10]], int(check.n_held_out[row]))
        gain.append(ndcg + float(check.tail_ndcg[row]))
    np.testing.assert_allclose(check.ndcg(scores), gain, rtol=1e-9)
    more = np.array(gain) - check.popularity_ndcg.numpy()
    result = check.result(scores)
    assert result.ndcg == pytest.approx(np.mean(gain))
    assert result.z_score == pytest.approx(more.mean() / (more.std(ddof=1) / len(more) ** 0.5), abs=1e-5)


def test_the_item_item_matrix_weighs_by_scorer_weight_and_scale(built):
    interactions, pairs, expected = built
    best = np.where(interactions > 0, 0.0, dense.scores(interactions)).max(axis=2).mean(axis=1)
    related = dense.item_relations(interactions)
    weight = dict(zip(SCORERS, expected.averages[0] / best, strict=True))
    whole = sum(weight[name] * related[name] for name in LINEAR) * (interactions.T @ interactions > 0)
    np.fill_diagonal(whole, 0.0)
    np.testing.assert_allclose(
        pairs.item_item(interactions.shape[1]).toarray(), whole, rtol=2e-3, atol=1e-4 * whole.max()
    )


# Families of nodes and edges, given embedding and clusters.


def weighted(name: str) -> np.ndarray:
    interactions = dense.MATRICES[name]
    return interactions * np.random.default_rng(1).integers(1, 6, interactions.shape)


KINDS = [("soft", 4.0), ("hard", 4.0), ("log", 2.0), ("log", 4.0)]


@pytest.mark.parametrize("name", dense.MATRICES)
@pytest.mark.parametrize(("kind", "base"), KINDS)
def test_activity(name, kind, base):
    matrix = weighted(name)
    features = ActivityFeatures(n_bins=7, binning=kind, log_base=base).compute(InteractionGraph(sp.csr_matrix(matrix)))
    for side, sums in (("user", matrix.sum(axis=1)), ("item", matrix.sum(axis=0))):
        expected = dense.bins(sums, sums > 0, 7, kind, base, 1.0)
        np.testing.assert_allclose(getattr(features, side), expected, atol=1e-6)
        assert (expected.sum(axis=0) > 0).sum() > 2


def cluster_rows(size: np.ndarray, density: np.ndarray, n_bins: int, kind: str, base: float) -> np.ndarray:
    return np.hstack(
        [
            dense.bins(size, size > 0, n_bins, kind, base, 1.0),
            dense.bins(density, size > 0, n_bins, kind, base, base**-n_bins),
        ]
    )


@pytest.mark.parametrize(("kind", "base"), KINDS)
def test_cooccurrence(kind, base):
    matrix = weighted("large")
    interactions = matrix > 0
    connected = np.concatenate([interactions.any(axis=1), interactions.any(axis=0)])
    labels = np.random.default_rng(2).choice(9, len(connected), p=np.arange(9, 0, -1) / 45)
    labels[(np.arange(len(labels)) < 104) & (labels == 6)] = 5  # cluster 6 has no user, 7 no node
    labels[labels == 7] = 8
    labels[~connected] = -1
    size, density = np.zeros((2, 9))
    for cluster in range(9):
        users, items = labels[:104] == cluster, labels[104:] == cluster
        size[cluster] = users.sum() + items.sum()
        if users.any() and items.any():
            density[cluster] = interactions[np.ix_(users, items)].sum() / (users.sum() * items.sum())
    rows = np.vstack([cluster_rows(size, density, 5, kind, base), np.zeros(10)])
    features = CooccurrenceFeatures(5, kind, base).of_labels(InteractionGraph(sp.csr_matrix(matrix)), labels)
    np.testing.assert_allclose(features.user, rows[labels[:104]], atol=1e-6)
    np.testing.assert_allclose(features.item, rows[labels[104:]], atol=1e-6)
    assert len(np.unique(rows, axis=0)) > 3


OPERATORS = {
    "average": lambda left, right: (left + right) / 2,
    "hadamard": lambda left, right: left * right,
    "weighted_l1": lambda left, right: np.abs(left - right),
    "weighted_l2": lambda left, right: (left - right) ** 2,
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(("kind", "base"), KINDS)
def test_interaction(operator, kind, base):
    matrix = weighted("small")
    n_users, n_items = matrix.shape
    rng = np.random.default_rng(3)
    embedding = rng.normal(size=(n_users + n_items, 3)).astype(np.float32)
    centers = OPERATORS[operator](rng.normal(size=(6, 3)), rng.normal(size=(6, 3)))
    users, items = np.nonzero(matrix)
    labels = rng.choice([0, 1, 2, 4, 5], len(users), p=[0.5, 0.25, 0.15, 0.08, 0.02])  # 3 is empty
    size, density = np.zeros((2, 6))
    for cluster in np.unique(labels):
        here = labels == cluster
        size[cluster] = here.sum()
        density[cluster] = here.sum() / (len(set(users[here])) * len(set(items[here])))
    rows = cluster_rows(size, density, 4, kind, base)
    family = InteractionFeatures(operator, 4, kind, base)
    features = family.of_labels(InteractionGraph(sp.csr_matrix(matrix)), embedding, labels, centers)
    for side, ids, table in (("user", users, features.user), ("item", items, features.item)):
        for id_, row in enumerate(table):
            mine = rows[labels[ids == id_]]
            np.testing.assert_allclose(row, mine.mean(axis=0) if len(mine) else 0.0, atol=1e-6, err_msg=side)
    able = np.flatnonzero(size)
    pairs = features.pair.full(torch.arange(n_users)).numpy()
    single = features.pair(torch.arange(n_users).repeat_interleave(n_items), torch.arange(n_items).repeat(n_users))
    np.testing.assert_array_equal(single.view(n_users, n_items, -1), pairs)
    for user in range(n_users):
        for item in range(n_items):
            edge = OPERATORS[operator](embedding[user].astype(float), embedding[n_users + item].astype(float))
            nearest = able[((centers[able].astype(np.float32) - edge) ** 2).sum(axis=1).argmin()]
            present = matrix[user].any() and matrix[:, item].any()
            np.testing.assert_allclose(pairs[user, item], rows[nearest] if present else 0.0, atol=1e-6)
