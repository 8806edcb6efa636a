"""node2vec embeddings without gradient steps: a decomposition of the matrix that skip-gram factorises."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.extmath import randomized_svd

from recbole_universal import arguments

# Number of walks whose pairs are counted at once; a walk of 20 nodes has about 90 pairs of 12 bytes.
_WALKS_PER_BLOCK = 2**17


def factorize_walks(
    walks: torch.Tensor,
    n_users: int,
    n_items: int,
    *,
    embedding_dim: int = 64,
    context_size: int = 10,
    seed: int = 0,
) -> np.ndarray:
    """Embed the nodes of walks so that the dot product of a user and an item reflects how often they co-occur.

    With uniform negatives, the skip-gram objective of ``torch_geometric.nn.Node2Vec`` is at its optimum where
    ``z_u . z_i = log(r_ui)``, where r_ui is how much more often u and i share a window than by chance (Levy and
    Goldberg, NeurIPS 2014; for walks Qiu et al., NetMF, WSDM 2018). Here it is ``log(1 + r_ui)``, which is 0 for a
    pair that never co-occurs, so that the matrix is sparse. A randomised singular value decomposition (scikit-learn)
    gives its best approximation of rank ``embedding_dim``; each side gets the root of each singular value. Walks of a
    bipartite graph change sides with each step, so only pairs at odd distances below ``context_size`` are counted.

    Args:
        walks: int64 ``[n_walks, walk_length]`` of nodes, users before items.
        n_users: number of users.
        n_items: number of items.
        embedding_dim: dimension of the embedding; columns beyond the smaller side are 0.
        context_size: nodes in a window, at least 2.
        seed: seed of the decomposition.

    Returns:
        float32 ``[n_users + n_items, embedding_dim]``; 0 for a node that no walk visits.

    Raises:
        ValueError: if there is no walk of at least two nodes, or the window has less than two.
    """
    if walks.ndim != 2 or not len(walks) or walks.shape[1] < 2:
        raise ValueError(f"walks: must be at least one walk of at least two nodes, got shape {list(walks.shape)}")
    if context_size < 2:
        raise ValueError(f"context_size must be at least 2, got {context_size}")
    nodes = walks.cpu().numpy().astype(np.int32)
    together = sp.csr_matrix((n_users, n_items), dtype=np.float32)
    for start in range(0, len(nodes), _WALKS_PER_BLOCK):
        block = nodes[start : start + _WALKS_PER_BLOCK]
        pairs = [(block[:, :-k], block[:, k:]) for k in range(1, min(context_size, block.shape[1]), 2)]
        users = np.concatenate([np.minimum(first, second).ravel() for first, second in pairs])
        items = np.concatenate([np.maximum(first, second).ravel() for first, second in pairs]) - np.int32(n_users)
        counts = sp.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=together.shape)
        together = together + counts
    together.data = np.log1p(together.data * (n_users * n_items / together.data.sum(dtype=np.float64)))
    together = together.astype(np.float32)
    rank = min(embedding_dim, n_users, n_items)
    seed = arguments.seed("walks", seed)
    state = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))  # scikit-learn's seeds have 32 bits
    left, values, right = randomized_svd(together, rank, n_iter=2, random_state=state)
    embedding = np.zeros((n_users + n_items, embedding_dim), dtype=np.float32)
    embedding[:n_users, :rank] = left * np.sqrt(values)
    embedding[n_users:, :rank] = right.T * np.sqrt(values)
    return embedding
