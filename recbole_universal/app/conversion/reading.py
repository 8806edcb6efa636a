"""Reads whole tables twice: once to learn which rows are usable and the types, once to write them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal.app.conversion.values import FLOAT, TOKEN, Column, problem, time_text
from recbole_universal.io.column_names import FurtherColumns, OneColumn, TimeColumn, plain_name, rating_column
from recbole_universal.io.interactions import open_sources
from recbole_universal.io.row_times import RowTimes
from recbole_universal.io.rows import Rows
from recbole_universal.io.source import Chunk, Report, Source
from recbole_universal.io.times import NULL_WORDS
from recbole_universal.io.usable_rows import Block

USER, ITEM, TIME, RATING = "user_id", "item_id", "timestamp", "rating"


@dataclass(frozen=True)
class ColumnRules:
    """What the caller says about columns.

    Attributes:
        tokens: names of columns whose numbers are tokens.
        sequences: names of columns whose texts are lists.
        separator: what separates the elements of such a text.
    """

    tokens: Sequence[str] = ()
    sequences: Sequence[str] = ()
    separator: str = " "

    def column(self, name: str) -> Column:
        """A column of a table, before it is read."""
        plain = plain_name(name)
        separator = self.separator if {name, plain} & set(self.sequences) else ""
        return Column(name, plain, bool({name, plain} & set(self.tokens)), separator)


@dataclass
class Changes:
    """Counts values that were replaced.

    Attributes:
        where: the table, for messages.
    """

    where: str
    _found: dict[tuple[str, str], list[Any]] = field(default_factory=dict)

    def add(self, column: str, what: str, row: str) -> None:
        """Count one value."""
        self._found.setdefault((column, what), [0, row])[0] += 1

    def tell(self, report: Report) -> None:
        """Report each column with replaced values."""
        for (column, what), (count, row) in self._found.items():
            report(f"{self.where}: values of [{column}] that hold {what}: {count}, the first in {row}.")


class WholeTable:
    """A table with all its columns, which is read twice.

    Args:
        source: as of ``read_interactions``.
        named: the columns of the users and the items, or one column of ids.
        time: the time column.
        rules: what the caller says about columns.
        report: receives a sentence on each thing that is left out or guessed.
        show_progress: whether to draw a progress bar.

    Attributes:
        where: the table, for messages.
        columns: the columns other than ids and times.
        names: names of the columns that hold the users and the items.
    """

    def __init__(
        self, source: Any, named: Any, time: TimeColumn, rules: ColumnRules, report: Report, show_progress: bool
    ) -> None:
        self.where, self._sources = open_sources(source, named, FurtherColumns(time), show_progress, whole=True)
        self._report = report
        first = self._first = self._sources[0]
        self.names = first.columns
        self.columns = {name: rules.column(name) for each in self._sources for name in _keys(each.ignored)}
        times = None if first.time is None else RowTimes(first.time, time.name is not None)
        self._unused_time = None if first.time is None else rules.column(first.time)
        kinds = (named.kind,) if isinstance(named, OneColumn) else ("user", "item")
        rows, masks = Rows(first.strip, times, kinds=kinds), []
        for each, chunk in self._chunks():
            usable = rows.add(chunk, _label(each, self._sources))
            masks.append(usable)
            for column, values in self._values(each, chunk, self._unused_time):
                column.see(column.values(values[usable], each.strip))
        for each in self._sources:
            for note in each.notes:
                report(note)
        if first.time_note:
            report(f"{self.where}: {first.time_note}")
        self._usable = rows.usable(self.where, first, report)
        self.rows = Block.joined(list(self._usable.blocks()))
        self._mask = np.concatenate(masks)
        self._mask[self._mask] = self._usable.timed()
        rows.close()
        if self._unused_time is not None and self.rows.seconds is None:
            self.columns[self._unused_time.source] = self._unused_time
        else:
            self._unused_time = None

    def blocks(self) -> Iterator[tuple[slice, list[list[str]]]]:
        """Blocks of usable rows: their indices in :attr:`rows`, and the fields of each of :attr:`columns`.

        Raises:
            ValueError: if the table has changed since the first reading.
        """
        changes = Changes(self.where)
        start = row = 0
        for each, chunk in self._chunks():
            usable = self._mask[row : row + len(chunk.users)]
            row += len(chunk.users)
            if len(usable) < len(chunk.users):
                break
            numbers = np.asarray(chunk.numbers)[usable]
            label = _label(each, self._sources)
            fields = dict.fromkeys(self.columns, [""] * len(numbers))
            for column, values in self._values(each, chunk, self._unused_time):

                def replaced(index: int, what: str, name: str = column.source) -> None:
                    changes.add(name, what, f"{label} {numbers[index]}")  # noqa: B023  called at once

                fields[column.source] = column.fields(column.values(values[usable], each.strip), replaced)
            yield slice(start, start + len(numbers)), list(fields.values())
            start += len(numbers)
        if row != len(self._mask):
            raise ValueError(f"{self.where} has changed while it was read; nothing is written.")
        changes.tell(self._report)

    def id_texts(self, kind: str, ids: pd.Index, codes: np.ndarray) -> np.ndarray:
        """Ids as texts, object [n].

        Args:
            kind: what the ids name, for messages.
            ids: the ids [n].
            codes: index of the id of each usable row.

        Raises:
            ValueError: naming the row, if an atomic file cannot hold an id.
        """
        names = [str(one) for one in ids.tolist()]
        for code, name in enumerate(names):
            what, _ = problem(name)
            if what:
                row = self._row(int(np.flatnonzero(codes == code)[0]))
                raise ValueError(
                    f"{self.where}, {row}: the {kind} id {name[:60]!r} holds {what}, so an atomic file cannot hold it. "
                    f"Change it in the table: a replacement may be the id of another {kind}."
                )
        if unread := [name for name in names if name in NULL_WORDS]:
            self._report(
                f"{self.where}: RecBole's own reader takes the {kind} id [{unread[0]}] for a missing one and drops its "
                "rows; give it another name."
            )
        array = np.empty(len(names), dtype=object)
        array[:] = names
        return array

    def _row(self, index: int) -> str:
        """What messages call a usable row."""
        position = int(np.flatnonzero(self._mask)[index])
        for each, chunk in self._chunks():
            if position < len(chunk.users):
                return f"{_label(each, self._sources)} {chunk.numbers[position]}"
            position -= len(chunk.users)
        raise AssertionError("every usable row is in a chunk")

    def _chunks(self) -> Iterator[tuple[Source, Chunk]]:
        for each in self._sources:
            for chunk in each.chunks():
                yield each, chunk

    def _values(self, source: Source, chunk: Chunk, time: Column | None) -> Iterator[tuple[Column, Any]]:
        for name, values in zip(_keys(source.ignored), chunk.others, strict=True):
            yield (
                self.columns[name],
                values if isinstance(values, np.ndarray) else pd.Series(values).reset_index(drop=True),
            )
        if time is not None:
            yield time, pd.Series(chunk.further["times"]).reset_index(drop=True)


def _keys(names: Sequence[str]) -> list[str]:
    """Names of columns, each once: a second column ``a`` is ``a_2``."""
    return unique_names([name.strip() or "column" for name in names], ())


def unique_names(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names that differ from each other and from the taken ones."""
    seen, made = set(taken), []
    for name in names:
        free, number = name, 2
        while free in seen:
            free, number = f"{name}_{number}", number + 1
        seen.add(free)
        made.append(free)
    return made


