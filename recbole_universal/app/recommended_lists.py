"""The lists of one call of a recommender: who is asked about, filters, what has to be said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal import arguments
from recbole_universal.app.list_filters import ListFilters, list_filters
from recbole_universal.app.recommendation_blocks import find_users, without_list
from recbole_universal.app.recommender_state import RecommenderState, about_unknown, as_ids
from recbole_universal.graph.histories import Histories


def recommended(
    state: RecommenderState,
    users: Any,
    histories: Any,
    k: int,
    candidates: Any,
    exclude: Any,
    where: Any,
    filter_seen: bool | None,
) -> tuple[pd.DataFrame, list[str]]:
    """What :meth:`Recommender.recommend` returns, and what it says in its warning.

    Raises:
        ValueError: see there.
    """
    if users is not None and histories is not None:
        raise ValueError("users and histories exclude each other: give one of them.")
    wanted = arguments.integer("Recommender.recommend", "k", k, 1)
    if filter_seen is not None:
        arguments.flag("Recommender.recommend", "filter_seen", filter_seen)
    k = min(wanted, len(state.items))
    unknown: dict[Any, None] = {}
    ids: pd.Index
    rank: Callable
    if histories is not None:
        lists = [state.known_items("histories", one, unknown) for one in _lists("histories", histories)]
        is_known = np.array([len(items) > 0 for items in lists], dtype=bool)
        asked: Any = Histories.of_lists(lists)
        ids, who, rank = pd.RangeIndex(len(lists)), "histories have no known item", state.ranker.top_k_of
    else:
        ids, asked = state.users, np.arange(len(state.users))
        if users is not None:
            ids, asked = find_users(as_ids("users", users), state.users, state.find_user)
        is_known = asked >= 0
        who, rank = "users have no interactions", state.ranker.top_k
    filters = list_filters(state, ids, candidates, exclude, where, unknown)
    items, scores = _ranked(state, filters, asked, is_known, k, rank, filter_seen)
    strangers = [] if is_known.all() else [without_list(ids[~is_known], len(ids), who)]
    messages = [*strangers, *about_unknown(unknown), *_about_short((items >= 0).sum(axis=1), wanted)]
    return state.frame(ids, items, scores, None if histories is None else "history"), messages


def _ranked(
    state: RecommenderState,
    filters: ListFilters,
    asked: Any,
    is_known: np.ndarray,
    k: int,
    rank: Callable,
    filter_seen: bool | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the items of each list, int64 [n_lists, k], -1 where no items are left, and their scores."""
    items, scores = np.full((len(is_known), k), -1), np.zeros((len(is_known), k), dtype=np.float32)
    strangers = np.flatnonzero(~is_known)
    if len(strangers):
        items[strangers] = filters.popular(state.popular, strangers, k)
        scores[strangers] = state.share[items[strangers]]
    for block in filters.blocks(np.flatnonzero(is_known), len(state.items)):
        items[block], scores[block] = rank(asked[block], k=k, exclude_seen=filter_seen, allowed=filters.of(block))
    return items, scores


def _about_short(lengths: np.ndarray, k: int) -> list[str]:
    """A sentence on lists that are shorter than asked, if there are any."""
    n_short, n_empty = int((lengths < k).sum()), int((lengths == 0).sum())
    if not n_short:
        return []
    which = f"{n_short} of {len(lengths)} lists {'has' if n_short == 1 else 'have'} fewer than {k} items"
    empty = f" {n_empty} of them {'is' if n_empty == 1 else 'are'} empty." if n_empty else ""
    return [f"{which}, since no other item is left that the filters allow and the person has not had.{empty}"]


def _lists(argument: str, values: Any) -> list:
    """A list of lists.

    Raises:
        ValueError: if it is none.
    """
    is_array = getattr(values, "ndim", 1) > 0 and hasattr(values, "__iter__")
    if isinstance(values, (str, bytes, pd.DataFrame)) or not is_array:
        raise ValueError(
            f"{argument}: must be lists of item ids, such as [[1, 2], [3]], got {arguments.shown(values)}."
        )
    lists = list(values)
    for one in lists:
        if isinstance(one, (str, bytes)) or not hasattr(one, "__iter__"):
            raise ValueError(
                f"{argument}: each must be a list of item ids, such as [[1, 2], [3]], got {arguments.shown(one)}."
            )
    return lists
