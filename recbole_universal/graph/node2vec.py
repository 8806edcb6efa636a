"""node2vec embeddings: PyTorch Geometric's objective on the walks of `RandomWalker`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from tqdm.auto import tqdm

from recbole_universal import arguments
from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.graph.random_walk import RandomWalker
from recbole_universal.graph.threads import one_thread, stay_on_one_thread
from recbole_universal.graph.walk_factorization import factorize_walks

#: How `node2vec` embeds the walks.
OBJECTIVES = ("skip_gram", "factorization")
#: Batches in an epoch where no batch size is given: the number of steps, not the batch, is what training needs.
BATCHES_PER_EPOCH = 320
MIN_BATCH_SIZE = 16
#: Walks that are made at once; a walk of 20 nodes takes 160 bytes.
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
    num_negative_samples: int = 5,
    epochs: int = 3,
    lr: float = 0.05,
    batch_size: int | None = None,
    objective: str = "skip_gram",
    seed: int = 0,
    device: torch.device | str = "cpu",
    show_progress: bool = False,
) -> np.ndarray:
    """Embed all nodes; parameters are named as in ``torch_geometric.nn.Node2Vec``.

    Nodes without edges are left out: no walk starts there, no negative is drawn there, and their rows are zero.
    A seed gives the same result, to the last bit, on one kind of CPU with any number of threads. On a GPU results
    agree up to rounding. The global random state does not change.

    Args:
        graph: the graph; the weights of its edges are not used.
        embedding_dim: dimension of the embedding, at least 1.
        walk_length: number of nodes in a walk, the start included, at least ``context_size``.
        context_size: number of nodes in a window, at least 2; its first node is paired with each of the
            others.
        walks_per_node: number of walks from each node in each epoch, at least 1.
        p: return parameter, positive: the higher, the fewer returns to the previous node.
        q: in-out parameter, positive: the lower, the fewer returns.
        num_negative_samples: negative pairs drawn for each positive pair, at least 1; as in PyTorch Geometric
            they are averaged, so that more of them make the gradient less noisy and not larger.
        epochs: passes, each over new walks, at least 1.
        lr: learning rate of Adam at the start, positive; it falls linearly to zero.
        batch_size: walks in a batch, at least 1; None makes `BATCHES_PER_EPOCH` batches of an epoch.
        objective: one of `OBJECTIVES`. "skip_gram" takes gradient steps. "factorization" decomposes the matrix that
            these steps approach (`factorize_walks`). It is faster and runs on the CPU. Its last bits may vary with the
            number of threads. It ignores num_negative_samples, epochs, lr and batch_size.
        seed: seed of walks, negatives and initial values.
        device: device of the walks and of the training. Experimental: not tested on CUDA.
        show_progress: whether to show a progress bar.

    Returns:
        float32 ``[n_nodes, embedding_dim]``: users first, then items.

    Raises:
        ValueError: if an argument is out of range.

    Source: Grover and Leskovec, node2vec (2016); objective and names as in ``torch_geometric.nn.Node2Vec``.
    """
    _check_positive(walks_per_node=walks_per_node, epochs=epochs, embedding_dim=embedding_dim)
    _check_positive(walk_length=walk_length, context_size=context_size)
    if not isinstance(objective, str) or objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {arguments.shown(objective)}")
    device = arguments.device(device)
    generator = torch.Generator(device).manual_seed(arguments.seed("node2vec", seed))
    active = np.flatnonzero(graph.degree > 0)
    walker = RandomWalker(*_compact_adjacency(graph, active), device)
    embedding = np.zeros((graph.n_nodes, embedding_dim), dtype=np.float32)
    starts = torch.arange(len(active), device=device).repeat(walks_per_node)
    if objective == "factorization":
        if not 2 <= context_size <= walk_length:
            raise ValueError(f"context_size must be from 2 to walk_length {walk_length}, got {context_size}")
        n_users = int((graph.user_degree > 0).sum())
        walks = walker.walk(starts, walk_length, p, q, generator=generator)
        sizes = {"embedding_dim": embedding_dim, "context_size": context_size}
        embedding[active] = factorize_walks(walks, n_users, len(active) - n_users, **sizes, seed=seed)
        return embedding
    trainer = SkipGram(
        len(active),
        embedding_dim,
        context_size,
        num_negative_samples,
        lr=lr,
        generator=generator,
        device=device,
    )
    batch_size = _batch_size(batch_size, len(starts))
    n_steps = epochs * -(-len(starts) // batch_size)

    def batches() -> Iterator[torch.Tensor]:
        for _ in range(epochs):
            shuffled = starts[torch.randperm(len(starts), generator=generator, device=device)]
            for block in shuffled.split(max(1, WALKS_PER_BLOCK // batch_size) * batch_size):
                yield from walker.walk(block, walk_length, p, q, generator=generator).split(batch_size)

    trainer.fit(batches(), n_steps, show_progress)
    if not torch.isfinite(trainer.weight.square().sum()):
        raise ValueError(f"the embedding grew beyond all bounds: lr must be smaller than {lr!r}")
    embedding[active] = trainer.weight.cpu().numpy()
    return embedding


def embed_walks(
    walks: torch.Tensor,
    n_nodes: int,
    *,
    embedding_dim: int = 64,
    context_size: int = 10,
    num_negative_samples: int = 5,
    epochs: int = 3,
    lr: float = 0.05,
    batch_size: int | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> torch.Tensor:
    """Train the embedding of `node2vec` on walks that are given: each epoch shuffles the same walks.

    Args:
        walks: int64 ``[n_walks, walk_length]`` of nodes 0..n_nodes-1; its device is used.
        n_nodes: number of nodes.
        embedding_dim: as in `node2vec`, like the following.
        context_size: nodes in a window.
        num_negative_samples: negative pairs for each positive one.
        epochs: passes over the walks.
        lr: learning rate of Adam at the start.
        batch_size: walks in a batch; None makes `BATCHES_PER_EPOCH` batches.
        seed: seed of the order, the negatives and the initial values.
        show_progress: whether to show a progress bar.

    Returns:
        float32 ``[n_nodes, embedding_dim]`` on the device of the walks.

    Raises:
        ValueError: if an argument is out of range.
    """
    _check_positive(epochs=epochs)
    generator = torch.Generator(walks.device).manual_seed(arguments.seed("node2vec", seed))
    trainer = SkipGram(
        n_nodes,
        embedding_dim,
        context_size,
        num_negative_samples,
        lr=lr,
        generator=generator,
        device=walks.device,
    )
    batch_size = _batch_size(batch_size, len(walks))

    def batches() -> Iterator[torch.Tensor]:
        for _ in range(epochs):
            order = torch.randperm(len(walks), generator=generator, device=walks.device)
            for batch in order.split(batch_size):
                yield walks[batch]

    trainer.fit(batches(), epochs * -(-len(walks) // batch_size), show_progress)
    return trainer.weight


class SkipGram:
    """One embedding table trained on walks with node2vec's skip-gram objective.

    The objective is `node2vec_loss`. Its gradient takes a few dense products: all windows of a walk are a
    band of the walk's matrix of scores, and the negatives of a batch, which pair uniform nodes with uniform
    nodes, are all pairs of two random sets of nodes (of all nodes, which is the expectation itself, where the
    sets would be larger than the graph). Adam bounds each step, so that hubs, which occur in every batch, do
    not diverge.

    Args:
        n_nodes: number of nodes, at least 1.
        embedding_dim: dimension, at least 1.
        context_size: nodes in a window, at least 2.
        num_negative_samples: negative pairs for each positive one, at least 1.
        lr: learning rate at the start, positive.
        generator: source of randomness, on ``device``.
        device: where the table lives.

    Attributes:
        weight (Tensor): the embedding, float32 ``[n_nodes, embedding_dim]``.

    Raises:
        ValueError: if an argument is out of range.
    """

    BETA1, BETA2, EPS = 0.9, 0.99, 1e-8

    def __init__(
        self,
        n_nodes: int,
        embedding_dim: int,
        context_size: int,
        num_negative_samples: int = 1,
        *,
        lr: float,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        _check_positive(n_nodes=n_nodes, embedding_dim=embedding_dim, num_negative_samples=num_negative_samples)
        _check_positive(context_size=context_size)
        if context_size < 2:
            raise ValueError(f"context_size must be at least 2, got {context_size}")
        if not arguments.is_real(lr) or not 0 < lr < 1e30:
            raise ValueError(f"lr must be positive and finite (below 1e30), got {arguments.shown(lr)}")
        self.context_size, self.num_negative_samples, self.lr = context_size, num_negative_samples, lr
        self.generator = generator
        weight = torch.randn(n_nodes, embedding_dim, generator=generator, device=device)
        self.weight = weight.div_(math.sqrt(embedding_dim))
        self._gradient = torch.zeros_like(weight)
        self._negative = torch.zeros_like(weight)
        self._mean = torch.zeros_like(weight)
        self._square = torch.zeros_like(weight)
        self._n_steps = 0

    def fit(self, batches: Iterator[torch.Tensor], n_steps: int, show_progress: bool = False) -> None:
        """Take one step for each batch of walks; the learning rate falls linearly to zero at step ``n_steps``."""
        progress = tqdm(batches, "node2vec", total=n_steps, disable=not show_progress, leave=False)
        with _two_threads(self.weight.device) as other_thread:
            for k, walks in enumerate(progress):
                left, right = self._negatives(walks)
                negative = other_thread.submit(self._negative_gradient, left, right)
                self._gradient.zero_()
                add_positive_gradient_(self._gradient, self.weight, walks, self.context_size)
                self._gradient.add_(negative.result())
                self._adam_step(self.lr * (1 - k / n_steps))

    def _negative_gradient(self, left: torch.Tensor | None, right: torch.Tensor | None) -> torch.Tensor:
        add_negative_gradient_(self._negative.zero_(), self.weight, left, right)
        return self._negative

    def _negatives(self, walks: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        n_nodes = len(self.weight)
        n_windows = walks.shape[1] - self.context_size + 1
        n_pairs = self.num_negative_samples * len(walks) * n_windows * (self.context_size - 1)
        n_drawn = math.isqrt(max(n_pairs - 1, 0)) + 1
        if n_drawn >= n_nodes:
            return None, None
        drawn = torch.randint(n_nodes, (2, n_drawn), generator=self.generator, device=self.weight.device)
        return drawn[0], drawn[1]

    def _adam_step(self, lr: float) -> None:
        self._n_steps += 1
        # The mean over all pairs leaves a node some 1/n_nodes of it; Adam's EPS must stay far below.
        gradient = self._gradient.mul_(len(self.weight))
        self._mean.lerp_(gradient, 1 - self.BETA1)
        self._square.mul_(self.BETA2).addcmul_(gradient, gradient, value=1 - self.BETA2)
        scale = torch.sqrt(self._square, out=gradient).mul_((1 - self.BETA2**self._n_steps) ** -0.5).add_(self.EPS)
        self.weight.addcdiv_(self._mean, scale, value=-lr / (1 - self.BETA1**self._n_steps))


def node2vec_loss(weight: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """The objective: the first node of each window scores high with the others of positive windows, low of negative.

    ``mean(-log sigmoid(z_first . z_other)) + mean(-log(1 - sigmoid(z_first . z_other)))``, a mean over all
    pairs of the positive windows and one over all pairs of the negative windows.

    Args:
        weight: embedding ``[n_nodes, d]``.
        positive: int64 ``[n_windows, context_size]``, stretches of walks.
        negative: int64 ``[n_negative_windows, context_size]``, random nodes.

    Returns:
        scalar.

    Source: ``torch_geometric.nn.Node2Vec.loss`` (which adds 1e-15 inside the logarithms).
    """

    def scores(windows: torch.Tensor) -> torch.Tensor:
        return (weight[windows[:, :1]] * weight[windows[:, 1:]]).sum(dim=-1)

    return functional.softplus(-scores(positive)).mean() + functional.softplus(scores(negative)).mean()


def add_positive_gradient_(
    gradient: torch.Tensor, weight: torch.Tensor, walks: torch.Tensor, context_size: int
) -> None:
    """Add the gradient of the first term of `node2vec_loss` over all windows of the walks.

    Args:
        gradient: float32 ``[n_nodes, d]``, changed in place.
        weight: float32 ``[n_nodes, d]``.
        walks: int64 ``[n_walks, walk_length]``; a walk has ``walk_length - context_size + 1`` windows.
        context_size: nodes in a window, 2..walk_length.

    Raises:
        ValueError: if the walks are shorter than a window.
    """
    n_walks, length = walks.shape
    if length < context_size:
        raise ValueError(f"walk_length must be at least context_size, got {length} and {context_size}")
    nodes = walks.reshape(-1)
    z = weight.index_select(0, nodes).view(n_walks, length, -1)
    pairs = _window_pairs(length, context_size, walks.device)
    # A score counts for both of its ends, and the matrix of scores is symmetric: symmetric weights do both.
    pair_weight = (pairs + pairs.T) / (n_walks * pairs.sum())
    slope = torch.bmm(z, z.transpose(1, 2)).sigmoid_().sub_(1).mul_(pair_weight)
    gradient.index_add_(0, nodes, torch.bmm(slope, z).view(len(nodes), -1))


def add_negative_gradient_(
    gradient: torch.Tensor,
    weight: torch.Tensor,
    left: torch.Tensor | None = None,
    right: torch.Tensor | None = None,
) -> None:
    """Add the gradient of the second term of `node2vec_loss` over all pairs of a left and a right node.

    Args:
        gradient: float32 ``[n_nodes, d]``, changed in place.
        weight: float32 ``[n_nodes, d]``.
        left: int64 ``[n_left]``; None for all nodes on both sides.
        right: int64 ``[n_right]``.
    """
    if left is None or right is None:
        slope = (weight @ weight.T).sigmoid_().mul_(2 / len(weight) ** 2)
        gradient.addmm_(slope, weight)
        return
    z_left, z_right = weight.index_select(0, left), weight.index_select(0, right)
    slope = (z_left @ z_right.T).sigmoid_().mul_(1 / (len(left) * len(right)))
    gradient.index_add_(0, left, slope @ z_right)
    gradient.index_add_(0, right, slope.T @ z_left)


def _window_pairs(length: int, context_size: int, device: torch.device) -> torch.Tensor:
    """1 if the column's position in the walk is in the window that starts at the row's, float32 ``[length, length]``.

    Only whole windows count, as in PyTorch Geometric.
    """
    position = torch.arange(length, device=device)
    offset = position[None, :] - position[:, None]
    whole = position[:, None] <= length - context_size
    return ((offset >= 1) & (offset < context_size) & whole).float()


@contextmanager
def _two_threads(device: torch.device) -> Iterator[Executor]:
    """A second thread, with one thread within each operation of PyTorch on the CPU.

    The last bits of products and sums vary with the number of threads within an operation; two operations
    side by side do not have that. The products are small, too: threads that wait for each other several times
    a batch cost more than they bring where other jobs run (measured on two busy cores: five times the time of
    one thread).
    """
    if device.type != "cpu" or torch.get_num_threads() == 1:
        yield _SameThread()
        return
    with one_thread(), ThreadPoolExecutor(1, initializer=stay_on_one_thread) as executor:
        yield executor


class _SameThread(Executor):
    """Runs at once, in the thread that submits."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _batch_size(batch_size: int | None, n_walks: int) -> int:
    if batch_size is None:
        return max(MIN_BATCH_SIZE, -(-n_walks // BATCHES_PER_EPOCH))
    _check_positive(batch_size=batch_size)
    return batch_size


def _check_positive(**given: Any) -> None:
    for name, value in given.items():
        arguments.integer("node2vec", name, value, 1, below=2**31)


def _compact_adjacency(graph: InteractionGraph, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Adjacency lists of the nodes that have edges; their indices are 0..len(active)-1, in the same order."""
    _, indices = graph.adjacency()
    rank = np.zeros(graph.n_nodes, dtype=np.int64)
    rank[active] = np.arange(len(active))
    return np.concatenate([[0], np.cumsum(graph.degree[active])]), rank[indices]
