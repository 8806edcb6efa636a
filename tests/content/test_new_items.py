from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from content_data import N_ITEMS, interactions, texts

from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.new_items import NewItems, check_new_items, first_weights, split_items
from recbole_universal.content.places import even_places, merged, next_places, rates_of_fewer
from recbole_universal.content.relations import ContentRelations
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
    scores = relations._neighbor_scores
    monkeypatch.setattr(relations, "_neighbor_scores", lambda some: (rows.append(some.shape[0]), scores(some))[1])
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
        for column, scores in ((2, relations._regression_scores), (3, relations._neighbor_scores)):
            expected = scores(known[:7])[:, items] @ weights / weights.sum()
            assert np.allclose(columns[:, row, column], expected, atol=1e-4)


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
    generator = np.random.default_rng(0)
    held_out = generator.permutation(N_ITEMS)[: check.n_items]
    degree, with_them = np.diff(matrix.indptr), np.diff(matrix[:, held_out].tocsr().indptr)
    has_list = (degree > 1) & (degree > with_them)
    share = (with_them / np.maximum(degree, 1))[has_list].mean()
    assert check.next_rate.shape == (check.n_items,) and np.isclose(check.next_rate.sum(), share, rtol=0.15)
    assert check.next_rate[:5].mean() > 3 * check.next_rate[10:].mean()
