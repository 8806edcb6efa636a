"""node2vec embeddings: PyTorch Geometric's objective over our own walks, with the gradient written out."""

from __future__ import annotations

import math

import numpy as np
import torch
from tqdm.auto import tqdm

from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.graph.random_walk import RandomWalker


def node2vec(
    graph: InteractionGraph,
    *,
    embedding_dim: int = 64,
    walk_length: int = 20,
    context_size: int = 10,
    walks_per_node: int = 10,
    p: float = 1.0,
    q: float = 1.0,
    num_negative_samples: int = 1,
    epochs: int = 1,
    lr: float = 0.01,
    batch_size: int = 1024,
    seed: int = 0,
    device: torch.device | str = "cpu",
    show_progress: bool = False,
) -> np.ndarray:
    """Embed all nodes; parameters are named as in ``torch_geometric.nn.Node2Vec``.

    Nodes without edges take no part: no walk starts there, no negative is drawn there, and their rows are zero.

    Args:
        graph: the graph.
        embedding_dim: dimension of the embedding.
        walk_length: number of nodes in a walk, the start included.
        context_size: number of nodes in a window; 2..walk_length. The first is paired with each of the others.
        walks_per_node: walks from each node in each epoch.
        p: return parameter, positive.
        q: in-out parameter, positive.
        num_negative_samples: negative pairs for each positive pair.
        epochs: passes over new walks.
        lr: peak learning rate of Adam; it falls linearly to zero.
        batch_size: walks in a batch.
        seed: seed of walks, negatives and initial values.
        device: where to walk and to train.
        show_progress: show a progress bar.

    Returns:
        float32 ``[n_nodes, embedding_dim]``: users first, then items.

    Raises:
        ValueError: if an argument is out of range.
    """
    device = torch.device(device)
    active = np.flatnonzero(graph.degree > 0)
    indptr, indices = _compact_adjacency(graph, active)
    generator = torch.Generator(device).manual_seed(seed)
    walker = RandomWalker(indptr, indices, device)
    trainer = SkipGram(
        len(active), embedding_dim, context_size, num_negative_samples, lr=lr, generator=generator, device=device
    )
    starts = torch.arange(len(active), device=device).repeat(walks_per_node)
    n_batches = -(-len(starts) // batch_size)
    with tqdm(total=epochs * n_batches, desc="node2vec", disable=not show_progress) as progress:
        for epoch in range(epochs):
            order = starts[torch.randperm(len(starts), generator=generator, device=device)]
            for k, batch in enumerate(order.split(batch_size)):
                walks = walker.walk(batch, walk_length, p, q, generator=generator)
                trainer.step(walks, progress=(epoch * n_batches + k) / (epochs * n_batches))
                progress.update()
    embedding = np.zeros((graph.n_nodes, embedding_dim), dtype=np.float32)
    embedding[active] = trainer.weight.cpu().numpy()
    return embedding


class SkipGram:
    def __init__(self, n_nodes, embedding_dim, context_size, num_negative_samples=1, *, lr, generator, device="cpu"):
        self.generator = generator
        self.context_size = context_size
        self.num_negative_samples = num_negative_samples
        self.lr = lr
        self.weight = torch.randn(n_nodes, embedding_dim, generator=generator, device=device) / math.sqrt(embedding_dim)
        self.m = torch.zeros_like(self.weight)
        self.v = torch.zeros_like(self.weight)
        self.t = 0

    def step(self, walks, progress):
        z = self.weight
        n, d = z.shape
        grad = torch.zeros_like(z)
        b, length = walks.shape
        mask = window_mask(length, self.context_size, z.device)
        n_pos = b * int(mask.sum())
        zw = z[walks]
        g = torch.sigmoid(zw @ zw.transpose(1, 2)).sub_(1).mul_(mask)
        g = (g + g.transpose(1, 2)) / n_pos
        grad.index_add_(0, walks.reshape(-1), (g @ zw).reshape(-1, d))
        m = max(2, math.ceil(math.sqrt(n_pos * self.num_negative_samples)))
        left = torch.randint(n, (m,), generator=self.generator, device=z.device)
        right = torch.randint(n, (m,), generator=self.generator, device=z.device)
        zl, zr = z[left], z[right]
        s = torch.sigmoid(zl @ zr.T) / (m * m)
        grad.index_add_(0, left, s @ zr)
        grad.index_add_(0, right, s.T @ zl)
        grad *= n
        self.t += 1
        self.m.lerp_(grad, 0.1)
        self.v.lerp_(grad * grad, 0.001)
        mh = self.m / (1 - 0.9**self.t)
        vh = self.v / (1 - 0.999**self.t)
        z -= self.lr * (1 - progress) * mh / (vh.sqrt() + 1e-8)


def window_mask(length, context_size, device="cpu"):
    offset = torch.arange(length)[None, :] - torch.arange(length)[:, None]
    mask = (offset >= 1) & (offset < context_size)
    mask[length - context_size + 1 :] = False
    return mask.float().to(device)


def _compact_adjacency(graph: InteractionGraph, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    indptr, indices = graph.adjacency()
    rank = np.zeros(graph.n_nodes, dtype=np.int64)
    rank[active] = np.arange(len(active))
    return np.concatenate([[0], np.cumsum(graph.degree[active])]), rank[indices]
