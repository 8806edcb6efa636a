"""Interactions of the tests of the service."""

from __future__ import annotations

import numpy as np
import pandas as pd


def events() -> pd.DataFrame:
    """People walk along a ring of 24 items, one item a second, some by steps of two; ids are texts."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(50):
        item = rng.integers(24)
        for step in range(8):
            rows.append((f"u{user}", f"i{item}", 1_700_000_000 + 1000 * step + user))
            item = (item + rng.integers(1, 3)) % 24
    return pd.DataFrame(rows, columns=["user", "item", "time"])
