"""An order of users and items that depends on the graph alone: colour refinement with integer hashes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from recbole_universal.graph.popularity import item_degrees

MAX_ROUNDS = 32
MAX_SPLITS = 128
# Number of interactions that are read at once.
_BLOCK_EDGES = 2**20


def canonical_order(user_item: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
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

    Beside the matrix and 50 bytes a node, the memory is that of 2**20 interactions, and 26 bytes for each interaction
    between nodes that share a colour after the first rounds.

    Args:
        user_item: csr ``[n_users, n_items]``, positive weights, no pair twice.

    Returns:
        int64 permutations ``[n_users]`` and ``[n_items]``, nodes of degree 0 last.
    """
    n_users, n_items = user_item.shape
    degree = np.concatenate([np.diff(user_item.indptr), item_degrees(user_item)])
    active = degree > 0
    side = (np.arange(n_users + n_items) >= n_users).astype(np.uint64)
    colour = hashed(degree.astype(np.uint64) * np.uint64(2) + side)
    colour = _refine(colour, user_item)
    for split in range(1, MAX_SPLITS + 1):
        tied = _tied_nodes(colour, active)
        if not tied.size:
            break
        component = _components(tied, user_item)
        colour[tied] = hashed(colour[tied] + hashed(_rank_among_equals(colour[tied], component)))
        single = _one_tied_node_each(colour[tied], component)
        colour[tied[single]] = hashed(colour[tied[single]] + np.uint64(split))
        colour = _refine(colour, user_item)

    user_perm = np.lexsort((colour[:n_users], ~active[:n_users]))
    item_perm = np.lexsort((colour[n_users:], ~active[n_users:]))
    return user_perm.astype(np.int64), item_perm.astype(np.int64)


def _refine(colour: np.ndarray, user_item: sp.csr_matrix) -> np.ndarray:
    n_classes = np.unique(colour).size
    for _ in range(MAX_ROUNDS):
        refined = hashed(colour * np.uint64(3) + _messages(colour, user_item))
        n_refined = np.unique(refined).size
        if n_refined == n_classes:
            break  # the partition is stable: keep the colours that made it
        colour, n_classes = refined, n_refined
    return colour


def _messages(colour: np.ndarray, user_item: sp.csr_matrix) -> np.ndarray:
    """Sum modulo 2^64 over each node's edges of the hash of (colour of the neighbour, weight), uint64 ``[n_nodes]``."""
    n_users = user_item.shape[0]
    sums = np.zeros(len(colour), dtype=np.uint64)
    equal = bool((user_item.data == user_item.data[0]).all())
    # With equal weights, a node sends the same to all of its neighbours.
    sent = hashed(colour + _weight_hash(user_item.data[:1])) if equal else colour
    for users, items, weights in _edge_blocks(user_item):
        nodes = items + n_users
        to_users, to_items = sent[nodes], sent[users]
        if not equal:
            weight_hash = _weight_hash(weights)
            to_users, to_items = hashed(to_users + weight_hash), hashed(to_items + weight_hash)
        np.add.at(sums, users, to_users)
        np.add.at(sums, nodes, to_items)
    return sums


def _weight_hash(weights: np.ndarray) -> np.ndarray:
    return hashed(weights.astype(np.float32, copy=False).view(np.uint32).astype(np.uint64))


def _edge_blocks(user_item: sp.csr_matrix) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Users, items, both int64, and weights of the interactions, some at a time and in their order."""
    indptr = user_item.indptr
    for start in range(0, user_item.nnz, _BLOCK_EDGES):
        stop = min(start + _BLOCK_EDGES, user_item.nnz)
        first, last = np.searchsorted(indptr, start, side="right") - 1, np.searchsorted(indptr, stop)
        lengths = np.diff(np.clip(indptr[first : last + 1], start, stop))
        users = np.repeat(np.arange(first, last), lengths)
        yield users, user_item.indices[start:stop].astype(np.int64), user_item.data[start:stop]


def _tied_nodes(colour: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Nodes with edges whose colour another node has too."""
    _, inverse, counts = np.unique(colour, return_inverse=True, return_counts=True)
    return np.flatnonzero(active & (counts[inverse] > 1))


def _components(tied: np.ndarray, user_item: sp.csr_matrix) -> np.ndarray:
    """Connected components of the graph that the tied nodes form, int ``[n_tied]``.

    The colours contain their edges to other nodes, so that components with equal colours are interchangeable.
    """
    n_users, n_items = user_item.shape
    place = np.full(n_users + n_items, -1, dtype=np.int32)
    place[tied] = np.arange(len(tied))
    ends: list[list[np.ndarray]] = [[], []]
    for users, items, _ in _edge_blocks(user_item):
        pair = place[users], place[n_users + items]
        inside = (pair[0] >= 0) & (pair[1] >= 0)
        for side, nodes in zip(ends, pair, strict=True):
            side.append(nodes[inside])
    sources, targets = (np.concatenate(side) for side in ends)
    graph = sp.coo_matrix((np.ones(len(sources), dtype=np.int8), (sources, targets)), shape=(len(tied), len(tied)))
    return connected_components(graph.tocsr(), directed=False)[1]


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


def hashed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: a bijection on uint64 that spreads every bit (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
