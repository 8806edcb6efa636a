"""Reads the times of interactions: numbers, ISO 8601, and dates such as 31/12/2024.

Some times have a meaning of their own. What a number or the date 03/04/2024 means depends on the other times of the
column. So :func:`read_times` reads each time alone, and :mod:`recbole_universal.io.time_column` decides for the column.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Forms of a time. A date with slashes may have the day first, the month first, or both readings.
MISSING, UNREADABLE, NUMBER, DATE, EITHER, DAY_FIRST, MONTH_FIRST = range(7)

NULL_WORDS = ("", "NULL", "null", "None", "NaN", "nan", "NaT", "NA", "N/A", "<NA>", "\\N")
_DAY_MONTH_YEAR = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))? ?([ap]m)?", re.ASCII | re.IGNORECASE)
_N_SHOWN = 5


@dataclass
class ReadTimes:
    """Times that were read one by one.

    Attributes:
        forms: form of each time, int8 [n].
        values: number, or seconds since 1970 UTC of a date (day first), float64 [n]; NaN without one.
        others: seconds since 1970 UTC of a date if the month comes first, float64 [n], NaN for other times; [0] if no
            date needs a decision.
        texts: the first times of each form, by index, for messages.
    """

    forms: NDArray[np.int8]
    values: NDArray[np.float64]
    others: NDArray[np.float64]
    texts: dict[int, str] = field(default_factory=dict)

    def text(self, index: int) -> str:
        """A time as it is written, for messages."""
        return self.texts.get(index, f"{self.values[index]:.16g}")


def days_from_1970(year: int, month: int, day: int) -> float:
    """Days from 1970 to a date; NaN if there is no such date."""
    try:
        return float((datetime.date(year, month, day) - datetime.date(1970, 1, 1)).days)
    except (ValueError, OverflowError):
        return np.nan


def read_times(values: Any) -> ReadTimes:
    """Read times one by one.

    Args:
        values: the times, an array or a series [n] of numbers, texts, dates, or objects of several types. Dates without
            a zone are UTC.
    """
    series = pd.Series(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    if isinstance(series.dtype, pd.PeriodDtype):
        series = pd.Series(series.dt.to_timestamp())
    forms = np.full(len(series), MISSING, dtype=np.int8)
    read = ReadTimes(forms, np.full(len(series), np.nan), np.zeros(0))
    everything = np.arange(len(series))
    if pd.api.types.is_bool_dtype(series.dtype) or pd.api.types.is_complex_dtype(series.dtype):
        read.forms[series.notna().to_numpy()] = UNREADABLE
    elif pd.api.types.is_numeric_dtype(series.dtype):
        _fill_numbers(read, everything, series.to_numpy(dtype=np.float64, na_value=np.nan))
    elif pd.api.types.is_datetime64_any_dtype(series.dtype):
        _fill_dates(read, everything, pd.to_datetime(series, utc=True))
    else:
        _fill_objects(read, series.astype(object).to_numpy())
    for form in np.unique(read.forms).tolist():
        for index in np.flatnonzero(read.forms == form)[:_N_SHOWN].tolist():
            read.texts[index] = str(series.iloc[index]).strip()[:60]
    return read


def _fill_numbers(read: ReadTimes, indices: NDArray, numbers: NDArray[np.float64]) -> None:
    finite = np.isfinite(numbers)
    read.forms[indices] = np.where(finite, NUMBER, np.where(np.isnan(numbers), MISSING, UNREADABLE))
    read.values[indices] = np.where(finite, numbers, np.nan)


def _fill_dates(read: ReadTimes, indices: NDArray, dates: pd.Series) -> None:
    """Fill in dates with a zone, of which some may be missing."""
    missing = dates.isna().to_numpy()
    try:
        microseconds = pd.DatetimeIndex(dates).as_unit("us").asi8
    except pd.errors.OutOfBoundsDatetime:
        read.forms[indices] = UNREADABLE
        return
    read.forms[indices] = np.where(missing, MISSING, DATE)
    read.values[indices] = np.where(missing, np.nan, microseconds / 1e6)


def _fill_objects(read: ReadTimes, values: NDArray) -> None:
    """Fill in texts, numbers and dates of an array of objects."""
    present = pd.notna(values)
    read.forms[present] = UNREADABLE
    if pd.api.types.infer_dtype(values, skipna=True) == "string":  # nearly all tables
        _fill_texts(read, np.flatnonzero(present), values[present])
        return
    kinds: tuple[tuple[Any, Callable[[ReadTimes, NDArray, Any], None]], ...] = (
        (str, _fill_texts),
        ((int, float, np.integer, np.floating, Decimal), _fill_float_objects),
        ((datetime.date, np.datetime64), _fill_date_objects),
    )
    for types, fill in kinds:
        of_kind = (isinstance(value, types) and not isinstance(value, bool) for value in values)
        indices = np.flatnonzero(np.fromiter(of_kind, dtype=bool, count=len(values)) & present)
        if len(indices):
            fill(read, indices, values[indices])


def _fill_float_objects(read: ReadTimes, indices: NDArray, values: NDArray) -> None:
    _fill_numbers(read, indices, np.array([_float(value) for value in values]))


def _float(value: Any) -> float:
    """A number as a float; infinity if it is too large, or no number like others."""
    try:
        return float(value)
    except (ArithmeticError, ValueError):
        return np.inf


def _fill_date_objects(read: ReadTimes, indices: NDArray, values: NDArray) -> None:
    dates = pd.to_datetime(pd.Series(values, dtype=object), utc=True, errors="coerce")
    _fill_dates(read, indices, dates)
    read.forms[indices[dates.isna().to_numpy()]] = UNREADABLE


def _fill_texts(read: ReadTimes, indices: NDArray, values: NDArray) -> None:
    """Fill in texts, which are numbers, ISO 8601, or dates with the year at the end."""
    texts = pd.Series(values, dtype=object).str.strip()
    read.forms[indices[texts.isin(NULL_WORDS).to_numpy()]] = MISSING
    numbers = np.full(len(texts), np.nan)
    plain = np.array([":" not in text and "/" not in text for text in texts])  # the others take long to refuse
    numbers[plain] = pd.to_numeric(texts[plain], errors="coerce").to_numpy(dtype=np.float64)
    finite = np.isfinite(numbers)
    if finite.any():
        _fill_numbers(read, indices[finite], numbers[finite])
    for fill in (_fill_iso, _fill_day_month_year):
        left = read.forms[indices] == UNREADABLE
        if left.any():
            fill(read, indices[left], texts[left].reset_index(drop=True))


def _fill_iso(read: ReadTimes, indices: NDArray, texts: pd.Series) -> None:
    """Fill in ISO 8601, also with UTC after the time as databases write it."""
    dates = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    zoned = np.flatnonzero(dates.isna() & texts.str.endswith(("UTC", "GMT")))
    if len(zoned):
        ends = pd.Series([f"{text[:-3]}Z" for text in texts[zoned]], index=zoned, dtype=object)
        dates[zoned] = pd.to_datetime(ends, format="ISO8601", utc=True, errors="coerce")
    starts = np.array([text[:1].isdigit() for text in texts])  # pandas reads "now" as a date
    good = dates.notna().to_numpy() & starts
    if good.any():
        _fill_dates(read, indices[good], dates[good])


def _fill_day_month_year(read: ReadTimes, indices: NDArray, texts: pd.Series) -> None:
    """Fill in dates such as 31/12/2024 23:59. There are few different days and times of day, so each is read once."""
    halves = [text.partition(" ") for text in texts]
    days = _of_unique([day for day, _, _ in halves], _days_both)
    clock = _of_unique([clock.strip() for _, _, clock in halves], _seconds_of_day)
    day_first, month_first = (86400.0 * days[:, column] + clock[:, 0] for column in (0, 1))
    has_day, has_month = np.isfinite(day_first), np.isfinite(month_first)
    forms = np.select([has_day & has_month, has_day, has_month], [EITHER, DAY_FIRST, MONTH_FIRST], UNREADABLE)
    read.others = np.full(len(read.forms), np.nan)
    read.forms[indices], read.values[indices], read.others[indices] = forms, day_first, month_first


def _of_unique(texts: list[str], function: Callable[[str], tuple[float, ...]]) -> NDArray[np.float64]:
    codes, unique = pd.factorize(np.array(texts, dtype=object))
    return np.array([function(text) for text in unique])[codes]


def _days_both(text: str) -> tuple[float, float]:
    """Days since 1970 of a date whose day or month comes first; dots mean that the day does."""
    match = _DAY_MONTH_YEAR.fullmatch(text)
    if not match:
        return np.nan, np.nan
    first, second, year = int(match[1]), int(match[3]), int(match[4])
    return days_from_1970(year, second, first), np.nan if match[2] == "." else days_from_1970(year, first, second)


def _seconds_of_day(text: str) -> tuple[float]:
    """Seconds since midnight; NaN if a text is no time of day."""
    match = _CLOCK.fullmatch(text)
    if not match:
        return (np.nan if text else 0.0,)
    hour, minute, second = int(match[1]), int(match[2]), float(match[3] or 0)
    if match[4]:
        hour = hour % 12 + 12 * (match[4].lower() == "pm") if 1 <= hour <= 12 else 24
    return (3600.0 * hour + 60.0 * minute + second if hour < 24 and minute < 60 and second < 61 else np.nan,)
