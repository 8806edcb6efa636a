"""Popularity of items: their order, their rank, and the most popular items that are not excluded."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.stats import rankdata

from recbole_universal.graph.allowed_items import AllowedItems

# Number of interactions that are counted at once.
_BLOCK_ENTRIES = 2**22


def item_degrees(matrix: sp.csr_matrix) -> NDArray[np.int64]:
    """Number of stored entries of each column, int64 [n_items].

    NumPy counts a copy of 64 bits, so the entries are counted some at a time.
    """
    degree, indices = np.zeros(matrix.shape[1], dtype=np.int64), matrix.indices
    for start in range(0, len(indices), _BLOCK_ENTRIES):
        degree += np.bincount(indices[start : start + _BLOCK_ENTRIES], minlength=len(degree))
    return degree


def popularity_order(degree: NDArray) -> NDArray[np.int64]:
    """Item indices, most popular first; items of equal popularity by index.

    Args:
        degree: number of interactions of each item, [n_items].

    Returns:
        int64 [n_items].
    """
    return np.argsort(-degree, kind="stable")


def popularity_rank(degree: NDArray) -> NDArray[np.float32]:
    """Dense rank of each item by popularity, scaled to [0, 1): 0 is the most popular, equal items have equal ranks.

    Args:
        degree: number of interactions of each item, [n_items].

    Returns:
        float32 [n_items].
    """
    rank = rankdata(-degree, method="dense") - 1
    return (rank / (rank.max() + 1)).astype(np.float32)


def popularity_share(degree: NDArray[np.integer]) -> NDArray[np.float32]:
    """Number of interactions of each item relative to the most popular item, in [0, 1].

    Args:
        degree: number of interactions of each item, [n_items].

    Returns:
        float32 [n_items].
    """
    return (degree / max(1, degree.max())).astype(np.float32)


def next_popular(order: NDArray[np.int64], excluded: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """The n most popular items that are not excluded.

    Args:
        order: distinct item indices, most popular first, such as :func:`popularity_order` returns.
        excluded: item indices to leave out.
        n: number of items.

    Returns:
        int64 [n]; shorter if fewer items are left.
    """
    first = order[: n + len(excluded)]
    return first[~np.isin(first, excluded)][:n]


def fill_with_popular(
    lists: NDArray[np.int64], order: NDArray[np.int64], excluded: sp.csr_matrix, allowed: AllowedItems | None = None
) -> None:
    """Replace the -1 at the end of each list by the most popular items that the list does not have yet.

    Args:
        lists: item indices, int64 [n, k], -1 after the last item of a list; changed in place. -1 stays where no items
            are left.
        order: all items, most popular first, such as :func:`popularity_order` returns.
        excluded: items that each list leaves out, csr [n, n_items].
        allowed: the items that may follow; ``None``: all may.
    """
    for row in np.flatnonzero((lists < 0).any(axis=1)).tolist():
        n_items = int((lists[row] >= 0).sum())
        left_out = excluded.indices[excluded.indptr[row] : excluded.indptr[row + 1]]
        popular = order if allowed is None else order[allowed.row(row)[order]]
        rest = next_popular(popular, np.concatenate([left_out, lists[row, :n_items]]), lists.shape[1] - n_items)
        lists[row, n_items : n_items + len(rest)] = rest


def popular_rows(
    order: NDArray[np.int64], excluded: sp.csr_matrix, k: int, allowed: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The most popular items of each row that are not excluded.

    Args:
        order: all items, most popular first, such as :func:`popularity_order` returns.
        excluded: items that each row leaves out, csr [n, n_items].
        k: number of items.
        allowed: items that may be taken, bool [n or 1, n_items]; ``None``: all may.

    Returns:
        int64 [n, k], most popular first, -1 where no items are left.
    """
    n, n_items = excluded.shape
    place = np.empty(n_items, dtype=np.int64)
    place[order] = np.arange(n_items)
    rows = np.repeat(np.arange(n), np.diff(excluded.indptr))
    places = place[excluded.indices]
    length = min(4 * k, n_items)
    while True:
        # The first items of the order are enough for all rows, or more of them are read.
        free = np.ones((n, length), dtype=bool)
        if allowed is not None:
            free &= allowed[:, order[:length]]
        first = places < length
        free[rows[first], places[first]] = False
        rank = np.cumsum(free, axis=1)
        if length == n_items or (rank[:, -1:] >= k).all():
            break
        length = min(4 * length, n_items)
    lists = np.full((n, k), -1)
    row, column = np.nonzero(free & (rank <= k))
    lists[row, rank[row, column] - 1] = order[column]
    return lists


def popular_lists(degree: NDArray, excluded: sp.csr_matrix, k: int) -> NDArray[np.int64]:
    """The most popular items for each of some users (MostPop).

    Args:
        degree: number of interactions of each item, [n_items].
        excluded: items that each user does not get, csr [n_users, n_items].
        k: length of a list.

    Returns:
        Item indices int64 [n_users, k], most popular first, -1 where no items are left.
    """
    lists = np.full((excluded.shape[0], k), -1)
    fill_with_popular(lists, popularity_order(degree), excluded)
    return lists
