"""Sums over users: from the items of a history to the users who have them, and on to some of their items.

With Numba (the extra ``fast``) the sums are compiled loops; the results are the same without, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph import sums
from recbole_universal.graph.users_of_items import UsersOfItems


class Kinds(NamedTuple):
    """What becomes of each of four sums over the items that a history and a user share."""

    squared: tuple[bool, bool, bool, bool]
    """Whether it is squared at last."""
    twice: tuple[bool, bool, bool, bool]
    """Whether the user's factor multiplies it twice."""
    without_own: tuple[bool, bool, bool, bool]
    """Whether the history's own user adds nothing."""


def user_sums(
    users: UsersOfItems,
    histories: sp.csr_matrix,
    weights: NDArray[np.float32],
    kinds: Kinds,
    own: NDArray[np.int64],
    items: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Sums over the users v of an item of what the history and v share, for some items.

    What they share is a sum of weights over the items that both have, each times the weight of the item in v. It is
    multiplied by the factor of v, squared or not, and by the weight of the asked item in v.

    Args:
        users: the users of each item.
        histories: items of each history, csr [n, n_items]; the values are not read.
        weights: four weights of each of these items, for four sums, float32 [n_entries, 4].
        kinds: what becomes of each sum.
        own: index of each history's user, -1 without one, int64 [n].
        items: items of each history, int64 [n, width].
        lengths: number of items of each history; those after them do not count, int64 [n].

    Returns:
        float32 [4, n, width], 0 after the items of a history.
    """
    out, own, flags = np.zeros((4, *items.shape), dtype=np.float32), users.columns_of(own), np.array(kinds)
    loops = _loops()
    if loops is not None:
        parts = histories.indptr, histories.indices, weights, *users.parts
        loops.user_sums(*parts, users.half, flags, own, items, lengths, out)
        return out
    half = users.half[:, None]
    factors = np.where(flags[1], half * half, half)
    for row, length in enumerate(lengths.tolist()):
        entries = slice(histories.indptr[row], histories.indptr[row + 1])
        tables = _by_asked_level(users, histories.indices[entries], weights[entries], flags[0])
        for table in tables:
            table *= factors
            table[:, flags[0]] *= table[:, flags[0]]
            if own[row] >= 0:
                table[own[row], flags[2]] = 0.0
        out[:, row, :length] = _sums_of(users, tables, items[row, :length])
    return out


def _by_asked_level(
    users: UsersOfItems, items: NDArray[np.integer], weights: NDArray[np.float32], squared: NDArray[np.bool_]
) -> list[NDArray[np.float32]]:
    """Sums over the items that a history and each user share, as asked items of each level read them.

    A pair of an item of the history and an asked item reads the users of the higher level, and each of them stands for
    as many users as that level says. The sums of an asked item are multiplied by the scale of its own level in the end,
    so here an item of a higher level counts more. A similarity that is squared is a sum of all that is read of a user.

    Args:
        users: the users of each item.
        items: items of the history, [n_entries].
        weights: weights of each, float32 [n_entries, n_sums].
        squared: which of the sums are squared afterwards, bool [n_sums].

    Returns:
        float32 [n_users, n_sums] for each level.
    """
    by_level = []
    for level in range(len(users.sizes)):
        there = users.level[items] == level
        by_level.append(users.by_item[items[there]].T @ weights[there])
    tables = []
    for level, table in enumerate(by_level):
        tables.append(sum(by_level[:level], table))
        for above in range(level + 1, len(by_level)):
            ratio = np.float32(users.scale[above] / users.scale[level])
            tables[level] = tables[level] + by_level[above] * np.where(squared, np.float32(1), ratio)
    return tables


def _sums_of(
    users: UsersOfItems, tables: Sequence[NDArray[np.float32]], items: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Sums of a table's rows over the users of some items, each by the table of its level, float32 [n_sums, n]."""
    out = np.empty((tables[0].shape[1], len(items)), dtype=np.float32)
    for level, table in enumerate(tables):
        there = users.level[items] == level
        out[:, there] = (users.by_item[items[there]] @ table).T * users.scale[level]
    return out


def _loops() -> ModuleType | None:
    """The compiled loops; ``None`` without Numba."""
    if sums.compiled() is None:
        return None
    from recbole_universal.graph import compiled_user_sums

    return compiled_user_sums
