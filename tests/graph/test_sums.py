"""Sums over the items of histories: against dense products, compiled and not, and how much they read."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal.features.candidates import CandidateGenerator
from recbole_universal.graph import graph_scores, sums
from recbole_universal.graph.scorer_definitions import SCORERS
from recbole_universal.graph.scorers import GraphScorers
from recbole_universal.graph.sums import best_of_scores, best_of_sums, sums_at
from recbole_universal.graph.user_sums import UserSums


def random_csr(n_rows: int, n_columns: int, density: float, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 9, (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < density)
    return sp.csr_matrix(values.astype(np.float32))


@pytest.fixture(params=["compiled", "not compiled"])
def way(request, monkeypatch):
    if request.param == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(sums, "compiled", lambda: None)
    return request.param


@pytest.mark.parametrize("k", [1, 4, 30])
@pytest.mark.parametrize("filters", [0, 1, 9])
def test_the_best_are_those_of_the_dense_product(way, k, filters):
    """Whole numbers, so that sums are exact and many are equal: those of equal sums are ordered by index."""
    weights, relations, excluded = random_csr(9, 12, 0.3), random_csr(12, 20, 0.2, 1), random_csr(9, 20, 0.2, 2)
    weights.data[:], relations.data[:] = 1.0, 1.0
    allowed = np.random.default_rng(3).random((filters, 20)) < 0.7 if filters else None
    factor = np.where(np.arange(20) == 7, 2.0, 1.0).astype(np.float32)
    columns, values = best_of_sums(weights, relations, k, excluded, allowed, factor)
    expected = (weights @ relations).toarray() * factor
    expected[excluded.toarray() > 0] = 0.0
    if allowed is not None:
        expected = np.where(allowed, expected, 0.0)
    for row, value in enumerate(expected):
        order = np.argsort(-value, kind="stable")[:k]
        order = order[value[order] > 0]
        np.testing.assert_array_equal(columns[row], np.pad(order, (0, k - len(order)), constant_values=-1))
        np.testing.assert_array_equal(values[row, : len(order)], value[order])
        assert not values[row, len(order) :].any()


def test_products_of_scipy_hold_some_histories(monkeypatch):
    """There are many users, and a history may share an item with all of them."""
    weights, relations, sizes = random_csr(9, 12, 0.9), random_csr(12, 20, 0.9, 1), []
    product = sp.csr_matrix.__matmul__
    monkeypatch.setattr(sums, "compiled", lambda: None)
    expected = best_of_sums(weights, relations, 4)
    monkeypatch.setattr(sp.csr_matrix, "__matmul__", lambda *two: sizes.append(product(*two).nnz) or product(*two))
    monkeypatch.setattr(sums, "_MOST_ENTRIES", 50)
    for ours, before in zip(best_of_sums(weights, relations, 4), expected, strict=True):
        np.testing.assert_array_equal(ours, before)
    assert len(sizes) == 5 and max(sizes) <= 50


def test_sums_that_differ_by_rounding_are_equal(way):
    relations = sp.csr_matrix(np.array([[1.0, 1.0 + 2**-20, 1.0 + 2**-10]], dtype=np.float32))
    weights = sp.csr_matrix(np.ones((1, 1), dtype=np.float32))
    assert best_of_sums(weights, relations, 3)[0].tolist() == [[2, 1, 0]]
    assert best_of_sums(weights, relations, 3, digits=16)[0].tolist() == [[2, 0, 1]]


def places(lengths: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct numbers below n in rows of these lengths, 0 after them, and whether a position is one of them."""
    inside = np.arange(max(lengths)) < lengths[:, None]
    rows = [np.random.default_rng(row).permutation(n)[: max(lengths)] for row in range(len(lengths))]
    return np.where(inside, np.stack(rows), 0), inside


def test_sums_at_some_columns_are_entries_of_the_product(way):
    weights, relations = random_csr(9, 12, 0.3), random_csr(12, 20, 0.2, 1)
    lengths = np.array([3, 0, 20, 1, 1, 0, 2, 5, 4])
    columns, inside = places(lengths, 20)
    expected = np.where(inside, np.take_along_axis((weights @ relations).toarray(), columns, 1), 0.0)
    np.testing.assert_array_equal(sums_at(weights, relations, columns, lengths), expected)
    # Those of a dense table are the same, and column -1 has none.
    missing = inside & (columns % 3 == 0)
    got = sums.entries_at(weights, relations.toarray(), np.where(missing, -1, columns), lengths)
    np.testing.assert_array_equal(got, np.where(missing, 0.0, expected))


