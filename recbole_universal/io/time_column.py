"""Decides how the times of a whole column are read, such as the unit of numbers and the order of day and month."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_universal.io.times import DATE, DAY_FIRST, EITHER, MONTH_FIRST, NUMBER, ReadTimes, days_from_1970

_UNITS = ((1.0, "unix seconds"), (1e3, "unix milliseconds"), (1e6, "unix microseconds"), (1e9, "unix nanoseconds"))
_IN_2100 = 4_102_444_800.0  # seconds from 1970 to 2100
_LEAST_SECONDS = 1e8  # numbers below, which would be times before 1974, are positions
_FIRST_DATE, _LAST_DATE = 19000101, 21001231  # of columns of dates that are written as yyyymmdd
_MOST_DAYS = 100_000  # more than there are days from 1900 to 2100
_EDGES = (_LEAST_SECONDS, _FIRST_DATE, _LAST_DATE, *(_IN_2100 * factor for factor, _ in _UNITS))
_ORDER = "numbers that give an order"
_YYYYMMDD = "dates written as yyyymmdd"


@dataclass(frozen=True)
class Reading:
    """How the times of a column are read.

    Attributes:
        form: in words, for messages.
        forms: forms of the times that are read.
        month_first: whether the month of a date with slashes comes first.
        factor: by which numbers are divided.
        days: days from 1970 to dates that are written as yyyymmdd, by the number; ``None``: numbers are no such dates.
        ambiguous: a date with two readings, if nothing in the column decides between them; "" otherwise.
        n_other_units: number of numbers that are before March 1970 or after 2100 in the unit, and times in another one.
    """

    form: str
    forms: tuple[int, ...]
    month_first: bool = False
    factor: float = 1.0
    days: dict[float, float] | None = None
    ambiguous: str = ""
    n_other_units: int = 0

    def seconds(self, read: ReadTimes) -> NDArray[np.float64]:
        """Seconds since 1970 UTC, or numbers that give an order, float64 [n]; NaN for a time that is not read."""
        values = read.others if self.month_first and len(read.others) else read.values
        seconds = np.where(np.isin(read.forms, self.forms), values, np.nan)
        if self.days is not None:
            return 86400.0 * _days(seconds, self.days)
        return seconds / self.factor


@dataclass
class TimeStatistics:
    """What decides on the reading of a column, counted one block of times after the other.

    Attributes:
        forms: number of times of each form, int64 [7].
        below: number of numbers below each of ``_EDGES``.
        at_most: number of numbers that are at most each of ``_EDGES``.
        days: days from 1970 to each number that is a date as yyyymmdd; ``None``: there are too many numbers.
        n_days: number of times that are such numbers.
        two_readings: the first date with two different readings: its text, and seconds since 1970 by either.
    """

    forms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(7, dtype=np.int64))
    below: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(_EDGES), dtype=np.int64))
    at_most: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(_EDGES), dtype=np.int64))
    days: dict[float, float] | None = field(default_factory=dict)
    n_days: int = 0
    two_readings: tuple[str, float, float] | None = None

    def add(self, read: ReadTimes) -> NDArray[np.bool_]:
        """Count some times. Returns which of them are numbers that may be dates as yyyymmdd, bool [n]."""
        self.forms += np.bincount(read.forms, minlength=7)
        is_number = read.forms == NUMBER
        numbers = read.values[is_number]
        self.below += [np.count_nonzero(numbers < edge) for edge in _EDGES]
        self.at_most += [np.count_nonzero(numbers <= edge) for edge in _EDGES]
        if self.two_readings is None and len(read.others):
            odd = np.flatnonzero((read.forms == EITHER) & (read.values != read.others))
            if len(odd):
                index = int(odd[0])
                self.two_readings = read.text(index), float(read.values[index]), float(read.others[index])
        is_day = np.zeros(len(read.forms), dtype=bool)
        if self.days is not None:
            self._learn(numbers)
        if self.days is not None:
            is_day[is_number] = np.isfinite(_days(numbers, self.days))
            self.n_days += int(np.count_nonzero(is_day))
        return is_day

    def _learn(self, numbers: NDArray[np.float64]) -> None:
        """Find the days of new numbers."""
        assert self.days is not None
        may_be = numbers[(numbers >= 10101) & (numbers <= 99991231)]
        new = [number for number in pd.unique(may_be).tolist() if number not in self.days]
        if len(self.days) + len(new) > _MOST_DAYS:
            self.days = None
            return
        for number in new:
            self.days[number] = days_from_1970(int(number) // 10000, int(number) // 100 % 100, int(number) % 100)

    def reading(self) -> Reading:
        """The reading in the form that most of the times have."""
        n_numbers, n_dates, n_slashes = (
            int(n) for n in (self.forms[NUMBER], self.forms[DATE], self.forms[EITHER:].sum())
        )
        if n_numbers >= max(n_dates, n_slashes):
            return self._of_numbers()
        if n_dates >= n_slashes:
            return Reading("dates", (DATE,))
        with_slashes = (EITHER, DAY_FIRST, MONTH_FIRST)
        if self.forms[DAY_FIRST] == self.forms[MONTH_FIRST] and self.two_readings is not None:
            text, *readings = self.two_readings
            day, month = (datetime.datetime.fromtimestamp(one, datetime.timezone.utc) for one in readings)
            return Reading("dates", with_slashes, ambiguous=f"[{text}] may be {day:%Y-%m-%d} or {month:%Y-%m-%d}")
        month_first = bool(self.forms[DAY_FIRST] < self.forms[MONTH_FIRST])
        return Reading(f"dates with the {'month' if month_first else 'day'} first", with_slashes, month_first)

    def _of_numbers(self) -> Reading:
        """The reading of a column of numbers, whose median decides what they are."""
        half = (int(self.forms[NUMBER]) + 1) // 2  # the median is the smaller one of two numbers in the middle
        below = dict(zip(_EDGES, self.below >= half, strict=True))
        at_most = dict(zip(_EDGES, self.at_most >= half, strict=True))
        if not below[_FIRST_DATE] and at_most[_LAST_DATE] and self._are_days():
            return Reading(_YYYYMMDD, (NUMBER,), days=self.days)
        if not below[_LEAST_SECONDS]:
            for factor, unit in _UNITS:
                if at_most[_IN_2100 * factor]:
                    return Reading(unit, (NUMBER,), factor=factor, n_other_units=self._of_other_units(factor))
        return Reading(_ORDER, (NUMBER,))

    def _of_other_units(self, factor: float) -> int:
        """How many numbers are no plausible times in a unit, and are some in a smaller or a larger one."""
        below, at_most = (dict(zip(_EDGES, counts.tolist(), strict=True)) for counts in (self.below, self.at_most))
        n_later = at_most[_IN_2100 * _UNITS[-1][0]] - at_most[_IN_2100 * factor]
        return n_later if factor == 1 else n_later + at_most[_IN_2100 * factor / 1e3] - below[_LEAST_SECONDS]

    def _are_days(self) -> bool:
        return self.days is not None and self.n_days >= 0.95 * self.forms[NUMBER]


def _days(numbers: NDArray[np.float64], days: dict[float, float]) -> NDArray[np.float64]:
    """Days from 1970 to each number that is a date, NaN for other numbers."""
    codes, unique = pd.factorize(numbers)  # NaN gets the code -1
    return np.array([days.get(number, np.nan) for number in unique.tolist()] + [np.nan])[codes]


@dataclass
class ColumnTimes:
    """The times of a whole column.

    Attributes:
        seconds: see :meth:`Reading.seconds`.
        form: how the column was read, for messages.
        ambiguous: a date with two readings, if nothing in the column decides between them; "" otherwise.
    """

    seconds: NDArray[np.float64]
    form: str
    ambiguous: str = ""


def column_times(read: ReadTimes) -> ColumnTimes:
    """The times of a column, in the form that most of them have."""
    statistics = TimeStatistics()
    statistics.add(read)
    reading = statistics.reading()
    return ColumnTimes(reading.seconds(read), reading.form, reading.ambiguous)
