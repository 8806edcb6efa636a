"""The held-out split of interactions or of histories, and the held-out items in a list."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph.histories import Histories

# Starts of the periods that a check asks about, as shares of the events. At least the last share comes before each.
_STARTS, _LEAST_SUPPORT = (0.5, 0.7, 0.85, 0.95), 0.4
# With so many users who come back, no further period is needed. With fewer than the least number, last items are held
# out.
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
    return without_last_events(histories, n_items, np.sort(generator.permutation(eligible)[:n_users]))


def without_last_events(
    histories: Histories, n_items: int, users: NDArray[np.int64]
) -> tuple[Histories, sp.csr_matrix]:
    """The split of :func:`last_event_split` for given users, who have events."""
    held_out = histories[users].last_items()
    query = sp.csr_matrix((np.ones(len(users), dtype=np.float32), (users, held_out)), shape=(len(histories), n_items))
    return histories.without_last(users), query


class HeldOut(NamedTuple):
    """Held-out items, and what the statistics may see.

    Attributes:
        support: the events that the statistics see. A user with a held-out item is asked about at its time.
        query: held-out items, csr float32 [n, n_items].
        cut: time before which the support ends; ``None`` if the support has no end.
    """

    support: Histories
    query: sp.csr_matrix
    cut: float | None = None


def next_item_splits(histories: Histories, n_items: int, n_users: int, generator: np.random.Generator) -> list[HeldOut]:
    """Hold out the next item of some users in the way in which they will be asked about.

    Users who are asked about some time after all events (:meth:`Histories.asked_later`) come back after a while. The
    statistics then know nothing of that time. So the held-out item is the first one of a user in the latest period,
    among the items that came before, and the support is what came before that period. If fewer than 500 users come back
    in it, earlier periods follow, with a support each, and a user counts in the latest one. If fewer than 100 users
    (or ``n_users``) come back in all of them, or if users are asked about right after their last event, the last items
    are held out.

    Args:
        histories: the histories.
        n_items: number of items.
        n_users: largest number of users of whom an item is held out, >= 1.
        generator: source of randomness.

    Returns:
        One split for each period, at least one. No user is in two of them.
    """
    splits = _splits_in_time(histories, n_items, min(n_users, _ENOUGH_RETURNS)) if histories.are_asked_later else []
    returned = [np.flatnonzero(np.diff(split.query.indptr)) for split in splits]
    n_returned = sum(map(len, returned))
    if n_returned < min(n_users, LEAST_RETURNS):
        return [HeldOut(*last_event_split(histories, n_items, n_users, generator))]
    drawn = np.zeros(len(histories), dtype=bool)
    drawn[generator.permutation(np.concatenate(returned))[:n_users]] = True
    splits = [HeldOut(support, _of_users(query, drawn), cut) for support, query, cut in splits]
    return [split for split in splits if split.query.nnz]


def _splits_in_time(histories: Histories, n_items: int, enough: int) -> list[HeldOut]:
    """The periods from the latest on, until enough users came back."""
    assert histories.times is not None
    starts = np.unique(np.quantile(histories.times, _STARTS))
    splits: list[HeldOut] = []
    missing = np.ones(len(histories), dtype=bool)
    for start in starts[::-1]:
        if (~missing).sum() >= enough or np.mean(histories.times < start) < _LEAST_SUPPORT:
            break
        support, query, _ = split_in_time(histories, n_items, start)
        query = _of_users(query, missing)
        missing[np.diff(query.indptr) > 0] = False
        splits.append(HeldOut(support, query, start))
    return splits


def split_in_time(histories: Histories, n_items: int, start: float) -> HeldOut:
    """Hold out the next item of each user from one point in time on.

    Args:
        histories: histories with times.
        n_items: number of items.
        start: the point in time. The support is what came before.

    Returns:
        The held-out item is the first one that the support knows. Users without events on both sides have none.
    """
    assert histories.times is not None
    support = histories.where(histories.times < start)
    known = np.bincount(support.items, minlength=n_items) > 0
    later = histories.where((histories.times >= start) & known[histories.items])
    users = np.flatnonzero((support.lengths > 0) & (later.lengths > 0))
    first = later.indptr[users]
    assert later.times is not None
    support.now = support.now.copy()
    support.now[users] = later.times[first]
    ones = np.ones(len(users), dtype=np.float32)
    query = sp.csr_matrix((ones, (users, later.items[first])), shape=(len(histories), n_items))
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


def _of_users(matrix: sp.csr_matrix, users: NDArray[np.bool_]) -> sp.csr_matrix:
    """The entries of the rows of some users, bool [n_users]."""
    return _entries_where(matrix, np.repeat(users, np.diff(matrix.indptr)))


def _entries_where(matrix: sp.csr_matrix, chosen: NDArray[np.bool_]) -> sp.csr_matrix:
    before = np.zeros(matrix.nnz + 1, dtype=matrix.indptr.dtype)
    np.cumsum(chosen, out=before[1:])
    return sp.csr_matrix((matrix.data[chosen], matrix.indices[chosen], before[matrix.indptr]), shape=matrix.shape)
