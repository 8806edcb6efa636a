from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from content_data import N_ITEMS, interactions, texts

from recbole_universal.content.collaborative import CollaborativeScores
from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.held_out_items import is_beyond_chance, ndcg_by_item, ndcg_by_user, split_items
from recbole_universal.content.new_items import NewItems, check_new_items, first_weights
from recbole_universal.content.places import even_places, merged, next_places, rates_of_fewer
from recbole_universal.content.relations import RELATIONS, ContentRelations
from recbole_universal.content.spaces import array_space, text_space
from recbole_universal.content.weights import fitted_weights, standardised

NEW = np.arange(3, N_ITEMS, 7)


@pytest.fixture(scope="module")
def spaces():
    return [text_space(texts(), text_encoder(name)) for name in ("tfidf", "distil")]


@pytest.fixture(scope="module")
def split():
    return split_items(interactions(), NEW)


def test_split_items(split):
    known, new = split
    assert known[:, NEW].nnz == 0 and new.nnz == new[:, NEW].nnz > 0
    assert (known + new != interactions()).nnz == 0


def test_new_items_of_the_users_topics_come_first(spaces, split):
    known, query = split
    model = NewItems(known, spaces)
    scores = model.scores(known, NEW)
    assert np.isfinite(scores).all()
    hits = query[:, NEW].toarray() > 0
    users = hits.any(axis=1)
    best = np.argsort(-scores, axis=1)[:, :4]
    precision = np.take_along_axis(hits, best, axis=1)[users].mean()
    assert precision > 2.5 * hits[users].mean()
    assert model.check.trust > 0.5 and model.check.ndcg > 2 * model.check.chance


def test_content_of_other_items_earns_no_trust(split):
    known, _ = split
    noise = array_space("noise", np.random.default_rng(0).normal(size=(N_ITEMS, 16)))
    check = check_new_items(known, [noise])
    assert check.trust < 0.3 and check.ndcg < 1.5 * check.chance


def test_an_item_without_content_has_no_score(split):
    known, _ = split
    content = texts()
    content[NEW[1]] = ""
    model = NewItems(known, [text_space(content, text_encoder("tfidf"))])
    scores = model.scores(known[:5], NEW)
    assert np.isnan(scores[:, 1]).all() and np.isfinite(np.delete(scores, 1, axis=1)).all()


def test_without_any_content_nothing_is_scored(split):
    known, _ = split
    model = NewItems(known, [array_space("x", np.zeros((N_ITEMS, 3)))])
    assert np.isnan(model.scores(known, NEW)).all() and model.check.trust == 0


def test_users_without_items_get_finite_scores(spaces, split):
    known, _ = split
    empty = sp.csr_matrix((2, N_ITEMS), dtype=np.float32)
    assert np.isfinite(NewItems(known, spaces).scores(empty, NEW)).all()


def test_blocks_of_users_change_nothing(spaces, split, monkeypatch):
    known, _ = split
    model = NewItems(known, spaces)
    whole = model.scores(known, NEW)
    monkeypatch.setattr("recbole_universal.content.relations._BLOCK_PAIRS", 40)
    assert np.allclose(model.scores(known, NEW), whole, atol=1e-4)


def test_a_block_of_users_is_small_on_a_large_catalogue(spaces, split, monkeypatch):
    known, _ = split
    relations = ContentRelations(known, spaces)
    whole, rows = relations.columns(known[:9], NEW[:2]), []
    monkeypatch.setattr("recbole_universal.content.relations._BLOCK_SCORES", 4 * N_ITEMS)
    models = relations._collaborative
    scores = models.scores

    def counted(model, some):
        rows.extend([some.shape[0]] * (model == "neighbors"))
        return scores(model, some)

    monkeypatch.setattr(models, "scores", counted)
    assert np.allclose(relations.columns(known[:9], NEW[:2]), whole, atol=1e-4) and rows == [4, 4, 1]


