"""The core of the interactions, by the arguments of a caller."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from recbole_universal import arguments
from recbole_universal.io.core import ALL, Core

_INTERVAL = re.compile(r"([\[(])\s*([^,;]+?)\s*,\s*([^,;]+?)\s*([\])])")


def checked_core(user_inter_num_interval: Any, item_inter_num_interval: Any) -> Core | None:
    """The core of arguments of a caller; ``None`` without any.

    Args:
        user_inter_num_interval: an interval such as ``[5,inf)``, or the least number; ``None``: any number.
        item_inter_num_interval: likewise.

    Raises:
        ValueError: naming the argument and its valid values.
    """
    given = {"user_inter_num_interval": user_inter_num_interval, "item_inter_num_interval": item_inter_num_interval}
    if all(value is None for value in given.values()):
        return None
    return Core(*(_interval(name, value) for name, value in given.items()))


def _interval(name: str, given: Any) -> tuple[float, float]:
    """Least and largest whole number of an interval.

    Raises:
        ValueError: if it is none.
    """
    if given is None:
        return ALL
    if arguments.is_integer(given) and given >= 1:
        return float(given), np.inf
    text = str(given).strip()
    match = _INTERVAL.fullmatch(text)
    try:
        if text.isdecimal() and int(text):
            return float(text), np.inf
        if match is None or not isinstance(given, str):
            raise ValueError
        least, most = float(match[2]), float(match[3])
        least = np.ceil(least) if match[1] == "[" else np.floor(least) + 1
        most = np.floor(most) if match[4] == "]" else np.ceil(most) - 1
        if not max(least, 1) <= most or not np.isfinite(least):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{name} (--{name.replace('_', '-')}): must be a least number such as 5, or an interval that holds a whole "
            f"number of at least 1, such as [5,inf) or [5,100]; got {arguments.shown(given)}."
        ) from None
    return float(least), float(most)
