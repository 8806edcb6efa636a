"""Values of a column as texts, the type of the column, and texts that an atomic file can hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal.io.ids import NOT_UTF_8, is_utf_8, whole
from recbole_universal.io.times import NULL_WORDS

TOKEN, FLOAT, TOKEN_SEQ, FLOAT_SEQ = "token", "float", "token_seq", "float_seq"
#: Separator of the elements of a list in an atomic file.
BLANK = " "

# 007 and +49 are no numbers, and a float holds no whole number of more than 15 digits.
_NUMBER = re.compile(r"-?(?:(?:0|[1-9]\d{0,14}|[1-9]\d*(?=[.eE]))(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_BREAKING = re.compile(r"[\t\n\r\0]")

#: Receives the index of a row whose value changed, and what was wrong with it.
Replaced = Callable[[int, str], None]
#: A value of a row: text, the texts of a list, or ``None`` for a missing one.
Value = str | list[str] | None


def texts(values: Any, strip: bool) -> list[Value]:
    """Values of a column as texts.

    Args:
        values: an array or a series [n] of values of any type. NaN and infinity are missing.
        strip: whether blanks around a text are left out.
    """
    series = pd.Series(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    if series.dtype == np.float32 or series.dtype == np.float16:  # str() of the type itself is the shortest
        return [str(one).removesuffix(".0") if np.isfinite(one) else None for one in series.to_numpy()]
    if series.dtype == object or isinstance(series.dtype, pd.StringDtype):
        return [_text(value, strip) for value in series.tolist()]
    missing = series.isna().tolist()
    return [None if gone else _text(value, strip) for value, gone in zip(series.tolist(), missing, strict=True)]


def _text(value: Any, strip: bool) -> Value:
    if isinstance(value, str):
        return (value.strip() if strip else value) or None
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (float, np.floating)):
        return str(whole(float(value))) if math.isfinite(value) else None
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        listed = value.tolist() if isinstance(value, np.ndarray) else list(value)
        return [one for one in (_text(one, strip) for one in listed) if isinstance(one, str)]
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    gone = pd.isna(value)
    return None if isinstance(gone, (bool, np.bool_)) and gone else str(value)


def time_text(seconds: float) -> str:
    """A number as the shortest text that reads as the same number."""
    return str(int(seconds)) if seconds.is_integer() and abs(seconds) < 2**53 else repr(seconds)


def is_number(text: str) -> bool:
    """Whether a text is a number that a column of floats holds without a loss."""
    return _NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


@dataclass
class Column:
    """A column of an atomic file.

    Attributes:
        source: its name in the table.
        name: its name in the atomic file.
        as_tokens: whether numbers are tokens.
        separator: what separates the elements of a text that is a list; "": a text is one value.
        numbers: whether all values until now are numbers or missing.
        lists: whether a value until now is a list.
        n_values: number of values until now that are not missing.
    """

    source: str
    name: str
    as_tokens: bool = False
    separator: str = ""
    numbers: bool = True
    lists: bool = False
    n_values: int = 0

    def values(self, values: Any, strip: bool) -> list[Value]:
        """Values of rows as texts and lists of texts."""
        found = texts(values, strip)
        if self.separator:
            return [self._elements(value) if isinstance(value, str) else value for value in found]
        return found

    def _elements(self, text: str) -> list[str]:
        return [one for one in (part.strip() for part in text.split(self.separator)) if one]

    def see(self, values: Iterable[Value]) -> None:
        """Learn the type from values."""
        for value in values:
            if value is None or (isinstance(value, str) and value in NULL_WORDS):
                continue
            self.n_values += 1
            if isinstance(value, str):
                self.numbers = self.numbers and is_number(value)
            else:
                self.lists = True
                self.numbers = self.numbers and all(map(is_number, value))

    @property
    def kind(self) -> str:
        """The type in RecBole's words."""
        is_float = self.numbers and self.n_values > 0 and not self.as_tokens
        if self.lists or self.separator:
            return FLOAT_SEQ if is_float else TOKEN_SEQ
        return FLOAT if is_float else TOKEN

    def fields(self, values: Sequence[Value], replaced: Replaced) -> list[str]:
        """Values as the fields of an atomic file; a missing one is empty.

        Args:
            values: the values of rows.
            replaced: receives the index of a row whose value changed, and what was wrong with it.
        """
        kind = self.kind
        if kind in (TOKEN_SEQ, FLOAT_SEQ):
            return [_joined(index, value, replaced) for index, value in enumerate(values)]
        if kind == FLOAT:
            return ["" if value is None or value in NULL_WORDS else str(value) for value in values]
        return ["" if value is None else _clean(index, str(value), replaced) for index, value in enumerate(values)]


def _joined(index: int, value: Value, replaced: Replaced) -> str:
    elements = [] if value is None else [value] if isinstance(value, str) else value
    joined = []
    for element in elements:
        text = _clean(index, element, replaced)
        if BLANK in text:
            replaced(index, "blanks within elements, and blanks separate elements; each became _")
        joined.append(text.replace(BLANK, "_"))
    return BLANK.join(joined)


def problem(text: str) -> tuple[str, str]:
    """Why an atomic file cannot hold a text, and what becomes of a value that is no id; "" if it can."""
    if _BREAKING.search(text):
        return "a tab, a line end or a NUL", "each became a blank"
    if text.startswith('"'):
        return "a double quote at the start, which RecBole takes for a mark of quoting", "it became '"
    if not text.isascii() and not is_utf_8(text):
        return "bytes that are not UTF-8", "each became ?"
    return "", ""


def _clean(index: int, text: str, replaced: Replaced) -> str:
    while any(problem(text)):
        replaced(index, "; ".join(problem(text)))
        text = _BREAKING.sub(" ", text)
        text = "'" + text[1:] if text.startswith('"') else text
        text = text.replace(NOT_UTF_8, "?").encode("utf-8", "replace").decode()
    return text
