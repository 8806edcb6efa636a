"""New items in the lists of the service."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_universal.app.list_filters import ListFilters, NewItemSet, list_filters
from recbole_universal.app.ranked_lists import Asked
from recbole_universal.app.service.bodies import RecommendBody
from recbole_universal.app.service.loaded import Loaded


def new_item_filters(loaded: Loaded, body: RecommendBody, asked: Asked, unknown: dict[Any, None]) -> ListFilters:
    """The new items that each list may hold: those of the filters that the person has not had.

    Args:
        loaded: a model with new items.
        body: the request.
        asked: the people of the request.
        unknown: unknown ids of items, which lose the new ones.

    Raises:
        ValueError: if an argument is of another type, or the rule is none.
    """
    catalogue = loaded.state.checked_catalogue()
    filters = list_filters(NewItemSet(loaded.state), asked.ids, body.candidates, body.exclude, body.where, {})
    for name, index in zip(list(unknown), catalogue.find.indices(list(unknown)).tolist(), strict=True):
        if index >= 0:
            del unknown[name]
    if body.filter_seen is False:
        return filters
    had = [catalogue.find.indices(items) for items in body.histories or map(loaded.appended_items, asked.ids)]
    columns = np.concatenate([*had, np.zeros(0, dtype=np.int64)])
    rows = np.repeat(np.arange(len(had)), [len(each) for each in had])[columns >= 0]
    columns = columns[columns >= 0]
    if not len(columns):
        return filters
    shape = (len(had), len(catalogue.ids))
    return filters.lacking(sp.csr_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=shape))
