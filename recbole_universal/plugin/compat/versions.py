"""Versions of the installed libraries."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def release(package: str) -> tuple[int, ...]:
    """Release number of an installed package, ``(2, 13, 0)``; empty if it is not installed."""
    try:
        return numbers(installed_version(package))
    except PackageNotFoundError:  # a source tree on the path has no metadata, but may have a version
        try:
            return numbers(str(getattr(importlib.import_module(package), "__version__", "")))
        except ImportError:
            return ()


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version starts with, ``(1, 2, 1)``; empty if it starts with another text."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def recbole_version() -> str:
    """Version of the installed RecBole."""
    import recbole  # a source tree on the path has no metadata, but always this number

    return recbole.__version__


def recbole_1_2_0() -> bool:
    """Whether RecBole 1.2.0 is installed, which is older than the other release that is supported."""
    return numbers(recbole_version()) < (1, 2, 1)
