"""Checks of user-given arguments, with one wording for all.

Each error names the owner ("feature family 'activity'"), the argument, its value and what is valid.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

#: The limit of an integer that no other limit is given for. A larger one is a typing error, or takes all memory.
LARGEST = 2**20


def shown(value: Any) -> str:
    """A value in one line of an error, shortened."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a value may be anything
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else text[:97] + "..."


def integer(owner: str, name: str, value: Any, minimum: int, below: int = LARGEST, otherwise: str = "") -> int:
    """Return ``value`` as an int, at least ``minimum`` and smaller than ``below``.

    Args:
        owner: what the argument belongs to, for the message.
        name: name of the argument.
        value: its value.
        minimum: smallest valid value.
        below: smallest value that is too large.
        otherwise: what else is valid, for the message.

    Raises:
        ValueError: if it is not an integer, too small or too large.
    """
    if not is_integer(value) or not minimum <= int(value) < below:
        power = below.bit_length() - 1
        limit = f"below 2**{power}" if below == 2**power else f"at most {below - 1}"
        raise ValueError(
            f"{owner}: argument {name} must be an integer >= {minimum} and {limit}{otherwise}, not {shown(value)}"
        )
    return int(value)


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether a value is a real number, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def array(name: str, value: Any) -> np.ndarray:
    """Return ``value`` as an array.

    Raises:
        ValueError: if it is a list of lists of different lengths, or some of its values are masked.
    """
    try:
        converted = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name}: must be an array or a list of numbers, got {shown(value)}.") from error
    if np.ma.is_masked(value):
        raise ValueError(f"{name}: must be an array without masked values, got {shown(value)}.")
    return converted


def optional_integer(owner: str, name: str, value: Any, minimum: int) -> int | None:
    """Return ``value`` as an int, at least ``minimum``, or None (chosen from the size of the data).

    Raises:
        ValueError: if it is neither None nor an integer, or too small.
    """
    otherwise = ", or None (chosen from the size of the data)"
    return None if value is None else integer(owner, name, value, minimum, otherwise=otherwise)


def seed(owner: str, value: Any, name: str = "seed") -> int:
    """Return ``value`` as an int that is a valid seed of `torch.Generator`, from 0 to 2**64 - 1.

    Raises:
        ValueError: if it is not such an integer.
    """
    return integer(owner, name, value, 0, below=2**64)


def flag(owner: str, name: str, value: Any) -> bool:
    """Return ``value`` as a bool.

    Raises:
        ValueError: if it is not True or False.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{owner}: argument {name} must be True or False, not {shown(value)}")
    return bool(value)


def device(value: Any) -> Any:
    """Return ``value`` as a ``torch.device`` that is available.

    Raises:
        ValueError: if PyTorch does not know it or does not find it.
    """
    import torch  # here, since other checks need no PyTorch, which takes seconds to load

    try:
        checked = torch.device(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"device: PyTorch knows no device {shown(value)}; try cpu or cuda.") from error
    try:
        torch.empty(1, device=checked).tolist()
    except Exception as error:  # each kind of device has its own error
        kind = "GPU" if checked.type == "cuda" else "such device"
        raise ValueError(f"device: {checked} is asked for, but PyTorch finds no {kind} here; use cpu.") from error
    return checked


def real(owner: str, name: str, value: Any, above: float) -> float:
    """Return ``value`` as a finite float greater than ``above``.

    Raises:
        ValueError: if it is not a finite number, or too small.
    """
    try:
        number = float(value) if is_real(value) else math.nan
    except OverflowError:  # an integer that no float can hold
        number = math.nan
    if not (math.isfinite(number) and number > above):
        raise ValueError(f"{owner}: argument {name} must be a finite number > {above:g}, not {shown(value)}")
    return number


def share(owner: str, name: str, value: Any) -> float:
    """Return ``value`` as a float in [0, 1).

    Raises:
        ValueError: if it is not such a number.
    """
    if not is_real(value) or not 0 <= value < 1:
        raise ValueError(f"{owner}: argument {name} must be a number in [0, 1), not {shown(value)}")
    return float(value)


def choice(owner: str, name: str, value: Any, choices: Collection[str]) -> str:
    """Return ``value``, one of ``choices``.

    Raises:
        ValueError: if it is another value.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{owner}: argument {name} must be one of {', '.join(choices)}, not {shown(value)}")
    return value


def callback(owner: str, name: str, value: Any) -> Callable[[str], Any] | None:
    """Return ``value``, a function that takes a message, or None (no message).

    Raises:
        ValueError: if it is neither None nor callable.
    """
    if value is not None and not callable(value):
        raise ValueError(f"{owner}: argument {name} must be a function of the message, or None, not {shown(value)}")
    return value


def defaults(function: Callable[..., Any], exclude: Collection[str] = ("self",)) -> dict[str, Any]:
    """Return the optional arguments of a function, with their default values."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in exclude and p.default is not p.empty}


def mapping(owner: str, value: Any) -> dict[str, Any]:
    """Return ``value`` as a dict; None is an empty one.

    Raises:
        ValueError: if it is not a mapping with strings as keys.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{owner}: arguments must be a mapping from argument name to value, not {shown(value)}")
    return dict(value)


def known(owner: str, given: Collection[str], valid: Collection[str]) -> None:
    """Check that every given argument exists.

    Raises:
        ValueError: naming the unknown ones and listing the valid ones.
    """
    unknown = sorted(set(given) - set(valid))
    if unknown:
        raise ValueError(f"{owner}: unknown argument {', '.join(unknown)}; valid arguments: {', '.join(valid)}")


def column_name(kind: str, name: Any) -> None:
    """Refuse a value that cannot name a column: a list, an array, a frame, a tensor.

    Raises:
        ValueError: naming the argument.
    """
    try:
        hash(name)
        is_array = getattr(name, "ndim", 0) > 0  # a tensor has a hash
    except TypeError:
        is_array = True
    if is_array:
        raise ValueError(f"{kind}_column (--{kind}-column): must be the name of a column, got {shown(name)}.")