def test_products_of_bands_are_those_of_shorter_vectors(way):
    rng, lengths = np.random.default_rng(0), np.array([3, 0, 20, 1])
    spectrum, vectors = (rng.integers(-8, 9, (n, 7)).astype(np.float32) for n in (4, 20))
    items, inside = places(lengths, 20)
    got = sums.band_products(spectrum, vectors, np.array([2, 5, 7]), items, lengths)
    for band, cut in zip(got, (2, 5, 7), strict=True):
        whole = spectrum[:, :cut] @ vectors[:, :cut].T
        np.testing.assert_array_equal(band, np.where(inside, np.take_along_axis(whole, items, 1), 0.0))


@pytest.mark.parametrize("n_values", [300, 5000])
def test_the_best_of_many_sums_of_all_sizes(way, n_values):
    """Values of many sizes, some equal, and more than the buckets of the compiled loop tell apart."""
    values = np.exp2(np.random.default_rng(0).uniform(-30, 2, n_values)).astype(np.float32)
    values[1::3] = values[: len(values[1::3])]
    for k in (1, 17, 200, 299):
        columns, best = best_of_sums(sp.csr_matrix([[1.0]], dtype=np.float32), sp.csr_matrix(values[None]), k)
        order = np.argsort(-values, kind="stable")[:k]
        np.testing.assert_array_equal(columns[0], order)
        np.testing.assert_array_equal(best[0], values[order])


@pytest.mark.parametrize("weighted", ["none", "matrix", "histories", "both"])
def test_sums_over_users_are_those_of_dense_products(way, weighted):
    matrix, histories = random_csr(30, 14, 0.3), random_csr(5, 14, 0.4, 1)
    for name, values in (("matrix", matrix), ("histories", histories)):
        if weighted not in (name, "both"):
            values.data[:] = 1.0
    rng = np.random.default_rng(0)
    half, weights = rng.random(30).astype(np.float32), rng.random((14, 4)).astype(np.float32)
    own, lengths = np.array([-1, 4, 29, -1, 0]), np.array([14, 3, 0, 7, 2])
    items, inside = places(lengths, 14)
    mine = weights[histories.indices] * histories.data[:, None]
    got = UserSums(matrix, half).at(histories, mine, graph_scores._BY_USERS, own, items, lengths)
    seen, asked = matrix.toarray().astype(np.float64), histories.toarray().astype(np.float64)
    shared = np.stack([(asked * weights[:, column]) @ seen.T for column in range(4)]) * half
    shared[1] **= 2
    shared[2:] *= half
    shared[1, own >= 0, own[own >= 0]] = 0.0
    expected = np.where(inside, (shared @ seen)[:, np.arange(5)[:, None], items], 0.0)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("density", [2e-4, 0.2])
def test_sums_over_more_users_than_a_tile(density):
    """With few and with many users of an item, and with the history's own user in each tile."""
    pytest.importorskip("numba")
    n_users = 2 * 2**15 + 5000
    matrix, histories = random_csr(n_users, 14, density), random_csr(4, 14, 0.4, 1)
    rng = np.random.default_rng(0)
    half, weights = rng.random(n_users).astype(np.float32), rng.random((len(histories.data), 4)).astype(np.float32)
    own, lengths = np.array([-1, 4, 2**15, n_users - 1]), np.array([14, 3, 0, 7])
    items, _ = places(lengths, 14)
    shared = UserSums(matrix, half)
    asked = histories, weights, graph_scores._BY_USERS, own, items, lengths
    got = shared.at(*asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "compiled", lambda: None)
        np.testing.assert_allclose(got, shared.at(*asked), rtol=1e-4)
    assert got[:, 0].any(axis=1).all()


@pytest.mark.parametrize("n_users", [40, 2**15 + 40])
@pytest.mark.parametrize("n_nearest", [1, 7, 30])
def test_the_nearest_users_are_those_of_the_dense_product(way, n_users, n_nearest):
    """Whole numbers, so that many users are equally near: of these, the first are taken."""
    matrix, histories = random_csr(n_users, 12, 0.7), random_csr(5, 12, 0.5, 1)
    histories[4, :] = 0
    histories.eliminate_zeros()
    half = np.where(np.arange(n_users) % 7 == 3, 2.0, 1.0).astype(np.float32)
    half[-20:] = 4.0  # users of the last tile are among the nearest
    own = np.array([-1, 3, n_users - 1, 0, 5])
    found = UserSums(matrix, half).nearest(histories, own, n_nearest)
    expected = (histories @ matrix.T).toarray() * half
    expected[own >= 0, own[own >= 0]] = 0.0
    for row, value in enumerate(expected):
        order = np.argsort(-value, kind="stable")[:n_nearest]
        order = order[value[order] > 0]
        entries = slice(found.indptr[row], found.indptr[row + 1])
        np.testing.assert_array_equal(found.indices[entries], order)
        np.testing.assert_array_equal(found.data[entries], value[order] ** 2)