def test_relabelling_users_and_items_permutes_the_columns(split):
    known, _ = split
    vectors = np.random.default_rng(0).normal(size=(N_ITEMS, 6))
    generator = np.random.default_rng(1)
    users, items = generator.permutation(known.shape[0]), generator.permutation(N_ITEMS)
    place = np.argsort(items)
    first = ContentRelations(known, [array_space("x", vectors)]).columns(known, NEW)
    other = ContentRelations(known[users][:, items], [array_space("x", vectors[items])])
    again = other.columns(known[users][:, items], place[NEW])
    assert np.allclose(again, first[users], atol=1e-3)


def test_nearest_is_the_sum_of_cosines():
    matrix = sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 0], [1, 1, 0]], dtype=np.float32))
    space = array_space("x", np.array([[1.0, 0.2], [0.8, 0.4], [1.0, 0.3]]))
    columns = ContentRelations(matrix, [space]).columns(matrix, np.array([2]))
    cosines = np.maximum(space.vectors[2] @ space.vectors[:2].T, 0)
    assert np.allclose(columns[:, 0, 0], matrix.toarray()[:, :2] @ cosines, atol=1e-6)


def test_adopted_scores_are_means_over_the_ten_nearest_items(split):
    known, _ = split
    vectors = np.random.default_rng(0).normal(size=(N_ITEMS, 6))  # no two cosines are equal
    relations = ContentRelations(known, [array_space("x", vectors)])
    columns = relations.columns(known[:7], NEW)
    (near,) = relations.near(NEW)
    for row in range(len(NEW)):
        of_row = near.cosines[row].tocoo()
        first = np.argsort(-of_row.data)[:10]
        items, weights = of_row.col[first], of_row.data[first] ** 2
        for model in ("regression", "neighbors"):
            scores = relations._collaborative.scores(model, known[:7])
            expected = scores[:, items] @ weights / weights.sum()
            assert np.allclose(columns[:, row, RELATIONS.index(f"adopted_{model}")], expected, atol=1e-4)


def test_ridge_relations_are_regressions_onto_interactions_and_scores(split):
    """The vectors of the items with interactions predict them, with a penalty."""
    known, _ = split
    space = array_space("x", np.random.default_rng(0).normal(size=(N_ITEMS, 6)))
    relations = ContentRelations(known, [space])
    columns = relations.columns(known[:7], NEW)
    old = np.setdiff1d(np.arange(N_ITEMS), NEW)
    gram = space.vectors[old].T.astype(np.float64) @ space.vectors[old]
    penalty = np.trace(gram) / len(gram) * np.eye(len(gram))
    of_factors = relations._collaborative.scores("factors", known[:7])
    for relation, scores in (("ridge", known[:7].toarray()), ("ridge_factors", of_factors)):
        weights = np.linalg.solve(gram + penalty, space.vectors[old].T @ scores[:, old].T)
        expected = (space.vectors[NEW] @ weights).T
        assert np.allclose(columns[..., RELATIONS.index(relation)], expected, atol=1e-4)


def test_factors_project_on_the_largest_singular_vectors():
    """Two groups of items without a common user: the first factor of each says that a user likes all of its group."""
    matrix = sp.csr_matrix(np.kron(np.eye(2), np.ones((5, 4))).astype(np.float32))
    scores = CollaborativeScores(matrix, 8).scores("factors", matrix[[0]])
    assert np.allclose(scores, [[1, 1, 1, 1, 0, 0, 0, 0]], atol=1e-5)
    without = sp.csr_matrix(np.eye(1, 8, dtype=np.float32))
    assert np.allclose(CollaborativeScores(matrix, 8).scores("factors", without), matrix[[0]].toarray() / 4, atol=1e-5)


def test_standardised_columns_have_no_scale():
    columns = np.random.default_rng(0).random((3, 5, 2)).astype(np.float32)
    columns[1, :, 0] = 7.0
    result = standardised(columns)
    assert (result[1, :, 0] == 0).all()
    assert np.allclose(standardised(columns * 1000), result, atol=1e-4)


def test_weights_find_the_column_that_is_right():
    generator = np.random.default_rng(0)
    columns = standardised(generator.normal(size=(300, 20, 3)).astype(np.float32))
    hits = np.zeros((300, 20), dtype=bool)
    hits[np.arange(300), columns[..., 1].argmax(axis=1)] = True
    weights = fitted_weights(columns, hits, np.full(3, 0.1))
    assert weights[1] > 1 and abs(weights[[0, 2]]).max() < 0.3


