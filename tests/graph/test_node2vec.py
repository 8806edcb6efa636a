"""node2vec: the matrix that is factorised, known structure, and the laws of the embedding."""

import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graph_data import permuted, random_walks
from threadpoolctl import threadpool_limits
from torch_geometric.nn import Node2Vec

from recbole_universal.graph import InteractionGraph, factorize_walks, node2vec
from recbole_universal.graph.node2vec import _singular_vectors

FAST = {"embedding_dim": 8, "walk_length": 8, "context_size": 4, "walks_per_node": 5}


def two_groups(n_users=60, n_items=60, within=0.3, between=0.03):
    """Users and items of two groups, mostly with interactions in their own group."""
    rng = np.random.default_rng(0)
    same = np.add.outer(np.arange(n_users) % 2, np.arange(n_items) % 2) != 1
    dense = rng.random((n_users, n_items)) < np.where(same, within, between)
    return InteractionGraph(sp.csr_matrix(dense.astype(float))), same


def test_products_are_the_logarithms_of_the_ratios_to_chance():
    # Users 0, 1; items 2, 3. Distance 1: 0-2 twice, 1-2, 1-3; distance 3: 0-3.
    walks = torch.tensor([[0, 2, 1, 3], [2, 0, 2, 0]])
    near = np.array([[2 + 2.0, 0.0], [1.0, 1.0]])  # walk 2: 2-0, 0-2, 2-0; walk 1: 0-2, 2-1, 1-3
    far = np.array([[1.0, 1.0], [0.0, 0.0]])  # walk 1: 0-3; walk 2: 2-0
    for context_size, counts in ((2, near), (3, near), (4, near + far), (10, near + far)):
        z = factorize_walks([walks], 2, 2, embedding_dim=3, context_size=context_size)
        assert z.shape == (4, 3)
        assert not z[:, 2].any()
        np.testing.assert_allclose(z[:2] @ z[2:].T, np.log1p(counts * 4 / counts.sum()), atol=1e-5)


def test_the_ratios_are_the_optimum_of_the_loss_of_pytorch_geometric():
    """At their logarithms, the gradient of its skip-gram loss is zero; negatives are all pairs."""
    graph = InteractionGraph(sp.csr_matrix(np.ones((4, 3))))
    walks = random_walks(graph, np.arange(7).repeat(30), 6, generator=torch.Generator().manual_seed(0))
    z = factorize_walks([walks], 4, 3, embedding_dim=3, context_size=2)
    ratios = np.expm1(z[:4] @ z[4:].T)
    assert ratios.min() > 0.5 and np.ptp(ratios) > 0.1
    scores = torch.as_tensor(np.vstack([np.log(ratios), np.eye(3)]), dtype=torch.float64)

    def gradient(weight):
        model = Node2Vec.__new__(Node2Vec)  # its constructor needs a native library
        torch.nn.Module.__init__(model)
        model.embedding = torch.nn.Embedding.from_pretrained(weight, freeze=False)
        model.embedding_dim, model.EPS = 3, 1e-15
        windows = torch.cat([walks[:, k : k + 2] for k in range(5)])
        model.loss(windows, torch.cartesian_prod(torch.arange(4), torch.arange(4, 7))).backward()
        return model.embedding.weight.grad[:4].abs().max()

    assert gradient(scores) < 1e-6
    assert gradient(scores * 0.9) > 1e-4


def test_groups_are_recovered_and_nodes_without_edges_are_zero():
    whole, same = two_groups()
    dense = whole.user_item.toarray()
    dense[5], dense[:, 7] = 0, 0
    graph = InteractionGraph(sp.csr_matrix(dense))
    z = node2vec(graph, **FAST)
    assert z.dtype == np.float32
    assert not z[5].any()
    assert not z[60 + 7].any()
    scores = z[:60] @ z[60:].T
    active = np.ix_(graph.user_degree > 0, graph.item_degree > 0)
    assert scores[active][same[active]].mean() > 3 * scores[active][~same[active]].mean()


def test_nodes_without_edges_influence_nothing():
    graph, _ = two_groups(20, 16)
    padded = InteractionGraph(sp.csr_matrix(np.pad(graph.user_item.toarray(), ((1, 3), (2, 1)))))
    with_padding = node2vec(padded, **FAST)
    np.testing.assert_array_equal(with_padding[padded.degree > 0], node2vec(graph, **FAST)[graph.degree > 0])
    assert not with_padding[padded.degree == 0].any()


def test_one_seed_one_result_whatever_the_global_state():
    graph, _ = two_groups()
    results, threads = [], torch.get_num_threads()
    for state in (1, 2):
        torch.manual_seed(state)
        np.random.seed(state)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        results.append(node2vec(graph, seed=5, p=4.0, q=0.25, **FAST))
        assert torch.equal(torch.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(*results)
    for other in ({"seed": 6}, {"p": 1.0}, {"q": 1.0}, {"walk_length": 9}, {"walks_per_node": 6}, {"context_size": 6}):
        assert not np.allclose(results[0], node2vec(graph, **{"seed": 5, "p": 4.0, "q": 0.25, **FAST, **other}))


def test_the_number_of_threads_changes_no_bit():
    graph, _ = two_groups(1500, 1000)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                results.append(node2vec(graph, embedding_dim=64))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (6, 9)])
