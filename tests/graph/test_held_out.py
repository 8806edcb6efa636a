"""The split that holds out interactions, and the hits of lists."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recbole_universal.graph.held_out import held_out_hits, support_query_split


def random_matrix(n_users: int = 50, n_items: int = 40, density: float = 0.1, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = (rng.random((n_users, n_items)) < density) * rng.integers(1, 6, (n_users, n_items))
    return sp.csr_matrix(dense.astype(np.float32))


@given(st.integers(0, 60), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_a_split_is_a_partition_that_leaves_each_user_something(n_users, share, seed):
    matrix = random_matrix(seed=seed)
    support, query = support_query_split(matrix, n_users, share, np.random.default_rng(seed))
    assert (support + query != matrix).nnz == 0  # values stay
    assert support.multiply(query).nnz == 0
    held_out, left = np.diff(query.indptr), np.diff(support.indptr)
    assert (held_out > 0).sum() == min(n_users, (np.diff(matrix.indptr) >= 2).sum())
    assert (left[held_out > 0] > 0).all()
    again = support_query_split(matrix, n_users, share, np.random.default_rng(seed))
    assert (again[1] != query).nnz == 0


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_split_holds_out_the_share_of_each_drawn_user(share):
    support, query = support_query_split(random_matrix(), 20, share, np.random.default_rng(0))
    held_out, left = np.diff(query.indptr), np.diff(support.indptr)
    drawn = held_out > 0
    assert drawn.sum() == 20
    np.testing.assert_array_equal(held_out[drawn], np.round(share * (held_out + left)[drawn]).clip(1))


def test_the_hits_of_lists():
    held_out = sp.csr_matrix(np.array([[0, 1, 0, 1], [1, 0, 0, 0]]))
    hits = held_out_hits(np.array([[3, 0, 1], [1, -1, 0]]), held_out)
    np.testing.assert_array_equal(hits, [[True, False, True], [False, False, True]])
