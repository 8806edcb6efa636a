"""User and item ids from a delimited text file, row by row, with an account of each row that cannot be read.

Ids stay text, so leading zeros, long numbers and words such as NA survive, and only codes are kept in memory.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from array import array
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from recbole_universal.data.column_names import find_columns, recognised

_SAMPLE_LINES = 1000
_LONGEST_LINE = 2**20
_BLANKS = "blanks"
_QUOTES = "quotes that do not match"
_SEPARATORS = ("\t", ",", ";", "|", "::", _BLANKS)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
# Kept as ids, since they may be; but said, since a database or pandas may have meant a missing value.
_NULL_WORDS = ("NULL", "null", "None", "NaN", "nan", "NA", "N/A", "<NA>", "\\N")
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass
class BadRows:
    """Rows that cannot be used: how many, and where the first ones are."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, place: str, reason: str) -> None:
        """Count one row."""
        self.count += 1
        if len(self.examples) < 5:
            self.examples.append(f"{place} ({reason})")

    def text(self, where: str, n_rows: int) -> str:
        """A sentence for people."""
        more = ", ..." if self.count > len(self.examples) else ""
        rows = "row is" if self.count == 1 else "rows are"
        examples = ", ".join(self.examples)
        return f"{where}: {self.count} of {n_rows} {rows} unreadable and left out: {examples}{more}."


@dataclass
class TextTable:
    """What a text file holds: ids in the order of their first row, and one pair of codes a row."""

    users: list[str]
    items: list[str]
    user_codes: array
    item_codes: array
    columns: tuple[str, str]
    n_rows: int
    bad: BadRows
    notes: list[str]


@dataclass
class _Layout:
    """How the lines of a file are made: separator, number of fields, where the ids are."""

    separator: str
    width: int
    user: int
    item: int
    header: list[str] | None


