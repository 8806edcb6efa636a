"""Users to make lists for: a file of them, a text, a sequence, a frame."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_universal.io.bad_rows import BadRows
from recbole_universal.io.column_names import is_atomic, listed_names, recognised
from recbole_universal.io.ids import is_missing, whole
from recbole_universal.io.interactions import Report, existing_file
from recbole_universal.io.records import SEPARATORS, Dialect, read_record, split_line
from recbole_universal.io.streams import NOT_UTF_8, TOO_LONG, open_text
from recbole_universal.io.tables import column_values, is_arrow, is_parquet

_ENDINGS = (".txt", ".csv", ".tsv", ".gz", ".zst", ".parquet", ".pq", ".inter", ".user", ".dat", ".data")


def read_users(source: Any, user_column: Hashable | None, report: Report) -> list:
    """Users to make lists for, in the given order.

    Args:
        source: ids (list, array, series), a frame, or text: a file of ids, one a line or in a user column, or ids
            parted by commas.
        user_column: name of the user column in the file; ``None``: recognised.
        report: is told of users without id.

    Raises:
        ValueError: if there is no user.
        OSError: if the file cannot be read.
    """
    where = "users"

    def place(names: Sequence[Hashable]) -> int:
        return _user_place(names, user_column, where)

    if isinstance(source, os.PathLike) or (isinstance(source, str) and _is_file_name(source)):
        path = existing_file(source)
        where = str(path)
        if path.is_dir():
            raise IsADirectoryError(f"users: [{path}] is a folder; give a file.")
        if is_parquet(path):
            values = column_values(path, where, place)
        else:
            values = _text_values(path, user_column)
    elif isinstance(source, str):
        parts = [part for line in source.split("\n") for part in _fields(line, ",")]
        values = [part.strip() for part in parts if part.strip()]
    elif isinstance(source, pd.DataFrame):
        values = source.iloc[:, place(list(source.columns))].tolist()
    elif is_arrow(source) and hasattr(source, "columns"):
        values = column_values(source, where, place)
    else:
        try:
            values = source.tolist() if hasattr(source, "tolist") else source
        except RuntimeError as error:  # a sparse tensor
            raise ValueError(f"{where}: must be ids of users or a file of them; {error}.") from error
        values = list(values) if hasattr(values, "__iter__") else [values]
    bad, ids = BadRows(), []
    for number, value in enumerate(values, start=1):
        if is_missing(value):
            bad.add(f"row {number}", "no user id")
        elif isinstance(value, str) and (NOT_UTF_8 in value or TOO_LONG in value):
            bad.add(f"row {number}", "a line of more than 1 MiB" if TOO_LONG in value else "an id that is not UTF-8")
        else:
            ids.append(whole(value))
    if bad.count:
        report(bad.text(where, len(ids) + bad.count))
    if not ids:
        raise ValueError(f"{where}: there is no user in it.")
    try:
        return list({(value, isinstance(value, bool)): value for value in ids}.values())  # True is not 1
    except TypeError as error:
        raise ValueError(f"{where}: must be ids of users or a file of them; a value is no id: {error}.") from error


def _text_values(path: Path, column: Hashable | None) -> list[str]:
    """Users of a text file: the user column of a table with header, or one id a line; "" where there is none."""
    with open_text(path) as file:
        blocks = file.blocks()
        first = next(blocks, "")
        line = next((line for line in first.split("\n") if line.strip()), "")
        for separator in SEPARATORS:
            header = _fields(line, separator)
            place = _header_place(header, column)
            if place is not None:
                break
        quoting = not any(map(is_atomic, header))  # as RecBole reads its atomic files
        values: list[str] = []
        while first:
            values += _block_values(first, separator, place, quoting)
            first = next(blocks, "")
    return values if place is None else values[1:]


def _block_values(block: str, separator: str, place: int | None, quoting: bool) -> Iterator[str]:
    for line in block.split("\n"):
        if not line.strip():
            continue
        if place is None:
            yield re.sub(r'^"(.*)"$', r"\1", line.strip())
        else:
            fields = _fields(line, separator, quoting)
            yield fields[place].strip() if place < len(fields) else ""


def _fields(line: str, separator: str, quoting: bool = True) -> list[str]:
    width = len(split_line(line, separator))
    return read_record(line, 0, Dialect(separator, width, 0, quoting and len(separator) == 1), last=True)[0]


def _header_place(header: list[str], column: Hashable | None) -> int | None:
    header = [name.strip() for name in header]
    if column is not None and column in header:
        return header.index(column)
    places = recognised(header, "user")
    return places[0] if len(places) == 1 else None


def _is_file_name(text: str) -> bool:
    """Whether text is meant as a file, also one that is missing, rather than as ids."""
    return os.path.exists(text) or ("," not in text and ("/" in text or text.lower().endswith(_ENDINGS)))


def _user_place(names: Sequence[Hashable], user_column: Hashable | None, where: str) -> int:
    if user_column is not None and user_column in names:
        return list(names).index(user_column)
    places = [0] if len(names) == 1 else recognised(names, "user")
    if len(places) != 1:
        raise ValueError(
            f"{where}: no column is known to hold the users; name it user_id. Columns: {listed_names(names)}."
        )
    return places[0]
