"""Vectorised node2vec walks on a bipartite graph, with any return parameter p and in-out parameter q."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse as sp
import torch

from recbole_universal import arguments

ArrayLike = np.ndarray | torch.Tensor

#: Number of walks in a block on the CPU. Their state fits the cache of a core, and PyTorch runs operations of this size
#: on the calling thread, so that several threads can walk blocks without waiting for one another.
CPU_BLOCK = 1 << 15
GPU_BLOCK = 1 << 22
MAX_INT32 = 2**31 - 1


class RandomWalker:
    """Walks over the directed edges of a bipartite graph.

    In a bipartite graph the next node is never a neighbour of the previous one, so the second-order walk of
    node2vec has two cases only: with a = 1/p, b = 1/q and a current node of degree d, it returns to the
    previous node with probability ``a / (a + b * (d - 1))``, and otherwise goes to one of the d - 1 other
    neighbours, uniformly. One uniform draw r decides both: ``x = r * (a/b + d - 1) - a/b`` is negative with
    the return probability, and its floor is uniform on 0..d-2 otherwise. The state of a walk is a directed
    edge; the position of the previous node in the current node's list, which the draw has to skip, is that of
    the reversed edge.

    Args:
        indptr: int ``[n_nodes + 1]``, offsets of the adjacency lists.
        indices: int ``[2 * n_edges]``, neighbours in ascending order for each node; symmetric and bipartite.
        device: device of the walks. Experimental: not tested on CUDA.

    Raises:
        ValueError: if the adjacency is not symmetric with ascending lists.

    Source: Grover and Leskovec, node2vec (2016), section 3.2.
    """

    def __init__(self, indptr: ArrayLike, indices: ArrayLike, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        indptr, indices = _numpy(indptr), _numpy(indices)
        reverse = _reverse_edges(indptr, indices)
        # Memory bandwidth limits the walks, so 32 bits are faster than 64.
        self._int = torch.int32 if len(indices) <= MAX_INT32 else torch.int64
        self.first = torch.as_tensor(indptr[:-1]).to(self.device, self._int)
        self.degree = torch.as_tensor(np.diff(indptr)).to(self.device, self._int)
        self.target = torch.as_tensor(indices).to(self.device, self._int)
        self.reverse = torch.as_tensor(reverse).to(self.device, self._int)

    def walk(
        self,
        starts: ArrayLike,
        walk_length: int,
        p: float = 1.0,
        q: float = 1.0,
        *,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Walk from each start.

        Args:
            starts: nodes, int ``[n_starts]``.
            walk_length: number of nodes in a walk, the start included, at least 1.
            p: return parameter, positive and finite: the higher, the fewer returns.
            q: in-out parameter, positive and finite: the lower, the fewer returns.
            generator: source of randomness, on the walker's device.

        Returns:
            int64 ``[n_starts, walk_length]`` on the walker's device. A start without neighbours stays where
            it is.

        Raises:
            ValueError: if an argument is out of range.
        """
        _check_parameters(walk_length, p, q)
        starts = torch.as_tensor(starts).to(self.device)
        if starts.numel() and not 0 <= int(starts.min()) <= int(starts.max()) < len(self.degree):
            raise ValueError(f"starts must be nodes 0..{len(self.degree) - 1}")
        starts = starts.to(self._int)
        on_cpu = self.device.type == "cpu"
        blocks = starts.split(CPU_BLOCK if on_cpu else GPU_BLOCK)
        walks = torch.empty(len(starts), walk_length, dtype=torch.int64, device=self.device)
        outputs = walks.split(CPU_BLOCK if on_cpu else GPU_BLOCK)
        # A generator for each block: the walks do not depend on which thread makes which block.
        seeds = torch.randint(2**62, (len(blocks),), generator=generator, device=self.device).tolist()

        def walk_block(output: torch.Tensor, block_starts: torch.Tensor, seed: int) -> None:
            block_generator = torch.Generator(self.device).manual_seed(seed)
            output.copy_(self._walk_block(block_starts, walk_length, p, q, block_generator).T)

        n_threads = min(len(blocks), torch.get_num_threads()) if on_cpu else 1
        if n_threads == 1:
            for block in zip(outputs, blocks, seeds, strict=True):
                walk_block(*block)
        else:
            with ThreadPoolExecutor(n_threads) as threads:
                list(threads.map(walk_block, outputs, blocks, seeds))
        return walks

    def _walk_block(
        self, starts: torch.Tensor, walk_length: int, p: float, q: float, generator: torch.Generator
    ) -> torch.Tensor:
        nodes = starts.new_empty(walk_length, len(starts))
        nodes[0] = starts
        stuck = self.degree[starts] == 0
        if bool(stuck.any()):
            nodes[:, stuck] = starts[stuck]
            moving = ~stuck
            if bool(moving.any()):
                nodes[:, moving] = self._walk_block(starts[moving], walk_length, p, q, generator)
            return nodes
        if walk_length > 1:
            edge = self._uniform_edge(starts, generator)
            torch.index_select(self.target, 0, edge, out=nodes[1])
        for step in range(2, walk_length):
            if p == q == 1.0:
                edge = self._uniform_edge(nodes[step - 1], generator)
            else:
                edge = self._second_order_edge(edge, nodes[step - 1], q / p, generator)
            torch.index_select(self.target, 0, edge, out=nodes[step])
        return nodes

    def _uniform_edge(self, node: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        degree = self.degree.index_select(0, node)
        draw = torch.rand(len(node), dtype=torch.float64, device=self.device, generator=generator)
        # r < 1 but r * d may be rounded up to d.
        offset = torch.minimum(draw.mul_(degree).to(self._int), degree.sub_(1))
        return offset.add_(self.first.index_select(0, node))

    def _second_order_edge(
        self, edge: torch.Tensor, node: torch.Tensor, return_ratio: float, generator: torch.Generator
    ) -> torch.Tensor:
        # Beyond 2^50 the other case is out of reach of a draw of 53 bits anyway.
        return_ratio = min(max(return_ratio, 2.0**-50), 2.0**50)
        others = self.degree.index_select(0, node).sub_(1)
        back = self.reverse.index_select(0, edge)
        draw = torch.rand(len(node), dtype=torch.float64, device=self.device, generator=generator)
        x = draw.mul_(others + return_ratio).sub_(return_ratio)
        returns = (x < 0) | (others == 0)
        other = torch.minimum(x.to(self._int), others.sub_(1)).add_(self.first.index_select(0, node))
        other.add_(other >= back)
        return torch.where(returns, back, other)


def _check_parameters(walk_length: int, p: float, q: float) -> None:
    arguments.integer("random walk", "walk_length", walk_length, 1)
    arguments.real("random walk", "p", p, 0.0)
    arguments.real("random walk", "q", q, 0.0)


def _reverse_edges(indptr: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Position of the reversed edge of each directed edge, int ``[2 * n_edges]``."""
    n_nodes = len(indptr) - 1
    edges = np.arange(len(indices))
    # Row k of the transpose lists the edges that end in k by ascending source, which is the order of k's list.
    transposed = sp.csr_matrix((edges, indices, indptr), shape=(n_nodes, n_nodes)).T.tocsr()
    if not (np.array_equal(transposed.indptr, indptr) and np.array_equal(transposed.indices, indices)):
        raise ValueError("indptr, indices must hold a symmetric adjacency with ascending lists")
    return transposed.data


def _numpy(array: ArrayLike) -> np.ndarray:
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
