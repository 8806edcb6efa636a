"""A loaded recommender of a service: ids, titles, and lists of people with appended interactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal.app.list_filters import ListFilters
from recbole_universal.app.new_item_filters import NewItemSet
from recbole_universal.app.ranked_lists import Asked, Lists, ListSettings, asked_histories, ranked
from recbole_universal.app.recommender_state import RecommenderState
from recbole_universal.app.service.appended import AppendedInteractions, Id
from recbole_universal.app.weighting import Weighting
from recbole_universal.graph.histories import Histories
from recbole_universal.io.column_names import listed_names
from recbole_universal.io.weights import LARGEST, kind_name

# Characters of a title that are shown.
_MOST_CHARACTERS = 200


class Loaded:
    """One state of a model. A folder that was saved again makes a new one.

    Args:
        name: name of the model.
        state: the recommender.
        appended: interactions that arrived after the fit.

    Attributes:
        item_ids: id of each column as JSON holds it.
        item_titles: title of each column, or ``None``.
        listed: id and title of each column, and of each new item after them.
        new_items: the new items; ``None`` if the fit read none.
        user_ids: id of each row as JSON holds it.
        item_keys: the texts by which each item is found.
        user_keys: the text by which each user is found.
        has_fast: whether the model has an item-item matrix.
        ranks_histories: whether the model ranks people without a row.
    """

    def __init__(self, name: str, state: RecommenderState, appended: AppendedInteractions) -> None:
        self.name, self.state, self._appended = name, state, appended
        self.item_ids, self.user_ids = json_ids(self.state.items), json_ids(self.state.users)
        titles = None if state.columns is None else state.columns.titles()
        self.item_titles = [None] * len(self.item_ids) if titles is None else [_shown(title) for title in titles]
        self.item_keys = [
            tuple(str(text).casefold() for text in texts if text is not None)
            for texts in zip(self.item_ids, self.item_titles, strict=True)
        ]
        self.listed = list(zip(self.item_ids, self.item_titles, strict=True))
        self.new_items = None if self.state.catalogue is None else NewItemSet(self.state)
        if self.new_items is not None:
            self.listed += zip(json_ids(self.new_items.items), map(_shown, self.new_items.titles()), strict=True)
        self.user_keys = [(str(name).casefold(),) for name in self.user_ids]
        ranker = self.state.ranker
        ranker.on_fallback = None  # a note of each answer says it
        self.has_fast = "proximity" in ranker.pretrained.families
        self._notes: dict[bool, list[str]] = {}
        self.ranks_histories = ranker.network.families == [ranker.network.candidate_family]
        self._has_clock = state.histories is not None and state.histories.has_clock
        self._users_kind, self._items_kind = kind_of(self.state.users), kind_of(self.state.items)

    def appended_items(self, user: Id) -> list[Id]:
        """The appended items of a user that came after the fit, also items that the fit does not know."""
        stored = as_kind(user, self._users_kind)
        rows = [] if stored is None else self._appended.of_user(stored, self.state.appended)
        return [item for item, _, _ in rows]

    def notes(self, fast: bool) -> list[str]:
        """What holds for all lists."""
        if fast not in self._notes:
            reason = self.state.ranker.fallback_reason(fast=fast)
            self._notes[fast] = [f"All users get the same popular items: {reason}."] if reason else []
        return self._notes[fast]

    def asked_users(self, users: Sequence[Id]) -> Asked:
        """Users, with the histories of those who have appended interactions. A user that comes twice gets one list.

        The frames of :func:`~recbole_universal.app.ranked_lists.asked_users` would take longer than a fast list.
        """
        rows = self.state.find_user.indices(users).tolist()
        distinct = {row if row >= 0 else (user,): (user, row) for user, row in zip(users, rows, strict=True)}
        histories = {}
        if self.ranks_histories:
            found = [self.history(user, row) for user, row in distinct.values()]
            histories = {index: history for index, history in enumerate(found) if history is not None}
        ids = [self.user_ids[row] if row >= 0 else user for user, row in distinct.values()]
        by_row = np.array([row for _, row in distinct.values()], dtype=np.int64)
        by_row[list(histories)] = -1
        return Asked(ids, by_row, histories)

    def asked_histories(self, histories: Sequence, unknown: dict[Any, None]) -> Asked:
        """People without a row; see :func:`~recbole_universal.app.ranked_lists.asked_histories`."""
        return asked_histories(self.state, histories, unknown)

    def history(self, user: Id, row: int) -> Histories | None:
        """All items that a user had, oldest first, as the one history; ``None`` if no known item was appended.

        With weights, they are those that a fit with these interactions would have.

        Args:
            user: id of the user.
            row: row of the user, -1 without one.
        """
        stored = as_kind(user, self._users_kind)
        rows = [] if stored is None else self._appended.of_user(stored, self.state.appended)
        if not rows:
            return None
        columns = self.state.find_item.indices([item for item, _, _ in rows])
        known = columns >= 0
        if not known.any():
            return None
        columns, times, weights = columns[known], *np.array([figures for _, *figures in rows])[known].T
        if row >= 0:
            fitted, fitted_times, fitted_weights = self._fitted(row)
            columns = np.concatenate([fitted, columns])
            times, weights = np.concatenate([fitted_times, times]), np.concatenate([fitted_weights, weights])
        order = np.argsort(times, kind="stable")
        one = Histories(columns[order], np.array([0, len(columns)]), times=times[order], weights=weights[order])
        return self.state.as_evidence(one)

    def _fitted(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Column, time and weight of each fitted interaction of a user; before all others where no clock is known."""
        state = self.state
        histories = state.histories
        if histories is None:
            own = state.ranker.matrix[[row]].indices.astype(np.int64)
            weights = np.ones(len(own)) if state.amounts is None else state.amounts[[row]].data
            return own, np.full(len(own), -np.finfo(float).max), weights
        found = slice(histories.indptr[row], histories.indptr[row + 1])
        own = histories.items[found]
        weights = np.ones(len(own)) if histories.weights is None else histories.weights[found]
        if self._has_clock and histories.times is not None:
            return own, histories.times[found], weights
        return own, np.full(len(own), -np.finfo(float).max), weights

    def weight(self, event: str | int | None, weight: float | None) -> float:
        """The weight of an interaction by the columns of the fit; 1 if these have no weights.

        Raises:
            ValueError: if the kind of event or the weight is missing, unknown, or nothing that the fit has.
        """
        settings = self.state.settings
        weighting = Weighting() if settings is None else settings.weighting
        total = 1.0
        if weighting.event_weights is None:
            if event is not None:
                raise ValueError("event: the fit has no weights of events (event_weights); leave event out")
        else:
            kinds = weighting.event_weights
            if event is None or kind_name(event) not in kinds:
                raise ValueError(f"event: must be one of {listed_names(list(kinds), 10)}, the kinds of the fit")
            total *= kinds[kind_name(event)]
        if (weight is None) != (weighting.weight_column is None):
            if weight is None:
                raise ValueError(f"weight: must be a number, as the fit has weights ({weighting.weight_column})")
            raise ValueError("weight: the fit has no column of weights (weight_column); leave weight out")
        return min(total if weight is None else total * weight, LARGEST)

    def ranked(self, asked: Sequence[Asked], settings: ListSettings, filters: ListFilters | None = None) -> list[Lists]:
        """Lists; see :func:`~recbole_universal.app.ranked_lists.ranked`."""
        return ranked(self.state, asked, settings, filters)

    def stored_ids(self, user: Id, item: Id) -> tuple[Id, Id]:
        """Ids in the type of the fitted ids.

        Raises:
            ValueError: if the fitted ids are integers, and an id is none.
        """
        stored = []
        for kind, value, of in (("user", user, self._users_kind), ("item", item, self._items_kind)):
            converted = as_kind(value, of)
            if converted is None:
                raise ValueError(f"the {kind} ids of this shop are whole numbers, and [{value}] is none")
            stored.append(converted)
        return stored[0], stored[1]


def _shown(title: str | None) -> str | None:
    """A title in one line; a blank one is none."""
    return str(title).strip()[:_MOST_CHARACTERS] or None if title is not None else None


def json_ids(ids: pd.Index) -> list[Id]:
    """Ids as JSON holds them: integers and texts."""
    return [value if type(value) in (int, str) else str(value) for value in ids.tolist()]


def kind_of(ids: pd.Index) -> type:
    """``int`` if all ids are integers, otherwise ``str``."""
    return int if pd.api.types.is_integer_dtype(ids.dtype) else str


def as_kind(value: Id, kind: type) -> Id | None:
    """An id as an integer or as a text; ``None`` for a text that is no integer of 64 bits."""
    if kind is str:
        return str(value)
    try:
        number = int(value)
    except ValueError:
        return None
    return number if str(number) == str(value) and -(2**63) <= number < 2**63 else None
