"""Replace a name in a module for a while."""

from __future__ import annotations

import contextlib
import threading
import types
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

# A second thread would take the first one's value for the original. One thread may replace a name again.
_LOCKS: defaultdict[tuple[str, str], threading.RLock] = defaultdict(threading.RLock)  # type: ignore[valid-type]
_ABSENT = object()


@contextlib.contextmanager
def swapped(module: types.ModuleType | type, name: str, value: Any) -> Iterator[None]:
    """Replace a name in a module or a class for the length of the ``with`` block. Other threads wait for its end."""
    with _LOCKS[module.__name__, name]:
        original = vars(module).get(name, _ABSENT)
        setattr(module, name, value)
        try:
            yield
        finally:
            if original is _ABSENT:
                delattr(module, name)
            else:
                setattr(module, name, original)
