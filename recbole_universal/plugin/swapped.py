"""Replace a name in a module for a while."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def swapped(module: types.ModuleType, name: str, value: Any) -> Iterator[None]:
    """Replace a name in a module for the length of the ``with`` block."""
    original = getattr(module, name, None)
    setattr(module, name, value)
    try:
        yield
    finally:
        if original is None:
            delattr(module, name)
        else:
            setattr(module, name, original)
