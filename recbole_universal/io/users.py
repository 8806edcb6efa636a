"""Reads the users who get recommendations from a file, a text, a sequence or a frame."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal.io.bad_rows import BadRows
from recbole_universal.io.column_names import listed_names, recognised
from recbole_universal.io.ids import is_missing, is_utf_8, whole
from recbole_universal.io.json_records import is_json
from recbole_universal.io.layout import header_names, table_layout
from recbole_universal.io.paths import existing_path, name_in, parts
from recbole_universal.io.records import SEPARATORS
from recbole_universal.io.source import Chunk, Report
from recbole_universal.io.streams import TOO_LONG, open_text
from recbole_universal.io.tables import column_values, is_arrow, is_parquet
from recbole_universal.io.text import TOO_LONG_LINE, read_rows

_ENDINGS = (".txt", ".csv", ".tsv", ".gz", ".zst", ".parquet", ".pq", ".inter", ".user", ".dat", ".data")


def read_users(source: Any, user_column: Hashable | None, report: Report) -> list:
    """The users who get recommendations, in the given order.

    Args:
        source: ids (list, array, series), a frame, or text: a file of ids, one per line or in a user column, a folder
            of Parquet parts, or ids separated by commas.
        user_column: name of the user column in the file; ``None``: recognised.
        report: receives a sentence on rows without a user id.

    Raises:
        ValueError: if there is no user.
        OSError: if the file cannot be read.
    """
    where = "users"
    chunks: list[tuple[str, Chunk]] = []  # and what its rows are called
    values: list = []

    def column_of(names: Sequence[Hashable]) -> int:
        index = 0 if len(names) == 1 else _user_column(names, user_column)
        if index is None:
            listed = listed_names(names)
            raise ValueError(f"{where}: no column is known to hold the users; name it user_id. Columns: {listed}.")
        return index

    if isinstance(source, os.PathLike) or (isinstance(source, str) and _is_file_name(source)):
        path = existing_path(source, "users")
        where = str(path)
        files = parts(path) if path.is_dir() else [path]
        if path.is_dir() and not (files and all(map(is_parquet, files))):
            raise IsADirectoryError(f"users: [{path}] is a folder; give a file, or a folder of Parquet parts.")
        if is_parquet(files[0]):
            for file in files:
                where = str(file)  # also for the messages of column_of
                chunk = _only_users(column_values(file, where, column_of))
                chunks.append((f"{name_in(str(path), file)}, row" if path.is_dir() else "row", chunk))
            where = str(path)
        else:
            chunks = [("line", chunk) for chunk in _text_chunks(path, user_column)]
    elif isinstance(source, str):
        ids = [text for line in source.split("\n") for text in header_names([line], ",")]
        values = [text for text in ids if text]
    elif isinstance(source, pd.DataFrame):
        values = source.iloc[:, column_of(list(source.columns))].tolist()
    elif is_arrow(source) and hasattr(source, "columns"):
        values = column_values(source, where, column_of)
    else:
        if isinstance(source, (bytes, bytearray)):
            raise ValueError(f"{where}: must be ids of users or a file of them, got {type(source).__name__}.")
        try:
            values = source.tolist() if hasattr(source, "tolist") else source
        except RuntimeError as error:  # a sparse tensor
            raise ValueError(f"{where}: must be ids of users or a file of them; {error}.") from error
        values = list(values) if hasattr(values, "__iter__") else [values]
    bad, ids = BadRows(), []
    for row, chunk in chunks or [("row", _only_users(values))]:
        for index, (number, value) in enumerate(zip(chunk.numbers, chunk.users, strict=True)):
            problem = chunk.problems.get(index) or _problem(value)
            if problem:
                bad.add(f"{row} {number}", problem)
            else:
                ids.append(whole(value))
    if bad.count:
        report(bad.text(where, len(ids) + bad.count))
    if not ids:
        raise ValueError(f"{where}: there is no user in it.")
    try:
        return list({(value, isinstance(value, (bool, np.bool_))): value for value in ids}.values())  # True is not 1
    except TypeError as error:
        raise ValueError(f"{where}: must be ids of users or a file of them; a value is no id: {error}.") from error


def _only_users(values: Sequence) -> Chunk:
    users = _objects(values)
    return Chunk(users, users, range(1, len(users) + 1))


def _objects(values: Sequence) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _problem(value: Any) -> str:
    """Why a value is not an id; "" if it is one."""
    if is_missing(value):
        return "no user id"
    if isinstance(value, str) and not is_utf_8(value):
        return "an id that is not UTF-8"
    return ""


def _text_chunks(path: Path, column: Hashable | None) -> Iterator[Chunk]:
    """Users of a text file: the user column of a table with header, or one id per line."""
    with open_text(path) as file:
        lines = [line for line in file.start().split("\n", 1000)[:1000] if line.strip()]
    if lines and is_json("\n".join(lines)):
        raise ValueError(
            f"users: [{path}] is JSON; give a text file with one id per line, or a table with a user column."
        )
    for separator in SEPARATORS if lines else ():
        header = header_names(lines[:1], separator)
        index = _user_column(header, column)
        if index is not None:
            layout = table_layout(lines, separator, len(header), (index, index), header)
            for chunk in read_rows(path, layout, False):
                stripped = [value and value.strip() for value in chunk.users]
                yield Chunk(_objects(stripped), chunk.items, chunk.numbers, chunk.problems)
            return
    number = 0
    with open_text(path) as file:
        for block in file.blocks():
            block_lines = block.split("\n")
            numbered = enumerate(block_lines, start=number + 1)
            rows = [(line_number, line.strip()) for line_number, line in numbered if line.strip()]
            number += len(block_lines)
            ids = _objects([re.sub(r'^"(.*)"$', r"\1", line) for _, line in rows])
            problems = {index: TOO_LONG_LINE for index, (_, line) in enumerate(rows) if line == TOO_LONG}
            yield Chunk(ids, ids, np.array([line_number for line_number, _ in rows]), problems)


def _user_column(names: Sequence[Hashable], named: Hashable | None) -> int | None:
    """Index of the user column, by the name that the caller gives or by its usual name; ``None``: unknown."""
    if named is not None and named in names:
        return list(names).index(named)
    indices = recognised(names, "user")
    return indices[0] if len(indices) == 1 else None


def _is_file_name(text: str) -> bool:
    """Whether text is meant as a file, also one that is missing, rather than as ids."""
    return os.path.exists(text) or ("," not in text and ("/" in text or text.lower().endswith(_ENDINGS)))
