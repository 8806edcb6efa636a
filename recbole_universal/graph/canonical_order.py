"""An order of users and items that depends on the graph alone: colour refinement with integer hashes."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

MAX_ROUNDS = 32
MAX_SPLITS = 128


def canonical_order(user_item: sp.csr_matrix, item_user: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Sort users and items by what the graph says about them.

    Each node starts with the hash of its side and degree as its colour; in each round it hashes in the
    multiset of its neighbours' (colour, weight), until no colour class splits any more (Weisfeiler-Lehman).
    The nodes that still share a colour fall into connected parts; parts with the same colours are numbered, in
    each part one node of a shared colour is singled out, and the rounds go on. So all symmetries are resolved
    at once, and parts that may be exchanged (disjoint copies, say) are numbered consistently with one another.

    The order is the same under every relabelling up to an automorphism of the graph, hence features computed
    in it are permuted exactly, with two exceptions: nodes that a symmetry exchanges keep their given order
    among themselves, and so do nodes that `MAX_SPLITS` rounds do not separate and non-isomorphic parts that
    colour refinement cannot tell apart (regular graphs). Sums of hashes wrap modulo 2^64, so that their order
    is irrelevant.

    Args:
        user_item: csr ``[n_users, n_items]``, positive weights.
        item_user: its transpose as csr.

    Returns:
        int64 permutations ``[n_users]`` and ``[n_items]``, nodes of degree 0 last.
    """
    n_users, n_items = user_item.shape
    degree = np.concatenate([np.diff(user_item.indptr), np.diff(item_user.indptr)])
    indptr = np.concatenate([[0], np.cumsum(degree)])
    neighbours = np.concatenate([user_item.indices.astype(np.int64) + n_users, item_user.indices])
    weights = np.concatenate([user_item.data, item_user.data]).astype(np.float32, copy=False)
    weight_hash = hashed(weights.view(np.uint32).astype(np.uint64))
    active = degree > 0
    side = (np.arange(n_users + n_items) >= n_users).astype(np.uint64)
    colour = hashed(degree.astype(np.uint64) * np.uint64(2) + side)
    colour = _refine(colour, neighbours, weight_hash, indptr, active)
    for split in range(1, MAX_SPLITS + 1):
        tied = _tied_nodes(colour, active)
        if not tied.size:
            break
        part = _parts(tied, neighbours, indptr)
        colour[tied] = hashed(colour[tied] + hashed(_rank_among_equals(colour[tied], part)))
        single = _one_tied_node_each(colour[tied], part)
        colour[tied[single]] = hashed(colour[tied[single]] + np.uint64(split))
        colour = _refine(colour, neighbours, weight_hash, indptr, active)

    user_perm = np.lexsort((colour[:n_users], ~active[:n_users]))
    item_perm = np.lexsort((colour[n_users:], ~active[n_users:]))
    return user_perm.astype(np.int64), item_perm.astype(np.int64)


def _refine(
    colour: np.ndarray,
    neighbours: np.ndarray,
    weight_hash: np.ndarray,
    indptr: np.ndarray,
    active: np.ndarray,
) -> np.ndarray:
    n_classes = np.unique(colour).size
    for _ in range(MAX_ROUNDS):
        message = _sum_by_node(hashed(colour[neighbours] + weight_hash), indptr, active)
        refined = hashed(colour * np.uint64(3) + message)
        n_refined = np.unique(refined).size
        if n_refined == n_classes:
            break  # the partition is stable: keep the colours that made it
        colour, n_classes = refined, n_refined
    return colour


def _tied_nodes(colour: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Nodes with edges that share their colour with another."""
    _, inverse, counts = np.unique(colour, return_inverse=True, return_counts=True)
    return np.flatnonzero(active & (counts[inverse] > 1))


def _parts(tied: np.ndarray, neighbours: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Connected parts of the graph that the tied nodes alone form, int ``[n_tied]``.

    What joins them to the other nodes is in their colours, so that parts with equal colours may be exchanged.
    """
    n_nodes = len(indptr) - 1
    is_tied = np.zeros(n_nodes, dtype=bool)
    is_tied[tied] = True
    sources = np.repeat(np.arange(n_nodes), np.diff(indptr))
    inside = is_tied[sources] & is_tied[neighbours]
    ones = np.ones(int(inside.sum()), dtype=np.int8)
    graph = sp.csr_matrix((ones, (sources[inside], neighbours[inside])), shape=(n_nodes, n_nodes))
    _, component = connected_components(graph, directed=False)
    return np.unique(component[tied], return_inverse=True)[1]


def _rank_among_equals(colour: np.ndarray, part: np.ndarray) -> np.ndarray:
    """For each node the number of its part among the parts with the same colours, uint64 ``[n_tied]``."""
    order = np.argsort(part, kind="stable")
    starts = np.flatnonzero(np.diff(part[order], prepend=-1))
    sums = np.add.reduceat(hashed(colour)[order], starts)
    by_sum = np.argsort(sums, kind="stable")
    new = np.diff(sums[by_sum], prepend=~sums[by_sum[:1]]) != 0
    position = np.arange(len(sums))
    rank = np.empty(len(sums), dtype=np.uint64)
    rank[by_sum] = position - np.maximum.accumulate(np.where(new, position, 0))
    return rank[part]


def _one_tied_node_each(colour: np.ndarray, part: np.ndarray) -> np.ndarray:
    """In each part that still has nodes of one colour, the first node of the least such colour."""
    order = np.lexsort((colour, part))
    same = (np.diff(colour[order]) == 0) & (np.diff(part[order]) == 0)
    first = np.flatnonzero(same)
    _, kept = np.unique(part[order[first]], return_index=True)
    return order[first[kept]]


def _sum_by_node(values: np.ndarray, indptr: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Sums modulo 2^64 of each node's stretch of ``values``, uint64 ``[n_nodes]``; 0 for nodes of degree 0."""
    sums = np.zeros(active.size, dtype=np.uint64)
    sums[active] = np.add.reduceat(values, indptr[:-1][active])
    return sums


def hashed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: a bijection on uint64 that spreads every bit (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