def _label(source: Source, sources: Sequence[Source]) -> str:
    prefix = f"{Path(source.where).name}, " if len(sources) > 1 else ""
    return f"{prefix}{source.row}"


def name_columns(columns: Sequence[Column], taken: Sequence[str], where: str, report: Report) -> None:
    """Give columns names that an atomic file can hold; reports changed ones."""
    wanted = [re.sub(r"[\s:]+", "_", column.name) for column in columns]
    for column, name in zip(columns, unique_names(wanted, taken), strict=True):
        if name != column.name:
            report(f"{where}: the column [{column.source}] is called {name} in the atomic file.")
        column.name = name


class Interactions(WholeTable):
    """Interactions, as the rows of an ``.inter`` file."""

    def __init__(
        self,
        source: Any,
        named: tuple[Hashable | None, Hashable | None],
        time: TimeColumn,
        rules: ColumnRules,
        report: Report,
        show_progress: bool,
    ) -> None:
        super().__init__(source, named, time, rules, report, show_progress)
        others = list(self.columns.values())
        index = rating_column([column.name for column in others])
        if index is not None and others[index].kind == FLOAT:
            others[index].name = RATING
        self._timed = self.rows.seconds is not None
        rows = self.rows
        self._users = self.id_texts("user", self._usable.users, rows.user_codes)
        self._items = self.id_texts("item", self._usable.items, rows.item_codes)
        name_columns(others, [USER, ITEM, *([TIME] if self._timed else [])], self.where, report)

    def header(self) -> list[tuple[str, str]]:
        """Names and types of the columns."""
        others = [(column.name, column.kind) for column in self.columns.values()]
        return [(USER, TOKEN), (ITEM, TOKEN), *others, *([(TIME, FLOAT)] if self._timed else [])]

    def fields(self) -> Iterator[list[list[str]]]:
        """The fields of each column, a block of rows at a time."""
        rows = self.rows
        for part, others in self.blocks():
            ids = [self._users[rows.user_codes[part]].tolist(), self._items[rows.item_codes[part]].tolist()]
            times = [] if rows.seconds is None else [[time_text(one) for one in rows.seconds[part].tolist()]]
            yield [*ids, *others, *times]


