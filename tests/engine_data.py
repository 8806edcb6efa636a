"""A small saved recommender for tests of the engines."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_universal import Recommender

N_USERS = 53


def saved(folder: Path, **settings) -> Recommender:
    """Save a recommender of 53 users and 24 items, with a table of items."""
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{(3 * user + step) % 24}") for user in range(N_USERS) for step in rng.permutation(12)[:7]]
    table = pd.DataFrame({"item": [f"i{item}" for item in range(24)], "price": range(24)})
    events = pd.DataFrame(rows, columns=["user", "item"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rec = Recommender.fit(events, items=table, model="universal-base", show_progress=False, **settings)
        rec.ranker.item_item()
    rec.save(folder)
    return rec


def joined(parts: list[Path]) -> pd.DataFrame:
    """The rows of parts, one after the other."""
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
