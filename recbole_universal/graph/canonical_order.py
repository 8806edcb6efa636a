"""An order of users and items that depends on the graph alone: colour refinement with integer hashes."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

MAX_ROUNDS = 32
MAX_SPLITS = 128


def canonical_order(user_item: sp.csr_matrix, item_user: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Sort users and items by what the graph says about them.

    Each node starts with the hash of its side and degree as its colour; in each round it hashes in the
    multiset of its neighbours' (colour, weight), until no colour class splits any more (Weisfeiler-Lehman).
    Where classes of several nodes remain whose members have different neighbours, one member of the first
    such class is singled out and the rounds go on, so that symmetric parts (disjoint copies, say) are
    numbered consistently with one another.

    The order is the same under every relabelling up to an automorphism of the graph, hence features computed
    in it are permuted exactly, with two exceptions: nodes with one and the same neighbourhood keep their
    given order among themselves, and what `MAX_SPLITS` single-outs do not separate does too, as do
    non-isomorphic parts that colour refinement cannot tell apart (regular graphs). Sums of hashes wrap modulo
    2^64, so that their order is irrelevant.

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
    weight_hash = _mix(weights.view(np.uint32).astype(np.uint64))
    active = degree > 0
    side = (np.arange(n_users + n_items) >= n_users).astype(np.uint64)
    colour = _mix(degree.astype(np.uint64) * np.uint64(2) + side)
    # Equal sums mean equal neighbour sets; the values depend on the ids, their equality does not.
    neighbourhood = _sum_by_node(_mix(neighbours.astype(np.uint64)) ^ weight_hash, indptr, active)

    colour = _refine(colour, neighbours, weight_hash, indptr, active)
    for split in range(1, MAX_SPLITS + 1):
        tied = _first_tied_node(colour, neighbourhood, active)
        if tied is None:
            break
        colour[tied] = _mix(colour[tied] + np.uint64(split))
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
        message = _sum_by_node(_mix(colour[neighbours] + weight_hash), indptr, active)
        refined = _mix(colour * np.uint64(3) + message)
        n_refined = np.unique(refined).size
        if n_refined == n_classes:
            break  # the partition is stable: keep the colours that made it
        colour, n_classes = refined, n_refined
    return colour


def _first_tied_node(colour: np.ndarray, neighbourhood: np.ndarray, active: np.ndarray) -> int | None:
    """The first member of the least colour class whose members differ in their neighbours; None if there is none."""
    order = np.lexsort((neighbourhood, colour))
    order = order[active[order]]
    same_colour = colour[order[1:]] == colour[order[:-1]]
    different = same_colour & (neighbourhood[order[1:]] != neighbourhood[order[:-1]])
    if not different.any():
        return None
    return int(np.flatnonzero(colour == colour[order[np.argmax(different)]])[0])


def _sum_by_node(values: np.ndarray, indptr: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Sums modulo 2^64 of each node's stretch of ``values``, uint64 ``[n_nodes]``; 0 for nodes of degree 0."""
    sums = np.zeros(active.size, dtype=np.uint64)
    sums[active] = np.add.reduceat(values, indptr[:-1][active])
    return sums


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: a bijection on uint64 that spreads every bit (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
