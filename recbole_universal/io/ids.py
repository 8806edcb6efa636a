"""Codes for ids: each id has a number, in the order of their first row."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal.io.streams import NOT_UTF_8

MISSING, NOT_TEXT = -1, -2


class Ids:
    """The ids of one kind.

    Args:
        strip: whether blanks around an id are no part of it.
    """

    def __init__(self, strip: bool) -> None:
        self._strip = strip
        self._codes: dict[Any, int] = {}
        self._known: dict[Any, int] = {} if strip else self._codes  # of values as they stand in the table

    def codes(self, values: Any) -> np.ndarray:
        """Codes of rows, int32; a new id gets the next one. Below 0: ``MISSING``, ``NOT_TEXT``.

        Raises:
            TypeError: if the values are no ids.
        """
        if values.dtype == object and pd.api.types.infer_dtype(values).startswith("mixed"):  # True is not 1
            values = [str(value) if isinstance(value, (bool, np.bool_)) else value for value in values]
            values = pd.Series(values, dtype=object)
        places, found = pd.factorize(values)
        raw = found.tolist()
        codes = list(map(self._known.get, raw))
        if None in codes:
            codes = [self._code(value) if code is None else code for value, code in zip(raw, codes, strict=True)]
        lookup = np.array([*codes, MISSING], dtype=np.int32)  # what pandas takes for missing has the place -1
        return lookup[places]

    def _code(self, value: Any) -> int:
        """The code of a value that is met for the first time."""
        name = value
        if isinstance(value, str):
            name = value.strip()
            if not name:
                return MISSING
            if not name.isascii() and not is_utf_8(name):
                return NOT_TEXT
            name = name if self._strip else value
        elif not isinstance(value, int) and is_missing(value):
            return MISSING
        code = self._known[value] = self._codes.setdefault(name, len(self._codes))
        return code

    def name(self, code: int) -> Any:
        """The id of a code."""
        return next(islice(self._codes, code, None))

    def __contains__(self, value: Any) -> bool:
        return value in self._codes

    def __len__(self) -> int:
        return len(self._codes)

    def joined(self, codes: np.ndarray, has_unused: bool) -> tuple[pd.Index, np.ndarray, list[tuple[Any, Any]]]:
        """The ids, codes in which ids of one text are one (27 and "27"), and the pairs that were joined.

        Args:
            codes: of the rows that count.
            has_unused: whether there are ids that none of these rows has, or that a row that is left out had first.
        """
        values = list(self._codes)
        if has_unused:
            codes, kept = pd.factorize(codes)
            values = [values[code] for code in kept.tolist()]
        kinds = set(map(type, values))
        if kinds == {float} and all(value.is_integer() and abs(value) < 2**53 for value in values):
            values = [int(value) for value in values]
        elif len(kinds) > 1:
            values = [whole(value) for value in values]
            first: dict[str, int] = {}
            places = np.array([first.setdefault(str(value), place) for place, value in enumerate(values)])
            kept, new_codes = np.unique(places, return_inverse=True)
            if len(kept) < len(values):
                same = np.flatnonzero(places != np.arange(len(places)))
                pairs = [(values[places[place]], values[place]) for place in same.tolist()]
                values = [values[place] for place in kept.tolist()]
                return pd.Index(values, tupleize_cols=False), new_codes[codes], pairs
        return pd.Index(values, tupleize_cols=False), codes, []


def whole(value: Any) -> Any:
    """A float that is a whole number as an integer; other values as they are."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def is_missing(value: Any) -> bool:
    """Whether an id is none: blank text, None, NaN, infinity, NaT, NA."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, (float, np.floating)):
        return not math.isfinite(value)
    missing = pd.isna(value)
    return bool(missing) if isinstance(missing, (bool, np.bool_)) else False


def is_utf_8(text: str) -> bool:
    """Whether a text was UTF-8 where it was read, and can be written as such."""
    try:
        text.encode()
        return NOT_UTF_8 not in text
    except UnicodeEncodeError:
        return False
