"""All interactions in the order of their times, repetitions included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recbole_universal.io.bad_rows import BadRows
from recbole_universal.io.source import Chunk
from recbole_universal.io.times import MISSING, ReadTimes, column_times, read_times

# A column that the caller does not name holds no times if a larger share of it cannot be read.
_MOST_UNREADABLE = 0.05


@dataclass
class Events:
    """All interactions: by user, then by time. Interactions of one time are in the order of the rows.

    Attributes:
        user_codes: int64 [n_events], indices into the users of the table.
        item_codes: int64 [n_events], indices into the items of the table.
        times: seconds since 1970 UTC, or numbers that give an order, float64 [n_events]; ``None``: the order of the
            rows is known alone.
        time_column: name of the time column; ``None`` without times.
        weights: weight of each interaction, float64 [n_events]; ``None``: all count the same.
    """

    user_codes: NDArray[np.int64]
    item_codes: NDArray[np.int64]
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
        users, items = user_codes[order].astype(np.int64), item_codes[order].astype(np.int64)
        times, weights = (None if values is None else values[order] for values in (times, weights))
        return cls(users, items, times, time_column, weights)


@dataclass
class RowTimes:
    """Collects the times of usable rows.

    Attributes:
        column: name of the time column.
        given: whether the caller named the column.
        sentence: how the times were read, or why they are not used; known after :meth:`settle`.
        parts: the times of each chunk's usable rows.
        numbers: number of each row's line, row or record, per chunk.
        rows: what messages call a row, per chunk.
    """

    column: str
    given: bool
    sentence: str = ""
    parts: list[ReadTimes] = field(default_factory=list)
    numbers: list[Sequence[int] | NDArray] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)

    def add(self, chunk: Chunk, usable: NDArray[np.bool_], row: str) -> None:
        """Add the times of a chunk's usable rows; messages call a row ``row``."""
        times = chunk.further["times"]
        every = bool(usable.all())
        self.parts.append(read_times(times if every else times[usable]))
        self.numbers.append(chunk.numbers if every else np.asarray(chunk.numbers)[usable])
        self.rows.append(row)

    def settle(self, where: str, bad: BadRows) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
        """Decide how the column is read, and count the rows without a time as bad ones.

        Args:
            where: the table, for messages.
            bad: receives the rows.

        Returns:
            Which rows stay, bool [n_rows], and the times of these; ``None``: no time is used.

        Raises:
            ValueError: if the dates have two readings.
        """
        read = ReadTimes.joined(self.parts)
        times = column_times(read)
        usable = np.isfinite(times.seconds)
        n_bad = int(np.count_nonzero(~usable))
        if not self.given and n_bad > _MOST_UNREADABLE * len(usable):
            self.sentence = self._unused(read, usable)
            return np.ones(len(usable), dtype=bool), None
        if times.ambiguous:
            raise ValueError(
                f"{where}: [{self.column}] holds dates with two readings: {times.ambiguous}. Write them as yyyy-mm-dd, "
                'or take the order of the rows (order="rows", --order rows).'
            )
        if n_bad:
            self._leave_out(usable, bad)
        self.parts.clear()
        self.numbers.clear()
        self.sentence = f"times from [{self.column}], read as {times.form}."
        return usable, times.seconds[usable]

    def _unused(self, read: ReadTimes, usable: NDArray[np.bool_]) -> str:
        """A sentence on a column that holds other things than times."""
        unreadable = np.flatnonzero(~usable & (read.forms != MISSING))
        example = f"such as '{read.text(int(unreadable[0]))}'" if len(unreadable) else "since they are empty"
        return (
            f"no time is used: {np.count_nonzero(~usable)} of {len(usable)} values of [{self.column}] cannot be read "
            f"as times, {example}. Name another time column (--time-column), or take the order of the rows "
            "(--order rows)."
        )

    def _leave_out(self, usable: NDArray[np.bool_], bad: BadRows) -> None:
        ends = np.cumsum([len(part.forms) for part in self.parts])
        for part, numbers, row, good in zip(
            self.parts, self.numbers, self.rows, np.split(usable, ends[:-1]), strict=True
        ):
            indices = np.flatnonzero(~good)
            left_out, first = np.unique(np.asarray(numbers)[indices], return_index=True)  # a line may hold several ids
            for index in indices[first[:5]].tolist():
                missing = part.forms[index] == MISSING
                reason = "no time" if missing else f"a time that cannot be read: '{part.text(index)}'"
                bad.add(f"{row} {numbers[index]}", reason)
            bad.count += max(0, len(left_out) - 5)
