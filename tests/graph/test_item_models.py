"""Item similarities: known answers, bounds, and recommendations from an item-item matrix."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graph_data import random_matrix

from recbole_universal.graph import SCORERS, GraphScorers, item_models, scorers
from recbole_universal.graph import sums as sums_of_items
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.item_models import (
    best_by_relations,
    most_items,
    nearest_neighbors,
    paths_from_items,
    row_blocks,
    sampled_users,
    singular_vectors,
    strongest,
    thinned,
)
from recbole_universal.graph.spectrum import largest_singular


def test_neighbors_are_the_nearest_items_and_ties():
    matrix = random_matrix(200, 30, 0.3)
    cosines = nearest_neighbors(matrix, 30).toarray()
    nearest = nearest_neighbors(matrix, 5)
    for row in range(30):
        least = np.sort(cosines[row])[-5]
        np.testing.assert_array_equal(nearest[row].toarray()[0] > 0, (cosines[row] >= least) & (cosines[row] > 0))
    assert nearest.diagonal().sum() == 0


def test_both_ways_to_the_spectrum_agree(monkeypatch):
    # Four groups with different numbers of common items: the fifth value is far below the fourth.
    groups = [random_matrix(30, 22, density, seed) for seed, density in enumerate((0.5, 0.6, 0.7, 0.8))]
    matrix = sp.csr_matrix(sp.block_diag(groups).maximum(random_matrix(120, 88, 0.02)))
    exact, cuts = singular_vectors(matrix, 4, (2, 1))
    monkeypatch.setattr(item_models, "_EXACT_SPECTRUM", 0)
    projected, others = singular_vectors(matrix, 4, (2, 1))
    assert cuts.tolist() == others.tolist() == [2, 4]
    np.testing.assert_allclose(exact @ exact.T, projected @ projected.T, atol=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_neighbors", [1, 5, 40])
def test_compiled_loops_find_the_same_neighbours(monkeypatch, weighted, n_neighbors):
    pytest.importorskip("numba")
    matrix = sp.block_diag([random_matrix(60, 30, 0.2), np.ones((1, 50)), random_matrix(5, 9, 0.5)], format="csr")
    matrix = matrix.astype(np.float32)
    if weighted:
        matrix.data = np.random.default_rng(0).random(matrix.nnz, dtype=np.float32) + 0.5
    items = np.arange(0, matrix.shape[1], 2)
    monkeypatch.setattr(item_models, "_BLOCK_ITEMS", 7)
    ours = [nearest_neighbors(matrix, n_neighbors, some) for some in (None, items, items[:0])]
    monkeypatch.setattr(item_models, "compiled", lambda: None)
    for compiled, some in zip(ours, (None, items, items[:0]), strict=True):
        expected = nearest_neighbors(matrix, n_neighbors, some)
        assert compiled.shape == expected.shape and compiled.nnz == expected.nnz
        np.testing.assert_array_equal(compiled.toarray(), expected.toarray())


def test_the_spectrum_of_a_matrix_of_low_rank_is_exact():
    rng = np.random.default_rng(0)
    dense = (rng.random((300, 4)) @ rng.random((4, 90))).astype(np.float32)
    dense[:, 7] = 0
    squares, vectors = largest_singular(sp.csr_matrix(dense), 6)
    _, values, right = np.linalg.svd(dense.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(squares, values[:6] ** 2, rtol=1e-4, atol=1e-4 * values[0])
    np.testing.assert_allclose(vectors[:, :4] @ vectors[:, :4].T, right[:4].T @ right[:4], atol=1e-3)
    assert not vectors[7].any() and np.isfinite(vectors).all()


def test_a_large_spectrum_begins_with_a_sample_and_ends_with_all_users(monkeypatch):
    """Half of the users have no interaction with half of the items, and the vectors describe all items."""
    halves = [random_matrix(60, 44, 0.5, seed) for seed in range(2)]
    matrix = sp.csr_matrix(sp.block_diag(halves).maximum(random_matrix(120, 88, 0.02)))
    exact, _ = singular_vectors(matrix, 2, (1,))
    monkeypatch.setattr(item_models, "_EXACT_SPECTRUM", 0)
    seen = []

    def recorded(whole, rank, sample=None):
        seen.append(sample)
        return largest_singular(whole, rank, whole[:60] if sample is not None else None)

    monkeypatch.setattr(item_models, "largest_singular", recorded)
    whole, _ = singular_vectors(matrix, 2, (1,))
    monkeypatch.setattr(item_models, "_FIRST_PASSES", matrix.nnz // 2)
    begun, _ = singular_vectors(matrix, 2, (1,))
    assert seen[0] is None and 0.4 * matrix.nnz < seen[1].nnz <= matrix.nnz // 2
    for vectors in (whole, begun):
        np.testing.assert_allclose(vectors @ vectors.T, exact @ exact.T, atol=2e-3)
    assert (begun != whole).any()
    monkeypatch.setattr(item_models, "_FIRST_PASSES", 200)  # some 9 users
    singular_vectors(matrix, 4, (1,))
    assert seen[-1] is None


def test_ties_do_not_fill_the_neighbour_graph():
    """An item of one heavy user ties with all items of that user."""
    matrix = sp.csr_matrix(np.vstack([np.ones((1, 50)), np.eye(2, 50)]).astype(np.float32))
    neighbors = nearest_neighbors(matrix, 3)
    assert np.diff(neighbors.indptr).max() <= 4 * 3
    few = nearest_neighbors(matrix[:, :8], 3)  # seven ties fit
    assert np.diff(few.indptr).min() >= 5


def test_no_more_users_than_asked_for():
    matrix = random_matrix(200, 40, 0.2)
    assert len(sampled_users(matrix, matrix.nnz, 50)) == 50


def test_one_heavy_user_is_a_sample():
    matrix = sp.csr_matrix(np.ones((1, 5)))
    assert sampled_users(matrix, 3, 10).tolist() == [0]


def test_cosines_of_many_users_are_exact():
    """Counts are summed before they are scaled: sums of scaled counts drift in float32."""
    same = sp.csr_matrix(np.ones((400_000, 2), dtype=np.float32))
    np.testing.assert_allclose(nearest_neighbors(same, 1).data, 1.0, rtol=1e-6)


def test_the_strongest_of_either_sign_stay():
    matrix = sp.csr_matrix(np.array([[0.1, -3.0, 2.0, 0.5], [0, 0, 0, 0], [0, 1.0, 0, 0]], dtype=np.float32))
    np.testing.assert_array_equal(strongest(matrix, 2).toarray(), [[0, -3.0, 2.0, 0], [0, 0, 0, 0], [0, 1.0, 0, 0]])


@pytest.mark.parametrize("way", ["compiled", "not compiled"])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_lists_are_the_best_of_the_sums(monkeypatch, exclude_seen, way):
    if way == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(sums_of_items, "compiled", lambda: None)
    monkeypatch.setattr(item_models, "BLOCK_COUNTS", 100)  # four users a block
    user_items = random_matrix()
    relations = sp.random(25, 25, 0.4, "csr", np.float32, random_state=0)
    relations.data -= 0.3
    sums = (user_items @ relations).toarray()
    if exclude_seen:
        sums[user_items.nonzero()] = 0.0
    items, values = best_by_relations(user_items, relations, 6, exclude_seen)
    expected = np.sort(sums, axis=1)[:, :-7:-1]
    np.testing.assert_allclose(values, np.maximum(expected, 0), rtol=1e-6)
    np.testing.assert_array_equal(items >= 0, expected > 0)
    present = items >= 0
    np.testing.assert_allclose(
        np.take_along_axis(sums, np.maximum(items, 0), axis=1)[present], values[present], rtol=1e-6
    )
    assert present.any() and not present.all()


def test_rows_of_allowed_items_are_dense_a_few_at_a_time(monkeypatch):
    """The sums of each user reach a single item."""
    monkeypatch.setattr(item_models, "BLOCK_COUNTS", 100)  # four rows of all items
    relations = sp.csr_matrix(np.roll(np.eye(25, dtype=np.float32), 1, axis=1))
    excluded = sp.csr_matrix(relations.multiply(np.arange(25)[:, None] % 5 == 2))
    sizes, dense = [], AllowedItems.dense
    monkeypatch.setattr(AllowedItems, "dense", lambda self: sizes.append(dense(self).size) or dense(self))
    allowed, eye = AllowedItems.all_but(None, excluded), sp.eye(25, format="csr", dtype=np.float32)
    items, values = best_by_relations(eye, relations, 2, False, allowed)
    assert max(sizes) <= 100 and sum(sizes) == 25 * 25
    expected = np.where(np.arange(25) % 5 == 2, -1, (np.arange(25) + 1) % 25)
    assert items[:, 0].tolist() == expected.tolist() and (items[:, 1] == -1).all()
    assert values[:, 0].tolist() == (expected >= 0).tolist()


def test_no_users_and_no_relations():
    items, values = best_by_relations(sp.csr_matrix((0, 5)), sp.csr_matrix((5, 5)), 3, True)
    assert items.shape == values.shape == (0, 3)
    items, _ = best_by_relations(sp.csr_matrix((2, 5)), sp.csr_matrix((5, 5)), 3, True)
    assert (items == -1).all()


def test_blocks_cover_all_items():
    widths = np.random.default_rng(0).integers(0, 2000, 100_000)
    blocks = row_blocks(widths, 1000)
    np.testing.assert_array_equal(np.concatenate(blocks), np.arange(100_000))
    assert len(blocks) > 1 and max(map(len, blocks)) * 1000 <= item_models.BLOCK_COUNTS
    # Narrow rows share a block, and a row that touches all columns has a block of one row.
    assert [block.tolist() for block in row_blocks(np.array([1, 1, 1]), 10**8)] == [[0, 1, 2]]
    assert [block.tolist() for block in row_blocks(np.array([10**7, 1, 1]), 10**8)] == [[0], [1, 2]]
    assert [block.tolist() for block in row_blocks(np.zeros(0, dtype=int), 0)] == [[]]


def test_a_longer_list_starts_with_the_shorter_one():
    user_items = sp.eye(1, 30, format="csr")
    tied = sp.csr_matrix((np.ones(25), (np.zeros(25, dtype=int), np.arange(29, 4, -1))), shape=(30, 30))
    longer, _ = best_by_relations(user_items, tied, 10, True)
    shorter, _ = best_by_relations(user_items, tied, 4, True)
    np.testing.assert_array_equal(longer[:, :4], shorter)


def test_users_with_more_items_relate_fewer_pairs():
    matrix = random_matrix(30, 200, 0.05)
    assert thinned(matrix, 200) is matrix
    heavy = matrix.tolil()
    heavy[3], heavy[5, :50], heavy[7] = 1.0, 1.0, 0.0
    heavy = heavy.tocsr()
    thin = thinned(heavy, 40)
    degree = np.diff(heavy.indptr).astype(int)
    assert degree[3] == 200 and 40 < degree[5] < 80
    many = degree > 40
    np.testing.assert_array_equal(np.diff(thin.indptr), np.where(many, 40**2 // np.maximum(degree, 1), degree))
    assert ((heavy - thin) < 0).nnz == 0
    assert (thin[~many] != heavy[~many]).nnz == 0
    pairs = (40**4 // degree[many].astype(int) ** 2).sum() + (degree[~many] ** 2).sum()
    assert paths_from_items(thin).sum() <= pairs
    # Without any one item, the selection of at most two other items changes.
    for gone in (0, 100, 199):
        less = heavy.tolil()
        less[3, gone] = 0.0
        changed = set(thin[3].indices) ^ set(thinned(less.tocsr(), 40)[3].indices)
        assert len(changed - {gone}) <= 2
    assert np.diff(thinned(heavy, 1).indptr).max() == 1


def test_users_are_thinned_where_they_relate_too_many_pairs():
    degree = np.array([0, 10, 20, 20, 40])
    assert most_items(degree, 50, 2500) == 50  # 100 + 400 + 400 + 1600
    limit = most_items(degree, 50, 1000)
    kept = np.where(degree > limit, limit**2 // np.maximum(degree, 1), degree)
    assert 20 <= limit < 40 and (kept**2).sum() <= 1000
    more = limit + 1
    assert (np.where(degree > more, more**2 // np.maximum(degree, 1), degree) ** 2).sum() > 1000
    assert most_items(degree, 50, 0) == 1 and most_items(np.zeros(3, dtype=np.int64), 50, 0) == 50


@pytest.mark.parametrize("n_items", [10_001, 100_000])
def test_a_user_of_the_whole_catalogue_relates_a_bounded_number_of_pairs(n_items):
    few = thinned(sp.csr_matrix(np.ones((1, n_items), dtype=np.float32)), scorers._MOST_ITEMS)
    assert 0 < paths_from_items(few).sum() <= (10**8 // n_items) ** 2


def test_many_items_of_a_user_are_bounded_in_neighbors_and_relations(monkeypatch):
    monkeypatch.setattr(scorers, "_MOST_ITEMS", 20)
    dense = random_matrix(30, 60, 0.1).toarray()
    dense[3], dense[4], dense[4, :20] = 1.0, 0.0, 1.0
    matrix = sp.csr_matrix(dense)
    few = thinned(matrix, 20)
    built = GraphScorers(matrix, n_neighbors=5)
    scores = built.scores(torch.arange(30))[list(SCORERS).index("neighbors")].numpy()
    expected = (matrix @ nearest_neighbors(few, 5).T).toarray()
    np.testing.assert_allclose(scores, expected, atol=2**-16 * expected.max())
    relations = built.item_item(dict.fromkeys(SCORERS, 1.0), 60)
    assert ((few.T @ few).toarray()[relations.nonzero()] > 0).all() and relations.nnz
    grown = matrix.tolil()
    grown.resize(30, 61)
    # User 3 exceeds the limit already, and user 4 comes to have more than 20 items.
    grown[3, 60] = grown[4, 59] = grown[5, 59] = grown[7, 0] = 1.0
    updated, rebuilt = built.with_interactions(grown.tocsr()), GraphScorers(grown.tocsr(), n_neighbors=5)
    for name in ("neighbors.indptr", "neighbors.indices", "neighbors.data"):
        np.testing.assert_allclose(updated.arrays()[name], rebuilt.arrays()[name], rtol=1e-6)


def test_the_work_of_long_histories_is_counted_in_64_bits(monkeypatch):
    widths = []
    monkeypatch.setattr(item_models, "row_blocks", lambda work, _: widths.append(work.max()) or [np.arange(1)])
    n_items = 70_000
    history = sp.csr_matrix(np.ones((1, n_items), dtype=np.float32))
    ones, first = np.ones(n_items // 2, dtype=np.float32), np.zeros(n_items // 2, dtype=int)
    relations = sp.csr_matrix((ones, (first, np.arange(n_items // 2))), shape=(n_items, n_items))
    item_models.best_by_relations(history, relations, 1, False)
    assert widths == [n_items * (n_items // 2)]
