"""The graph scorers: known answers and laws."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graph_data import random_matrix

from recbole_universal.graph import item_models, item_pairs, scorers, sums
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.item_models import nearest_neighbors, sampled_users
from recbole_universal.graph.scorer_definitions import LINEAR, SCORERS
from recbole_universal.graph.scorers import GraphScorers
from recbole_universal.graph.sums import compiled


def by_name(scorers: GraphScorers) -> dict[str, np.ndarray]:
    scores = scorers.scores(torch.arange(scorers.n_users))
    return dict(zip(SCORERS, scores.numpy(), strict=True))


def test_known_answers():
    matrix = random_matrix()
    dense = matrix.toarray().astype(np.float64)
    user, item = dense.sum(axis=1), dense.sum(axis=0)
    scores = by_name(GraphScorers(matrix))

    def power(degree, exponent):
        return np.where(degree > 0, np.maximum(degree, 1.0) ** -exponent, 0.0)

    normal = power(user, 0.5)[:, None] * dense * power(item, 0.5)
    np.testing.assert_allclose(
        scores["user_cosine"], (dense @ dense.T * power(user, 0.5)) @ dense, rtol=1e-4, atol=1e-4
    )
    _, _, vectors = np.linalg.svd(normal)
    largest = vectors[:8].T
    back = np.where(item > 0, np.sqrt(np.maximum(item, 1)), 0)
    np.testing.assert_allclose(
        scores["full_pass"], ((dense * power(item, 0.5)) @ largest @ largest.T) * back, rtol=1e-3, atol=1e-4
    )
    gram = dense.T @ dense
    inverse = np.linalg.inv(gram + 3 * item[item > 0].mean() * np.eye(len(gram)))
    ease = -inverse / np.diag(inverse)
    np.fill_diagonal(ease, 0)
    np.testing.assert_allclose(scores["regression"], dense @ ease, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(scores["popularity"], np.where(dense @ dense.T @ dense > 0, item, 0))


@pytest.mark.parametrize("shape", [(40, 25), (25, 40)])
def test_a_regression_scores_the_present_items_of_a_user(shape):
    """After an update a user's new items count, with the weights of the items that were fitted."""
    before = random_matrix(*shape)
    dense = before.toarray().astype(np.float64)
    after = before.tolil()
    after[2, 5], after[9, 1] = 1.0, 1.0
    degree = dense.sum(axis=0)
    inverse = np.linalg.inv(dense.T @ dense + 10 * degree[degree > 0].mean() * np.eye(shape[1]))
    expected = after.toarray() @ (np.eye(shape[1]) - inverse / np.diag(inverse))
    built = GraphScorers(before, penalty=10.0)
    for updated in (built.with_interactions(after.tocsr()), built.with_interactions(before).with_interactions(after)):
        again = GraphScorers.from_arrays(updated.arrays())
        np.testing.assert_allclose(by_name(again)["regression"], expected, atol=2**-15 * expected.max())


@pytest.mark.parametrize("noise", [1e-7, -1e-7])
def test_scores_that_differ_by_rounding_errors_are_equal(monkeypatch, noise):
    """Another processor sums in another order. Its scores, and so its lists, are the same."""
    matrix = random_matrix(30, 20, 0.4)
    built = GraphScorers(matrix)
    scores = built.scores(torch.arange(30))
    vectors = built.arrays()["vectors"]
    vectors *= (1 + noise * np.random.default_rng(0).choice([-1.0, 1.0], vectors.shape)).astype(np.float32)
    changed = built.scores(torch.arange(30)) != scores
    assert changed.float().mean() < 0.003
    values = np.array([[[1.0, 0.3, 0.3 + noise, noise, 0.0, -noise, 1.0 + noise]]], dtype=np.float32)
    alone = sums.rounded(values)[0, 0]
    assert alone[0] == alone[6] == 1 and alone[1] == alone[2]
    assert alone[3:6].tolist() == [0, 0, 0]