def test_weights_without_hits_stay():
    first = np.array([0.1, 0.0])
    columns = np.zeros((4, 3, 2), dtype=np.float32)
    assert np.allclose(fitted_weights(columns, np.zeros((4, 3), dtype=bool), first), first)


def test_popularity_alone_is_no_first_reason():
    assert first_weights([("x", "nearest"), ("x", "popularity")]).tolist() == [0.1, 0.0]


def test_the_higher_rate_earns_the_rank():
    is_new = next_places(np.array([0.3, 0.2, 0.1]), np.array([0.25, 0.05]), 4)
    assert is_new.tolist() == [False, True, False, False]


def test_rates_are_smoothed_and_known_items_win_ties():
    assert next_places(np.array([0.1, 0.1]), np.array([0.1, 0.1]), 2).tolist() == [False, False]
    assert next_places(np.array([0.2]), np.array([0.0, 0.5]), 2).tolist() == [True, True]


def test_merged_lists_keep_both_orders_and_fill():
    known, new = np.array([[1, 2, 3], [1, -1, -1]]), np.array([[8, 9], [8, -1]])
    lists = merged(known, new, np.array([False, True, False]))
    assert lists.tolist() == [[1, 8, 2], [1, 8, -1]]
    assert merged(known[:1], new[:1, :0], np.array([True, False])).tolist() == [[1, 2]]


def test_ranks_without_a_rate_go_to_known_items():
    assert next_places(np.array([0.1]), np.array([0.2]), 4).tolist() == [True, False, False, False]
    assert not next_places(np.zeros(0), np.zeros(0), 3).any()


def test_places_are_even():
    assert np.flatnonzero(even_places(2, 10)).tolist() == [4, 9]
    assert np.flatnonzero(even_places(3, 10)).tolist() == [3, 6, 9]
    assert even_places(5, 5).all() and not even_places(0, 5).any()


def test_rates_of_fewer_items_are_those_of_a_random_draw():
    rates = np.array([0.5, 0.2, 0.2, 0.05, 0.01])
    draws = [np.array(one) for one in itertools.combinations(range(5), 3)]
    expected = np.mean([rates[np.sort(draw)] for draw in draws], axis=0)
    assert np.allclose(rates_of_fewer(rates, 3), expected)
    assert rates_of_fewer(rates, 5) is rates and rates_of_fewer(rates, 9) is rates
    assert np.allclose(rates_of_fewer(rates, 1), rates.mean())
    large = np.linspace(1, 0, 1000)
    assert np.isclose(rates_of_fewer(large, 100).sum(), large.sum() / 10)


def test_the_next_rate_is_a_share_of_the_users_interactions(spaces):
    """All held-out items are ranked, so the rates sum to the share of the interactions that are with them."""
    matrix = interactions()
    check = check_new_items(matrix, spaces)
    n, shares = N_ITEMS // 5, []
    order, degree = np.random.default_rng(0).permutation(N_ITEMS), np.diff(matrix.indptr)
    for held_out in (order[:n], order[n : 2 * n]):
        with_them = np.diff(matrix[:, held_out].tocsr().indptr)
        has_list = (degree > 1) & (degree > with_them)
        shares.append((with_them / np.maximum(degree, 1))[has_list].mean())
    assert check.next_rate.shape == (n,) and check.n_items == 2 * n
    assert np.isclose(check.next_rate.sum(), np.mean(shares), rtol=0.01)
    assert check.next_rate[:5].mean() > 3 * check.next_rate[10:].mean()


