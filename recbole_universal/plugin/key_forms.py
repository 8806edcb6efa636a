"""Forms of config values. A form describes the valid values and normalises them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_universal import arguments

# Bounds that keep a typing error from taking all memory.
_LARGEST_INTEGER, _LONGEST_NAME, _LONGEST_PATH = 2**31 - 1, 255, 4000


class WrongValueError(Exception):
    """A value is not valid. The text, if any, adds to what the form says."""


@dataclass(frozen=True)
class Form:
    """The valid values of a key.

    Attributes:
        valid: In words, after "must be".
        read: Brings a valid value into one form, and raises :class:`WrongValueError` for others.
        is_text: Whether a text stays text, even if it looks like a number.
    """

    valid: str
    read: Callable[[Any], Any]
    is_text: bool = False


def checked(key: str, form: Form, given: Any) -> Any:
    """The normalised value of a key.

    Raises:
        ValueError: If it is not valid, with the key and the valid values.
    """
    try:
        return form.read(given)
    except WrongValueError as error:
        raise ValueError(message(key, given, f"must be {form.valid}", str(error))) from None
    except ValueError as error:  # of an argument of a family
        raise ValueError(f"{key}: {_cut(str(error), 300)}") from error


def message(key: str, given: Any, what: str, hint: str = "") -> str:
    """The sentence about a wrong value."""
    return f"{key}: {what}, got {arguments.shown(given)}" + (f"; {hint}" if hint else ".")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


def integer(least: int, most: int = _LARGEST_INTEGER) -> Form:
    """An integer in a range."""

    def read(value):
        if not arguments.is_integer(value) or not least <= int(value) <= most:
            raise WrongValueError
        return int(value)

    return Form(f"an integer from {least} to {most}", read)


def real(valid: str, holds: Callable[[float], bool]) -> Form:
    """A number that fulfils a condition."""

    def read(value):
        if not arguments.is_real(value):
            raise WrongValueError
        try:
            number = float(value)
        except OverflowError:
            raise WrongValueError from None
        if not holds(number):
            raise WrongValueError
        return number

    return Form(valid, read)


def choice(choices: Iterable[str]) -> Form:
    """One of some names."""
    names = list(choices)

    def read(value):
        if not isinstance(value, str) or value not in names:
            near = difflib.get_close_matches(str(value), names, 1) if isinstance(value, str) else []
            raise WrongValueError(f"did you mean {near[0]}?" if near else "")
        return value

    return Form(f"one of {names}", read, is_text=True)


def text(valid: str, *, empty: bool = False) -> Form:
    """A line of text; with ``empty`` also no value."""

    def read(value):
        if empty and (value is None or value == ""):
            return None
        if not isinstance(value, (str, os.PathLike)) or not is_line(os.fspath(value)):
            raise WrongValueError
        return str(value)

    return Form(valid + (", or empty" if empty else ""), read, is_text=True)


def is_line(text: Any) -> bool:
    """Whether a text can be a name or a path: one line, not empty, with parts as short as those of a path."""
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        return False
    return len(text) <= _LONGEST_PATH and max(map(len, text.split("/"))) <= _LONGEST_NAME


def names(what: str) -> Form:
    """A list of names; a single name means a list of one name, and no value an empty list."""

    def read(value):
        values = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(values, (list, tuple)) or not all(map(is_line, values)):
            raise WrongValueError
        if len(set(values)) < len(values):
            raise WrongValueError("a name is given twice.")
        return list(values)

    return Form(f"a list of {what}", read)


def or_special(form: Form, special: Mapping[Any, Any], valid: str) -> Form:
    """``form``, or one of some special values. Each stands for another value."""

    def read(value):
        if value is None or isinstance(value, str):
            if value in special:
                return special[value]
        return form.read(value)

    return Form(f"{form.valid}, or {valid}", read, form.is_text)


#: Forms of several keys.
POSITIVE, SEED = integer(1), integer(0, 2**32 - 1)
