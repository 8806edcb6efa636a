"""The users that sums over users read: all of them, or of items with very many users a sample."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_universal.features.candidates import CandidateGenerator
from recbole_universal.graph import sums, users_of_items
from recbole_universal.graph.graph_scores import _BY_USERS
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.scorers import GraphScorers
from recbole_universal.graph.sequence_scorers import SequenceScorers
from recbole_universal.graph.user_sums import user_sums
from recbole_universal.graph.users_of_items import UsersOfItems


def popular_items(n_users: int, shares: tuple[float, ...]) -> sp.csr_matrix:
    """Items that these shares of the users have, at random."""
    rng = np.random.default_rng(0)
    return sp.csr_matrix((rng.random((n_users, len(shares))) < shares).astype(np.float32))


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(users_of_items, "_MOST_USERS_OF_ITEM", 16)


@pytest.fixture(params=["compiled", "not compiled"])
def way(request, monkeypatch):
    if request.param == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(sums, "compiled", lambda: None)


def test_up_to_the_bound_all_users_are_read_in_their_order():
    matrix = popular_items(2**13, (1.0, 0.3, 0.0))
    users = UsersOfItems(matrix, np.ones(2**13, dtype=np.float32))
    assert (users.by_item != matrix.T).nnz == 0 and not users.level.any()
    np.testing.assert_array_equal(users.users, np.arange(2**13))


def test_reads_stay_bounded_when_items_become_more_popular():
    """However many users an item has, a sum reads a quarter of the bound at least, and hardly more than the bound."""
    for n_users in (2**14, 2**16, 2**18):
        users = UsersOfItems(popular_items(n_users, (1.0, 0.7, 0.2)), np.ones(n_users, dtype=np.float32))
        read = np.diff(users.by_item.indptr)
        assert read.max() <= 1.05 * 2**13 and read.min() > 0.95 * 2**11


def test_popular_items_read_the_same_users(few):
    matrix = popular_items(4000, (1.0, 0.9, 0.5, 0.01, 0.002))
    users = UsersOfItems(matrix, np.ones(4000, dtype=np.float32))
    assert users.level.tolist() == [4, 4, 4, 1, 0] and users.sizes.tolist() == [4000, 1000, 250, 62, 15]
    first, second = (set(users.by_item[item].indices) for item in (0, 1))
    assert second <= first == set(range(15))
    # All users of a rare item are read, by their own columns.
    np.testing.assert_array_equal(np.sort(users.users[users.by_item[4].indices]), matrix[:, 4].nonzero()[0])
    np.testing.assert_array_equal(users.columns[users.users], np.arange(4000))


@pytest.mark.parametrize("bound", [16, 2**11, 2**20])
def test_a_pair_of_items_stands_for_its_users_by_the_more_popular_item(way, monkeypatch, bound):
    """Against dense arrays, with more users than a tile of the compiled loop has."""
    monkeypatch.setattr(users_of_items, "_MOST_USERS_OF_ITEM", bound)
    shares = (0.9, 0.5, 0.2, 0.08, 0.03, 0.01, 0.001, 0.0)
    matrix, rng = popular_items(70_000, shares), np.random.default_rng(1)
    half, powers = rng.random(70_000).astype(np.float32), rng.random((8, 4)).astype(np.float32)
    histories = sp.csr_matrix(np.array([[1, 0, 1, 1, 0, 1, 1, 0], [0, 0, 0, 0, 1, 0, 1, 1]], dtype=np.float32))
    users, own = UsersOfItems(matrix, half), np.array([5, -1])
    items, lengths = np.tile(np.arange(8), (2, 1)), np.array([8, 6])
    got = user_sums(users, histories, powers[histories.indices], _BY_USERS, own, items, lengths)
    dense, column = matrix.toarray().astype(np.float64), users.columns[:, None]
    size, scale = users.sizes[users.level], users.scale[users.level]
    for row, length in enumerate(lengths):
        mine = histories[row].indices
        for item in range(length):
            has, seen = dense[:, item] * (column[:, 0] < size[item]), dense[:, mine] * (column < size[mine])
            pair = np.maximum(scale[item], scale[mine])
            shared = (seen * pair) @ powers[mine]
            similar = (half * (seen @ powers[mine, 1])) ** 2 * scale[item]
            similar[own[row] if own[row] >= 0 else []] = 0.0
            expected = [has @ (half * shared[:, 0]), has @ similar]
            expected += [has @ (half**2 * shared[:, column]) for column in (2, 3)]
            np.testing.assert_allclose(got[:, row, item], expected, rtol=2e-4)
        assert not got[:, row, length:].any()


def test_sums_over_a_sample_keep_their_mean(monkeypatch):
    matrix = popular_items(70_000, (0.9, 0.5, 0.2, 0.08, 0.03, 0.01))
    half, powers = np.ones(70_000, dtype=np.float32), np.ones((6, 4), dtype=np.float32)
    every = np.tile(np.arange(6), (1, 1)), np.array([6])
    history = sp.csr_matrix(np.ones((1, 6), dtype=np.float32))
    exact, sampled = [], []
    for bound, out in ((2**20, exact), (2**11, sampled)):
        monkeypatch.setattr(users_of_items, "_MOST_USERS_OF_ITEM", bound)
        out.append(user_sums(UsersOfItems(matrix, half), history, powers, _BY_USERS, np.array([-1]), *every))
    np.testing.assert_allclose(sampled[0][[0, 2, 3]], exact[0][[0, 2, 3]], rtol=0.12)


def interactions(n_users: int = 600, n_items: int = 300) -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(n_users), 12)
    columns = (n_items * rng.random(len(rows)) ** 3).astype(np.int64)
    return sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(n_users, n_items)).sign()


def both(matrix: sp.csr_matrix) -> list:
    """Scorers of both families of the same interactions."""
    rows, columns = matrix.nonzero()
    return [GraphScorers(matrix), SequenceScorers(Histories.of_events(rows, columns, matrix.shape[0]), matrix.shape[1])]


def test_lists_do_not_depend_on_blocks_or_on_the_loops(few, monkeypatch):
    for scorers in both(interactions()):
        generator = CandidateGenerator(scorers, 20)
        whole = generator(scorers.histories[:30])
        for user in range(0, 30, 7):
            alone = generator(scorers.histories[user : user + 1])
            width = int(alone.mask.sum())
            assert (alone.items[0, :width] == whole.items[user, :width]).all()
            assert (alone.values[:, 0, :width] == whole.values[:, user, :width]).all()
        monkeypatch.setattr(sums, "compiled", lambda: None)
        plain = generator(scorers.histories[:30])
        monkeypatch.undo()
        monkeypatch.setattr(users_of_items, "_MOST_USERS_OF_ITEM", 16)
        assert (plain.items == whole.items).float().mean() > 0.98


def test_the_nearest_users_are_users_and_not_columns(few):
    """A user with the same rare items is the nearest, whatever the order in which the users are read."""
    matrix = interactions().tolil()
    matrix[5, :] = 0
    matrix[5, [290, 291, 292]] = 1
    matrix[400, [290, 291, 292]] = 1
    scorers = GraphScorers(matrix.tocsr())
    users = scorers._users_of_items
    assert len(users.sizes) > 1
    found = users.nearest(scorers.histories[np.array([5])].matrix(300), np.array([5]), 3)
    assert 400 in found.indices and 5 not in found.indices


def test_an_update_reads_the_users_that_a_new_ranker_reads(few):
    matrix = interactions()
    before = matrix.copy()
    before.data[-40:] = 0.0
    before.eliminate_zeros()
    updated = GraphScorers(before).with_interactions(matrix)._users_of_items
    anew = GraphScorers(matrix)._users_of_items
    assert (updated.by_item != anew.by_item).nnz == 0
    np.testing.assert_array_equal(updated.users, anew.users)