class _Lines:
    """Lines of a file that can be handed back; knows the number of the last one and the lines of a record."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self.number = 0
        self.record: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.number += 1
        self.record.append(line)
        return line

    def place(self) -> str:
        """Where the record is."""
        first = self.number - len(self.record) + 1
        return f"line {first}" if first == self.number else f"lines {first}-{self.number}"

    def hand_back(self) -> None:
        """The record ends with its first line; the others are read anew."""
        self._again.extendleft(reversed(self.record[1:]))
        self.number -= len(self.record) - 1
        del self.record[1:]


def read_text(
    path: Path, user_column: Hashable | None, item_column: Hashable | None, show_progress: bool = False
) -> TextTable:
    """Read a delimited text file, plain or gzip.

    Args:
        path: the file; its separator is found.
        user_column: name of the user column, or its position from 1 in a file without header; ``None``: recognised.
        item_column: as ``user_column``.
        show_progress: whether to draw a progress bar.

    Raises:
        ValueError: if the file is no table or the columns cannot be told.
        OSError: if it cannot be read.
    """
    with open(path, "rb") as raw, _decoded(raw, path) as stream:
        try:
            sample = _sample(stream, path)
            layout, notes = _layout(sample, user_column, item_column, path)
            lines = _Lines(chain(sample, stream))
            size = os.path.getsize(path)
            with tqdm(total=size, desc="reading", unit="B", unit_scale=True, disable=not show_progress) as bar:
                table = _read_rows(lines, layout, lambda: bar.update(raw.tell() - bar.n))
        except _DAMAGED as error:
            raise ValueError(f"{path} is a damaged gzip file: {error}") from error
    table.notes += notes
    for kind, ids in (("user", table.users), ("item", table.items)):
        words = [word for word in _NULL_WORDS if word in ids]
        table.notes += [f"{path}: the {kind} id [{word}] is an id like any other here." for word in words]
    return table


def read_id_lines(path: Path, column: Hashable | None) -> tuple[list[str], BadRows]:
    """Users from a text file: the user column of a table with header, or one id a line.

    Raises:
        ValueError: if the file is no text or has no rows.
    """
    bad = BadRows()
    with open(path, "rb") as raw, _decoded(raw, path) as stream:
        try:
            sample = _sample(stream, path)
            first = [line for line in sample if line.strip()][:1]
            for separator in _SEPARATORS:
                place = _user_place(_sample_rows(first, separator)[0], column)
                if place is not None:
                    break
            lines = chain(sample, stream)
            if place is None:
                found = [name for line in lines if (name := re.sub(r'^"(.*)"$', r"\1", line.strip()))]
            else:
                rows = (row for row in _records(lines, separator) if row)
                found = [row[place].strip() if place < len(row) else "" for row in islice(rows, 1, None)]
        except (*_DAMAGED, csv.Error) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
    usable = []
    for number, name in enumerate(found, start=1):
        problem = "no user id" if not name else _problem(name, name)
        if problem:
            bad.add(f"row {number}", problem)
        else:
            usable.append(name)
    return usable, bad


def _user_place(header: list[str], column: Hashable | None) -> int | None:
    header = [name.strip() for name in header]
    if column is not None and column in header:
        return header.index(column)
    places = recognised(header, "user")
    return places[0] if len(places) == 1 else None


def _decoded(raw: BinaryIO, path: Path) -> io.TextIOWrapper:
    """The text of a file. Bytes that are not UTF-8 matter in ids alone, and are found there."""
    start = raw.read(4)
    if start[:2] == b"PK":
        raise ValueError(f"{path} is a zip archive or an Excel workbook: unpack it, or save the sheet as CSV.")
    raw.seek(0)
    binary: BinaryIO = raw
    if start[:2] == b"\x1f\x8b":
        binary = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
        try:
            start = binary.read(4)
            binary.seek(0)
        except _DAMAGED as error:
            raise ValueError(f"{path} is a damaged gzip file: {error}") from error
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return io.TextIOWrapper(binary, encoding="utf-16", errors="replace", newline="")
    return io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _sample(stream: io.TextIOWrapper, path: Path) -> list[str]:
    sample: list[str] = []
    while len(sample) < _SAMPLE_LINES and (line := stream.readline(_LONGEST_LINE)):
        sample.append(line)
        if "\0" in line or len(line) == _LONGEST_LINE:
            raise ValueError(f"{path} is no text file with one row a line (see line {len(sample)}).")
    if not any(line.strip() for line in sample):
        raise ValueError(f"{path} has no rows.")
    return sample


def _records(lines: Iterator[str], separator: str) -> Iterator[list[str]]:
    """Rows as lists of fields; a blank line has none."""
    if separator == _BLANKS:
        return (line.split() for line in lines)
    if len(separator) > 1:
        return (line.rstrip("\r\n").split(separator) if line.strip() else [] for line in lines)
    return csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t", strict=True)


def _sample_rows(sample: list[str], separator: str) -> list[list[str]]:
    rows: list[list[str]] = []
    records = _records(iter(sample), separator)
    while True:
        try:
            row = next(records)
        except StopIteration:
            return rows or [[]]
        except csv.Error:  # the shape of the others is enough
            continue
        if row:
            rows.append(row)


def _layout(sample, user_column, item_column, path: Path) -> tuple[_Layout, list[str]]:
    """How the file is made: by its header, or by the shape of its first lines."""
    parsed = {separator: _sample_rows(sample, separator) for separator in _SEPARATORS}
    positions = [_position(column) for column in (user_column, item_column)]
    if positions == [None, None]:
        for separator, rows in parsed.items():
            header = [name.strip() for name in rows[0]]
            if len(header) > 1:
                try:
                    user, item = find_columns(header, user_column, item_column, str(path))
                except ValueError:
                    continue
                return _Layout(separator, len(header), user, item, header), []
    if not (separator := _separator(parsed)):
        raise ValueError(f"{path}: no tab, comma, semicolon, |, :: or blank divides the lines into columns.")
    rows = parsed[separator]
    header = [name.strip() for name in rows[0]]
    width = Counter(len(row) for row in rows).most_common(1)[0][0]
    if positions != [None, None]:
        return _by_position(positions, header, width, separator, path), []
    if user_column is None and item_column is None and _looks_like_data(rows):
        note = (
            f"{path}: the first line looks like data, so column 1 is taken for the users and column 2 for the items; "
            "name them to say otherwise (--user-column 1 --item-column 2)."
        )
        return _Layout(separator, width, 0, 1, None), [note]
    try:
        find_columns(header, user_column, item_column, str(path))
    except ValueError as error:
        hint = "For a file without header give their positions: --user-column 1 --item-column 2."
        raise ValueError(f"{error} {hint}") from None
    raise AssertionError("a header that fits was found before")


def _position(column: Hashable | None) -> int | None:
    """A number is a position: names of columns that are numbers are rarer than files without header."""
    return int(str(column)) if column is not None and re.fullmatch(r"\d+", str(column)) else None


def _by_position(positions: list[int | None], header: list[str], width: int, separator: str, path: Path) -> _Layout:
    user, item = positions
    if user is None or item is None:
        raise ValueError(f"{path}: give both columns by name, or both by position (a file without header).")
    for place in (user, item):
        if not 1 <= place <= width:
            raise ValueError(f"{path}: there is no column {place}; the lines have {width} columns, from 1.")
    if user == item:
        raise ValueError(f"{path}: user and item column are both column {user}.")
    is_header = user - 1 in recognised(header, "user") and item - 1 in recognised(header, "item")
    return _Layout(separator, width, user - 1, item - 1, header if is_header else None)


def _separator(parsed: dict[str, list[list[str]]]) -> str:
    """The separator that gives most lines one number of columns; blanks stand in texts, so they come last."""
    best: tuple[float, int] = (0.0, 0)
    chosen = ""
    for separator, rows in parsed.items():
        width, count = Counter(len(row) for row in rows).most_common(1)[0]
        share = count / len(rows)
        if width < 2 or share < 0.5 or (separator == _BLANKS and chosen):
            continue
        if separator == "\t" and share >= 0.9:
            return separator
        if (round(share, 1), width) > best:
            best, chosen = (round(share, 1), width), separator
    return chosen


def _looks_like_data(rows: list[list[str]]) -> bool:
    """Whether the first row is no header: numbers, or a value that comes again, digits aside, as u12 for u7."""
    first = [value.strip() for value in rows[0][:2]]
    if all(_NUMBER.fullmatch(value) for value in first):
        return True
    for place, value in enumerate(first):
        seen = {re.sub(r"\d+", "0", row[place].strip()) for row in rows[1:] if len(row) > place}
        if value and re.sub(r"\d+", "0", value) in seen:
            return True
    return False


def _read_rows(lines: _Lines, layout: _Layout, update: Callable[[], object]) -> TextTable:
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    user_codes, item_codes = array("i"), array("i")
    bad = BadRows()
    names = (f"column {layout.user + 1}", f"column {layout.item + 1}")
    if layout.header:
        names = (layout.header[layout.user], layout.header[layout.item])
    n_rows = -1 if layout.header else 0
    records = _records(lines, layout.separator)
    while True:
        lines.record.clear()
        try:
            row = next(records)
        except StopIteration:
            break
        except csv.Error:
            row = _without_quotes(lines, layout)
        if not row or (len(row) == 1 and not row[0].strip()):
            continue  # a blank line
        n_rows += 1
        if n_rows == 0:
            continue  # the header
        if n_rows % 65536 == 0:
            update()
        if len(row) != layout.width:
            columns = f"{len(row)} column{'s' * (len(row) != 1)} instead of {layout.width}"
            bad.add(lines.place(), row[0] if row[0] == _QUOTES else columns)
            continue
        user, item = row[layout.user].strip(), row[layout.item].strip()
        user_code, item_code = users.get(user), items.get(item)
        if user_code is None or item_code is None:
            if problem := "the header again" if (user, item) == names else _problem(user, item):
                bad.add(lines.place(), problem)
                continue
            user_code = users.setdefault(user, len(users))
            item_code = items.setdefault(item, len(items))
        user_codes.append(user_code)
        item_codes.append(item_code)
    update()
    return TextTable(list(users), list(items), user_codes, item_codes, names, max(n_rows, 0), bad, [])


def _without_quotes(lines: _Lines, layout: _Layout) -> list[str]:
    """A row whose quotes do not match, such as ``7,"Heroes`` , ends with its line and is split at its separators.

    Otherwise a quote that is never closed would swallow the rows that follow.
    """
    lines.hand_back()
    row = lines.record[0].rstrip("\r\n").split(layout.separator)
    quoted = len(row) == layout.width and any('"' in row[place] for place in (layout.user, layout.item))
    return [_QUOTES] if quoted else row


def _problem(user: str, item: str) -> str | None:
    """Why a row's ids cannot be used; ``None``: they can."""
    if not user or not item:
        return "no user id" if item else "no item id" if user else "no user id, no item id"
    try:
        f"{user}{item}".encode()
    except UnicodeEncodeError:
        return "an id that is not UTF-8"
    return None