def test_a_cut_keeps_equal_singular_values_together():
    """Two equal halves of a matrix have singular values in pairs."""
    twice = sp.block_diag([random_matrix(64, 64), random_matrix(64, 64)], format="csr")
    vectors, cuts = item_models.singular_vectors(twice, 5, (2, 1))
    assert cuts.tolist() == [2, 4] and vectors.shape[1] == 4
    _, cuts = item_models.singular_vectors(sp.csr_matrix(np.eye(9, dtype=np.float32)), 5, (2, 1))
    assert cuts.tolist() == [5, 5]  # all are equal
    blocks = sp.block_diag([np.ones((4, 4))] * 5).tocsr().astype(np.float32)
    _, cuts = item_models.singular_vectors(blocks, 8, (4, 1))
    assert cuts.tolist() == [5, 5]  # each block has the singular value 1


def test_relabelling_permutes_the_scores():
    matrix = random_matrix()
    rng = np.random.default_rng(1)
    users, items = rng.permutation(matrix.shape[0]), rng.permutation(matrix.shape[1])
    one, other = by_name(GraphScorers(matrix)), by_name(GraphScorers(matrix[users][:, items]))
    for name in SCORERS:
        np.testing.assert_allclose(one[name][users][:, items], other[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_disjoint_copies_change_nothing_within_a_copy():
    matrix = random_matrix(64, 64)
    twice = sp.block_diag([matrix, matrix], format="csr")
    one, two = by_name(GraphScorers(matrix)), by_name(GraphScorers(twice))
    for name in SCORERS:
        np.testing.assert_allclose(one[name], two[name][:64, :64], rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(two[name][:64, 64:], 0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "dense", [np.ones((1, 1)), np.ones((1, 6)), np.ones((6, 1)), np.eye(5), np.ones((5, 5)), np.diag([1.0, 0, 0])]
)
def test_extreme_data(dense):
    scores = GraphScorers(sp.csr_matrix(dense)).scores(torch.arange(len(dense)))
    assert scores.shape == (len(SCORERS), *dense.shape) and torch.isfinite(scores).all()


def test_weights_of_interactions_count_once():
    matrix = random_matrix()
    heavy = matrix.copy()
    heavy.data[:] = 7.0
    for name, scores in by_name(GraphScorers(matrix)).items():
        np.testing.assert_array_equal(scores, by_name(GraphScorers(heavy))[name])


def test_large_data_are_scored_by_a_sample_of_users(monkeypatch):
    """Items of users outside the sample still count for these users, and so do degrees. The sample is fixed."""
    matrix = random_matrix(200, 40, 0.2)
    monkeypatch.setattr(scorers, "_MOST_INTERACTIONS", matrix.nnz // 2)
    drawn = sampled_users(matrix, matrix.nnz // 2, 1000)
    assert np.array_equal(drawn, sampled_users(matrix, matrix.nnz // 2, 1000))
    assert 0.4 * matrix.nnz < matrix[drawn].nnz <= matrix.nnz // 2
    built = GraphScorers(matrix)
    np.testing.assert_array_equal(built.item_degree, np.asarray(matrix.sum(axis=0))[0])
    values = built.scores(torch.arange(200))
    of_sample = GraphScorers(matrix[drawn]).scores(torch.arange(len(drawn)))
    known = torch.tensor([name != "popularity" for name in SCORERS])
    torch.testing.assert_close(values[known][:, drawn], of_sample[known])
    others = np.setdiff1d(np.arange(200), drawn)
    assert (values[:, others].amax(dim=2) > 0).all()
    assert torch.equal(GraphScorers.from_arrays(built.arrays()).scores(torch.arange(200)), values)


@pytest.mark.parametrize("shape", [(20, 60), (60, 20)])
def test_the_regression_of_a_sample_knows_which_users_are_in_it(monkeypatch, shape):
    matrix = random_matrix(*shape, 0.3)
    monkeypatch.setattr(scorers, "_MOST_INTERACTIONS", matrix.nnz // 2)
    built = GraphScorers(matrix)
    alone = by_name(built)["regression"]
    histories = Histories(matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64))
    others = built.scores_of(histories)[list(SCORERS).index("regression")].numpy()
    np.testing.assert_allclose(alone, others, rtol=1e-3, atol=1e-3)


DECOMPOSED = ("low_pass", "mid_pass", "full_pass", "regression")


@pytest.mark.parametrize("shape", [(40, 25), (25, 40)])
@pytest.mark.parametrize("more", [(0, 0), (4, 3)])
def test_updated_scorers_are_those_of_a_rebuild(shape, more):
    """Path-based scorers are equal. Decompositions stay as built and give new items no score."""
    before = random_matrix(*shape)
    grown = shape[0] + more[0], shape[1] + more[1]
    after = sp.lil_matrix(grown, dtype=np.float32)
    after[: shape[0], : shape[1]] = before
    for user, item in ((0, 3), (5, 24), (24, 0), (grown[0] - 1, grown[1] - 1), (grown[0] - 1, 2)):
        after[user, item] = 1.0
    after = after.tocsr()
    old = GraphScorers(before, n_neighbors=5)
    updated = old.with_interactions(after)
    rebuilt = GraphScorers(after, n_neighbors=5)
    for name, scores in by_name(updated).items():
        if name not in DECOMPOSED:
            np.testing.assert_allclose(scores, by_name(rebuilt)[name], rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            assert not scores[:, shape[1] :].any(), name
            assert scores[grown[0] - 1].any(), name
    assert set(updated.arrays()) == set(old.arrays()) == set(updated.with_interactions(after).arrays())
    np.testing.assert_array_equal(updated.item_degree, rebuilt.item_degree)
    np.testing.assert_array_equal(updated.user_degree, rebuilt.user_degree)
    # The same matrix changes no score.
    for name, scores in by_name(old.with_interactions(before)).items():
        np.testing.assert_allclose(scores, by_name(old)[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_only_items_with_changed_neighbours_are_computed_again(monkeypatch):
    halves = sp.block_diag([random_matrix(seed=1), random_matrix(seed=2)], format="csr")
    old = GraphScorers(halves)
    after = halves.tolil()
    after[0, 1] = after[0, 2] = after[0, 3] = 1.0
    made = []

    def spied(matrix, n_neighbors, items=None):
        made.extend(items)
        return nearest_neighbors(matrix, n_neighbors, items)

    monkeypatch.setattr(scorers, "nearest_neighbors", spied)
    old.with_interactions(after.tocsr())
    assert 0 < len(made) <= 25
    assert max(made) < 25


def test_new_users_join_the_sample(monkeypatch):
    monkeypatch.setattr(scorers, "_MOST_INTERACTIONS", 60)
    before = random_matrix()
    old = GraphScorers(before)
    assert len(old.arrays()["sample"]) < 40
    after = sp.lil_matrix((50, 26), dtype=np.float32)
    after[:40, :25] = before
    after[40:, 25] = after[40:, 3] = 1.0
    updated = old.with_interactions(after.tocsr())
    np.testing.assert_array_equal(updated.arrays()["sample"][-10:], np.arange(40, 50))
    user = int(np.flatnonzero(before[:, 3].toarray())[0])
    scores = dict(zip(SCORERS, updated.scores(torch.tensor([user])).numpy(), strict=True))
    for name in ("user_cosine", "user_squared", "rp3", "linear_filter", "neighbors", "popularity"):
        assert scores[name][0, 25] > 0, name


def test_updating_to_fewer_users_is_refused():
    with pytest.raises(ValueError, match=r"must have the previous users and items, at least \[40, 25\]"):
        GraphScorers(random_matrix()).with_interactions(random_matrix(39))


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("way", ["built", "of a sample", "updated"])
def test_the_item_item_matrix_of_a_scorer_gives_its_scores(monkeypatch, name, way):
    """For items that share a user with all items of the user. The matrix keeps all relations here."""
    monkeypatch.setattr(item_models, "BLOCK_COUNTS", 200)
    matrix = random_matrix(density=0.3)
    if way == "of a sample":
        monkeypatch.setattr(scorers, "_MOST_INTERACTIONS", 200)
    built = GraphScorers(matrix[:38] if way == "updated" else matrix, max_regression_size=12, max_rank=8)
    if way == "updated":
        built = built.with_interactions(matrix)
    base = built.matrix[built.arrays()["sample"]]
    assert (base.shape[0] < 40) == (way == "of a sample")
    relations = built.item_item({name: 2.0}, 25)
    assert not relations.diagonal().any()
    joined = (base.T @ base).toarray() > 0
    scores = by_name(built)[name]
    summed = (matrix @ relations).toarray()
    complete = ~((matrix @ (~joined).astype(np.float32)) > 0) & (matrix.toarray() == 0)
    assert complete.sum() > 50
    np.testing.assert_allclose(summed[complete], 2.0 * scores[complete], rtol=1e-3, atol=4 * 2**-16 * scores.max())


@pytest.mark.parametrize("shape", [(40, 25), (25, 40)])
@pytest.mark.parametrize("weighted", [False, True])
def test_compiled_loops_give_the_same_item_item_matrix(monkeypatch, shape, weighted):
    pytest.importorskip("numba")
    matrix = random_matrix(*shape, density=0.1)
    if weighted:
        matrix.data = np.random.default_rng(0).random(matrix.nnz, dtype=np.float32) + 0.5
    built = GraphScorers(matrix, weighted=weighted, n_neighbors=5, max_regression_size=30)
    weights = {name: 1.0 + index for index, name in enumerate(LINEAR)}
    for k in (3, 1000):
        monkeypatch.setattr(item_pairs, "compiled", compiled)
        monkeypatch.setattr(item_models, "BLOCK_COUNTS", 1000)
        ours = built.item_item(weights, k)
        monkeypatch.setattr(item_pairs, "compiled", lambda: None)
        expected = built.item_item(weights, k)
        assert (ours.shape, ours.nnz) == (expected.shape, expected.nnz) and np.diff(ours.indptr).max() <= k
        np.testing.assert_allclose(ours.toarray(), expected.toarray(), rtol=1e-4, atol=1e-5)


def test_the_item_item_matrix_of_a_sum_is_the_sum():
    built = GraphScorers(random_matrix())
    both = built.item_item({"rp3": 1.0, "regression": 3.0}, 25)
    summed = built.item_item({"rp3": 1.0}, 25) + 3.0 * built.item_item({"regression": 1.0}, 25)
    np.testing.assert_allclose(both.toarray(), summed.toarray(), rtol=1e-4, atol=1e-6)
    few = built.item_item({"rp3": 1.0, "regression": 3.0}, 4)
    assert np.diff(few.indptr).max() == 4
    present = few.toarray() != 0
    np.testing.assert_allclose(few.toarray()[present], both.toarray()[present], rtol=1e-6)


def test_a_regression_of_weights_scores_a_history_without_weights():
    """Whoever its user is, and whether or not other histories of a block have weights."""
    matrix = random_matrix(20, 40)
    matrix.data = np.random.default_rng(0).uniform(0.5, 2.0, matrix.nnz).astype(np.float32)
    built = GraphScorers(matrix, weighted=True)
    own = built.histories[np.arange(4)]
    dense, gram = own.matrix(40).toarray(), (matrix.T @ matrix).toarray()
    inverse = np.linalg.inv(gram + scorers.PENALTY * gram.diagonal()[gram.diagonal() > 0].mean() * np.eye(40))
    expected = dense @ (np.eye(40) - inverse / np.diag(inverse))
    ones = np.ones(len(own.items))
    ones[own.indptr[3] :] = 2.0  # the last history has weights
    for users in (own.users, np.full(4, -1)):
        for weights in (None, ones):
            asked = Histories(own.items, own.indptr, users, weights=weights)
            scores = built.scores_of(asked)[list(SCORERS).index("regression")].numpy()
            np.testing.assert_allclose(scores[:3], expected[:3], atol=2**-14 * np.abs(expected).max())


@pytest.mark.parametrize("weight", [1e-25, 1e25])
def test_weights_whose_products_are_no_numbers_are_refused(weight):
    """A sum of 0 tells the compiled loops that they reach an item for the first time."""
    matrix = random_matrix(20, 10)
    arrays = GraphScorers(matrix, weighted=True).arrays()
    matrix.data[3] = weight
    with pytest.raises(ValueError, match=r"^matrix: weights must be from 2\*\*-40 to 2\*\*40"):
        GraphScorers(matrix, weighted=True)
    for value in (weight, 0.0, np.nan):
        damaged = arrays["matrix.data"].copy()
        damaged[3] = value
        with pytest.raises(ValueError, match=r"its array matrix\.data: weights must be"):
            GraphScorers.from_arrays({**arrays, "matrix.data": damaged})


def test_stored_filters_without_vectors_are_refused():
    arrays = GraphScorers(random_matrix(20, 10)).arrays()
    with pytest.raises(ValueError, match="its array cuts must hold indices from 1"):
        GraphScorers.from_arrays({**arrays, "cuts": np.array([0, 1, 2])})
