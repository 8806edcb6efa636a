"""Checks for columns that hold no ids."""

from __future__ import annotations

import pandas as pd

from recbole_universal.io.layout import position_example
from recbole_universal.io.source import Report, Source

# If a table has this many rows, a column with a distinct value in nearly every row holds neither users nor items.
_ENOUGH_ROWS = 20
_NEARLY_ALL = 0.95


def check_distinct(
    where: str, source: Source, n_pairs: int, counts: dict[str, int], shown: str, report: Report
) -> None:
    """Checks for a column with a distinct value in nearly every row, which holds times or row numbers, not ids."""
    for kind, column in zip(("user", "item"), source.columns, strict=True):
        if n_pairs < _ENOUGH_ROWS or counts[kind] <= _NEARLY_ALL * n_pairs:
            continue
        if source.guess:
            columns = "--user-column, --item-column"
            if source.row == "line" and not source.has_names:
                columns = position_example(len(source.ignored) + 2 + (source.time is not None))
            raise ValueError(
                f"{where}: nothing is read, since [{column}], taken for the {kind}s, has {counts[kind]} different "
                f"values in {n_pairs} rows, like a time or the number of a row. First rows: {shown}. Give the columns "
                f"({columns})."
            )
        other = "user" if kind == "item" else "item"
        report(
            f"{where}: [{column}] has {counts[kind]} different values in {n_pairs} rows, so most {kind}s have a single "
            f"{other}. If it is a time or the number of a row, name another {kind} column (--{kind}-column)."
        )


def like_a_header(ids: pd.Index) -> bool:
    """Whether the first id is a word and most of the others have a digit."""
    digits = [any(character.isdigit() for character in str(value)) for value in ids[:1000]]
    return not digits[0] and sum(digits) > len(digits) / 2
