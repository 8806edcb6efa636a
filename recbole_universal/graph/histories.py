"""Histories: the items of users, oldest first. A history is what a scorer is asked about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal import arguments

if TYPE_CHECKING:
    from recbole_universal.io.interaction_table import InteractionTable

#: Greater times are seconds since 1970. Smaller ones give an order, such as the number of a row.
FIRST_SECONDS = 1e8
# Weights below this number are left out of a weighted history.
_LEAST_WEIGHT = 1e-4
# Positions may have gaps where events were filtered out. They are below this number times the longest history.
_MOST_POSITIONS = 10
# Histories with a larger share of events that repeat an earlier item of the user are said to repeat items.
_REPEATING_SHARE = 0.01


class Histories:
    """Some histories of items.

    Args:
        items: item indices, one history after the other, oldest item first, int64 [n_events].
        indptr: first event of each history, and the number of events, int64 [n + 1].
        users: row of each history's user in the data that scorers are fitted to, -1 without one, int64 [n]. A scorer
            then leaves out what the user's own history would add to its own score. None: no history has one.
        times: time of each event, float64 [n_events], in any unit; None: the order alone is known.
        now: time at which each history is asked about, float64 [n]; None: after all events.
        weights: how much each event counts, at least 0, float64 [n_events]; None: all count the same.

    Raises:
        ValueError: if the arrays do not describe histories.
    """

    def __init__(
        self,
        items: NDArray[np.int64],
        indptr: NDArray[np.int64],
        users: NDArray[np.int64] | None = None,
        times: NDArray[np.float64] | None = None,
        now: NDArray[np.float64] | None = None,
        weights: NDArray | None = None,
    ) -> None:
        self.items, self.indptr = _indices("items", items), _indices("indptr", indptr)
        if not len(self.indptr) or self.indptr[0] != 0 or (np.diff(self.indptr) < 0).any():
            raise ValueError("indptr: must rise from 0, [n + 1].")
        if len(self.items) != self.indptr[-1]:
            raise ValueError(f"items: must have indptr[-1] = {self.indptr[-1]} entries, got shape {self.items.shape}.")
        self.users = np.full(len(self), -1) if users is None else _indices("users", users)
        self.times = None if times is None else _numbers("times", times)
        self.now = np.full(len(self), np.inf) if now is None else _numbers("now", now, infinite=True)
        self.weights = None if weights is None else _numbers("weights", weights)
        for name, values, size in (("users", self.users, len(self)), ("now", self.now, len(self))):
            if len(values) != size:
                raise ValueError(f"{name}: must have one entry a history, [{size}], got shape {values.shape}.")
        for name, entries in (("times", self.times), ("weights", self.weights)):
            if entries is not None and len(entries) != len(self.items):
                raise ValueError(
                    f"{name}: must have one entry an item, [{len(self.items)}], got shape {entries.shape}."
                )
        if self.weights is not None and (self.weights < 0).any():
            raise ValueError("weights: must be at least 0; some are negative.")

    @classmethod
    def of_events(
        cls,
        users: NDArray[np.int64],
        items: NDArray[np.int64],
        n_users: int,
        times: NDArray | None = None,
        weights: NDArray | None = None,
    ) -> Histories:
        """The histories of users 0 to ``n_users - 1``.

        Args:
            users: user index of each event, int64 [n_events].
            items: item index of each event, int64 [n_events].
            n_users: number of users.
            times: time of each event, [n_events]. Events of one time stay in the order of the rows. None: the rows are
                in order.
            weights: as of the constructor.
        """
        users, items = _indices("users", users), _indices("items", items)
        times = None if times is None else _numbers("times", times)
        weights = None if weights is None else _numbers("weights", weights)
        if any(values is not None and len(values) != len(users) for values in (items, times, weights)):
            raise ValueError("users, items, times, weights: must be equally many.")
        if len(users) and (users.min() < 0 or users.max() >= n_users or items.min() < 0):
            raise ValueError(f"users, items: must be indices from 0 on, and users less than n_users, {n_users}.")
        order = np.argsort(users, kind="stable") if times is None else np.lexsort((times, users))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=n_users))])
        sorted_times, sorted_weights = (None if values is None else values[order] for values in (times, weights))
        return cls(items[order], indptr, np.arange(n_users), sorted_times, weights=sorted_weights)

    @classmethod
    def of_table(cls, table: InteractionTable) -> Histories | None:
        """The histories of a table's users, by the indices of its matrix; ``None`` if the order is unknown."""
        if (ordered := table.ordered()) is None:
            return None
        items, indptr, times, weights = ordered
        return cls(items, indptr, np.arange(len(table.users)), times, weights=weights)

    @classmethod
    def of_lists(cls, lists: Iterable[Iterable[int]]) -> Histories:
        """Histories of people who are no users of the fitted data."""
        rows = [_indices("lists", list(items)) for items in lists]
        indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return cls(np.concatenate([*rows, np.zeros(0, dtype=np.int64)]), indptr)

    @classmethod
    def joined(cls, parts: Sequence[Histories]) -> Histories:
        """Some histories, one after the other, without times. They have weights if any of them has."""
        empty = np.zeros(0, dtype=np.int64)
        lengths = np.concatenate([empty, *(part.lengths for part in parts)])
        weights = None
        if any(part.weights is not None for part in parts):
            weights = np.concatenate(
                [np.ones(len(part.items)) if part.weights is None else part.weights for part in parts]
            )
        items = np.concatenate([empty, *(part.items for part in parts)])
        users = np.concatenate([empty, *(part.users for part in parts)])
        return cls(items, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), users, weights=weights)

    def __len__(self) -> int:
        """Number of histories."""
        return len(self.indptr) - 1

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> Histories:
        """The histories of some rows."""
        index = np.arange(len(self))[rows]
        lengths = self.lengths[index]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        event = np.arange(indptr[-1]) + np.repeat(self.indptr[index] - indptr[:-1], lengths)
        times, weights = (None if values is None else values[event] for values in (self.times, self.weights))
        return Histories(self.items[event], indptr, self.users[index], times, self.now[index], weights)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of events of each history, int64 [n]."""
        return np.diff(self.indptr)

    @property
    def rows(self) -> NDArray[np.int64]:
        """History of each event, int64 [n_events]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def ages(self) -> NDArray[np.int64]:
        """Number of later events of the same history, for each event, int64 [n_events]."""
        return np.repeat(self.indptr[1:], self.lengths) - 1 - np.arange(len(self.items))

    def where(self, kept: NDArray[np.bool_]) -> Histories:
        """The histories without some events.

        Args:
            kept: whether an event stays, bool [n_events].
        """
        indptr = np.concatenate([[0], np.cumsum(kept)])[self.indptr]
        times, weights = (None if values is None else values[kept] for values in (self.times, self.weights))
        return Histories(self.items[kept], indptr, self.users, times, self.now, weights)

    def among(self, matrix: sp.csr_matrix) -> Histories:
        """The events whose pair of history and item has an entry in a matrix, csr [n, n_items]."""
        rows, items = matrix.nonzero()
        n_items = matrix.shape[1]
        return self.where(np.isin(self.rows * n_items + self.items, rows.astype(np.int64) * n_items + items))

    def of_positive_weight(self) -> Histories:
        """The histories without events of weight 0."""
        return self if self.weights is None else self.where(self.weights > 0)

    def without_weights(self) -> Histories:
        """The same histories, whose events all count the same."""
        return Histories(self.items, self.indptr, self.users, self.times, self.now)

    def latest(self, n_events: int) -> Histories:
        """The latest events of each history."""
        return self.where(self.ages < n_events)

    def last_items(self) -> NDArray[np.int64]:
        """Last item of each history, -1 for an empty one, int64 [n]."""
        padded = np.append(self.items, -1)
        return np.where(self.lengths > 0, padded[self.indptr[1:] - 1], -1)

    def without_last(self, rows: NDArray[np.int64]) -> Histories:
        """All histories, those of some rows without their last event, asked about at its time."""
        chosen = np.zeros(len(self), dtype=bool)
        chosen[rows] = True
        shorter = self.where((self.ages > 0) | ~np.repeat(chosen, self.lengths))
        if self.times is not None:
            last_times = np.append(self.times, np.inf)[self.indptr[1:] - 1]
            shorter.now = np.where(chosen & (self.lengths > 0), last_times, self.now)
        return shorter

    def relabelled(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Histories:
        """The same histories under other indices, without items that get none.

        Args:
            users: index of each history's user, int64 [n].
            items: new index of each item, -1 without one, int64 [n_items].
        """
        renamed = items[self.items]
        return Histories(renamed, self.indptr, users, self.times, self.now, self.weights).where(renamed >= 0)

    @property
    def has_clock(self) -> bool:
        """Whether the times are more than positions in the histories: small whole numbers from 0 on."""
        if self.times is None or not len(self.items):
            return False
        longest = int(self.lengths.max())
        positions = self.times.min() >= 0 and self.times.max() < _MOST_POSITIONS * longest
        return not (positions and bool((self.times == np.floor(self.times)).all()))

    def asked_later(self) -> Histories:
        """The same histories, all asked about some time after the last event of all; without a clock, these histories.

        A history without such a time is asked about right after its own last event, as a session is. After a while
        users want other items, so the self-check differs (:func:`~recbole_universal.graph.held_out.next_item_splits`).
        """
        if not self.has_clock or self.times is None:
            return self
        later = np.full(len(self), np.nextafter(self.times.max(), np.inf))
        return Histories(self.items, self.indptr, self.users, self.times, later, self.weights)

    @property
    def are_asked_later(self) -> bool:
        """Whether :meth:`asked_later` made these histories: all are asked about at times after all events."""
        if self.times is None or not len(self.times):
            return False
        return bool((np.isfinite(self.now) & (self.now > self.times.max())).all())

    def repeats(self, matrix: sp.csr_matrix) -> bool:
        """Whether more than a hundredth of the events repeat an earlier item of the history.

        Args:
            matrix: what :meth:`matrix` returns.
        """
        return matrix.nnz < (1 - _REPEATING_SHARE) * len(self.items)

    def matrix(self, n_items: int) -> sp.csr_matrix:
        """The items of each history without order and repetitions, binary csr float32 [n, n_items]."""
        ones = np.ones(len(self.items), dtype=np.float32)
        binary = sp.csr_matrix((ones, (self.rows, self.items)), shape=(len(self), n_items))
        binary.data[:] = 1.0  # repetitions were added
        return binary

    def weighted(self, n_items: int, decay: float) -> sp.csr_matrix:
        """Weight of each item in each history: the event's weight times ``decay ** age``, added over its events.

        Args:
            n_items: number of items.
            decay: in [0, 1]; 0 is the last item alone, and 1 counts the events without their order.

        Returns:
            csr float32 [n, n_items] without duplicates.
        """
        by_age = float(decay) ** self.ages
        weights = (by_age if self.weights is None else by_age * self.weights).astype(np.float32)
        stored = weights >= _LEAST_WEIGHT
        entries = (weights[stored], (self.rows[stored], self.items[stored]))
        return sp.csr_matrix(entries, shape=(len(self), n_items))


def _indices(name: str, values: Any) -> NDArray[np.int64]:
    """Integers as int64 [n].

    Raises:
        ValueError: if they are no integers, or too large.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and (array.dtype.kind not in "iu" or array.max() > np.iinfo(np.int64).max)):
        raise ValueError(f"{name}: must be integers, [n], got {arguments.shown(values)}.")
    return array.astype(np.int64, copy=False)


def _numbers(name: str, values: Any, infinite: bool = False) -> NDArray[np.float64]:
    """Real numbers as float64 [n].

    Raises:
        ValueError: if they are no numbers, NaN, or infinite where that has no meaning.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iuf"):
        raise ValueError(f"{name}: must be numbers, [n], such as seconds; got {arguments.shown(values)}.")
    array = array.astype(np.float64, copy=False)
    if np.isnan(array).any() or not (infinite or np.isfinite(array).all()):
        raise ValueError(f"{name}: must be finite numbers; some are NaN{'' if infinite else ' or infinite'}.")
    return array
