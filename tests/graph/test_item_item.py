"""The item-item matrix of large catalogues: which relations stay, and what they cost, in operations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from graph_data import random_matrix

from recbole_universal.graph import item_item, item_pairs
from recbole_universal.graph.scorer_definitions import LINEAR
from recbole_universal.graph.scorers import GraphScorers
from recbole_universal.graph.sums import compiled

WEIGHTS = {name: 1.0 + index for index, name in enumerate(LINEAR)}
SPARSE = {name: WEIGHTS[name] for name in ("user_cosine", "rp3", "linear_filter", "neighbors")}


@pytest.fixture(params=["compiled", "not compiled"])
def way(request, monkeypatch):
    if request.param == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(item_pairs, "compiled", lambda: None)


def untied(n_users: int, n_items: int, **options) -> GraphScorers:
    """Scorers of interactions with random weights, where no relations are equal."""
    matrix = random_matrix(n_users, n_items, density=0.15)
    matrix.data = np.random.default_rng(0).random(matrix.nnz, dtype=np.float32) + 0.5
    return GraphScorers(matrix, weighted=True, n_neighbors=5, max_regression_size=30, **options)


def chosen(order: np.ndarray, k: int) -> np.ndarray:
    """Whether an entry is one of the k largest of its row that are not 0."""
    return (order > 0) & (order >= -np.sort(-order, axis=1)[:, k - 1 : k])


@pytest.mark.parametrize("shape", [(60, 45), (30, 45)])  # the regression is of items, and of users
@pytest.mark.parametrize(("sparse", "n_pool"), [(SPARSE, 4), ({}, 4), ({"neighbors": 4.0}, 8)])
def test_unpopular_items_are_related_where_their_sums_are_large(monkeypatch, way, shape, sparse, n_pool):
    scorers, n_items, k = untied(*shape), shape[1], 4
    weights = {name: 10 * weight for name, weight in WEIGHTS.items() if name not in SPARSE} | sparse
    whole = scorers.item_item(weights, n_items).toarray()
    sums = scorers.item_item(sparse, n_items).toarray()
    if len(sparse) < 2:  # without sums over common users, the neighbours and then the linear filter
        sums = sums * 1e9 + scorers.item_item({"linear_filter": 1.0}, n_items).toarray()
    popular = np.isin(np.arange(n_items), np.argsort(-scorers.item_degree, kind="stable")[:10])
    pool = chosen(np.where(popular, 0, np.abs(sums)), n_pool)
    candidates = np.where(popular | pool, whole, 0)
    expected = np.where(chosen(np.abs(candidates), k), candidates, 0)
    assert (expected != np.where(chosen(np.abs(whole), k), whole, 0)).any()
    monkeypatch.setattr(item_item, "_N_POPULAR", 10)
    monkeypatch.setattr(item_item, "_POOL", n_pool // k)
    np.testing.assert_allclose(scorers.item_item(weights, k).toarray(), expected, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(60, 45), (30, 45)])
def test_a_pool_of_all_items_gives_the_whole_matrix(monkeypatch, way, shape):
    scorers = untied(*shape)
    whole = scorers.item_item(WEIGHTS, 6).toarray()
    monkeypatch.setattr(item_item, "_N_POPULAR", 10)
    monkeypatch.setattr(item_item, "_POOL", 10)
    np.testing.assert_allclose(scorers.item_item(WEIGHTS, 6).toarray(), whole, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("n_popular", [5, 1000])
def test_the_first_of_equally_strong_items_stay(monkeypatch, n_popular):
    """Items 8k to 8k + 7 have the same users. The choice is the same with and without compiled loops."""
    pytest.importorskip("numba")
    matrix = sp.csr_matrix(np.repeat(random_matrix(40, 9, density=0.2).toarray(), 8, axis=1))
    scorers = GraphScorers(matrix, n_neighbors=5, max_regression_size=30)
    monkeypatch.setattr(item_item, "_N_POPULAR", n_popular)
    ours = scorers.item_item(WEIGHTS, 5)
    monkeypatch.setattr(item_pairs, "compiled", lambda: None)
    expected = scorers.item_item(WEIGHTS, 5)
    np.testing.assert_array_equal(ours.indptr, expected.indptr)
    np.testing.assert_array_equal(ours.indices, expected.indices)
    np.testing.assert_allclose(ours.data, expected.data, rtol=1e-4)
    rows = ours.toarray().reshape(72, 9, 8) != 0
    without_itself = rows[np.arange(72) % 8 == 7]  # of its own group, the last item may relate to the first seven
    assert (without_itself[:, :, :-1] >= without_itself[:, :, 1:]).all()


def test_strengths_are_of_rounded_absolute_values_then_of_the_first_item():
    values = np.array([1.0, -1.0, 1.0 + 2**-20, 1.001, 0.0, -2.0], dtype=np.float32)
    strengths = item_pairs.strengths(values, np.array([7, 5, 6, 9, 0, 8]))
    assert np.argsort(-strengths).tolist() == [5, 3, 1, 2, 0, 4]
    assert (strengths >= 0).all() and len(set(strengths.tolist())) == 6


def test_products_of_an_item_stay_bounded_as_the_catalogue_grows(monkeypatch, way):
    """The dense terms are computed for the popular items and the pool, whatever the number of items."""
    k, n_popular, per_item = 4, 32, {}
    monkeypatch.setattr(item_item, "_N_POPULAR", n_popular)
    call, relations = item_item.band_products, GraphScorers(random_matrix())._regression.__class__.relations
    counts = {"pool": 0, "regression": 0}

    def counted(spectrum, vectors, cuts, items, lengths):
        counts["pool"] += int(lengths.sum())
        return call(spectrum, vectors, cuts, items, lengths)

    def counted_relations(regression, sources, targets):
        counts["regression"] += len(sources) * len(targets)
        return relations(regression, sources, targets)

    monkeypatch.setattr(item_item, "band_products", counted)
    for n_items in (100, 200, 400):
        scorers = GraphScorers(random_matrix(2 * n_items, n_items, density=0.2), max_regression_size=24)
        monkeypatch.setattr(type(scorers._regression), "relations", counted_relations)
        counts.update(pool=0, regression=0)
        scorers.item_item(WEIGHTS, k)
        per_item[n_items] = counts["pool"] / n_items
        assert counts["regression"] <= 24 * n_popular  # the items of the regression, not all of them
    assert per_item == dict.fromkeys(per_item, 2 * k)


def test_blocks_of_items_bound_the_dense_terms(monkeypatch, way):
    """Items without users have no path. A block of all of them would have as many dense rows."""
    monkeypatch.setattr("recbole_universal.graph.item_models.BLOCK_COUNTS", 400)
    matrix = random_matrix(40, 25)
    matrix.resize(40, 200)
    sizes, threads = [], item_item.in_torch_threads
    monkeypatch.setattr(
        item_item, "in_torch_threads", lambda f, blocks: sizes.extend(map(len, blocks)) or threads(f, blocks)
    )
    monkeypatch.setattr(item_item, "_N_POPULAR", 20)
    assert GraphScorers(matrix).item_item(WEIGHTS, 4).shape == (200, 200)
    assert sum(sizes) == 200 and max(sizes) * 20 <= 400


@pytest.mark.parametrize("n_relations", [0, -1, 2.5, True, "4"])
def test_a_number_of_relations_is_at_least_one(n_relations):
    with pytest.raises(ValueError, match="argument n_relations must be an integer >= 1"):
        GraphScorers(random_matrix()).item_item(WEIGHTS, n_relations)


def test_compiled_loops_are_used_where_numba_is_installed():
    pytest.importorskip("numba")
    assert item_pairs.compiled is compiled and compiled() is not None