def test_the_decomposition_is_that_of_the_dense_matrix(shape):
    """Exact where the rank is; the users' and items' vectors of a singular value have one sign."""
    rng = np.random.default_rng(0)
    dense = (rng.random((shape[0], 5)) @ rng.random((5, shape[1]))).astype(np.float32)
    left, values, right = _singular_vectors(sp.csr_matrix(dense), 5, 0)
    np.testing.assert_allclose(values, np.linalg.svd(dense)[1][:5], rtol=1e-4)
    np.testing.assert_allclose((left * values) @ right.T, dense, atol=1e-4)
    np.testing.assert_allclose(left.T @ left, np.eye(5), atol=1e-4)


def test_relabelling_permutes_the_embedding_in_canonical_order():
    rng = np.random.default_rng(0)
    graph = InteractionGraph(sp.csr_matrix((rng.random((9, 8)) < 0.5).astype(float)))
    user_perm, item_perm = rng.permutation(9), rng.permutation(8)

    def embed(graph):
        users, items = graph.canonical_order()
        z = node2vec(permuted(graph, users, items), **FAST)
        z_users, z_items = np.empty((graph.n_users, 8)), np.empty((graph.n_items, 8))
        z_users[users], z_items[items] = z[: graph.n_users], z[graph.n_users :]
        return z_users, z_items

    z_users, z_items = embed(graph)
    other_users, other_items = embed(permuted(graph, user_perm, item_perm))
    dense = graph.user_item.toarray()
    assert len(np.unique(dense, axis=0)) == 9, "no twins, or the law would not hold"
    assert len(np.unique(dense, axis=1).T) == 8
    np.testing.assert_array_equal(other_users, z_users[user_perm])
    np.testing.assert_array_equal(other_items, z_items[item_perm])


@pytest.mark.parametrize("matrix", [[[1.0]], np.ones((1, 3000))], ids=["a single pair", "a hub"])
def test_degenerate_graphs(matrix):
    embedding = node2vec(InteractionGraph(sp.csr_matrix(matrix)), **FAST)
    assert embedding.shape == (1 + np.shape(matrix)[1], 8)
    # r is 1 for all pairs but for noise: every product is log(2).
    np.testing.assert_allclose((embedding[:1] @ embedding[1:].T).mean(), np.log(2), atol=0.05)


def test_blocks_of_walks_add_up():
    walks = torch.randint(0, 5, (50, 1), generator=torch.Generator().manual_seed(0))
    walks = torch.cat([walks, walks + 5, (walks + 2) % 5, walks + 5], dim=1)
    whole = factorize_walks([walks], 5, 5, embedding_dim=4)
    np.testing.assert_allclose(factorize_walks(walks.split(7), 5, 5, embedding_dim=4), whole, atol=1e-6)


def test_every_walk_is_counted_in_some_block(monkeypatch):
    seen = []

    def counted(blocks, *sizes, **settings):
        seen.extend(blocks)
        return factorize_walks(seen, *sizes, **settings)

    module = sys.modules[node2vec.__module__]
    monkeypatch.setattr(module, "WALKS_PER_BLOCK", 7)
    monkeypatch.setattr(module, "factorize_walks", counted)
    graph = InteractionGraph(sp.csr_matrix(np.ones((3, 2))))
    node2vec(graph, **FAST)
    assert [len(block) for block in seen] == [7, 7, 7, 4]
    assert torch.cat(seen)[:, 0].bincount().tolist() == [5] * 5


def test_walks_without_steps():
    for walks in (torch.zeros(3, 1), torch.zeros(20)):
        with pytest.raises(ValueError, match="walk_length >= 2, got"):
            factorize_walks([walks.long()], 2, 2)
    for blocks in ([], [torch.zeros(0, 4).long()]):
        with pytest.raises(ValueError, match="must hold at least one walk"):
            factorize_walks(blocks, 2, 2)
    with pytest.raises(ValueError, match="context_size must be at least 2, got 1"):
        factorize_walks([torch.tensor([[0, 1]])], 1, 1, context_size=1)


def test_any_seed_that_the_pipeline_takes():
    factorize_walks([torch.tensor([[0, 1]])], 1, 1, seed=2**40)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embedding_dim": 0}, r"embedding_dim must be an integer >= 1 and below 2\*\*31, not 0"),
        ({"walks_per_node": 0}, "walks_per_node must be"),
        ({"walk_length": 1.5}, "walk_length must be"),
        ({"context_size": 1}, "context_size must be from 2 to walk_length 8, got 1"),
        ({"walk_length": 3}, "context_size must be from 2 to walk_length 3, got 4"),
        ({"p": 0.0}, "p must be a finite number > 0"),
        ({"q": -1.0}, "q must be a finite number > 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        node2vec(two_groups()[0], **{**FAST, **arguments})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_separates_the_groups_too():
    graph, same = two_groups()
    embedding = node2vec(graph, **FAST, device="cuda")
    scores = embedding[:60] @ embedding[60:].T
    assert scores[same].mean() > 3 * scores[~same].mean()
