"""Walks: shares against an exact reference, real edges alone, determinism, bad parameters."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graph_data import matrices, random_walks
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_universal.graph import InteractionGraph, RandomWalker, random_walk

PARAMETERS = [(1.0, 1.0), (4.0, 0.25), (0.25, 4.0), (1.0, 3.0), (0.5, 0.5)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small_graph():
    rng = np.random.default_rng(3)
    dense = rng.random((7, 5)) < 0.5
    dense[:, 0] = True  # connected, a hub
    dense[0] = [True, False, False, False, False]  # a leaf
    return InteractionGraph(sp.csr_matrix(dense.astype(float)))


def transition_reference(graph, p, q):
    """Transition matrix over directed edges by node2vec's definition, written from the adjacency matrix alone."""
    adjacency = np.zeros((graph.n_nodes, graph.n_nodes))
    indptr, indices = graph.adjacency()
    edges = [(v, int(w)) for v in range(graph.n_nodes) for w in indices[indptr[v] : indptr[v + 1]]]
    for v, w in edges:
        adjacency[v, w] = 1
    index = {edge: k for k, edge in enumerate(edges)}
    transition = np.zeros((len(edges), len(edges)))
    for (t, v), row in index.items():
        weights = {}
        for x in np.flatnonzero(adjacency[v]):
            distance = 0 if x == t else 1 if adjacency[t, x] else 2
            weights[int(x)] = {0: 1 / p, 1: 1.0, 2: 1 / q}[distance]
        for x, weight in weights.items():
            transition[row, index[v, x]] = weight / sum(weights.values())
    return edges, transition


@pytest.mark.parametrize(("p", "q"), PARAMETERS)
def test_every_transition_share_agrees_with_the_exact_reference(p, q):
    graph = small_graph()
    edges, transition = transition_reference(graph, p, q)
    index = {edge: k for k, edge in enumerate(edges)}
    starts = np.tile(np.arange(graph.n_nodes), 4000)
    walks = random_walks(graph, starts, 6, p, q, generator=generator()).numpy()
    code = np.full((graph.n_nodes, graph.n_nodes), -1)
    for (v, w), k in index.items():
        code[v, w] = k
    steps = code[walks[:, :-1], walks[:, 1:]]
    assert steps.min() >= 0
    counts = np.zeros_like(transition)
    np.add.at(counts, (steps[:, :-1].ravel(), steps[:, 1:].ravel()), 1)
    totals = counts.sum(axis=1, keepdims=True)
    assert np.all(counts[transition == 0] == 0)
    error = counts / totals - transition
    sigma = np.sqrt(transition * (1 - transition) / totals)
    assert np.all(np.abs(error) <= 4.5 * sigma + 1e-12)
    # the first step has no previous node: uniform
    first = np.bincount(steps[:, 0], minlength=len(edges))
    degree = graph.degree[[v for v, _ in edges]]
    np.testing.assert_allclose(first / 4000, 1 / degree, atol=0.04)


@pytest.mark.parametrize(("p", "q"), [(4.0, 0.25), (0.25, 4.0)])
def test_return_share_of_the_stationary_walk(p, q):
    graph = small_graph()
    edges, transition = transition_reference(graph, p, q)
    position = np.full(len(edges), 1 / len(edges))
    returns = np.array([transition[k, edges.index((w, v))] for k, (v, w) in enumerate(edges)])
    starts = np.array([v for v, _ in edges])
    starts = np.repeat(starts, 2000)  # first edges are then uniform over the directed edges
    walks = random_walks(graph, starts, 12, p, q, generator=generator(1)).numpy()
    for step in range(2, 12):
        share = (walks[:, step] == walks[:, step - 2]).mean()
        assert share == pytest.approx(position @ returns, abs=0.01)
        position = position @ transition


def test_extreme_parameters_still_follow_the_rule():
    graph = small_graph()
    only_back = random_walks(graph, range(12), 9, 1e-300, 1e300, generator=generator())
    assert torch.equal(only_back[:, 2:], only_back[:, :-2])
    never_back = random_walks(graph, range(12), 9, 1e300, 1e-300, generator=generator()).numpy()
    returned = never_back[:, 2:] == never_back[:, :-2]
    assert np.all(graph.degree[never_back[:, 1:-1]][returned] == 1)  # a leaf has no other neighbour


