"""Distinct interactions by index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.io.events import Events

# Events whose order is changed at once.
_EVENTS_AT_ONCE = 2**22


@dataclass
class InteractionTable:
    """Distinct interactions of users with items.

    Attributes:
        users: ids of the users in the order of their first row. The name is that of their column, if it has one.
        items: ids of the items, likewise.
        user_codes: indices into ``users``, ascending, int32 [n_pairs].
        item_codes: indices into ``items``, ascending for each user, int32 [n_pairs].
        columns: names of the user and the item column.
        events: all interactions in their order; ``None``: the order is not known.
        weights: sum of the weights of each pair's rows, float64 [n_pairs]; ``None``: all pairs count the same.
        left_out_users: ids of the users that a :class:`~recbole_universal.io.core.Core` leaves out; ``None`` without.
    """

    users: pd.Index
    items: pd.Index
    user_codes: NDArray[np.int32]
    item_codes: NDArray[np.int32]
    columns: tuple[str, str]
    events: Events | None = None
    weights: NDArray[np.float64] | None = None
    left_out_users: pd.Index | None = None

    @cached_property
    def user_order(self) -> NDArray[np.int64]:
        """The index into ``users`` of each row of the matrix: the users sorted by id."""
        return order_of_ids(self.users)

    @cached_property
    def item_order(self) -> NDArray[np.int64]:
        """The index into ``items`` of each column of the matrix: the items sorted by id."""
        return order_of_ids(self.items)

    @property
    def user_rows(self) -> NDArray[np.int64]:
        """The row of the matrix of each user."""
        return np.argsort(self.user_order)

    @property
    def _columns_of_items(self) -> NDArray[np.int32]:
        return np.argsort(self.item_order).astype(np.int32)

    def matrix(self) -> sp.csr_matrix:
        """The interactions, users and items sorted by id, so that the order of the rows changes no recommendation.

        Returns:
            csr float32 [n_users, n_items] with sorted indices.
        """
        return self._sorted_by_id(np.ones(len(self.user_codes), dtype=np.float32))

    def amounts(self) -> sp.csr_matrix | None:
        """The sum of the weights of each entry of :meth:`matrix`, csr float64 with the same entries; some may be 0.

        ``None`` without weights.
        """
        return None if self.weights is None else self._sorted_by_id(self.weights)

    def _sorted_by_id(self, values: NDArray) -> sp.csr_matrix:
        """Values of the pairs as a matrix of users and items sorted by id."""
        shape = (len(self.users), len(self.items))
        indptr = _starts(self.user_codes, len(self.users))
        matrix = sp.csr_matrix((values, self._columns_of_items[self.item_codes], indptr), shape=shape)[self.user_order]
        matrix.sort_indices()
        return matrix

    def ordered(self) -> tuple[NDArray, NDArray, NDArray | None, NDArray | None] | None:
        """All events by row of :meth:`matrix`, then by time; ``None`` without an order.

        Returns:
            The column of each event; the first event of each row, and their number; times and weights, if known.
        """
        if self.events is None:
            return None
        indptr = _starts(self.events.user_codes, len(self.users))
        columns, starts = self._columns_of_items, np.concatenate([[0], np.cumsum(np.diff(indptr)[self.user_order])])
        values = (self.events.item_codes, self.events.times, self.events.weights)
        items, times, weights = (
            None if each is None else _of_users(each, indptr, self.user_order, starts, as_items)
            for each, as_items in zip(values, (columns, None, None), strict=True)
        )
        assert items is not None
        return items, starts, times, weights


def distinct_pairs(
    user_codes: NDArray, item_codes: NDArray, n_items: int, weights: NDArray | None
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64] | None]:
    """Distinct pairs of rows, sorted, int32 [n_pairs] each, and the sum of the weights of each pair's rows.

    The order of the rows changes no sum.
    """
    pairs = user_codes.astype(np.int64)
    pairs *= n_items
    pairs += item_codes
    sums = None
    if weights is None:
        pairs.sort()  # much faster than np.unique, which hashes
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    else:
        order = np.lexsort((weights, pairs))
        pairs = pairs[order]
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        sums = np.add.reduceat(weights[order], starts)
        pairs = pairs[starts]
    return (pairs // n_items).astype(np.int32), (pairs % n_items).astype(np.int32), sums


def order_of_ids(ids: pd.Index) -> NDArray[np.int64]:
    """The index of each id in the order of their text, int64 [n]."""
    text = [str(value) for value in ids]
    return np.array(sorted(range(len(text)), key=text.__getitem__), dtype=np.int64)


def _starts(codes: NDArray, n_codes: int) -> NDArray[np.int64]:
    """Index of the first of the ascending codes of each code, and their number, int64 [n_codes + 1]."""
    return np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=n_codes))]).astype(np.int64)


def _of_users(values: NDArray, indptr: NDArray, order: NDArray, starts: NDArray, mapped: NDArray | None) -> NDArray:
    """Values of users in another order of the users.

    Args:
        values: the values, one user after the other, [n].
        indptr: first value of each user, and their number.
        order: index of the user at each place.
        starts: first value of each place, and their number.
        mapped: int64 values take the place of these values, by value; ``None``: the values stay.
    """
    result = np.empty(len(values), dtype=values.dtype if mapped is None else np.int64)
    ends = np.searchsorted(starts, np.arange(_EVENTS_AT_ONCE, len(values), _EVENTS_AT_ONCE))
    for first, last in zip([0, *ends], [*ends, len(order)], strict=True):  # the index needs 8 bytes a value
        lengths = np.diff(starts[first : last + 1])
        index = np.arange(starts[first], starts[last]) + np.repeat(
            indptr[order[first:last]] - starts[first:last], lengths
        )
        result[starts[first] : starts[last]] = values[index] if mapped is None else mapped[values[index]]
    return result
