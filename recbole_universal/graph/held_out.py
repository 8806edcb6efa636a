"""The held-out split of interactions or of histories, and the held-out items in a list."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph.histories import Histories


def support_query_split(
    matrix: sp.csr_matrix, n_users: int, share: float, generator: np.random.Generator
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Hold out some interactions of some users.

    Args:
        matrix: interactions, csr [n_users, n_items].
        n_users: number of users to draw, among those with at least two interactions.
        share: share of a drawn user's interactions to hold out, rounded; at least one, never all.
        generator: source of randomness.

    Returns:
        The support set and the held-out query set, csr of the shape of ``matrix``. Their sum is ``matrix``.
    """
    degree = np.diff(matrix.indptr)
    eligible = np.flatnonzero(degree >= 2)
    users = np.sort(generator.permutation(eligible)[:n_users])
    held_out = np.zeros(matrix.nnz, dtype=bool)
    for user in users:
        n_held_out = min(max(1, round(share * degree[user])), degree[user] - 1)
        held_out[matrix.indptr[user] + generator.permutation(degree[user])[:n_held_out]] = True
    support, query = (_entries_where(matrix, chosen) for chosen in (~held_out, held_out))
    return support, query


def last_event_split(
    histories: Histories, n_items: int, n_users: int, generator: np.random.Generator
) -> tuple[Histories, sp.csr_matrix]:
    """Hold out the last event of some users.

    Args:
        histories: the histories.
        n_items: number of items.
        n_users: number of users to draw, among those with at least two events.
        generator: source of randomness.

    Returns:
        The support histories, in which a drawn user is asked about at the time of the held-out event, and the held-out
        items, csr float32 [n, n_items].
    """
    eligible = np.flatnonzero(histories.lengths >= 2)
    users = np.sort(generator.permutation(eligible)[:n_users])
    held_out = histories[users].last_items()
    query = sp.csr_matrix((np.ones(len(users), dtype=np.float32), (users, held_out)), shape=(len(histories), n_items))
    return histories.without_last(users), query


def held_out_hits(lists: NDArray[np.int64], held_out: sp.csr_matrix) -> NDArray[np.bool_]:
    """Whether each position of a list holds a held-out item of the list's user.

    Args:
        lists: item indices, int64 [n_users, k]; -1 is no item.
        held_out: held-out interactions of the same users, csr [n_users, n_items].

    Returns:
        bool [n_users, k].
    """
    n_items = held_out.shape[1]
    rows, items = held_out.nonzero()
    keys = np.arange(len(lists), dtype=np.int64)[:, None] * n_items + lists
    return np.isin(keys, rows.astype(np.int64) * n_items + items) & (lists >= 0)


def _entries_where(matrix: sp.csr_matrix, chosen: NDArray[np.bool_]) -> sp.csr_matrix:
    indptr = np.concatenate([[0], np.cumsum(chosen)])[matrix.indptr]
    return sp.csr_matrix((matrix.data[chosen], matrix.indices[chosen], indptr), shape=matrix.shape)
