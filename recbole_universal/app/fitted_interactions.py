"""The interactions of a recommender: more of them, or fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_universal.graph.histories import FIRST_SECONDS, Histories
from recbole_universal.graph.interaction_weights import event_weights, pair_weights
from recbole_universal.io.events import Events
from recbole_universal.io.ids import IdLookup, whole
from recbole_universal.io.interaction_table import InteractionTable, distinct_pairs


@dataclass(frozen=True)
class FittedInteractions:
    """Interactions with all that a fit reads of them.

    Attributes:
        users: ids of the users, in the order of their text, [n_users]; the name is that of their column.
        items: ids of the items, likewise, [n_items].
        matrix: the interactions, csr [n_users, n_items].
        histories: the interactions in the order of time; ``None``: the order is not known.
        amounts: sum of the weights of each pair as they were read, csr float64 with the entries of ``matrix``;
            ``None``: all count the same.
    """

    users: pd.Index
    items: pd.Index
    matrix: sp.csr_matrix
    histories: Histories | None
    amounts: sp.csr_matrix | None = None

    @classmethod
    def of_table(cls, table: InteractionTable) -> FittedInteractions:
        """The interactions of a table."""
        users, items = table.users.take(table.user_order), table.items.take(table.item_order)
        return cls(users, items, table.matrix(), Histories.of_table(table), table.amounts())

    def weights(self, half_life: float | None) -> sp.csr_matrix | None:
        """Weight of each interaction for a ranker, csr [n_users, n_items]; ``None``: all count the same.

        Args:
            half_life: age in days at which an interaction weighs half; ``None``: age does not count.

        Raises:
            ValueError: if there are no times of a clock for a half-life.
        """
        if half_life is not None:
            return event_weights(with_clock(self.histories), len(self.items), half_life)
        return None if self.amounts is None else pair_weights(self.amounts)

    def with_table(self, new: InteractionTable) -> FittedInteractions:
        """These interactions, and those of a table after them. Their order is that of the times, if they have times.

        Args:
            new: a table with times, or with an order, if these interactions have them.
        """
        users, user_index = _joined(self.users, new.users)
        items, item_index = _joined(self.items, new.items)
        rows, columns, times, weights = self._events()
        user_codes, item_codes, new_weights = new.user_codes, new.item_codes, new.weights
        if self.histories is not None and new.events is not None:
            user_codes, item_codes, new_weights = new.events.user_codes, new.events.item_codes, new.events.weights
            if times is not None and new.events.times is not None:
                times = np.concatenate([times, new.events.times])
        rows, columns = np.append(rows, user_index[user_codes]), np.append(columns, item_index[item_codes])
        if weights is not None and new_weights is not None:
            weights = np.concatenate([weights, new_weights])
        return self._of_events(users, items, rows, columns, times, weights)

    def without(self, rows: np.ndarray, columns: np.ndarray) -> FittedInteractions:
        """The interactions without some users and items, and without all that have no other interactions.

        Args:
            rows: rows of these users, int64 [n].
            columns: columns of these items, int64 [n].

        Raises:
            ValueError: if no interaction is left.
        """
        users, items, times, weights = self._events()
        stays = ~(np.isin(users, rows) | np.isin(items, columns))
        if not stays.any():
            raise ValueError("users, items: no interaction is left without these, so nothing is removed.")
        times, weights = (None if values is None else values[stays] for values in (times, weights))
        return self._of_events(self.users.tolist(), self.items.tolist(), users[stays], items[stays], times, weights)

    def _events(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Row, column, time and weight of each interaction, by row, then by time."""
        if self.histories is None:
            rows, columns = self.matrix.nonzero()
            weights = None if self.amounts is None else self.amounts.data
            return rows.astype(np.int64), columns.astype(np.int64), None, weights
        return self.histories.rows, self.histories.items, self.histories.times, self.histories.weights

    def _of_events(
        self,
        users: Sequence,
        items: Sequence,
        rows: np.ndarray,
        columns: np.ndarray,
        times: np.ndarray | None,
        weights: np.ndarray | None,
    ) -> FittedInteractions:
        """The interactions of events with the order that these interactions have.

        Args:
            users: ids of users, of which some may have no event.
            items: likewise.
            rows: index into ``users`` of each event, int64 [n_events].
            columns: index into ``items`` of each event, int64 [n_events].
            times: time of each event, [n_events]; ``None``: the events are in order, or no order is known.
            weights: weight of each event, [n_events]; ``None``: all count the same.
        """
        (rows, used_users), (columns, used_items) = pd.factorize(rows), pd.factorize(columns)
        pair_users, pair_items, sums = distinct_pairs(rows, columns, len(used_items), weights)
        table = InteractionTable(
            users=pd.Index([whole(users[row]) for row in used_users], tupleize_cols=False, name=self.users.name),
            items=pd.Index([whole(items[column]) for column in used_items], tupleize_cols=False, name=self.items.name),
            user_codes=pair_users,
            item_codes=pair_items,
            columns=("user", "item"),
            events=None if self.histories is None else Events.in_order(rows, columns, times, None, weights),
            weights=sums,
        )
        return self.of_table(table)


def with_clock(histories: Histories | None) -> Histories:
    """The histories, if a half-life can be read from their times.

    Raises:
        ValueError: if there are no times, or they only give an order.
    """
    if histories is None or histories.times is None:
        raise ValueError(
            "half_life (--half-life): needs the times of the interactions. Name their column with time_column "
            "(--time-column)."
        )
    if np.median(histories.times) <= FIRST_SECONDS:
        raise ValueError(
            "half_life (--half-life): needs times of a clock. The times of these interactions are small numbers, which "
            "give an order; give dates or seconds since 1970."
        )
    return histories


def _joined(known: pd.Index, new: pd.Index) -> tuple[list, np.ndarray]:
    """The known ids and the new ones after them, and the index of each id of ``new`` among all."""
    index = IdLookup(known).indices(new.tolist())
    unknown = np.flatnonzero(index < 0)
    index[unknown] = len(known) + np.arange(len(unknown))
    return [*known.tolist(), *new.take(unknown).tolist()], index