class SideTable(WholeTable):
    """Items or users and what is known of them, as the rows of an ``.item`` or ``.user`` file.

    Args:
        source: the table.
        kind: ``item`` or ``user``.
        id_name: name of the column of the ids in the interactions, which is looked for first.
        taken: names of the columns of the interactions.
        rules: what the caller says about columns.
        report: receives a sentence on each thing that is left out or guessed.
        show_progress: whether to draw a progress bar.
    """

    def __init__(
        self,
        source: Any,
        kind: str,
        id_name: str,
        taken: Sequence[str],
        rules: ColumnRules,
        report: Report,
        show_progress: bool,
    ) -> None:
        named = OneColumn(kind, plain_name(id_name), f"{kind}_id", "id")
        super().__init__(source, named, TimeColumn(wanted=False), rules, report, show_progress)
        self._field = f"{kind}_id"
        self._codes = self.rows.item_codes  # the only ids
        self._ids = self.id_texts(kind, self._usable.items, self._codes)
        self._is_last = np.zeros(len(self._codes), dtype=bool)  # as in io/item_table.py
        self._is_last[len(self._codes) - 1 - np.unique(self._codes[::-1], return_index=True)[1]] = True
        if repeated := int(np.count_nonzero(~self._is_last)):
            report(f"{self.where}: rows of {kind}s that have a later row, which are left out: {repeated}.")
        for column in self.columns.values():  # a column of the interactions may have another type
            column.name = f"{kind}_{column.name}" if column.name in taken else column.name
        name_columns(list(self.columns.values()), [self._field, *taken], self.where, report)

    def header(self) -> list[tuple[str, str]]:
        """Names and types of the columns."""
        return [(self._field, TOKEN), *((column.name, column.kind) for column in self.columns.values())]

    def fields(self) -> Iterator[list[list[str]]]:
        """The fields of each column, a block of rows at a time."""
        for part, others in self.blocks():
            chosen = np.flatnonzero(self._is_last[part]).tolist()
            ids = self._ids[self._codes[part]].tolist()
            yield [[column[index] for index in chosen] for column in (ids, *others)]
