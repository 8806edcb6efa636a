"""Reads ids from a delimited text file.

DuckDB splits plain lines, and :mod:`recbole_universal.io.records` reads the others. So the line number of each
unusable row is known. DuckDB's CSV reader does not suffice: it reports no line numbers, refuses mixed line ends, knows
one of the two ways to escape a quote, and drops a line beyond its limit without a warning.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from tqdm import tqdm

from recbole_universal.io.column_names import FurtherColumns, Named
from recbole_universal.io.duck import connection
from recbole_universal.io.layout import Layout, find_layout
from recbole_universal.io.records import BLANKS, NeedsMore, read_record
from recbole_universal.io.source import Chunk, Source
from recbole_universal.io.streams import LONGEST_LINE, TOO_LONG, open_text

TOO_LONG_LINE = "a line of more than 1 MiB"


def text_source(
    path: Path, first: str, named: Named, columns: FurtherColumns, show_progress: bool, whole: bool = False
) -> Source:
    """A delimited text file that starts with ``first``; the rest as in ``open_sources``.

    Raises:
        ValueError: if the file is no table or the columns are ambiguous.
    """
    layout = find_layout(first, named, columns, str(path))
    if whole and layout.history is not None:  # a column like any other
        layout.history = None
        layout.notes.pop()
    used = {layout.user, layout.item, layout.history, *layout.further.values()}
    names = layout.header or [layout.name(index) for index in range(layout.dialect.width)]
    others = [] if layout.adjacency else [index for index in range(len(names)) if index not in used]
    layout.others = others if whole else []
    return Source(
        where=str(path),
        columns=(layout.name(layout.user), layout.name(layout.item)),
        ignored=[names[index] for index in others],
        row="line",
        chunks=partial(read_rows, path, layout, show_progress),
        guess=layout.guess,
        given=None not in named,
        has_names=layout.header is not None,
        notes=layout.notes,
        strip=True,
        one_item=layout.history is None and not layout.adjacency,
        time=layout.name(layout.further["times"]) if "times" in layout.further else None,
        event=layout.name(layout.further["events"]) if "events" in layout.further else None,
        time_note=layout.time_note,
    )


def read_rows(path: Path, layout: Layout, show_progress: bool) -> Iterator[Chunk]:
    """The rows of a file of a known layout."""
    size = os.path.getsize(path)
    with (
        open_text(path) as file,
        connection([], f"{path} cannot be read") as duck,
        tqdm(total=size, desc="reading", unit="B", unit_scale=True, disable=not show_progress) as bar,
    ):
        read = _adjacency_rows if layout.adjacency else _Rows(layout, duck).read
        number, rest, skipped = 1, "", layout.skipped
        blocks = file.blocks()
        block = next(blocks, None)
        while block is not None:
            following = next(blocks, None)
            while skipped and block:
                _, _, block = block.partition("\n")
                skipped -= 1
                number += 1
            if rest:
                block = f"{rest}\n{block}"
            chunk, rest = read(block, number, following is None)
            number += block.count("\n") + 1 - (rest.count("\n") + 1 if rest else 0)
            yield chunk
            bar.update(file.read_bytes - bar.n)
            block = following


def _adjacency_rows(block: str, number: int, last: bool) -> tuple[Chunk, str]:
    """Rows of LightGCN's format, whose lines have a user and all items of that user."""
    users: list[str | None] = []
    items: list[str | None] = []
    numbers: list[int] = []
    problems: dict[int, str] = {}
    n_rows = 0
    for line_number, line in enumerate(block.split("\n"), start=number):
        words = line.split()
        if not words:
            continue
        n_rows += 1
        pairs = [(words[0], item) for item in words[1:]] or [(words[0], "")]
        if len(words) == 1:
            problems[len(users)] = TOO_LONG_LINE if line == TOO_LONG else "no item id"
        users += [user for user, _ in pairs]
        items += [item for _, item in pairs]
        numbers += [line_number] * len(pairs)
    as_array = partial(np.array, dtype=object)
    return Chunk(as_array(users), as_array(items), np.array(numbers), problems, n_rows), ""


def _with_none(values: np.ndarray) -> np.ndarray:
    """Fields as DuckDB returns them, with ``None`` where they are missing."""
    filled = np.array(np.ma.getdata(values), dtype=object)
    filled[np.ma.getmaskarray(values)] = None
    return filled