@settings(max_examples=60)
@given(matrices(), st.sampled_from(PARAMETERS), st.integers(1, 8), st.integers(0, 99))
def test_only_real_edges_are_walked_and_empty_nodes_stay_put(matrix, parameters, walk_length, seed):
    graph = InteractionGraph(matrix)
    walks = random_walks(graph, np.arange(graph.n_nodes), walk_length, *parameters, generator=generator(seed))
    assert walks.shape == (graph.n_nodes, walk_length)
    assert walks.dtype == torch.int64
    assert torch.equal(walks[:, 0], torch.arange(graph.n_nodes))
    edges = graph.user_item.toarray() > 0
    for v, w in zip(walks[:, :-1].flatten().tolist(), walks[:, 1:].flatten().tolist(), strict=True):
        if graph.degree[v] == 0:
            assert v == w
        else:
            user, item = min(v, w), max(v, w) - graph.n_users
            assert edges[user, item]


@pytest.mark.parametrize(("p", "q"), PARAMETERS[:2])
def test_one_seed_one_result_whatever_the_global_state_and_the_threads(p, q):
    graph = small_graph()
    walker = RandomWalker(*graph.adjacency())
    starts = torch.arange(12).repeat(6000)  # more than one block
    torch.manual_seed(0)
    n_threads = torch.get_num_threads()
    first = walker.walk(starts, 5, p, q, generator=generator(7))
    state = torch.get_rng_state()
    try:
        torch.set_num_threads(3)
        torch.manual_seed(1)
        second = walker.walk(starts, 5, p, q, generator=generator(7))
    finally:
        torch.set_num_threads(n_threads)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    assert not torch.equal(first, walker.walk(starts, 5, p, q, generator=generator(8)))


def test_tensors_and_arrays_and_wide_edge_indices_agree(monkeypatch):
    graph = small_graph()
    indptr, indices = graph.adjacency()
    walks = RandomWalker(indptr, indices).walk(np.arange(12), 6, 4, 0.25, generator=generator())
    tensors = [torch.as_tensor(a) for a in (indptr, indices, np.arange(12))]
    assert torch.equal(walks, RandomWalker(*tensors[:2]).walk(tensors[2], 6, 4, 0.25, generator=generator()))
    monkeypatch.setattr(random_walk, "MAX_INT32", 1)
    assert torch.equal(walks, RandomWalker(indptr, indices).walk(np.arange(12), 6, 4, 0.25, generator=generator()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (4.0, 0.25)])
def test_gpu_walks_have_the_shares_of_the_cpu(p, q):
    graph = small_graph()
    starts = np.tile(np.arange(12), 20000)
    on_gpu = torch.Generator("cuda").manual_seed(0)
    walks = random_walks(graph, starts, 6, p, q, generator=on_gpu, device="cuda").cpu()
    other = random_walks(graph, starts, 6, p, q, generator=generator())
    shares = [(w[:, 2:] == w[:, :-2]).float().mean().item() for w in (walks, other)]
    assert shares[0] == pytest.approx(shares[1], abs=0.005)


@pytest.mark.parametrize("name", ["p", "q"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_p_and_q_must_be_positive(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a finite number > 0"):
        random_walks(small_graph(), [0], 3, **{name: value}, generator=generator())


def test_other_bad_arguments():
    indptr, indices = small_graph().adjacency()
    with pytest.raises(ValueError, match="walk_length must be an integer >= 1"):
        RandomWalker(indptr, indices).walk([0], 0, generator=generator())
    for start in (-1, 12):
        with pytest.raises(ValueError, match=r"starts must be nodes 0\.\.11"):
            RandomWalker(indptr, indices).walk([start], 3, generator=generator())
    with pytest.raises(ValueError, match="symmetric"):
        RandomWalker(np.array([0, 1, 1]), np.array([1])).walk([0], 3, generator=generator())


def test_no_starts_no_walks():
    walks = random_walks(small_graph(), [], 4, generator=generator())
    assert walks.shape == (0, 4)
