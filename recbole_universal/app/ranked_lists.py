"""Ranked lists by index: what :meth:`Recommender.recommend` makes a frame of, and a service JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_universal import arguments
from recbole_universal.app.content_settings import checked_new_items
from recbole_universal.app.list_filters import ListFilters, list_filters
from recbole_universal.app.new_catalogue import joined
from recbole_universal.app.new_item_filters import NewItemSet, new_item_filters
from recbole_universal.app.recommendation_blocks import find_users, without_list
from recbole_universal.app.recommender_state import RecommenderState, about_unknown, as_ids, known
from recbole_universal.app.shown_new_items import ShownNewItems
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.item_models import best_by_relations, nearest_neighbors

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
        histories: the items of each person who is ranked by a history, oldest first, as one history, by index in
            ``ids``.
        by: ``user`` or ``history``: what the ids are.
        messages: sentences for people.
    """

    ids: Any
    rows: np.ndarray
    histories: Mapping[int, Histories] = field(default_factory=dict)
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
    return Asked(ids, rows)


def asked_histories(state: RecommenderState, histories: Sequence, unknown: dict[Any, None]) -> Asked:
    """People without a row; unknown ids of items go to ``unknown``.

    Raises:
        ValueError: if a value is no id.
    """
    lists = [state.known_items("histories", one, unknown) for one in histories]
    known = {index: Histories.of_lists([items]) for index, items in enumerate(lists) if len(items)}
    return Asked(pd.RangeIndex(len(lists)), np.full(len(lists), -1), known, "history")


def about_strangers(asked: Asked) -> list[str]:
    """A sentence on people who get popular items, if there are any."""
    is_known = asked.rows >= 0
    is_known[list(asked.histories)] = True
    if is_known.all():
        return []
    who = "histories have no known item" if asked.by == "history" else "users have no interactions"
    return [without_list([asked.ids[index] for index in np.flatnonzero(~is_known)], len(asked.ids), who)]


def ranked(
    state: RecommenderState, asked: Sequence[Asked], settings: ListSettings, filters: ListFilters | None = None
) -> list[Lists]:
    """The lists of some groups of people, which are ranked together.

    Args:
        state: the recommender.
        asked: the groups.
        settings: their settings.
        filters: the items that each list may hold, by index among the people of all groups; ``None``: what holds for
            all calls.

    Raises:
        ValueError: if the model has no item-item matrix and ``fast`` is asked for, or cannot rank histories.
    """
    filters = ListFilters(state.not_excluded, None, None) if filters is None else filters
    rows = np.concatenate([group.rows for group in asked])
    starts = np.cumsum([0, *(len(group.rows) for group in asked)])
    histories = {
        int(start) + index: items
        for start, group in zip(starts[:-1], asked, strict=True)
        for index, items in group.histories.items()
    }
    items, scores = np.full((len(rows), settings.k), -1), np.zeros((len(rows), settings.k), dtype=np.float32)
    strangers = np.setdiff1d(np.flatnonzero(rows < 0), list(histories))
    if len(strangers):
        items[strangers] = filters.popular(state.popular, strangers, settings.k)
        scores[strangers] = state.share[items[strangers]]
    options: dict[str, Any] = {"k": settings.k, "exclude_seen": settings.filter_seen, "fast": settings.fast}
    for block in filters.blocks(np.flatnonzero(rows >= 0), len(state.items)):
        items[block], scores[block] = state.ranker.top_k(rows[block], allowed=filters.of(block), **options)
    for block in filters.blocks(np.array(list(histories), dtype=np.int64), len(state.items)):
        known = Histories.joined([histories[index] for index in block.tolist()])
        items[block], scores[block] = state.ranker.top_k_of(known, allowed=filters.of(block), **options)
    return [(items[start:end], scores[start:end]) for start, end in pairwise(starts)]


