"""What every reader hands over: ids of users and items, some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

Report = Callable[[str], None]


@dataclass
class Chunk:
    """Some rows of a table.

    Attributes:
        users: ids, one a row; a missing one is ``None`` or NaN.
        items: as ``users``.
        numbers: what a row is called in messages: number of its line, row or record.
        problems: why a row is unusable, by its index here, where this is known already.
        n_rows: rows of the file that these are, where one row has several items; below 0: as many as ``users``.
    """

    users: np.ndarray | pd.Series
    items: np.ndarray | pd.Series
    numbers: np.ndarray | range
    problems: dict[int, str] = field(default_factory=dict)
    n_rows: int = -1


@dataclass
class Source:
    """A table that can be read.

    Attributes:
        where: the table, for messages.
        columns: names of the user and the item column.
        ignored: names of the other columns.
        row: what a row is called: line, row, record.
        chunks: makes an iterator over the rows.
        guess: what was guessed about the columns; "": nothing.
        given: whether the user named both columns.
        has_names: whether the columns have names.
        notes: what else the user must know.
        strip: whether blanks around an id are no part of it.
        one_item: whether a row is one interaction.
    """

    where: str
    columns: tuple[str, str]
    ignored: list[str]
    row: str
    chunks: Callable[[], Iterator[Chunk]]
    guess: str = ""
    given: bool = False
    has_names: bool = True
    notes: list[str] = field(default_factory=list)
    strip: bool = False
    one_item: bool = True
