"""The held-out split of interactions or of histories, and the held-out items in a list."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph.histories import Histories

# Where the parts of the time begin, as shares of the events.
_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# So many users that come back are enough. With fewer than the least number, their last items are held out.
_ENOUGH_RETURNS, LEAST_RETURNS = 500, 100


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


class HeldOut(NamedTuple):
    """Held-out items, and what the statistics may see.

    Attributes:
        support: the other events, or those of earlier times. A user with a held-out item is asked about at its time.
        query: held-out items, csr float32 [n, n_items].
        cut: time before which the support ends; ``None`` if the support has no end.
    """

    support: Histories
    query: sp.csr_matrix
    cut: float | None = None


def next_item_splits(histories: Histories, n_items: int, n_users: int, generator: np.random.Generator) -> list[HeldOut]:
    """Hold out the next item of some users in the way in which they will be asked about.

    Users who are asked about after all events (:attr:`Histories.asked_later`) come back after a while, and the
    statistics then know nothing of that time. So the held-out item is the first one of a user in the latest part of the
    time, and the support is what came before that part. If too few users come back in it, earlier parts follow, with a
    support each. Other users are asked about right after their last event, so it is held out.

    Args:
        histories: the histories.
        n_items: number of items.
        n_users: number of users to draw, >= 1.
        generator: source of randomness.
    """
    parts = _splits_in_time(histories, n_items, n_users) if histories.asked_later else []
    if sum(part.query.nnz for part in parts) < min(n_users, LEAST_RETURNS):
        return [HeldOut(*last_event_split(histories, n_items, n_users, generator))]
    if len(parts) > 1 or parts[0].query.nnz <= n_users:
        return parts
    ((support, query, cut),) = parts
    drawn = np.sort(generator.permutation(np.flatnonzero(np.diff(query.indptr)))[:n_users])
    return [HeldOut(support, _of_users(query, drawn), cut)]


def _splits_in_time(histories: Histories, n_items: int, n_users: int) -> list[HeldOut]:
    """One part of the time in which enough users come back, or several, the latest first."""
    assert histories.times is not None
    edges = [*np.unique(np.quantile(histories.times, _EDGES)), np.inf]
    enough = min(n_users, _ENOUGH_RETURNS)
    for start in edges[-2:-4:-1]:
        split = split_in_time(histories, n_items, start)
        if split.query.nnz >= enough:
            return [split]
    parts: list[HeldOut] = []
    for start, end in zip(edges[-2::-1], edges[:0:-1], strict=True):
        parts.append(split_in_time(histories, n_items, start, end))
        if sum(part.query.nnz for part in parts) >= enough:
            break
    return [part for part in parts if part.query.nnz]


def split_in_time(histories: Histories, n_items: int, start: float, end: float = np.inf) -> HeldOut:
    """Hold out the first known item of each user in a part of the time, if the user has earlier events.

    Args:
        histories: histories with times.
        n_items: number of items.
        start: first time of the part. The support is what came before.
        end: the part ends before this time.
    """
    assert histories.times is not None
    support = histories.where(histories.times < start)
    known = np.bincount(support.items, minlength=n_items) > 0
    later = histories.where((histories.times >= start) & (histories.times < end) & known[histories.items])
    users = np.flatnonzero((support.lengths > 0) & (later.lengths > 0))
    first = later.indptr[users]
    assert later.times is not None
    support.now = support.now.copy()
    support.now[users] = later.times[first]
    query = sp.csr_matrix(
        (np.ones(len(users), dtype=np.float32), (users, later.items[first])), shape=(len(histories), n_items)
    )
    return HeldOut(support, query, start)


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


def _of_users(matrix: sp.csr_matrix, users: NDArray[np.int64]) -> sp.csr_matrix:
    """The entries of some rows."""
    kept = np.zeros(matrix.shape[0], dtype=bool)
    kept[users] = True
    return _entries_where(matrix, np.repeat(kept, np.diff(matrix.indptr)))


def _entries_where(matrix: sp.csr_matrix, chosen: NDArray[np.bool_]) -> sp.csr_matrix:
    indptr = np.concatenate([[0], np.cumsum(chosen)])[matrix.indptr]
    return sp.csr_matrix((matrix.data[chosen], matrix.indices[chosen], indptr), shape=matrix.shape)
