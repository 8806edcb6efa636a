"""Ranked lists by index: what :meth:`Recommender.recommend` makes a frame of, and a service JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_universal.app.recommendation_blocks import find_users, without_list
from recbole_universal.app.recommender_state import RecommenderState, about_unknown, as_ids
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.item_models import best_of_sums, nearest_neighbors

#: Columns of lists, int64 [n, k], best first, -1 where no items are left, and their scores float32 [n, k].
Lists = tuple[np.ndarray, np.ndarray]
# Number of nearest neighbours of an item among which `similar_lists` finds the most similar ones, if the model has no
# item-item matrix.
_N_NEIGHBORS = 200


@dataclass(frozen=True)
class ListSettings:
    """Settings that lists of one ranking share.

    Attributes:
        k: length of a list.
        filter_seen: whether to leave out the items that the person has had; ``None``: unless people come back to items.
        fast: whether to rank by the item-item matrix instead of the network.
    """

    k: int
    filter_seen: bool | None = None
    fast: bool = False


@dataclass
class Asked:
    """People who get lists: by their row, by a history, or without both, who get popular items.

    Attributes:
        ids: id of each, an index or a list, [n].
        rows: row of each in the interactions, -1 for all others, int64 [n].
        histories: columns of the items of each person who is ranked by a history, oldest first, by index in ``ids``.
        by: ``user`` or ``history``: what the ids are.
        messages: sentences for people.
    """

    ids: Any
    rows: np.ndarray
    histories: Mapping[int, np.ndarray] = field(default_factory=dict)
    by: str = "user"
    messages: list[str] = field(default_factory=list)


def asked_users(state: RecommenderState, users: Any) -> Asked:
    """Users; ``None``: all. A user that comes twice gets one list.

    Raises:
        ValueError: if a value is no id.
    """
    ids, rows = state.users, np.arange(len(state.users))
    if users is not None:
        ids, rows = find_users(as_ids("users", users), state.users, state.find_user)
    return Asked(ids.rename("user"), rows)


def asked_histories(state: RecommenderState, histories: Sequence, unknown: dict[Any, None]) -> Asked:
    """People without a row; unknown ids of items go to ``unknown``.

    Raises:
        ValueError: if a value is no id.
    """
    lists = [state.known_items("histories", one, unknown) for one in histories]
    known = {index: items for index, items in enumerate(lists) if len(items)}
    return Asked(pd.RangeIndex(len(lists), name="history"), np.full(len(lists), -1), known, "history")


def about_strangers(asked: Asked) -> list[str]:
    """A sentence on people who get popular items, if there are any."""
    is_known = asked.rows >= 0
    is_known[list(asked.histories)] = True
    if is_known.all():
        return []
    who = "histories have no known item" if asked.by == "history" else "users have no interactions"
    return [without_list([asked.ids[index] for index in np.flatnonzero(~is_known)], len(asked.ids), who)]


def ranked(
    state: RecommenderState, asked: Sequence[Asked], settings: ListSettings, allowed: np.ndarray | None = None
) -> list[Lists]:
    """The lists of some groups of people, which are ranked together.

    Args:
        state: the recommender.
        asked: the groups.
        settings: their settings.
        allowed: whether each item may be recommended, bool [n_items]; ``None``: all may.

    Raises:
        ValueError: if the model has no item-item matrix and ``fast`` is asked for, or cannot rank histories.
    """
    rows = np.concatenate([group.rows for group in asked])
    starts = np.cumsum([0, *(len(group.rows) for group in asked)])
    histories = {
        int(start) + index: items
        for start, group in zip(starts[:-1], asked, strict=True)
        for index, items in group.histories.items()
    }
    items, scores = state.popular_lists(len(rows), settings.k, allowed)
    by_row = np.flatnonzero(rows >= 0)
    options: dict[str, Any] = {"k": settings.k, "exclude_seen": settings.filter_seen, "fast": settings.fast}
    if len(by_row):
        items[by_row], scores[by_row] = state.ranker.top_k(rows[by_row], allowed=allowed, **options)
    if histories:
        index = list(histories)
        known = Histories.of_lists(histories.values())
        items[index], scores[index] = state.ranker.top_k_of(known, allowed=allowed, **options)
    return [(items[start:end], scores[start:end]) for start, end in pairwise(starts)]


def similar_lists(state: RecommenderState, items: Any, k: int) -> tuple[np.ndarray, Lists, list[str]]:
    """The items that are related most to each item; see :meth:`Recommender.similar_items`.

    Returns:
        Columns of the known items, int64 [n], their lists, and sentences on unknown ids.

    Raises:
        ValueError: if a value is no id.
    """
    unknown: dict[Any, None] = {}
    columns = pd.unique(state.known_items("items", items, unknown))
    if "proximity" in state.ranker.pretrained.families:
        relations = state.ranker.item_item()[columns]
    else:
        relations = nearest_neighbors(state.ranker.matrix, max(k, _N_NEIGHBORS), columns)
    lists = best_of_sums(sp.eye(len(columns), format="csr", dtype=np.float32), relations, k, exclude_seen=False)
    return columns, lists, about_unknown(unknown)
