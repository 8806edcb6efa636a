"""node2vec embeddings: random walks, and a decomposition of the matrix of users and items that share a window."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp
import torch

from recbole_universal import arguments
from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.graph.random_walk import RandomWalker
from recbole_universal.graph.threads import one_thread

#: Walks that are made and counted at once; a walk of 20 nodes takes 160 bytes, and its 75 pairs 12 bytes each.
WALKS_PER_BLOCK = 1 << 17


def node2vec(
    graph: InteractionGraph,
    *,
    embedding_dim: int = 64,
    walk_length: int = 20,
    context_size: int = 10,
    walks_per_node: int = 10,
    p: float = 1.0,
    q: float = 1.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Embed all nodes by `factorize_walks` of random walks; arguments are named as in ``torch_geometric.nn.Node2Vec``.

    No walk starts at a node without edges, and its row is zero. A seed gives the same result with any number of
    threads. The global random state does not change.

    Args:
        graph: the graph; the weights of its edges are not used.
        embedding_dim: dimension of the embedding, at least 1.
        walk_length: number of nodes in a walk, the start included, at least ``context_size``.
        context_size: number of nodes in a window, at least 2.
        walks_per_node: number of walks from each node, at least 1.
        p: return parameter, positive: the higher, the fewer returns to the previous node.
        q: in-out parameter, positive: the lower, the fewer returns.
        seed: seed of the walks and of the decomposition.
        device: device of the walks. Experimental: not tested on CUDA. The decomposition runs on the CPU.

    Returns:
        float32 ``[n_nodes, embedding_dim]``: users first, then items.

    Raises:
        ValueError: if an argument is out of range.

    Source: Grover and Leskovec, node2vec (KDD 2016).
    """
    sizes = {"embedding_dim": embedding_dim, "walk_length": walk_length, "walks_per_node": walks_per_node}
    for name, value in {**sizes, "context_size": context_size}.items():
        arguments.integer("node2vec", name, value, 1, below=2**31)
    if not 2 <= context_size <= walk_length:
        raise ValueError(f"context_size must be from 2 to walk_length {walk_length}, got {context_size}")
    device = arguments.device(device)
    generator = torch.Generator(device).manual_seed(arguments.seed("node2vec", seed))
    active = np.flatnonzero(graph.degree > 0)
    n_users = int((graph.user_degree > 0).sum())
    walker = RandomWalker(*_compact_adjacency(graph, active), device)
    starts = torch.arange(len(active), device=device).repeat(walks_per_node)
    walks = (walker.walk(block, walk_length, p, q, generator=generator) for block in starts.split(WALKS_PER_BLOCK))
    embedding = np.zeros((graph.n_nodes, embedding_dim), dtype=np.float32)
    embedding[active] = factorize_walks(
        walks, n_users, len(active) - n_users, embedding_dim=embedding_dim, context_size=context_size, seed=seed
    )
    return embedding


def factorize_walks(
    blocks: Iterable[torch.Tensor],
    n_users: int,
    n_items: int,
    *,
    embedding_dim: int = 64,
    context_size: int = 10,
    seed: int = 0,
) -> np.ndarray:
    """Embed the nodes of walks so that the dot product of a user and an item reflects how often they co-occur.

    The product approaches ``log(1 + r_ui)``, where r_ui is how much more often u and i share a window than by chance.
    It is 0 for a pair that never co-occurs, so the matrix is sparse. A singular value decomposition gives its best
    approximation of rank ``embedding_dim``; each side gets the root of each singular value. Walks of a bipartite graph
    change sides with each step, so only pairs at odd distances below ``context_size`` are counted.

    Args:
        blocks: blocks of walks, each int64 ``[n_walks, walk_length]`` of nodes, users before items; one block at a time
            is in memory.
        n_users: number of users.
        n_items: number of items.
        embedding_dim: dimension of the embedding; columns beyond the smaller side are 0.
        context_size: nodes in a window, at least 2.
        seed: seed of the decomposition.

    Returns:
        float32 ``[n_users + n_items, embedding_dim]``; 0 for a node that no walk visits.

    Raises:
        ValueError: if there is no walk of at least two nodes, or the window has less than two.

    Source: node2vec's skip-gram objective with negatives that are uniform pairs is at its optimum where a product is
    log(r_ui) (Levy and Goldberg, NeurIPS 2014; for walks Qiu et al., NetMF, WSDM 2018).
    """
    if context_size < 2:
        raise ValueError(f"context_size must be at least 2, got {context_size}")
    seed = arguments.seed("walks", seed)
    together = sp.csr_matrix((n_users, n_items), dtype=np.float32)
    for walks in blocks:
        together = together + _co_occurrences(walks, n_users, n_items, context_size)
    if not together.nnz:
        raise ValueError("blocks: must hold at least one walk")
    together.data *= n_users * n_items / float(together.data.sum(dtype=np.float64))
    np.log1p(together.data, out=together.data)
    rank = min(embedding_dim, n_users, n_items)
    left, values, right = _singular_vectors(together, rank, seed)
    embedding = np.zeros((n_users + n_items, embedding_dim), dtype=np.float32)
    embedding[:n_users, :rank] = left * np.sqrt(values)
    embedding[n_users:, :rank] = right * np.sqrt(values)
    return embedding


def _singular_vectors(matrix: sp.csr_matrix, rank: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The largest singular values and their vectors, ``[n_users, rank]``, ``[rank]`` and ``[n_items, rank]``.

    SciPy multiplies sparse matrices on one thread, and PyTorch is limited to one here, so that the last bits do not
    depend on the number of threads: they may move a node to another cluster.

    Source: Halko, Martinsson and Tropp, SIAM Review (2011), algorithm 4.4 with two iterations.
    """
    right = np.random.default_rng(seed).standard_normal((matrix.shape[1], rank + 10), dtype=np.float32)
    with one_thread():
        for _ in range(3):
            left = torch.linalg.qr(torch.from_numpy(matrix @ right))[0]
            right = matrix.T @ left.numpy()
        vectors, values, mixture = torch.linalg.svd(torch.from_numpy(right), full_matrices=False)
        left = left @ mixture.T
    return left[:, :rank].numpy(), values[:rank].numpy(), vectors[:, :rank].numpy()


def _co_occurrences(walks: torch.Tensor, n_users: int, n_items: int, context_size: int) -> sp.csr_matrix:
    """How often each user and item share a window of the walks, float32 ``[n_users, n_items]``."""
    if walks.ndim != 2 or walks.shape[1] < 2:
        raise ValueError(f"blocks: must be [n_walks, walk_length] with walk_length >= 2, got {list(walks.shape)}")
    nodes = walks.cpu().numpy().astype(np.int32)
    pairs = [(nodes[:, :-k], nodes[:, k:]) for k in range(1, min(context_size, nodes.shape[1]), 2)]
    users = np.concatenate([np.minimum(first, second).ravel() for first, second in pairs])
    items = np.concatenate([np.maximum(first, second).ravel() for first, second in pairs]) - np.int32(n_users)
    return sp.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=(n_users, n_items))


def _compact_adjacency(graph: InteractionGraph, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Adjacency lists of the nodes that have edges; their indices are 0..len(active)-1, in the same order."""
    _, indices = graph.adjacency()
    rank = np.zeros(graph.n_nodes, dtype=np.int64)
    rank[active] = np.arange(len(active))
    return np.concatenate([[0], np.cumsum(graph.degree[active])]), rank[indices]
