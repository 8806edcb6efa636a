"""Maps ids to codes, in the order of their first rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal.io.streams import NOT_UTF_8

MISSING, NOT_TEXT = -1, -2


class Ids:
    """The ids of one kind.

    Args:
        strip: whether blanks around an id are ignored.
    """

    def __init__(self, strip: bool) -> None:
        self._strip = strip
        self._codes: dict[Any, int] = {}
        self._known: dict[Any, int] = {} if strip else self._codes  # of values as stored in the table

    def codes(self, values: Any) -> np.ndarray:
        """Codes of rows, int32; a new id gets the next code. Negative codes are ``MISSING`` and ``NOT_TEXT``.

        Raises:
            TypeError: if the values are no ids.
        """
        if values.dtype == object and pd.api.types.infer_dtype(values).startswith("mixed"):  # True is not 1
            values = [str(value) if isinstance(value, (bool, np.bool_)) else value for value in values]
            values = pd.Series(values, dtype=object)
        indices, uniques = pd.factorize(values)
        raw = uniques.tolist()
        codes = list(map(self._known.get, raw))
        if None in codes:
            codes = [self._code(value) if code is None else code for value, code in zip(raw, codes, strict=True)]
        lookup = np.array([*codes, MISSING], dtype=np.int32)  # pandas gives missing values the index -1
        return lookup[indices]

    def _code(self, value: Any) -> int:
        """The code of a new value."""
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

    def joined(self, used: np.ndarray) -> tuple[pd.Index, np.ndarray, list[tuple[Any, Any]]]:
        """Joins ids that have the same text, such as 27 and "27".

        Args:
            used: codes of the ids that a usable row has, in the order of their first one, int64 [n].

        Returns:
            The ids; the index of each code's id, int32 [n_codes], -1 for the unused; and the pairs of ids that were
            joined.
        """
        values = list(self._codes)
        values = [values[code] for code in used.tolist()]
        indices, pairs = np.arange(len(values)), []
        kinds = set(map(type, values))
        if kinds == {float} and all(value.is_integer() and abs(value) < 2**53 for value in values):
            values = [int(value) for value in values]
        elif len(kinds) > 1:
            values = [whole(value) for value in values]
            first: dict[str, int] = {}
            of_text = np.array([first.setdefault(str(value), index) for index, value in enumerate(values)])
            firsts, indices = np.unique(of_text, return_inverse=True)
            same = np.flatnonzero(of_text != np.arange(len(values)))
            pairs = [(values[of_text[index]], values[index]) for index in same.tolist()]
            values = [values[index] for index in firsts.tolist()]
        index_of_code = np.full(len(self._codes), MISSING, dtype=np.int32)
        index_of_code[used] = indices
        return pd.Index(values, tupleize_cols=False), index_of_code, pairs


class IdLookup:
    """Finds ids; 7 finds "7" if there is no 7, and True is not 1.

    Args:
        ids: the known ids.
    """

    def __init__(self, ids: pd.Index) -> None:
        self._ids = ids
        # Made when they are first needed: they take some 100 bytes an id, and workers of an engine look up no id.
        self._exact: dict[Any, int] | None = None
        self._by_text: dict[str, int] | None = None

    def indices(self, names: Iterable[Any]) -> np.ndarray:
        """Index of each name, -1 for an unknown one, int64 [n]."""
        if self._exact is None:
            self._exact = {_key(name): index for index, name in enumerate(self._ids.tolist())}
        exact, names = self._exact, [_key(name) for name in names]
        found = [exact.get(name, -1) for name in names]
        if -1 in found:
            if self._by_text is None:
                self._by_text = {str(name): index for name, index in exact.items()}
            text = self._by_text
            found = [text.get(str(name), -1) if index < 0 else index for name, index in zip(names, found, strict=True)]
        return np.array(found, dtype=np.int64)


def _key(name: Any) -> Any:
    return str(name) if isinstance(name, (bool, np.bool_)) else whole(name)


def whole(value: Any) -> Any:
    """Converts a whole float to an integer; returns other values unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def is_missing(value: Any) -> bool:
    """Whether a value is missing: blank text, None, NaN, infinity, NaT, NA."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, (float, np.floating)):
        return not math.isfinite(value)
    missing = pd.isna(value)
    return bool(missing) if isinstance(missing, (bool, np.bool_)) else False


def is_utf_8(text: str) -> bool:
    """Whether a text was read from valid UTF-8 and can be written as UTF-8."""
    try:
        text.encode()
        return NOT_UTF_8 not in text
    except UnicodeEncodeError:
        return False
