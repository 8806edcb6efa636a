"""Calls of the tests of content in lists: warnings as text, files of a shop, the command line."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from recbole_universal.app import cli


def told(call):
    """What a call returns, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, " ".join(str(each.message) for each in caught)


def written_shop(folder: Path, orders: pd.DataFrame, items: pd.DataFrame) -> Path:
    """The folder, with ``orders.csv`` and ``items.csv``."""
    orders.to_csv(folder / "orders.csv", index=False)
    items.to_csv(folder / "items.csv", index=False)
    return folder


def run(*words) -> int:
    return cli.main([str(word) for word in words])
