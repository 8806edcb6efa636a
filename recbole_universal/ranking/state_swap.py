"""Replaces the state of an object that other threads read."""

from __future__ import annotations

import os
import threading
from typing import Any

# Held while a state is replaced.
_SWAP = threading.Lock()


def _new_lock() -> None:
    """Replace the lock in a forked process, which has no thread that could release it."""
    global _SWAP
    _SWAP = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def swapped(owner: Any, before: Any, after: Any) -> bool:
    """Replace ``owner._state``, unless another thread has replaced it first.

    Args:
        owner: the object.
        before: the state that ``after`` was made of.
        after: the new state.

    Returns:
        Whether the new state is in its place.
    """
    with _SWAP:
        if owner._state is not before:
            return False
        owner._state = after
        return True
