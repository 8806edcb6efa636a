"""The times of the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recbole_universal.io.bad_rows import BadRows
from recbole_universal.io.source import Chunk
from recbole_universal.io.time_column import Reading, TimeStatistics
from recbole_universal.io.times import MISSING, NUMBER, ReadTimes, read_times

# A column that the caller does not name holds no times if a larger share of it cannot be read.
_MOST_UNREADABLE = 0.05
# Numbers that are no dates as yyyymmdd are counted like a form of their own.
_NO_DAY = 7
_N_SHOWN = 5


@dataclass
class _OfForm:
    """The times of one form.

    Attributes:
        n_times: their number.
        n_rows: number of rows that they come from; a line may hold several interactions.
        first: the first of them: index among all times, its row, and the time as it is written.
    """

    n_times: int = 0
    n_rows: int = 0
    first: list[tuple[int, str, str]] = field(default_factory=list)


@dataclass
class RowTimes:
    """Reads the times of usable rows, and decides how the column is read.

    Attributes:
        column: name of the time column.
        given: whether the caller named the column.
        sentence: how the times were read, or why they are not used; known after :meth:`settle`.
        n_times: number of times.
        n_left_out: number of times whose rows are left out; known after :meth:`settle`.
        statistics: what decides on the reading.
    """

    column: str
    given: bool
    sentence: str = ""
    n_times: int = 0
    n_left_out: int = 0
    statistics: TimeStatistics = field(default_factory=TimeStatistics)
    _forms: dict[int, _OfForm] = field(default_factory=dict)

    def add(self, chunk: Chunk, usable: NDArray[np.bool_], row: str) -> ReadTimes:
        """Read the times of a chunk's usable rows; messages call a row ``row``."""
        times, numbers = chunk.further["times"], chunk.numbers
        if not usable.all():
            times, numbers = times[usable], np.asarray(numbers)[usable]
        read, names = read_times(times), partial(chunk.named, row)
        is_day = self.statistics.add(read)
        forms = {int(form): read.forms == form for form in np.unique(read.forms)}
        if NUMBER in forms and not is_day[forms[NUMBER]].all():
            forms[_NO_DAY] = forms[NUMBER] & ~is_day
        for form, of_form in forms.items():
            self._count(self._forms.setdefault(form, _OfForm()), np.flatnonzero(of_form), read, numbers, names)
        self.n_times += len(read.forms)
        if not len(read.others):
            read.others = np.full(len(read.forms), np.nan)
        return read

    def _count(
        self,
        counts: _OfForm,
        indices: NDArray,
        read: ReadTimes,
        numbers: Sequence[int] | NDArray,
        names: Callable[[int], str],
    ) -> None:
        counts.n_times += len(indices)
        if isinstance(numbers, range):  # each row has one interaction
            counts.n_rows += len(indices)
            first = indices[:_N_SHOWN]
        else:
            of_rows, starts = np.unique(np.asarray(numbers)[indices], return_index=True)
            counts.n_rows += len(of_rows)
            first = indices[starts[:_N_SHOWN]]
        for index in first[: _N_SHOWN - len(counts.first)].tolist():
            counts.first.append((self.n_times + index, names(numbers[index]), read.text(index)))

    def settle(self, where: str, bad: BadRows) -> Reading | None:
        """Decide how the column is read, and count the rows without a time as bad ones.

        Args:
            where: the table, for messages.
            bad: receives the rows.

        Returns:
            The reading; ``None``: no time is used.

        Raises:
            ValueError: if the dates have two readings.
        """
        reading = self.statistics.reading()
        used = {*reading.forms}
        left_out = {form: counts for form, counts in self._forms.items() if form not in used and form != _NO_DAY}
        if reading.days is not None and _NO_DAY in self._forms:
            left_out[_NO_DAY] = self._forms[_NO_DAY]
        n_bad = sum(counts.n_times for counts in left_out.values())
        if not self.given and n_bad > _MOST_UNREADABLE * self.n_times:
            self.sentence = self._unused(n_bad, left_out)
            return None
        if reading.ambiguous:
            raise ValueError(
                f"{where}: [{self.column}] holds dates with two readings: {reading.ambiguous}. Write them as "
                'yyyy-mm-dd, or take the order of the rows (order="rows", --order rows).'
            )
        examples = [(*first, form) for form, counts in left_out.items() for first in counts.first]
        for _, row, text, form in sorted(examples)[:_N_SHOWN]:
            bad.add(row, "no time" if form == MISSING else f"a time that cannot be read: '{text}'")
        self.n_left_out = n_bad
        bad.count += sum(counts.n_rows for counts in left_out.values()) - min(len(examples), _N_SHOWN)
        self.sentence = f"times from [{self.column}], read as {reading.form}."
        if reading.n_other_units:
            self.sentence += (
                f" {reading.n_other_units} of {self.n_times} times are before March 1970 or after 2100 in this unit, "
                "so they may have another one; write all of them in one unit."
            )
        return reading

    def _unused(self, n_bad: int, left_out: dict[int, _OfForm]) -> str:
        """A sentence on a column that holds other things than times."""
        examples = sorted(first for form, counts in left_out.items() if form != MISSING for first in counts.first)
        example = f"such as '{examples[0][2]}'" if examples else "since they are empty"
        return (
            f"no time is used: {n_bad} of {self.n_times} values of [{self.column}] cannot be read "
            f"as times, {example}. Name another time column (--time-column), or take the order of the rows "
            "(--order rows)."
        )
