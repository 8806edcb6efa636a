"""All interactions in the order of their times, repetitions included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Events:
    """All interactions: by user, then by time. Interactions of one time are in the order of the rows.

    Attributes:
        user_codes: int32 [n_events], indices into the users of the table.
        item_codes: int32 [n_events], indices into the items of the table.
        times: seconds since 1970 UTC, or numbers that give an order, float64 [n_events]; ``None``: the order of the
            rows is known alone.
        time_column: name of the time column; ``None`` without times.
        weights: weight of each interaction, float64 [n_events]; ``None``: all count the same.
    """

    user_codes: NDArray[np.int32]
    item_codes: NDArray[np.int32]
    times: NDArray[np.float64] | None = None
    time_column: str | None = None
    weights: NDArray[np.float64] | None = None

    @classmethod
    def in_order(
        cls,
        user_codes: NDArray,
        item_codes: NDArray,
        times: NDArray[np.float64] | None,
        time_column: str | None,
        weights: NDArray[np.float64] | None = None,
    ) -> Events:
        """The interactions of rows; without times the rows are in order."""
        order = np.argsort(user_codes, kind="stable") if times is None else np.lexsort((times, user_codes))
        users, items = user_codes[order].astype(np.int32), item_codes[order].astype(np.int32)
        times, weights = (None if values is None else values[order] for values in (times, weights))
        return cls(users, items, times, time_column, weights)

    @classmethod
    def joined(cls, parts: list[Events]) -> Events:
        """The interactions of parts of the users, in the order of the users. The parts are emptied."""
        columns: dict[str, NDArray | None] = {}
        for name in ("user_codes", "item_codes", "times", "weights"):
            arrays = [part.__dict__.pop(name) for part in parts]  # one column after the other, for less memory
            columns[name] = None if arrays[0] is None else np.concatenate(arrays)
        return cls(time_column=parts[0].time_column, **columns)  # type: ignore[arg-type]
