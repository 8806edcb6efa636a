"""Users and items whose number of interactions is in an interval, such as the 5-core."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recbole_universal.io.row_store import RowStore
from recbole_universal.io.source import Report

#: The interval of all numbers.
ALL = (0.0, np.inf)


@dataclass(frozen=True)
class Core:
    """The numbers of interactions that users and items must have to stay.

    An interaction is a pair of a user and an item, however many rows it has. Users and items that do not fit are left
    out until all that stay fit, as by RecBole's keys of the same names.

    Attributes:
        users: least and largest number of interactions of a user.
        items: least and largest number of interactions of an item.
    """

    users: tuple[float, float] = ALL
    items: tuple[float, float] = ALL

    def of(
        self, where: str, pairs: Iterable[tuple[NDArray, NDArray]], shape: tuple[int, int], report: Report
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which users and which items stay, bool [n_users] and [n_items].

        Args:
            where: the table, for messages.
            pairs: blocks of distinct pairs, as indices of users and of items.
            shape: number of users and of items.
            report: receives a sentence on what is left out.

        Raises:
            ValueError: if no interaction is left.
        """
        store = RowStore(users="int32", items="int32")
        try:
            for users, items in pairs:
                store.add(users=users, items=items)
            stay, n_left = self._staying(store, shape)
        finally:
            n_pairs = store.n_rows
            store.close()
        if not n_left:
            raise ValueError(
                f"{where}: no interaction is left: of {n_pairs}, no part has {self._described()}. Give other intervals "
                "(--user-inter-num-interval, --item-inter-num-interval)."
            )
        report(
            f"{where}: {n_left} of {n_pairs} interactions, {np.count_nonzero(stay[0])} of {shape[0]} users and "
            f"{np.count_nonzero(stay[1])} of {shape[1]} items stay, with {self._described()}."
        )
        return stay

    def _staying(
        self, store: RowStore, shape: tuple[int, int]
    ) -> tuple[tuple[NDArray[np.bool_], NDArray[np.bool_]], int]:
        users, items = (np.ones(size, dtype=bool) for size in shape)
        while True:
            n_of_user, n_of_item = (np.zeros(size, dtype=np.int64) for size in shape)
            for block in store.blocks():
                stays = users[block["users"]] & items[block["items"]]
                n_of_user += np.bincount(block["users"][stays], minlength=shape[0])
                n_of_item += np.bincount(block["items"][stays], minlength=shape[1])
            before = np.count_nonzero(users) + np.count_nonzero(items)
            users, items = _inside(n_of_user, self.users), _inside(n_of_item, self.items)
            if np.count_nonzero(users) + np.count_nonzero(items) == before:
                return (users, items), int(n_of_user.sum())

    def _described(self) -> str:
        users, items = (
            f"{least:.0f} and more" if most == np.inf else f"{least:.0f} to {most:.0f}"
            for least, most in ((max(least, 1), most) for least, most in (self.users, self.items))
        )
        return f"{users} a user and {items} an item"


def _inside(counts: NDArray[np.int64], interval: tuple[float, float]) -> NDArray[np.bool_]:
    return (counts > 0) & (counts >= interval[0]) & (counts <= interval[1])
