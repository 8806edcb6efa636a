"""Codes for ids: each id has a number, in the order of their first row."""

from __future__ import annotations

import math
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

    def prepared(self, values: Any) -> tuple[np.ndarray, list]:
        """Places of rows in a list of the ids that they hold, and that list; below 0: ``MISSING``, ``NOT_TEXT``.

        Raises:
            TypeError: if the values are no ids.
        """
        places, found = pd.factorize(values)
        places = np.asarray(places, dtype=np.int64)
        ids: list[Any] = []
        lookup = np.empty(len(found) + 1, dtype=np.int64)
        lookup[-1] = MISSING  # what pandas takes for missing has the place -1
        for number, value in enumerate(found.tolist()):
            if isinstance(value, str):
                value = value.strip() if self._strip else value
                if not value.strip() or NOT_UTF_8 in value or not _is_utf_8(value):
                    lookup[number] = NOT_TEXT if value.strip() else MISSING
                    continue
            elif is_missing(value):
                lookup[number] = MISSING
                continue
            lookup[number] = len(ids)
            ids.append(value)
        return lookup[places], ids

    def codes(self, places: np.ndarray, ids: list) -> np.ndarray:
        """Codes of rows, int32; an id that is new gets the next one. ``places`` are those of rows that count."""
        _, first = np.unique(places, return_index=True)
        for place in places[np.sort(first)].tolist():
            self._codes.setdefault(ids[place], len(self._codes))
        lookup = np.array([self._codes.get(value, -1) for value in ids], dtype=np.int32)
        return lookup[places]

    def __contains__(self, value: Any) -> bool:
        return value in self._codes

    def __len__(self) -> int:
        return len(self._codes)

    def joined(self, codes: np.ndarray) -> tuple[pd.Index, np.ndarray, list[tuple[Any, Any]]]:
        """The ids, codes in which ids of one text are one (27 and "27"), and the pairs that were joined."""
        values = list(self._codes)
        kinds = {type(value) for value in values}
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
                return pd.Index(values), new_codes.astype(np.int32)[codes], pairs
        return pd.Index(values), codes, []


def whole(value: Any) -> Any:
    """A float that is a whole number as an integer; other values as they are."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def is_missing(value: Any) -> bool:
    """Whether an id is none: blank text, None, NaN, NaT, NA."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float):
        return math.isnan(value)
    missing = pd.isna(value)
    return bool(missing) if isinstance(missing, (bool, np.bool_)) else False


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
        return True
    except UnicodeEncodeError:
        return False
