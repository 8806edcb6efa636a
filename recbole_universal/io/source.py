"""What every reader returns: ids of users and items, in chunks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

Report = Callable[[str], None]


@dataclass
class Chunk:
    """Some rows of a table.

    Attributes:
        users: ids, one per row; a missing one is ``None`` or NaN.
        items: as ``users``.
        numbers: number of each row's line, row or record, for messages.
        problems: for an unusable row, by its index in the chunk, the reason.
        n_rows: number of rows of the file, if a row may hold several items; negative: the length of ``users``.
        further: values of further columns as they are stored: ``times``, ``weights``, ``events``, where they are read.
        row_name: what a row is called, by its number, if the rows are those of several files; ``None``: as
            :attr:`Source.row` and the number say.
        others: the columns :attr:`Source.ignored`, if the source reads whole rows. A missing value is ``None`` or NaN.
    """

    users: np.ndarray | pd.Series
    items: np.ndarray | pd.Series
    numbers: np.ndarray | range
    problems: dict[int, str] = field(default_factory=dict)
    n_rows: int = -1
    further: Mapping[str, np.ndarray | pd.Series] = field(default_factory=dict)
    others: Sequence[np.ndarray | pd.Series] = ()
    row_name: Callable[[int], str] | None = None

    def named(self, row: str, number: int) -> str:
        """The row with a number, for messages; ``row`` is what a row is called."""
        return f"{row} {number}" if self.row_name is None else self.row_name(number)


@dataclass
class Source:
    """A table that can be read.

    Attributes:
        where: the table, for messages.
        columns: names of the user and the item column.
        ignored: names of the other columns.
        row: what a row is called: line, row, record.
        chunks: makes an iterator over the rows.
        guess: a sentence on guessed columns; "" if none is guessed.
        given: whether the user named both columns.
        has_names: whether the columns have names.
        notes: further sentences for the user.
        strip: whether blanks around an id are ignored.
        one_item: whether a row is one interaction.
        time: name of the time column; ``None``: there is none.
        event: name of the column of events; ``None``: it is not read.
        time_note: a sentence on columns that may hold times but are not read; "" if there are none.
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
    time: str | None = None
    event: str | None = None
    time_note: str = ""
