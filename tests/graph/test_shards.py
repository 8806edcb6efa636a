"""Shards of a computation: all indices once, balanced, and the result of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recbole_universal.graph.item_models import nearest_neighbors
from recbole_universal.graph.shards import balanced_shards, current_spread, spread_by


@given(st.lists(st.integers(0, 1000), max_size=300))
def test_shards_hold_each_index_once(work):
    shards = balanced_shards(np.array(work, dtype=np.int64))
    assert np.concatenate([*shards, np.zeros(0, dtype=int)]).tolist() == list(range(len(work)))
    assert all(len(shard) for shard in shards) and len(shards) <= 64
    sums = [sum(work[index] for index in shard) for shard in shards]
    assert max(sums, default=0) <= sum(work) / 64 + 2 * max(work, default=0)


@pytest.mark.parametrize("n_users", [3, 200])
@pytest.mark.parametrize("weighted", [False, True])
def test_neighbours_of_shards_equal_those_of_one_process(n_users, weighted):
    matrix = sp.random(n_users, 150, 0.06, format="csr", dtype=np.float32, random_state=0)
    matrix.data[:] = np.random.default_rng(0).random(matrix.nnz) if weighted else 1
    calls: list[int] = []

    def spread(function, shared, shards):
        results = []
        for shard in shards[::-1]:  # a worker knows no spread, and any may be first
            calls.append(len(shard))
            with spread_by(None):
                results.append(function(*shared, shard))
        return results[::-1]

    expected = nearest_neighbors(matrix, 5)
    with spread_by(spread):
        found = nearest_neighbors(matrix, 5)
        some = nearest_neighbors(matrix, 5, np.array([4, 2]))  # few items stay in this process
    assert sum(calls) == 150 and len(calls) > 1 and current_spread() is None
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype
    assert (some != expected[[4, 2]]).nnz == 0
