"""node2vec: the objective of PyTorch Geometric, its gradient, known structure, and the laws of the embedding."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graph_data import permuted, random_walks
from torch_geometric.nn import Node2Vec

from recbole_universal.graph import InteractionGraph, embed_walks, node2vec, node2vec_loss
from recbole_universal.graph.node2vec import SkipGram, add_negative_gradient_, add_positive_gradient_

FAST = {"embedding_dim": 8, "walk_length": 8, "context_size": 4, "walks_per_node": 5, "epochs": 2}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def two_blocks(n_users=20, n_items=16, seed=0):
    """Two disjoint halves of users and items."""
    rng = np.random.default_rng(seed)
    same_half = np.add.outer(np.arange(n_users) % 2, np.arange(n_items) % 2) != 1
    dense = (rng.random((n_users, n_items)) < 0.6) & same_half
    dense[np.arange(n_users), np.arange(n_users) % 2] = True
    dense[np.arange(n_items) % 2, np.arange(n_items)] = True
    return InteractionGraph(sp.csr_matrix(dense.astype(float)))


def windows(walks, context_size):
    return torch.cat([walks[:, j : j + context_size] for j in range(walks.shape[1] - context_size + 1)])


def geometric_loss(weight, positive, negative):
    """PyTorch Geometric's own loss; its constructor is skipped, since it needs a native library."""
    model = Node2Vec.__new__(Node2Vec)
    torch.nn.Module.__init__(model)
    model.embedding = torch.nn.Embedding.from_pretrained(weight)
    model.embedding_dim = weight.shape[1]
    model.EPS = 1e-15
    return model.loss(positive, negative)


