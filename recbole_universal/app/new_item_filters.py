"""Which new items each list of a call may hold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.app.item_rules import ItemColumns
from recbole_universal.app.list_filters import ListFilters, list_filters
from recbole_universal.app.recommender_state import RecommenderState


class NewItemSet:
    """The new items of a recommender, as :func:`list_filters` takes them.

    Args:
        state: the recommender, which has a catalogue.
    """

    def __init__(self, state: RecommenderState) -> None:
        assert state.catalogue is not None
        self._state, self.users = state, state.users
        self.items, self.find_item = state.catalogue.ids, state.catalogue.find
        self.not_excluded: NDArray[np.bool_] | None = None
        found = self.find_item.indices(state.excluded)
        if (found >= 0).any():
            self.not_excluded = np.ones(len(self.items), dtype=bool)
            self.not_excluded[found[found >= 0]] = False

    def checked_columns(self) -> ItemColumns:
        """The columns of the item table, of the new items.

        Raises:
            ValueError: if there is none.
        """
        self._state.checked_columns()
        return self._columns

    @cached_property
    def _columns(self) -> ItemColumns:
        assert self._state.item_table is not None
        return ItemColumns(self._state.item_table, self.items)

    def titles(self) -> Sequence[str | None]:
        """Name of each item for people, ``None`` where it has none, [n_items]."""
        titles = None if self._state.item_table is None else self._columns.titles()
        return [None] * len(self.items) if titles is None else titles.tolist()


def new_item_filters(
    items: NewItemSet,
    lists: pd.Index,
    had: Sequence[Sequence[Any]],
    candidates: Any,
    exclude: Any,
    where: Any,
    unknown: dict[Any, None],
) -> ListFilters:
    """The new items that each list of a call may hold.

    Args:
        items: the new items.
        lists: as of :func:`list_filters`.
        had: ids of items that each list leaves out, new ones among them, [n_lists]; empty: no list leaves out any.
        candidates: as of :func:`list_filters`.
        exclude: as of :func:`list_filters`.
        where: as of :func:`list_filters`.
        unknown: ids of the filters that are no known items. Those of new items are removed.

    Raises:
        ValueError: as :func:`list_filters`.
    """
    filters = list_filters(items, lists, candidates, exclude, where, {})
    names = list(unknown)
    for name, index in zip(names, items.find_item.indices(names).tolist(), strict=True):
        if index >= 0:
            del unknown[name]
    found = [items.find_item.indices(each) for each in had]
    columns = np.concatenate([*found, np.zeros(0, dtype=np.int64)])
    if not (columns >= 0).any():
        return filters
    rows = np.repeat(np.arange(len(found)), [len(each) for each in found])[columns >= 0]
    columns = columns[columns >= 0]
    ones = np.ones(len(columns), dtype=bool)
    return filters.lacking(sp.csr_matrix((ones, (rows, columns)), shape=(len(lists), len(items.items))))
