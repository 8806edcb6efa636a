"""Weights of rows: numbers of a column, and weights of kinds of events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_universal.io.column_names import listed_names
from recbole_universal.io.source import Chunk

#: Largest weight. Sums of larger numbers could overflow.
LARGEST = 1e30
_ODD = ("complex", "mixed", "mixed-integer")  # kinds of a column that may hold complex numbers
_WHOLE = re.compile(r"([+-]?\d+)\.0*")


def kind_name(value: Any) -> str:
    """The name of a kind of events; 4.0 and 4 are one kind."""
    return _WHOLE.sub(r"\1", text) if _WHOLE.fullmatch(text := str(value).strip()) else text


@dataclass
class RowWeights:
    """Collects the weights of rows.

    Attributes:
        kinds: weight of each kind of events; ``None``: no such column is read.
        unknown: number of rows of each kind without a weight.
        used: kinds that some row has.
        parts: weights of each chunk's usable rows.
    """

    kinds: Mapping[str, float] | None
    unknown: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    parts: list[NDArray[np.float64]] = field(default_factory=list)

    def read(self, chunk: Chunk) -> NDArray[np.float64]:
        """The weight of each row of a chunk, float64 [n]; the chunk gets a problem for each row without one."""
        weights = np.ones(len(chunk.users))
        if "weights" in chunk.further:
            weights = _numbers(chunk.further["weights"], chunk.problems)
        if self.kinds is not None:
            weights = weights * self._of_events(chunk.further["events"], self.kinds, chunk.problems)
        return weights

    def _of_events(self, events: Any, kinds: Mapping[str, float], problems: dict[int, str]) -> NDArray[np.float64]:
        codes, values = pd.factorize(pd.Series(events).astype(object))
        names = [kind_name(value) for value in values]
        for index in np.flatnonzero(codes < 0).tolist():
            problems.setdefault(index, "no event")
        weights = np.zeros(len(names) + 1)
        for code, name in enumerate(names):
            if not name:
                for index in np.flatnonzero(codes == code).tolist():
                    problems.setdefault(index, "no event")
            elif name in kinds:
                self.used.add(name)
                weights[code] = kinds[name]
            else:
                self.unknown[name] = self.unknown.get(name, 0) + int((codes == code).sum())
        return weights[codes]

    def check(self, where: str, column: str | None) -> str:
        """A sentence on kinds that no row has, or "".

        Raises:
            ValueError: if rows have a kind without a weight.
        """
        if self.kinds is None:
            return ""
        if self.unknown:
            most = sorted(self.unknown.items(), key=lambda entry: -entry[1])
            listed = ", ".join(f"[{name[:60]}] ({count} row{'s' * (count != 1)})" for name, count in most[:10])
            raise ValueError(
                f"{where}: event_weights (--event-weights): [{column}] has kinds without a weight: {listed}"
                f"{', ...' if len(most) > 10 else ''}. Give each a weight, or 0 if it says nothing about taste."
            )
        missing = [name for name in self.kinds if name not in self.used]
        return f"{where}: no row of [{column}] has the kind {listed_names(missing, 10)}." if missing else ""


def _numbers(values: Any, problems: dict[int, str]) -> NDArray[np.float64]:
    """Weights of a column, float64 [n]; 0 and a problem for a row without one."""
    column = pd.Series(values).reset_index(drop=True)
    if pd.api.types.is_numeric_dtype(column.dtype) and column.dtype.kind != "c":
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    elif pd.api.types.is_datetime64_any_dtype(column.dtype):
        numbers = np.full(len(column), np.nan)
    else:
        values = column.astype(object)
        if column.dtype.kind == "c" or pd.api.types.infer_dtype(values, skipna=True) in _ODD:
            values = values.map(lambda value: np.nan if isinstance(value, complex) else value)
        try:
            numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        except OverflowError:  # an integer that no float holds
            values = values.map(lambda value: np.inf if type(value) is int and abs(value) > LARGEST else value)
            numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    good = (numbers >= 0) & (numbers <= LARGEST)
    for index in np.flatnonzero(~good).tolist():
        value = column.iloc[index]
        text = "" if value is None else str(value).strip()[:60]
        if pd.isna(value) or not text:
            problem = "no weight"
        elif numbers[index] < 0:
            problem = f"a negative weight: '{text}'"
        else:
            problem = f"a weight that is no finite number: '{text}'"
        problems.setdefault(index, problem)
    return np.where(good, numbers, 0.0)