@pytest.mark.parametrize("context_size", [2, 4, 8])
def test_loss_is_that_of_pytorch_geometric(context_size):
    graph = two_blocks()
    weight = torch.randn(graph.n_nodes, 6, generator=generator(), dtype=torch.float64)
    walks = random_walks(graph, np.arange(graph.n_nodes), 8, generator=generator())
    positive = windows(walks, context_size)
    negative = torch.randint(graph.n_nodes, (3 * len(positive), context_size), generator=generator(1))
    expected = geometric_loss(weight, positive, negative)
    torch.testing.assert_close(node2vec_loss(weight, positive, negative), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("context_size", [2, 3, 7])
def test_gradient_is_that_of_the_objective(context_size):
    weight = torch.randn(9, 5, generator=generator(), dtype=torch.float64, requires_grad=True)
    walks = torch.randint(9, (6, 7), generator=generator(1))  # nodes come back within a window
    left, right = torch.randint(9, (2, 11), generator=generator(2))
    pairs = torch.cartesian_prod(left, right)
    node2vec_loss(weight, windows(walks, context_size), pairs).backward()
    gradient = torch.zeros_like(weight, requires_grad=False)
    add_positive_gradient_(gradient, weight.detach(), walks, context_size)
    add_negative_gradient_(gradient, weight.detach(), left, right)
    torch.testing.assert_close(gradient, weight.grad, rtol=1e-6, atol=1e-7)


def test_gradient_over_all_pairs_is_the_expectation_of_the_sampled_one():
    weight = torch.randn(7, 5, generator=generator(), dtype=torch.float64)
    every = torch.arange(7)
    exact, listed, sampled = (torch.zeros_like(weight) for _ in range(3))
    add_negative_gradient_(exact, weight)
    add_negative_gradient_(listed, weight, every, every)
    torch.testing.assert_close(exact, listed)
    for seed in range(2000):
        left, right = torch.randint(7, (2, 10), generator=generator(seed))
        add_negative_gradient_(sampled, weight, left, right)
    torch.testing.assert_close(sampled / 2000, exact, rtol=0.05, atol=0.005)


@pytest.mark.parametrize("num_negative_samples", [1, 5])
def test_at_least_the_stated_number_of_negatives_is_drawn(num_negative_samples):
    walks = torch.zeros(10, 8, dtype=torch.int64)
    trainer = SkipGram(1000, 4, 5, num_negative_samples, lr=0.1, generator=generator())
    left, right = trainer._negatives(walks)
    n_pairs = num_negative_samples * 10 * 4 * 4  # walks, windows, pairs of a window
    assert n_pairs <= len(left) * len(right) < 1.2 * n_pairs
    assert SkipGram(10, 4, 5, lr=0.1, generator=generator())._negatives(walks) == (None, None)


def test_training_lowers_the_loss_and_separates_the_halves():
    graph = two_blocks()
    embedding = node2vec(graph, embedding_dim=16, walk_length=10, context_size=5, epochs=10)
    scores = embedding @ embedding.T
    half = np.concatenate([np.arange(graph.n_users) % 2, np.arange(graph.n_items) % 2])
    same = half[:, None] == half[None, :]
    off_diagonal = ~np.eye(graph.n_nodes, dtype=bool)
    assert scores[same & off_diagonal].mean() > scores[~same].max()
    walks = random_walks(graph, np.arange(graph.n_nodes), 10, generator=generator())
    negative = torch.randint(graph.n_nodes, (2000, 5), generator=generator())
    loss = node2vec_loss(torch.as_tensor(embedding), windows(walks, 5), negative)
    assert loss < 2 * np.log(2) - 0.2  # 2 log 2: all scores zero; 0.95: the optimum


def test_nodes_without_edges_get_zeros_and_influence_nothing():
    graph = two_blocks()
    padded = sp.csr_matrix(np.pad(graph.user_item.toarray(), ((1, 3), (2, 1))))
    embedding, with_padding = node2vec(graph, **FAST), node2vec(InteractionGraph(padded), **FAST)
    degree = np.concatenate([[0], graph.user_degree, [0] * 3, [0] * 2, graph.item_degree, [0]])
    np.testing.assert_array_equal(with_padding[degree > 0], embedding)
    assert not with_padding[degree == 0].any()
    assert embedding.dtype == np.float32
    assert embedding.shape == (graph.n_nodes, 8)


def test_one_seed_one_result_whatever_the_global_state_and_the_threads():
    graph = two_blocks(120, 90)
    arguments = {**FAST, "embedding_dim": 64, "p": 4.0, "q": 0.25, "batch_size": 50}
    n_threads = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(threads)
            state = torch.get_rng_state()
            results.append(node2vec(graph, seed=5, **arguments))
            assert torch.equal(torch.get_rng_state(), state)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(n_threads)
    np.testing.assert_array_equal(*results)
    assert not np.array_equal(results[0], node2vec(graph, seed=6, **arguments))


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


@pytest.mark.parametrize("lr", [0.03, 0.5])
def test_a_hub_does_not_diverge(lr):
    star = InteractionGraph(sp.csr_matrix(np.ones((1, 3000))))
    embedding = node2vec(star, lr=lr, **{**FAST, "epochs": 3})
    assert np.isfinite(embedding).all()
    assert np.abs(embedding).max() < 100


def test_a_single_pair():
    embedding = node2vec(InteractionGraph(sp.csr_matrix([[1.0]])), **FAST)
    assert embedding.shape == (2, 8)
    assert np.isfinite(embedding).all()


def test_embed_walks_trains_on_the_walks_given():
    graph = two_blocks()
    starts = np.tile(np.arange(graph.n_nodes), 10)
    walks = random_walks(graph, starts, 10, generator=generator())
    arguments = {"embedding_dim": 16, "context_size": 5, "epochs": 10}
    weight = embed_walks(walks, graph.n_nodes, **arguments)
    assert torch.equal(weight, embed_walks(walks, graph.n_nodes, **arguments))
    negative = torch.randint(graph.n_nodes, (2000, 5), generator=generator())
    assert node2vec_loss(weight, windows(walks, 5), negative) < 2 * np.log(2) - 0.2


def test_progress_bar_only_when_asked_for(capsys):
    node2vec(two_blocks(), **FAST)
    assert capsys.readouterr().err == ""
    node2vec(two_blocks(), show_progress=True, **FAST)
    assert "node2vec" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embedding_dim": 0}, r"embedding_dim must be an integer >= 1 and below 2\*\*31, not 0"),
        ({"walks_per_node": 0}, "walks_per_node must be"),
        ({"epochs": 1.5}, "epochs must be"),
        ({"num_negative_samples": 0}, "num_negative_samples must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"context_size": 1}, "context_size must be at least 2, got 1"),
        ({"walk_length": 3}, "walk_length must be at least context_size, got 3 and 4"),
        ({"lr": 0.0}, "lr must be positive and finite"),
        ({"lr": float("nan")}, "lr must be positive and finite"),
        ({"p": 0.0}, "p must be a finite number > 0"),
        ({"q": -1.0}, "q must be a finite number > 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        node2vec(two_blocks(), **{**FAST, **arguments})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_separates_the_halves_too():
    graph = two_blocks()
    embedding = node2vec(graph, embedding_dim=16, walk_length=10, context_size=5, epochs=10, device="cuda")
    half = np.concatenate([np.arange(graph.n_users) % 2, np.arange(graph.n_items) % 2])
    scores = embedding @ embedding.T
    assert scores[half[:, None] == half[None, :]].mean() > scores[half[:, None] != half[None, :]].max()
