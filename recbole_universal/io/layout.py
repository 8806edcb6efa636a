"""Detects the layout of a text file: comments, separator, header, and the columns of the ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from recbole_universal.io.column_names import (
    FurtherColumns,
    Named,
    OneColumn,
    find_columns,
    is_atomic,
    plain_name,
    recognised,
    weak_guess,
)
from recbole_universal.io.records import BLANKS, SEPARATORS, Dialect, read_record, records, split_line
from recbole_universal.io.streams import LONGEST_LINE

_SAMPLE_LINES = 1000
_HEADER_LINES = 20
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_HINT = "For a file without header give their positions, such as --user-column 1 --item-column 2."


@dataclass
class Layout:
    """The layout of a text file.

    Attributes:
        dialect: how a record is split into fields.
        user: index of the user's field.
        item: index of the item's field.
        header: names of the columns, if there is a header.
        skipped: lines before the first row.
        history: index of a field with a sequence of items (RecBole's ``item_id_list:token_seq``).
        adjacency: whether a line holds a user and all items of that user (LightGCN's format).
        guess: a sentence on guessed columns; "" if none is guessed.
        notes: further sentences for the user.
        further: indices of further fields, by attribute of a :class:`~recbole_universal.io.source.Chunk`.
        time_note: a sentence on columns that may hold times but are not read; "" if there are none.
        others: indices of further fields that are read.
    """

    dialect: Dialect
    user: int
    item: int
    header: list[str] | None
    skipped: int
    history: int | None = None
    adjacency: bool = False
    guess: str = ""
    notes: list[str] = field(default_factory=list)
    further: dict[str, int] = field(default_factory=dict)
    time_note: str = ""
    others: list[int] = field(default_factory=list)

    def name(self, index: int) -> str:
        """The name of a column."""
        return self.header[index] if self.header else f"column {index + 1}"


def find_layout(text: str, named: Named, columns: FurtherColumns, where: str) -> Layout:
    """The layout of a file that starts with a text, from its header or from its first lines.

    Raises:
        ValueError: if it is no table or the columns are ambiguous.
    """
    if text.find("\n", 0, LONGEST_LINE) < 0 and len(text) > LONGEST_LINE:
        raise ValueError(f"{where} is no text file with one row per line: its first line has more than 1 MiB.")
    lines = text.split("\n", _SAMPLE_LINES)[:_SAMPLE_LINES]
    n_comments, note = _comments(lines, where)
    body = lines[n_comments:]
    if not any(line.strip() for line in body):
        raise ValueError(f"{where} has no rows.")
    n_blank = next(number for number, line in enumerate(body) if line.strip())
    layout = _table(body, named, where, not columns.are_needed)
    layout.further, layout.time_note = _further(layout, columns, where)
    layout.skipped += n_comments + (n_blank if layout.header else 0)
    layout.notes = [*note, *layout.notes]
    return layout


def position_example(width: int) -> str:
    """An example for messages of columns that are named by position."""
    return f"such as --user-column {width} --item-column {width - 1}"


def _is_header(line: str, row: str) -> bool:
    """Whether a line has names of a user and an item column, and has as many columns as a row."""
    for separator in SEPARATORS:
        header = header_names([line], separator)
        try:
            find_columns(header, (None, None), "")
        except ValueError:
            continue
        return len(header) == len(header_names([row], separator))
    return False


def _comments(lines: list[str], where: str) -> tuple[int, list[str]]:
    """Number of comment lines at the start, and notes. Comments begin with % or #; the first row does not."""
    for mark in "%#":
        count = 0
        while count < len(lines) and (lines[count].startswith(mark) or not lines[count].strip()):
            count += 1
        marked = [line for line in lines[:count] if line.strip()]
        rows = [line for line in lines[count : count + 20] if line.strip()]
        header = bool(rows) and bool(marked) and _is_header(marked[-1][1:].strip(), rows[0])
        others = marked[:-1] if header else marked
        if not marked or not all(line[1:2].strip(f" \t{mark}") == "" or _unlike(line, rows) for line in others):
            continue
        if header:
            last = max(number for number, line in enumerate(lines[:count]) if line.strip())
            lines[last] = lines[last][1:].strip()
            count, marked = last, marked[:-1]
            notes = [f"{where}: the line [{lines[last][:60]}] is taken for the header."]
        else:
            notes = []
        if marked:
            which = "first line is a comment" if len(marked) == 1 else f"first {len(marked)} lines are comments"
            notes.append(f"{where}: the {which} and left out: [{marked[0][:60]}].")
        return count, notes
    return 0, []


def _unlike(line: str, rows: list[str]) -> bool:
    """Whether a line has another number of columns than all rows, with every separator."""
    return bool(rows) and not any(
        1 < len(header_names([line], separator)) == len(header_names([row], separator))
        for separator in SEPARATORS
        for row in rows
    )


def header_names(lines: list[str], separator: str) -> list[str]:
    """Names in the first record; a name may hold line ends within quotes."""
    return _first_record(lines, separator)[0]


def _first_record(lines: list[str], separator: str) -> tuple[list[str], int]:
    """Names in the first record, and how many lines it has."""
    dialect = _dialect(lines[:1], separator)
    fields, _, end = read_record("\n".join(lines[:_HEADER_LINES]), 0, dialect, last=True)
    n_lines = "\n".join(lines[:_HEADER_LINES]).count("\n", 0, end) + 1
    return [re.sub(r"\s*\n\s*", " ", name.strip()) for name in fields], n_lines


def _rows(lines: list[str], separator: str, quoting: bool = True, backslash: bool = False) -> list[list[str]]:
    return [fields for fields, _ in records("\n".join(lines), _dialect(lines, separator, quoting, backslash))]


def _dialect(lines: list[str], separator: str, quoting: bool = True, backslash: bool = False) -> Dialect:
    width = max(len(split_line(line, separator)) for line in lines)
    return Dialect(separator, width, 0, quoting and len(separator) == 1, backslash)


def _table(lines: list[str], named: Named, where: str, may_be_adjacency: bool) -> Layout:
    positions = [_position(column) for column in named]
    lines = [line for line in lines if line.strip()]
    if positions == [None, None]:
        for separator in SEPARATORS:
            header = header_names(lines, separator)
            if len(header) > 1:
                try:
                    indices = find_columns(header, named, where)
                except ValueError:
                    continue
                return _with_header(lines, separator, header, indices, named)
        may_be_adjacency &= named == (None, None) and not isinstance(named, OneColumn)
        if may_be_adjacency and (layout := _adjacency(lines, where)):
            return layout
    parsed = {separator: _rows(lines, separator) for separator in SEPARATORS}
    if not (separator := _separator(parsed)):
        raise ValueError(f"{where}: no tab, comma, semicolon, |, :: or blank divides the lines into columns.")
    rows = parsed[separator]
    header = [name.strip() for name in rows[0]]
    width = Counter(len(row) for row in rows).most_common(1)[0][0]
    if positions != [None, None]:
        user, item = _checked(positions, width, where)
        has_header = user in recognised(header, "user") and item in recognised(header, "item")
        return table_layout(lines, separator, width, (user, item), header if has_header else None)
    if named == (None, None) and not isinstance(named, OneColumn) and _looks_like_data(rows):
        layout = table_layout(lines, separator, width, (0, 1), None)
        layout.guess = (
            "the first line looks like data, so column 1 is taken for the users and column 2 for the items; "
            f"if other columns hold them, give the positions ({position_example(width)})"
        )
        return layout
    try:
        find_columns(header, named, where)
    except ValueError as error:
        hint = f" {_HINT}" if named == (None, None) and not isinstance(named, OneColumn) else ""
        raise ValueError(f"{error}{hint}") from None
    raise ValueError(f"{where}: no tab, comma, semicolon, |, :: or blank divides the lines into columns.")


def _with_header(lines: list[str], separator: str, header: list[str], indices: tuple[int, int], named: Named) -> Layout:
    layout = table_layout(lines, separator, len(header), indices, header)
    layout.guess = weak_guess(header, indices, named)
    history = f"{plain_name(header[indices[1]])}_list:token_seq"
    if history in header:
        layout.history = header.index(history)
        needed = max(layout.dialect.needed, layout.history + 1)
        layout.dialect = replace(layout.dialect, needed=needed)
        layout.notes.append(f"The items of the column [{history}] are read too.")
    return layout


def table_layout(
    lines: list[str], separator: str, width: int, indices: tuple[int, int], header: list[str] | None
) -> Layout:
    """The layout of a table whose separator and columns are known."""
    quoting = len(separator) == 1 and not any(is_atomic(name) for name in header or ())
    dialect = Dialect(separator, width, max(indices) + 1, quoting, False, indices)
    n_lines = _first_record(lines, separator)[1] if header else 0
    body = "\n".join(lines[n_lines:])
    # In the other form of escaping, a quote that ends a field is followed by a separator or the end of the line.
    if quoting and re.search(rf'\\"[^\s"{re.escape(separator)}]', body):
        dialect = replace(dialect, backslash=True)
    return Layout(dialect, indices[0], indices[1], header, n_lines)


def _adjacency(lines: list[str], where: str) -> Layout | None:
    """LightGCN's format: each line has a user and all items of that user, as integers separated by blanks."""
    rows = [line.split() for line in lines]
    if not all(re.fullmatch("[0-9]{1,18}", word) for row in rows for word in row) or any(
        "\t" in line for line in lines
    ):
        return None
    users = [int(row[0]) for row in rows]
    lengths = {len(row) for row in rows}
    if len(rows) < 2 or max(lengths) < 3 or sorted(set(users)) != users:
        return None
    form = "LightGCN's format, a user and all items of that user in a line"
    if len(lengths) == 1:
        raise ValueError(
            f"{where}: this may be {form}, or a table of {max(lengths)} columns. For a table name the columns "
            "(--user-column 1 --item-column 2); otherwise write one user and one item in a line."
        )
    layout = Layout(Dialect(BLANKS, max(lengths), 2, False), 0, 1, None, 0, adjacency=True)
    layout.notes.append(f"{where} is read as {form}.")
    return layout


def _position(column: Hashable | None) -> int | None:
    """Read a number as a position, since columns with a numeric name are rarer than files without header."""
    return int(str(column)) if column is not None and re.fullmatch(r"[0-9]{1,9}", str(column)) else None


def _checked(positions: list[int | None], width: int, where: str) -> tuple[int, int]:
    user, item = positions
    if user is None or item is None:
        raise ValueError(f"{where}: give both columns by name, or both by position (a file without header).")
    for position in (user, item):
        if not 1 <= position <= width:
            raise ValueError(f"{where}: there is no column {position}; the lines have {width} columns, from 1.")
    if user == item:
        raise ValueError(f"{where}: user and item column are both column {user}.")
    return user - 1, item - 1


def _further(layout: Layout, columns: FurtherColumns, where: str) -> tuple[dict[str, int], str]:
    """Indices of the further fields, and a sentence on times between which nothing decides."""
    taken = [index for index in (layout.user, layout.item, layout.history) if index is not None]
    found: dict[str, int] = {}
    named = {
        "time": ("times", columns.time.name),
        "weight": ("weights", columns.weight),
        "event": ("events", columns.event),
    }
    for kind, (values, name) in named.items():
        position, argument = _position(name), f"{where}: {kind}_column (--{kind}-column)"
        if position is None:
            if layout.header is None and name is not None:
                raise ValueError(f"{argument}: there is no header with a column [{name}]; give the position.")
            continue
        if not 1 <= position <= layout.dialect.width:
            raise ValueError(
                f"{argument}: there is no column {position}; the lines have {layout.dialect.width} columns, from 1."
            )
        if position - 1 in taken:
            raise ValueError(f"{argument}: column {position} holds the users or the items.")
        found[values] = position - 1
    by_name = FurtherColumns(
        time=columns.time if "times" not in found else replace(columns.time, wanted=False),
        weight=None if "weights" in found else columns.weight,
        event=None if "events" in found else columns.event,
        reads_events=columns.reads_events and "events" not in found,
    )
    others, note = by_name.find(layout.header or [], [*taken, *found.values()], where)
    return {**found, **others}, note


def _separator(parsed: dict[str, list[list[str]]]) -> str:
    """The separator that divides most lines into equally many columns; blanks occur in texts, so they come last."""
    best: tuple[float, int] = (0.0, 0)
    chosen = ""
    for separator, rows in parsed.items():
        width, count = Counter(len(row) for row in rows).most_common(1)[0]
        share = count / len(rows)
        if width < 2 or share < 0.5 or (separator == BLANKS and chosen):
            continue
        if separator == "\t" and share >= 0.9:
            return separator
        if (round(share, 1), width) > best:
            best, chosen = (round(share, 1), width), separator
    return chosen


def _looks_like_data(rows: list[list[str]]) -> bool:
    """Whether the first row is data: it holds only numbers, or a value that recurs with other digits (u12, u7)."""
    first = [value.strip() for value in rows[0][:2]]
    if all(_NUMBER.fullmatch(value) for value in first):
        return True
    for index, value in enumerate(first):
        seen = {re.sub(r"\d+", "0", row[index].strip()) for row in rows[1:] if len(row) > index}
        if value and re.sub(r"\d+", "0", value) in seen:
            return True
    return False