def generated(n_users: int = 1500, n_items: int = 1200) -> sp.csr_matrix:
    """Items whose popularity falls with their index, in communities."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(n_users), 15)
    columns = (n_items * rng.random(len(rows)) ** 2).astype(np.int64)
    columns = np.where(rng.random(len(rows)) < 0.7, columns // 4 * 4 + rows % 4, columns) % n_items
    return sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(n_users, n_items))


def test_candidates_read_a_small_part_of_the_interactions(way, monkeypatch):
    """Numbers of pairs and of interactions that a user costs; four products would read all interactions four times."""
    matrix, pairs, read = generated(), [], []
    scorers = GraphScorers(matrix)
    at = UserSums.at

    def counted(users, histories, weights, kinds, own, items, lengths):
        pairs.extend(lengths)
        asked = items[np.arange(items.shape[1]) < lengths[:, None]]
        read.append(np.diff(users.by_item.indptr)[np.concatenate([asked, histories.indices])].sum())
        return at(users, histories, weights, kinds, own, items, lengths)

    monkeypatch.setattr(UserSums, "at", counted)
    block = CandidateGenerator(scorers, 50)(scorers.histories[:100])
    assert max(pairs) <= 3 * 100 + 20 and block.items.shape[1] == max(pairs)
    assert sum(read) / 100 < 0.5 * scorers.matrix.nnz


@pytest.mark.parametrize("weighted", [False, True])
def test_compiled_and_not_compiled_lists_are_equal(monkeypatch, weighted):
    pytest.importorskip("numba")
    matrix = generated()
    matrix.data[:] = 2.0 ** np.random.default_rng(1).integers(-3, 3, matrix.nnz)
    scorers = GraphScorers(matrix, weighted=weighted)
    generator = CandidateGenerator(scorers, 50)
    one = generator(scorers.histories[:60])
    monkeypatch.setattr(sums, "compiled", lambda: None)
    other = generator(scorers.histories[:60])
    assert torch.equal(one.items, other.items) and len(one.values) == len(SCORERS)
    torch.testing.assert_close(one.values, other.values, rtol=2**-14, atol=1e-4)


def test_lists_of_weights_of_1_are_those_without_weights(way):
    matrix = generated()
    matrix.data[:] = 1.0
    plain, ones = (
        CandidateGenerator(scorers, 50)(scorers.histories[:60])
        for scorers in (GraphScorers(matrix), GraphScorers(matrix, weighted=True))
    )
    assert torch.equal(plain.items, ones.items) and torch.equal(plain.values, ones.values)


def test_scores_of_pairs_are_those_of_every_item():
    scorers = GraphScorers(generated(300, 200))
    histories, preference = scorers.histories[:40], torch.ones(200)
    items = torch.arange(200).repeat(40, 1)[:, ::7]
    lengths = np.minimum(np.arange(40), items.shape[1])
    mask = torch.from_numpy(np.arange(items.shape[1]) < lengths[:, None])
    some = scorers.asked(histories, preference).of(items.numpy(), lengths)
    whole = scorers.scores_of(histories)[:, :, ::7]
    assert not some[:, ~mask].any()
    torch.testing.assert_close(some[:, mask], whole[:, mask], rtol=2**-12, atol=1e-3)


def test_of_equal_scores_the_first_columns_are_the_best():
    """Which of them a partition takes depends on the processor."""
    rng = np.random.default_rng(0)
    scores = rng.integers(-1, 4, (8, 300)).astype(np.float32)
    items = rng.permutation(300)
    columns, nothing = np.argsort(items), sp.csr_matrix((8, 300), dtype=np.float32)
    best = best_of_scores(scores.copy(), items, columns, 90, nothing, None, np.ones(300, dtype=np.float32))
    for row, value in zip(best, scores, strict=True):
        assert sorted(row) == sorted(items[np.argsort(-value, kind="stable")[:90]])
