"""The rows of a table that are not left out, in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_universal.io.row_store import RowStore
from recbole_universal.io.time_column import Reading
from recbole_universal.io.times import ReadTimes

# Rows of a block of whole users, which needs some 60 bytes a row.
_ROWS_OF_USERS = 2**23


@dataclass
class Block:
    """Some usable rows.

    Attributes:
        user_codes: indices into the users, int32 [n].
        item_codes: indices into the items, int32 [n].
        seconds: time of each row, float64 [n]; ``None``: no time is used.
        weights: weight of each row, float64 [n]; ``None``: no weights are read.
    """

    user_codes: NDArray[np.int32]
    item_codes: NDArray[np.int32]
    seconds: NDArray[np.float64] | None
    weights: NDArray[np.float64] | None

    @classmethod
    def joined(cls, blocks: list[Block]) -> Block:
        """The rows of at least one block."""
        if len(blocks) == 1:
            return blocks[0]
        columns: dict[str, Any] = {}
        for name, values in vars(blocks[0]).items():
            columns[name] = None if values is None else np.concatenate([getattr(block, name) for block in blocks])
        return cls(**columns)


@dataclass
class UsableRows:
    """The usable rows. Their ids are decided, and so is the reading of their times.

    Attributes:
        users: ids of the users in the order of their first row.
        items: ids of the items in the order of their first row.
        store: the rows with a user and an item: ``user_codes`` and ``item_codes``, and perhaps ``forms``, ``values``
            and ``others`` of times, and ``weights``.
        user_index: index into ``users`` of each code, -1 if the rows of the user are left out, int32.
        item_index: likewise.
        reading: how the times are read. Rows without a time are left out. ``None``: no time is used.
    """

    users: pd.Index
    items: pd.Index
    store: RowStore
    user_index: NDArray[np.int32]
    item_index: NDArray[np.int32]
    reading: Reading | None

    def blocks(self) -> Iterator[Block]:
        """The rows in their order."""
        for stored in self.store.blocks():
            yield self._block(stored, 0, len(self.users))

    def by_user(self) -> Iterator[Block]:
        """The rows of the users 0, 1, ..., in blocks of whole users. The rows of a user are in their order."""
        ends = [len(self.users)]
        if self.store.n_rows > _ROWS_OF_USERS:
            counts = np.zeros(len(self.users), dtype=np.int64)
            for stored in self.store.blocks():
                users = self.user_index[stored["user_codes"]]
                counts += np.bincount(users[users >= 0], minlength=len(counts))
            limits = np.arange(_ROWS_OF_USERS, counts.sum(), _ROWS_OF_USERS)
            ends = [*np.unique(np.searchsorted(np.cumsum(counts), limits) + 1).tolist(), len(self.users)]
        first = 0
        for end in ends:
            blocks = [self._block(stored, first, end) for stored in self.store.blocks()]
            if blocks:
                yield Block.joined(blocks)
            first = end

    def timed(self) -> NDArray[np.bool_]:
        """Which of the rows with a user and an item have a time, or need none, bool."""
        seconds = [self._seconds(stored) for stored in self.store.blocks()]
        if self.reading is None or not seconds:
            return np.ones(self.store.n_rows, dtype=bool)
        return np.concatenate([np.isfinite(values) for values in seconds if values is not None])

    def keep(self, users: NDArray[np.bool_], items: NDArray[np.bool_]) -> None:
        """Leave out the rows of other users and items.

        Args:
            users: whether each user stays, bool [n_users].
            items: whether each item stays, bool [n_items].
        """
        self.users, self.user_index = self.users[users], _renumbered(self.user_index, users)
        self.items, self.item_index = self.items[items], _renumbered(self.item_index, items)

    def _seconds(self, stored: dict[str, NDArray]) -> NDArray[np.float64] | None:
        if self.reading is None:
            return None
        return self.reading.seconds(ReadTimes(stored["forms"], stored["values"], stored["others"]))

    def _block(self, stored: dict[str, NDArray], first: int, end: int) -> Block:
        """The rows of the users ``first`` to ``end - 1``."""
        users, items = self.user_index[stored["user_codes"]], self.item_index[stored["item_codes"]]
        stays = (users >= first) & (users < end) & (items >= 0)
        if not stays.all():
            stored = {name: values[stays] for name, values in stored.items()}
            users, items = users[stays], items[stays]
        seconds, weights = self._seconds(stored), stored.get("weights")
        if seconds is None or (timed := np.isfinite(seconds)).all():
            return Block(users, items, seconds, weights)
        return Block(users[timed], items[timed], seconds[timed], None if weights is None else weights[timed])


def _renumbered(index: NDArray[np.int32], stays: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Indices after some are left out: -1 for these."""
    numbers = np.append(np.where(stays, np.cumsum(stays) - 1, -1), -1).astype(np.int32)  # -1 stays -1
    return numbers[index]