def test_each_draw_is_ranked_with_weights_of_the_other_one(monkeypatch):
    """A column that knows the held-out items of one draw is worthless for those of the other one."""
    draws, matrix = [], interactions()

    def columns(draw, spaces, size):
        draws.append(draw)
        knows = draw.hits() * (1.0 if len(draws) == 1 else -1.0)
        return standardised(np.stack([knows] * 6, axis=-1).astype(np.float32))

    monkeypatch.setattr("recbole_universal.content.held_out_items.HeldOutItems.columns", columns)
    monkeypatch.setattr("recbole_universal.content.new_items.paired_z_score", lambda difference: 0.0)
    check = check_new_items(matrix, [array_space("x", np.eye(N_ITEMS))])
    assert not set(draws[0].items) & set(draws[1].items) and len(draws[0].items) == len(draws[1].items) == N_ITEMS // 5
    for draw in draws:
        assert draw.support[:, draw.items].nnz == 0 and (draw.support + draw.query != matrix).nnz == 0
    assert check.choice == "fitted" and check.trust == 0 and check.ndcg < 0.5 * check.chance
    assert check.ndcg_of_columns.min() > 0.4


def test_ndcg_by_item_sums_to_that_of_all_users():
    generator = np.random.default_rng(0)
    scores, hits = generator.random((40, 15)).astype(np.float32), generator.random((40, 15)) < 0.2
    scores, hits = scores[hits.any(axis=1)], hits[hits.any(axis=1)]
    n_relevant = hits.sum(axis=1)
    by_item = ndcg_by_item(scores, hits, n_relevant, 15 * (np.arange(len(hits)) % 2))
    by_user = ndcg_by_user(scores, hits, n_relevant)
    assert by_item.shape == (30,) and np.isclose(by_item[:15].sum(), by_user[::2].sum())
    assert np.isclose(by_item[15:].sum(), by_user[1::2].sum())
    one = ndcg_by_item(scores[:1], hits[:1] & (np.arange(15) == 4), np.ones(1, dtype=int), np.zeros(1, dtype=int))
    assert set(np.flatnonzero(one)) <= {4}


def test_one_popular_item_does_not_choose_a_column(monkeypatch):
    """A column that finds one held-out item alone is better for most users, and no better for other items."""
    popular = np.random.default_rng(0).permutation(N_ITEMS)[0]  # held out by the first draw
    matrix = interactions().tolil()
    matrix[:250, popular] = 1
    matrix = matrix.tocsr()

    def columns(draw, spaces, size):
        generator = np.random.default_rng(1)
        finds = generator.normal(size=(*draw.hits().shape, 6))
        finds[..., 0] += 20 * draw.hits() * (draw.items == popular)
        finds[..., 1] += 0.5 * draw.hits() * (draw.items != popular)
        return standardised(finds.astype(np.float32))

    monkeypatch.setattr("recbole_universal.content.held_out_items.HeldOutItems.columns", columns)
    second = np.eye(6)[1]
    monkeypatch.setattr("recbole_universal.content.new_items.fitted_weights", lambda *_: second)
    check = check_new_items(matrix, [array_space("x", np.eye(N_ITEMS))])
    assert check.ndcg_of_columns[0] > 1.05 * check.ndcg_of_columns[1] and check.choice == "fitted"
    assert np.isclose(check.ndcg, check.ndcg_of_columns[1])


def test_users_who_agree_are_no_evidence_of_many_items():
    """One item that all users had stands first by chance in one of 24 orders; many items do not."""
    one = np.zeros((400, 24), dtype=bool)
    one[:, 3] = True
    scores = np.tile(np.arange(24, 0, -1, dtype=np.float32), (400, 1))
    many = np.zeros((400, 240), dtype=bool)
    many[np.arange(400), np.arange(400) % 240] = True
    ones = np.ones(400, dtype=np.int64)
    assert not is_beyond_chance(scores, one, ones)
    assert is_beyond_chance(many.astype(np.float32), many, ones)
    assert not is_beyond_chance(np.zeros_like(scores), np.zeros_like(one), ones)


@pytest.mark.parametrize("n_items", [1, 4, 5, 9, 10])
def test_a_small_catalogue_is_checked_or_ranked_by_equal_weights(n_items):
    matrix = sp.csr_matrix(np.ones((6, n_items), dtype=np.float32))
    model = NewItems(matrix, [array_space("x", np.random.default_rng(0).normal(size=(n_items, 3)))])
    assert np.isfinite(model.check.weights).all() and np.isfinite(model.scores(matrix, np.arange(n_items))).all()
    assert model.check.n_items == 2 * (n_items // 5) and model.check.trust == 0
