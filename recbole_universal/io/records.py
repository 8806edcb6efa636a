"""Splits a record of a delimited text into fields, by the rules of docs/recommend.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from recbole_universal.io.streams import LONGEST_LINE

BLANKS = "blanks"
SEPARATORS = ("\t", ",", ";", "|", "::", BLANKS)
BAD_QUOTES = "quotes that do not match"


class NeedsMore(Exception):
    """A quoted text may go on in the next block."""


@dataclass(frozen=True)
class Dialect:
    r"""How a record is split into fields.

    Attributes:
        separator: text between two fields; ``BLANKS``: any run of blanks and tabs.
        width: number of columns; further fields must be empty.
        needed: fields that a record must have.
        quoting: whether quotes may enclose a field.
        backslash: whether ``\"`` is tried before ``""`` as a quote within quotes; the other one is tried next.
        unquoted: indices of the fields that hold no quote where quotes do not match.
    """

    separator: str
    width: int
    needed: int
    quoting: bool
    backslash: bool = False
    unquoted: tuple[int, ...] = ()


def split_line(line: str, separator: str) -> list[str]:
    """Fields of a line without quoting."""
    return re.split("[ \t]+", line.strip(" \t")) if separator == BLANKS else line.split(separator)


def read_record(text: str, start: int, dialect: Dialect, last: bool) -> tuple[list[str], str, int]:
    """The record that starts at ``start``: its fields, why it is unusable (or ""), and where it ends.

    Quotes that do not match end with their line, which is then split at its separators: otherwise a quote that is
    never closed would swallow the rows that follow.

    Raises:
        NeedsMore: if the text ends within quotes and is not the last block.
    """
    end = _line_end(text, start)
    has_quotes = dialect.quoting and text.find('"', start, end) >= 0
    if has_quotes:
        first = None
        for backslash in (dialect.backslash, not dialect.backslash):
            record = _quoted_record(text, start, dialect, backslash, last)
            if record is not None:
                first = first or record
                if not _width_problem(record[0], dialect):
                    return record[0], "", record[1]
        if first is not None:
            return first[0], _width_problem(first[0], dialect), first[1]
    fields = split_line(text[start:end], dialect.separator)
    if has_quotes and any('"' in field for field in [fields[n] for n in dialect.unquoted if n < len(fields)]):
        return fields, BAD_QUOTES, end
    problem = _width_problem(fields, dialect)
    return fields, BAD_QUOTES if problem and has_quotes else problem, end


def _width_problem(fields: list[str], dialect: Dialect) -> str:
    """Why a record has too few or too many fields; "" if it has neither."""
    if len(fields) < dialect.needed or any(field.strip() for field in fields[dialect.width :]):
        return f"{len(fields)} column{'s' * (len(fields) != 1)} instead of {dialect.width}"
    return ""


def records(text: str, dialect: Dialect) -> Iterator[tuple[list[str], str]]:
    """All records of a text that are not blank: fields, and why one is unusable."""
    start = 0
    while start <= len(text):
        fields, problem, end = read_record(text, start, dialect, last=True)
        if text[start:end].strip(" \t"):
            yield fields, problem
        start = end + 1


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _quoted_record(
    text: str, start: int, dialect: Dialect, backslash: bool, last: bool
) -> tuple[list[str], int] | None:
    """Fields and end of a record whose quotes match; ``None``: they do not."""
    separator, width = dialect.separator, dialect.width
    fields: list[str] = []
    limit = start + LONGEST_LINE
    position, line_end = start, _line_end(text, start)
    while True:
        begin = position
        while text[begin : begin + 1] == " ":
            begin += 1
        if text[begin : begin + 1] == '"':
            quote = _closing(text, begin + 1, limit, backslash)
            if quote < 0:
                if not last and limit >= len(text):
                    raise NeedsMore
                return None
            value = text[begin + 1 : quote]
            pattern = r'\\([\\"])|""' if backslash else '()""'
            value = re.sub(pattern, lambda match: match[1] or '"', value)
            position = quote + 1
            if position > line_end:
                if len(fields) >= width:  # otherwise stray quotes would extend the search over the whole text
                    return None
                line_end = _line_end(text, position)
            while text[position : position + 1] == " ":
                position += 1
            if position < line_end and not text.startswith(separator, position):
                return None
        else:
            end = text.find(separator, position, line_end)
            end = line_end if end < 0 else end
            value = text[position:end]
            position = end
        fields.append(value)
        if position >= line_end:
            return fields, line_end
        position += len(separator)


def _closing(text: str, position: int, limit: int, backslash: bool) -> int:
    """Index of the quote that closes a field; negative: there is none before ``limit``."""
    first = position
    while True:
        quote = text.find('"', position, limit)
        if quote < 0:
            return -1
        if backslash:
            before = quote
            while before > first and text[before - 1] == "\\":
                before -= 1
            if (quote - before) % 2:
                position = quote + 1
                continue
        if text[quote + 1 : quote + 2] != '"':
            return quote
        position = quote + 2