@dataclass
class _Rows:
    """Reads the rows of blocks of one file."""

    layout: Layout
    duck: duckdb.DuckDBPyConnection

    def __post_init__(self) -> None:
        layout, dialect = self.layout, self.layout.dialect
        self._names = (layout.name(layout.user), layout.name(layout.item))
        # [u1,i1,5], ["u1","i1","5"]: fields without quotes, or in quotes that hold neither quote nor separator.
        separator = re.escape(dialect.separator)
        fields = rf'(?:[^"{separator}]*| *"[^"\\{separator}]*" *)' if dialect.quoting else ""
        self._plain = f"{fields}(?:{separator}{fields})*"

    def read(self, block: str, number: int, last: bool) -> tuple[Chunk, str]:
        """Rows of a block whose first line has a number, and the lines that need the next block."""
        layout = self.layout
        columns, plain = self._split(block)
        numbers = np.arange(number, number + len(plain))
        may_repeat = layout.header is not None and all(name in block for name in self._names)
        odd = np.flatnonzero(~plain).tolist()
        if not odd:
            return self._chunk(columns, numbers, {}, may_repeat), ""
        lengths = np.fromiter(map(len, block.split("\n")), dtype=np.int64, count=len(plain))
        starts = np.concatenate([[0], np.cumsum(lengths + 1)])
        is_row = np.ones(len(plain), dtype=bool)
        problems: dict[int, str] = {}
        after, rest = 0, ""  # the first line after the last record
        for index in odd:
            if index < after:
                continue  # within a record of several lines
            start, end = int(starts[index]), int(starts[index + 1]) - 1
            if not block[start:end].strip(" \t"):
                is_row[index] = False
            elif block.startswith(TOO_LONG, start) or end - start > LONGEST_LINE:
                problems[index] = TOO_LONG_LINE
            else:
                try:
                    fields, problem, end = read_record(block, start, layout.dialect, last)
                except NeedsMore:
                    rest = block[start:]
                    is_row[index:] = False
                    break
                after = index + 1 + block.count("\n", start, end)
                is_row[index + 1 : after] = False
                if problem:
                    problems[index] = problem
                else:
                    for values, field in zip(columns, self._used(), strict=True):
                        values[index] = fields[field] if field < len(fields) else None  # later fields may be missing
        new_indices = np.cumsum(is_row) - 1
        problems = {int(new_indices[index]): problem for index, problem in problems.items()}
        return self._chunk([values[is_row] for values in columns], numbers[is_row], problems, may_repeat), rest

    def _used(self) -> list[int]:
        fields = (self.layout.user, self.layout.item, self.layout.history)
        return [*(field for field in fields if field is not None), *self.layout.further.values(), *self.layout.others]

    def _split(self, block: str) -> tuple[list[np.ndarray], np.ndarray]:
        """Fields that are used, and which lines are plain; fields of the others are ``None``."""
        dialect = self.layout.dialect
        text, separator = block, dialect.separator
        if separator == BLANKS:
            text, separator = text.replace("\t", " "), " "
            while "  " in text:
                text = text.replace("  ", " ")
            text = text.replace("\n ", "\n").replace(" \n", "\n").strip(" ")
        width = dialect.width
        conditions = [
            f"len(fields) >= {dialect.needed}",
            f"(len(fields) <= {width} OR (len(fields) = {width + 1} AND trim(fields[{width + 1}]) = ''))",
            f"strlen(line) <= {LONGEST_LINE}",
        ]
        if separator == "\t" or dialect.needed == 1:  # a blank line is no row
            conditions.append("trim(line, ' \t') <> ''")
        parameters = [text, separator]
        value = "{}"  # blanks around an id are removed later
        if dialect.quoting and '"' in block:
            conditions.append("(NOT contains(line, '\"') OR regexp_full_match(line, $3))")
            parameters.append(self._plain)
            value = "replace({}, '\"', '')"
        chosen = ", ".join(
            f"CASE WHEN plain THEN {value.format(f'fields[{field + 1}]')} END AS field{number}"
            for number, field in enumerate(self._used())
        )
        query = f"""
            SELECT plain, {chosen} FROM (
                SELECT *, {" AND ".join(conditions)} AS plain FROM (
                    SELECT line, string_split(line, $2) AS fields FROM (
                        SELECT unnest(string_split($1, chr(10))) AS line)))
        """
        fields: dict[str, Any] = dict(self.duck.execute(query, parameters).fetchnumpy())
        plain = np.ma.filled(fields.pop("plain"), False)
        return [_with_none(values) for values in fields.values()], plain

    def _chunk(
        self, columns: list[np.ndarray], numbers: np.ndarray, problems: dict[int, str], may_repeat: bool
    ) -> Chunk:
        users, items = columns[:2]
        n_others = len(columns) - len(self.layout.others)
        others, n_ids = columns[n_others:], n_others - len(self.layout.further)
        further = dict(zip(self.layout.further, columns[n_ids:n_others], strict=True))
        for index in self._headers(users, items) if may_repeat else []:
            problems[index] = "the header again"
        if self.layout.history is None:
            return Chunk(users, items, numbers, problems, further=further, others=others)
        lists = [
            [*history.split(), item]
            if index not in problems and (user or "").strip() and (item or "").strip()
            else [item]
            for index, (user, item, history) in enumerate(zip(*columns[:3], strict=True))
        ]
        lengths = [len(each) for each in lists]
        starts = np.cumsum([0, *lengths[:-1]])
        flat = np.array([item for each in lists for item in each], dtype=object)
        problems = {int(starts[index]) + lengths[index] - 1: problem for index, problem in problems.items()}
        further = {kind: np.repeat(values, lengths) for kind, values in further.items()}
        return Chunk(np.repeat(users, lengths), flat, np.repeat(numbers, lengths), problems, len(users), further)

    def _headers(self, users: np.ndarray, items: np.ndarray) -> list[int]:
        """Rows that are the header again."""
        user, item = self._names
        like = [index for index, value in enumerate(users) if value and user in value and value.strip() == user]
        return [index for index in like if items[index] is not None and items[index].strip() == item]