def recommended(
    state: RecommenderState,
    users: Any,
    histories: Any,
    k: int,
    candidates: Any,
    exclude: Any,
    where: Any,
    filter_seen: bool | None,
    fast: bool,
    new_items: bool | int = False,
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
    arguments.flag("Recommender.recommend", "fast", fast)
    shows_new = checked_new_items(new_items, wanted, "k")
    if shows_new:
        state.checked_catalogue()
    settings = ListSettings(min(wanted, len(state.items)), filter_seen, fast)
    unknown: dict[Any, None] = {}
    if histories is None:
        asked = asked_users(state, users)
    else:
        histories = [as_ids("histories", one) for one in as_lists("histories", histories)]
        asked = asked_histories(state, histories, unknown)
    of_filters: dict[Any, None] = {}
    filters = list_filters(state, asked.ids, candidates, exclude, where, of_filters)
    (items, scores) = ranked(state, [asked], settings, filters)[0]
    about_new: list[str] = []
    new = None
    if shows_new:
        had = [] if histories is None or filter_seen is False else histories
        of_new = new_item_filters(NewItemSet(state), asked.ids, had, candidates, exclude, where, of_filters)
        items, scores, about_new = with_new_items(state, asked, (items, scores), shows_new, wanted, fast, of_new)
        new = state.checked_catalogue().ids
    about_ids = about_unknown(unknown | of_filters)
    messages = [*about_new, *about_strangers(asked), *about_ids, *about_short(items, wanted)]
    return state.frame(asked.ids, items, scores, None if histories is None else "history", new), messages


def with_new_items(
    state: RecommenderState, asked: Asked, lists: Lists, wanted: bool | int, k: int, fast: bool, filters: ListFilters
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Lists with new items.

    Args:
        state: a recommender with new items.
        asked: the people.
        lists: their lists of known items.
        wanted: true for the earned ranks, or a number of places.
        k: length of a list.
        fast: whether the lists of known items are fast ones.
        filters: the new items that each list may hold.

    Returns:
        The lists, in which new items have the indices after the columns of the known ones, their scores, and sentences.
    """
    catalogue = state.checked_catalogue()
    shown = ShownNewItems(catalogue, wanted, k, fast)
    items, scores = _of_width(lists, min(k, len(state.items) + len(catalogue.ids)))
    user_items = _items_of(state, asked)
    people = np.flatnonzero(np.diff(user_items.indptr))
    for block in filters.blocks(people, max(1, len(catalogue.ids))):
        merged = shown.merged(items[block], scores[block], user_items[block], filters.of(block))
        items[block], scores[block] = merged
    return items, scores, [text for text in (shown.about_ranking(), shown.about_lists()) if text]


def _items_of(state: RecommenderState, asked: Asked) -> sp.csr_matrix:
    """The items of the people that are evidence of taste, csr [n, n_items]."""
    n_items = len(state.items)
    chosen = np.flatnonzero(asked.rows >= 0)
    evidence = state.ranker.evidence[asked.rows[chosen]].tocoo()
    rows, columns = [chosen[evidence.row]], [evidence.col]
    for index, history in asked.histories.items():
        own = np.unique(history.of_positive_weight().items)
        rows.append(np.full(len(own), index))
        columns.append(own)
    places = np.concatenate(rows), np.concatenate(columns)
    return sp.csr_matrix((np.ones(len(places[0]), dtype=np.float32), places), shape=(len(asked.rows), n_items))


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
        relations = nearest_neighbors(state.ranker.evidence, max(k, _N_NEIGHBORS), columns)
    allowed = None if state.not_excluded is None else AllowedItems(state.not_excluded[None])
    ones = sp.eye(len(columns), format="csr", dtype=np.float32)
    lists = best_by_relations(ones, relations, k, exclude_seen=False, allowed=allowed)
    return columns, lists, about_unknown(unknown)


def similar_to_all(state: RecommenderState, items: Any, k: int) -> tuple[pd.Index, Lists, list[str]]:
    """What :func:`similar_lists` returns, also of new items, whose neighbours are those by content.

    Returns:
        Ids of the items that are known or new, their lists, and sentences on unknown ids.

    Raises:
        ValueError: if a value is no id.
    """
    columns, lists, messages = similar_lists(state, items, k)
    ids = state.items.take(columns)
    if state.catalogue is None:
        return ids, lists, messages
    unknown: dict[Any, None] = {}
    state.known_items("items", items, unknown)
    still_unknown: dict[Any, None] = {}
    new = pd.unique(known("items", list(unknown), state.catalogue.find, still_unknown))
    found, scores = np.full((len(new), k), -1), np.zeros((len(new), k), dtype=np.float32)
    for row, index in enumerate(new.tolist()):
        near, cosines = state.catalogue.lists.nearest_items(index, k, state.not_excluded)
        found[row, : len(near)], scores[row, : len(near)] = near, cosines
    both = tuple(np.concatenate(parts) for parts in zip(_of_width(lists, k), (found, scores), strict=True))
    return joined(ids, state.catalogue.ids.take(new)), (both[0], both[1]), about_unknown(still_unknown)


def _of_width(lists: Lists, k: int) -> Lists:
    """Lists with k positions, -1 after their end."""
    more = ((0, 0), (0, k - lists[0].shape[1]))
    return np.pad(lists[0], more, constant_values=-1), np.pad(lists[1], more)


def about_short(items: np.ndarray, k: int) -> list[str]:
    """A sentence on lists that are shorter than asked, if there are any."""
    lengths = (items >= 0).sum(axis=1)
    n_short, n_empty = int((lengths < k).sum()), int((lengths == 0).sum())
    if not n_short:
        return []
    which = f"{n_short} of {len(lengths)} lists {'has' if n_short == 1 else 'have'} fewer than {k} items"
    empty = f" {n_empty} of them {'is' if n_empty == 1 else 'are'} empty." if n_empty else ""
    return [f"{which}, since no other item is left that the filters allow and the person has not had.{empty}"]


def as_lists(argument: str, values: Any) -> list:
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
