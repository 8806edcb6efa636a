"""Shards of a computation that other processes may compute, such as workers of Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Results of a function for each shard, in their order. It takes the function, its first arguments, which all shards
#: share, and the shards, which are the last argument of each call.
Spread = Callable[[Callable[..., Any], tuple, Sequence[Any]], list]

_N_SHARDS = 64
_SPREAD: ContextVar[Spread | None] = ContextVar("spread", default=None)


@contextmanager
def spread_by(spread: Spread) -> Iterator[None]:
    """Let computations of this thread that have shards give them away."""
    token = _SPREAD.set(spread)
    try:
        yield
    finally:
        _SPREAD.reset(token)


def current_spread() -> Spread | None:
    """What takes shards; ``None``: this process computes all itself."""
    return _SPREAD.get()


def balanced_shards(work: NDArray) -> list[NDArray[np.int64]]:
    """Consecutive indices in shards of about equal work, at most 64, none of them empty.

    Args:
        work: work of each index, [n].
    """
    total = np.cumsum(work, dtype=np.float64)
    ends = np.searchsorted(total, np.linspace(0, total[-1] if len(total) else 0, _N_SHARDS + 1)[1:-1], side="right")
    return [shard for shard in np.split(np.arange(len(work)), ends) if len(shard)]
