"""Pair features: one by one = batch = full, whatever the operator, the chunks and the ties."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_universal.features import interaction
from recbole_universal.features.interaction import EdgeClusterPairs
from recbole_universal.graph import EDGE_OPERATORS, EdgeCenterSearch

operators = pytest.mark.parametrize("operator", list(EDGE_OPERATORS))


def make(operator, n_users=9, n_items=11, n_clusters=6, dim=5, seed=0, integer=False):
    rng = np.random.default_rng(seed)

    def numbers(*shape):
        # Small integers make many exact ties.
        return (rng.integers(-1, 2, shape) if integer else rng.normal(size=shape)).astype(np.float32)

    return EdgeClusterPairs(
        torch.from_numpy(numbers(n_users, dim)),
        torch.from_numpy(numbers(n_items, dim)),
        torch.from_numpy(np.arange(n_users) % 5 != 0),
        torch.from_numpy(np.arange(n_items) % 4 != 0),
        torch.from_numpy(numbers(n_clusters, dim)),
        torch.from_numpy(rng.random((n_clusters, 3), dtype=np.float32)),
        operator,
    )


def one_by_one(pairs):
    ids = [[(u, i) for i in range(pairs.n_items)] for u in range(pairs.n_users)]
    rows = [torch.cat([pairs.nearest(torch.tensor([u]), torch.tensor([i])) for u, i in row]) for row in ids]
    return torch.stack(rows)


def check_all_ways(pairs):
    """Compare single calls, one batch and full rankings of several sizes."""
    single = one_by_one(pairs)
    users = torch.arange(pairs.n_users).repeat_interleave(pairs.n_items)
    items = torch.arange(pairs.n_items).repeat(pairs.n_users)
    assert torch.equal(pairs.nearest(users, items).view_as(single), single)
    for size in (1, 4, pairs.n_users):
        blocks = torch.arange(pairs.n_users).split(size)
        assert torch.equal(torch.cat([pairs.nearest_full(block) for block in blocks]), single)
        assert torch.equal(torch.cat([pairs.full(block) for block in blocks]), pairs.table()[single])
    assert torch.equal(pairs(users, items), pairs.table()[single.flatten()])
    return single


@operators
def test_nearest_is_the_nearest(operator):
    pairs = make(operator)
    found = check_all_ways(pairs)
    left = pairs.user_embedding.double()[:, None]
    edges = EDGE_OPERATORS[operator](left, pairs.item_embedding.double()[None])
    expected = torch.cdist(edges.flatten(0, 1), pairs.centers.double()).argmin(dim=1).view_as(found)
    present = pairs.user_present[:, None] & pairs.item_present
    assert torch.equal(found[present], expected[present])
    assert (found[~present] == pairs.n_clusters).all()
    assert not pairs.full(torch.arange(pairs.n_users))[~present].any()


@operators
@pytest.mark.parametrize("chunk", [1, 13, 100, 10**6])
def test_chunks_change_nothing(operator, chunk, monkeypatch):
    expected = one_by_one(make(operator))
    monkeypatch.setattr(EdgeCenterSearch, "chunk_cpu", chunk)
    assert torch.equal(check_all_ways(make(operator)), expected)


@operators
@given(seed=st.integers(0, 10**6), n_clusters=st.integers(1, 9), dim=st.integers(1, 9), integer=st.booleans())
def test_ties_are_resolved_alike(operator, seed, n_clusters, dim, integer):
    check_all_ways(make(operator, n_users=5, n_items=6, n_clusters=n_clusters, dim=dim, seed=seed, integer=integer))


@operators
def test_equal_centers_give_the_first(operator):
    pairs = make(operator, dim=64)
    pairs.centers[:] = pairs.centers[0].clone()
    pairs = EdgeClusterPairs.from_arrays(pairs.arrays())
    found = check_all_ways(pairs)
    assert set(found.flatten().tolist()) == {0, pairs.n_clusters}


@operators
@given(scale=st.lists(st.sampled_from([0.0, 1e-20, 1e-6, 1.0, 1e6]), min_size=3, max_size=3))
def test_any_magnitude(operator, scale):
    pairs = make(operator, n_users=4, n_items=5)
    tables = pairs.arrays()
    for name, factor in zip(("user_embedding", "item_embedding", "centers"), scale, strict=True):
        tables[name] = tables[name] * factor
    assert torch.isfinite(EdgeClusterPairs.from_arrays(tables).full(torch.arange(4))).all()


@operators
def test_large_batches_agree_with_single_pairs(operator):
    pairs = make(operator, n_users=40, n_items=700, n_clusters=50, dim=64)
    full = pairs.nearest_full(torch.arange(40))
    rng = np.random.default_rng(0)
    for u, i in zip(rng.integers(0, 40, 300), rng.integers(0, 700, 300), strict=True):
        assert full[u, i] == pairs.nearest(torch.tensor([u]), torch.tensor([i])).item()


@operators
@pytest.mark.parametrize("memo_bytes", [0, 2**20], ids=["not remembered", "remembered"])
def test_full_rows_index_the_rows_of_full(operator, memo_bytes, monkeypatch):
    monkeypatch.setattr(interaction, "MEMO_BYTES", memo_bytes)
    pairs = make(operator)
    for users in ([2, 1, 2], [1, 3, 5, 0], [2], []):
        users = torch.tensor(users, dtype=torch.int64)
        rows, index = pairs.full_rows(users)
        assert torch.equal(rows[index], pairs.full(users))
    small = pickle.loads(pickle.dumps(pairs))
    assert small._memo is None
    assert torch.equal(small.full_rows(torch.tensor([2]))[1], pairs.nearest_full(torch.tensor([2])))


def test_many_clusters_are_not_remembered_as_bytes():
    pairs = make("hadamard", n_users=20, n_items=200, n_clusters=400)
    users = torch.arange(20)
    assert pairs.n_clusters > 255
    assert torch.equal(pairs.full_rows(users)[1], pairs.nearest_full(users))


@operators
def test_no_pair_at_all(operator):
    pairs = make(operator)
    none = torch.empty(0, dtype=torch.int64)
    assert pairs(none, none).shape == (0, pairs.dim)
    assert pairs.full(none).shape == (0, pairs.n_items, pairs.dim)


@operators
def test_stored_moved_and_copied_features_are_the_same(operator):
    pairs = make(operator)
    users = torch.arange(pairs.n_users)
    stored = EdgeClusterPairs.from_arrays({name: array.copy() for name, array in pairs.arrays().items()})
    for other in (stored, pairs.to("cpu"), copy.deepcopy(pairs), pickle.loads(pickle.dumps(pairs))):
        assert other.operator == operator and other.dim == pairs.dim
        assert torch.equal(other.full(users), pairs.full(users))


@operators
def test_reindexed_ids(operator):
    pairs = make(operator)
    users, items = np.array([3, -1, 0, 8]), np.array([10, 2, -1])
    other = pairs.reindexed(users, items)
    full = pairs.nearest_full(torch.arange(pairs.n_users)).numpy()
    expected = full[users][:, items]
    expected[users < 0] = expected[:, items < 0] = pairs.n_clusters
    np.testing.assert_array_equal(other.nearest_full(torch.arange(4)), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@operators
def test_gpu_agrees_with_cpu(operator):
    pairs = make(operator, n_users=50, n_items=300, n_clusters=40, dim=64)
    on_gpu = pairs.to("cuda").full(torch.arange(50))
    assert on_gpu.device.type == "cuda"
    assert torch.equal(on_gpu.cpu(), pairs.full(torch.arange(50)))
