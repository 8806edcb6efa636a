"""An order of users and items that depends on the graph alone: colour refinement with integer hashes."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

MAX_ROUNDS = 32
MAX_SPLITS = 128


def canonical_order(user_item: sp.csr_matrix, item_user: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Sort users and items by their position in the graph, not by their ids.

    The method is colour refinement (Weisfeiler-Lehman). The first colour of a node is the hash of its side and
    degree. In each round the multiset of its neighbours' (colour, weight) is hashed into it, until no colour class
    splits any more. The nodes that still share a colour form connected components. Components with the same colours
    get ranks, in each component one node of a shared colour gets a new colour, and the rounds continue. So all
    symmetries are resolved at once, and interchangeable components, such as disjoint copies, are ordered alike.

    The order is the same under every relabelling, up to an automorphism of the graph. So features that are computed
    in this order are permuted exactly, with two exceptions. Nodes that a symmetry exchanges keep their given order.
    So do nodes that `MAX_SPLITS` rounds do not separate, and non-isomorphic components that colour refinement cannot
    distinguish (regular graphs). Sums of hashes wrap modulo 2^64, so their order is irrelevant.

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
        component = _components(tied, neighbours, indptr)
        colour[tied] = hashed(colour[tied] + hashed(_rank_among_equals(colour[tied], component)))
        single = _one_tied_node_each(colour[tied], component)
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
    """Nodes with edges whose colour another node has too."""
    _, inverse, counts = np.unique(colour, return_inverse=True, return_counts=True)
    return np.flatnonzero(active & (counts[inverse] > 1))


def _components(tied: np.ndarray, neighbours: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Connected components of the graph that the tied nodes form, int ``[n_tied]``.

    The colours contain their edges to other nodes, so that components with equal colours are interchangeable.
    """
    n_nodes = len(indptr) - 1
    is_tied = np.zeros(n_nodes, dtype=bool)
    is_tied[tied] = True
    sources = np.repeat(np.arange(n_nodes), np.diff(indptr))
    inside = is_tied[sources] & is_tied[neighbours]
    ones = np.ones(int(inside.sum()), dtype=np.int8)
    graph = sp.csr_matrix((ones, (sources[inside], neighbours[inside])), shape=(n_nodes, n_nodes))
    _, component_of_node = connected_components(graph, directed=False)
    return np.unique(component_of_node[tied], return_inverse=True)[1]


def _rank_among_equals(colour: np.ndarray, component: np.ndarray) -> np.ndarray:
    """Rank of each node's component among the components with the same colours, uint64 ``[n_tied]``."""
    order = np.argsort(component, kind="stable")
    starts = np.flatnonzero(np.diff(component[order], prepend=-1))
    sums = np.add.reduceat(hashed(colour)[order], starts)
    by_sum = np.argsort(sums, kind="stable")
    new = np.diff(sums[by_sum], prepend=~sums[by_sum[:1]]) != 0
    position = np.arange(len(sums))
    rank = np.empty(len(sums), dtype=np.uint64)
    rank[by_sum] = position - np.maximum.accumulate(np.where(new, position, 0))
    return rank[component]


def _one_tied_node_each(colour: np.ndarray, component: np.ndarray) -> np.ndarray:
    """The first node of the least shared colour, for each component in which nodes share a colour."""
    order = np.lexsort((colour, component))
    same = (np.diff(colour[order]) == 0) & (np.diff(component[order]) == 0)
    first = np.flatnonzero(same)
    _, first_of_component = np.unique(component[order[first]], return_index=True)
    return order[first[first_of_component]]


def _sum_by_node(values: np.ndarray, indptr: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Sums modulo 2^64 of each node's segment of ``values``, uint64 ``[n_nodes]``; 0 for nodes of degree 0."""
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
