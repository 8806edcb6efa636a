"""Which items each list of a call may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal import arguments
from recbole_universal.app.item_rules import ItemColumns
from recbole_universal.app.recommender_state import as_ids, known
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.popularity import fill_with_popular
from recbole_universal.io.column_names import find_columns
from recbole_universal.io.ids import IdLookup
from recbole_universal.io.tables import is_arrow, whole_table

# Truth values of one block of lists with filters of their own (16 MB).
_BLOCK_VALUES = 2**24


class ItemSet(Protocol):
    """Items that lists are made of: those of a recommender, or its new ones."""

    @property
    def users(self) -> pd.Index:
        """Ids of the users."""

    @property
    def items(self) -> pd.Index:
        """Ids of the items."""

    @property
    def find_item(self) -> IdLookup:
        """Finds the items."""

    @property
    def not_excluded(self) -> NDArray[np.bool_] | None:
        """Whether each item may be in a list, bool [n_items]; ``None``: all may."""

    def checked_columns(self) -> ItemColumns:
        """The columns of the item table."""


class ListFilters:
    """The items that each list may hold.

    Args:
        common: whether an item is allowed in all lists, bool [n_items]; ``None``: all are.
        only: the only items of each list, csr bool [n_lists, n_items]; ``None``: lists do not differ in them.
        without: items that each list lacks, csr bool [n_lists, n_items], or ``None``.
    """

    def __init__(
        self, common: NDArray[np.bool_] | None, only: sp.csr_matrix | None, without: sp.csr_matrix | None
    ) -> None:
        self._common, self._only, self._without = common, only, without

    def of(self, lists: NDArray[np.int64]) -> NDArray[np.bool_] | sp.csr_matrix | None:
        """The allowed items of some lists, as :meth:`UniversalRanker.top_k` takes them.

        Args:
            lists: indices of the lists, [n].
        """
        if self._only is None and self._without is None:
            return self._common
        if self._only is None:
            assert self._without is not None
            without = self._without[lists]
            allowed = np.ones(without.shape, dtype=bool) if self._common is None else self._common & True
            allowed = np.broadcast_to(allowed, without.shape).copy()
            allowed[without.nonzero()] = False
            return allowed
        rows = self._only[lists].tocoo()
        stays = np.ones(rows.nnz, dtype=bool) if self._common is None else self._common[rows.col]
        if self._without is not None:
            pairs = [
                each.row.astype(np.int64) * rows.shape[1] + each.col for each in (rows, self._without[lists].tocoo())
            ]
            stays &= ~np.isin(*pairs)
        return sp.csr_matrix((stays[stays], (rows.row[stays], rows.col[stays])), shape=rows.shape)

    def lacking(self, without: sp.csr_matrix) -> ListFilters:
        """The same filters, but each list lacks further items, csr bool [n_lists, n_items]."""
        return ListFilters(self._common, self._only, without if self._without is None else self._without + without)

    def blocks(self, lists: NDArray[np.int64], n_items: int) -> Iterator[NDArray[np.int64]]:
        """Some lists in blocks whose allowed items fit into little memory."""
        size = len(lists) if self._without is None else max(1, _BLOCK_VALUES // n_items)
        for start in range(0, len(lists), max(1, size)):
            yield lists[start : start + size]

    def popular(self, order: NDArray[np.int64], lists: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        """The most popular allowed items of some lists, int64 [n, k], -1 where no items are left.

        Args:
            order: all items, most popular first, [n_items].
            lists: indices of the lists, [n].
            k: length of a list.
        """
        items, n_items = np.full((len(lists), k), -1), len(order)
        if self._only is None and self._without is None:
            best = order[:k] if self._common is None else order[self._common[order]][:k]
            items[:, : len(best)] = best
            return items
        for at in self.blocks(np.arange(len(lists)), n_items):
            allowed = AllowedItems.checked(self.of(lists[at]), len(at), n_items)
            part = items[at]
            fill_with_popular(part, order, sp.csr_matrix((len(at), n_items)), allowed)
            items[at] = part
        return items


def list_filters(
    state: ItemSet, lists: pd.Index, candidates: Any, exclude: Any, where: Any, unknown: dict[Any, None]
) -> ListFilters:
    """The filters of a call.

    Args:
        state: the items.
        lists: id of the user, or position of the history, of each list, [n_lists].
        candidates: ids of the only items that may be recommended, of all lists or by list; ``None``: all may.
        exclude: ids of items that are never recommended, of all lists or by list.
        where: a rule on the item table, or ``None``.
        unknown: receives the unknown item ids.

    Raises:
        ValueError: if an argument is of another type, or the rule is none.
    """
    common = state.not_excluded
    if where is not None:
        fits = state.checked_columns().matching(where)
        common = fits if common is None else common & fits
    only = without = None
    if _is_by_list(candidates):
        only = _by_list(state, "candidates", lists, candidates, unknown)
    elif candidates is not None:
        fits = np.zeros(len(state.items), dtype=bool)
        fits[known("candidates", candidates, state.find_item, unknown)] = True
        common = fits if common is None else common & fits
    if _is_by_list(exclude):
        without = _by_list(state, "exclude", lists, exclude, unknown)
    elif exclude is not None:
        common = np.ones(len(state.items), dtype=bool) if common is None else common.copy()
        common[known("exclude", exclude, state.find_item, unknown)] = False
    return ListFilters(common, only, without)


def _is_by_list(values: Any) -> bool:
    """Whether items are given for each list: a mapping, or a table with at least two columns."""
    return isinstance(values, (Mapping, pd.DataFrame)) or (is_arrow(values) and hasattr(values, "columns"))


def _by_list(state: ItemSet, argument: str, lists: pd.Index, values: Any, unknown: dict[Any, None]) -> sp.csr_matrix:
    """Items by list, csr bool [n_lists, n_items], of a mapping or a table of users and items.

    Raises:
        ValueError: if they are of another form.
    """
    if isinstance(values, Mapping):
        keys = as_ids(argument, list(values))
        found = IdLookup(lists).indices(keys)
        asked = [(row, as_ids(argument, values[key])) for key, row in zip(values, found.tolist(), strict=True)]
        rows = np.repeat(found, [len(ids) for _, ids in asked])
        items = [name for _, ids in asked for name in ids]
    else:
        frame = values if isinstance(values, pd.DataFrame) else whole_table(values, argument)
        names = list(frame.columns)
        of_users, of_items = (ids.name if ids.name in names else None for ids in (state.users, state.items))
        try:
            user, item = find_columns(names, (of_users, of_items), argument)
        except ValueError as error:
            raise ValueError(
                f"{argument}: must be ids, a mapping from users to ids, or a table with a user and an item column, got "
                f"{arguments.shown(values)}."
            ) from error
        rows = IdLookup(lists).indices(as_ids(argument, frame.iloc[:, user]))
        items = as_ids(argument, frame.iloc[:, item])
    items = [name for name, row in zip(items, rows.tolist(), strict=True) if row >= 0]
    rows = rows[rows >= 0]
    columns = state.find_item.indices(items)
    unknown.update(dict.fromkeys(name for name, column in zip(items, columns.tolist(), strict=True) if column < 0))
    is_known = columns >= 0
    ones = np.ones(int(is_known.sum()), dtype=bool)
    return sp.csr_matrix((ones, (rows[is_known], columns[is_known])), shape=(len(lists), len(state.items)))
