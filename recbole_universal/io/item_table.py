"""A table of items: one row an item, with columns such as category, price and title."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal.io.column_names import is_atomic, listed_names, plain_name, recognised
from recbole_universal.io.ids import is_missing, whole
from recbole_universal.io.json_records import is_json
from recbole_universal.io.layout import header_names
from recbole_universal.io.paths import existing_path
from recbole_universal.io.source import Report
from recbole_universal.io.streams import open_text
from recbole_universal.io.tables import is_arrow, is_parquet, whole_table

_SEPARATORS = ("\t", ",", ";", "|", "::")
_MOST_COLUMNS = 1000
_LARGEST = float(np.finfo(float).max)
# A number, but not the code 007 or an article number with more digits than a float holds.
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]{0,14})?(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_NESTED = (list, tuple, set, frozenset, dict, np.ndarray)
_NO_NUMBER = {"nan", "null", "none", "na", "n/a"}
_TITLES = (("title", "itemtitle", "producttitle", "movietitle"), ("name", "itemname", "productname", "moviename"))


@dataclass(frozen=True)
class ItemTable:
    """The rows of some items.

    Attributes:
        frame: the columns, the ids first, each of texts, numbers, truth values, times or lists; [n_rows].
        ids: the ids, distinct, [n_rows].
    """

    frame: pd.DataFrame
    ids: pd.Index

    @property
    def title(self) -> str | None:
        """Name of the column with the names of the items for people; ``None``: there is none."""
        names = list(map(str, self.frame))[1:]
        bare = {re.sub(r"[\W_]", "", name).lower(): name for name in reversed(names)}
        found = [bare[name] for tier in _TITLES for name in tier if name in bare]
        return found[0] if found else None


def read_items(source: Any, item_column: Hashable | None, report: Report) -> ItemTable:
    """Read a table of items.

    Args:
        source: a frame of pandas or polars, an Arrow table, or the path of a text file with a header, such as CSV or
            RecBole's ``.item``, a JSON or a Parquet file.
        item_column: name of the column of ids if the table has it; otherwise it is recognised by its name.
        report: receives a sentence on rows that are left out.

    Raises:
        ValueError: if it is no such table, or no column or more than one may hold the ids.
        OSError: if the file cannot be read.
    """
    where = "items (--items)"
    if isinstance(source, pd.DataFrame):
        frame = source
    elif isinstance(source, (str, os.PathLike)):
        path = existing_path(source, where)
        where = f"items (--items): [{path}]"
        if path.is_dir():
            raise IsADirectoryError(f"{where} is a folder; give a file.")
        frame = whole_table(path, where) if is_parquet(path) else _of_text(path, where)
    elif is_arrow(source):
        frame = whole_table(source, where)
    else:
        raise ValueError(
            f"{where}: must be a table of items, as a frame, an Arrow table or the path of a file, got "
            f"{type(source).__name__}."
        )
    if frame.shape[1] > _MOST_COLUMNS:
        raise ValueError(f"{where}: there are {frame.shape[1]} columns; at most {_MOST_COLUMNS} are read.")
    names = list(frame.columns)
    index = _item_column(frame, item_column, where)
    plain = [plain_name(name) for name in names]
    if repeated := sorted({name for name in plain if plain.count(name) > 1}):
        raise ValueError(f"{where}: more than one column is called {listed_names(repeated)}.")
    ids = [whole(value) for value in frame.iloc[:, index].astype(object).tolist()]
    last = {str(name): row for row, name in enumerate(ids) if isinstance(name, Hashable) and not is_missing(name)}
    rows = np.array(sorted(last.values()), dtype=np.int64)
    if left_out := len(ids) - len(rows):
        report(
            f"{where}: {left_out} of {len(ids)} rows are left out, since they have no item id or a later row has the "
            "same."
        )
    if not len(rows):
        raise ValueError(f"{where}: no row has an item id in the column [{names[index]}].")
    kept = [ids[row] for row in rows]
    if len({type(name) for name in kept}) > 1:
        kept = [str(name) for name in kept]  # 7 and "7" are one id
    columns = {plain[index]: pd.Series(kept)}
    for each, name in enumerate(plain):
        if each != index:
            columns[name] = _plain_column(frame.iloc[rows, each])
    return ItemTable(pd.DataFrame(columns), pd.Index(kept, tupleize_cols=False))


def _item_column(frame: pd.DataFrame, named: Hashable | None, where: str) -> int:
    """Index of the column of ids.

    Raises:
        ValueError: if it is not known.
    """
    names = list(frame.columns)
    plain = [plain_name(name) for name in names]
    if named is not None and plain.count(plain_name(named)) == 1:
        return plain.index(plain_name(named))
    lower = [name.lower() for name in plain]
    found = recognised(names, "item")
    if lower.count("id") == 1 and (len(found) != 1 or lower[found[0]].endswith(("name", "title"))):
        return lower.index("id")
    if len(found) > 1:  # such as [sku] and [stock], of which one is no id
        found = [index for index in found if _is_distinct(frame.iloc[:, index])] or found
    if len(found) != 1:
        problem = "more than one column may hold" if found else "no column is known to hold"
        raise ValueError(f"{where}: {problem} the item ids; call it item_id. Columns: {listed_names(names)}.")
    return found[0]


def _is_distinct(values: pd.Series) -> bool:
    """Whether no value is missing or repeated."""
    try:
        return bool(values.notna().all() and values.is_unique)
    except TypeError:  # lists
        return False


def _of_text(path: Path, where: str) -> pd.DataFrame:
    """A JSON file, or a delimited text file with a header."""
    with open_text(path) as file:
        text = "".join(file.pieces())
    if is_json(text[:1000]):
        try:
            # Not splitlines, which also splits at a U+2028 within a text.
            lines = [] if text.lstrip().startswith("[") else [line for line in text.split("\n") if line.strip()]
            rows = list(map(json.loads, lines)) if lines else json.loads(text)
            return pd.DataFrame(rows, dtype=object)  # a column with missing values keeps its whole numbers
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{where} is no JSON list of objects: {error}.") from error
    first = next((line for line in text.split("\n") if line.strip()), "")
    widths = {separator: len(header_names([first], separator)) for separator in _SEPARATORS}
    separator = max(widths, key=lambda name: widths[name])
    atomic = is_atomic(first.split(separator)[0])
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=not atomic,
            quoting=3 if atomic else 0,
            engine="python" if len(separator) > 1 else "c",
            index_col=False,
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{where} cannot be read as a table with a header: {str(error).strip()}.") from error
    names = {name: str(name).rpartition(":")[2] if is_atomic(name) else "" for name in frame}
    id_like = set(recognised(list(frame), "item"))
    for index, (name, kind) in enumerate(names.items()):
        values = frame[name].str.strip()
        if kind.endswith("seq"):
            frame[name] = pd.Series([text.split() or None for text in values], dtype=object)
        elif kind != "token" and index not in id_like:
            frame[name] = _typed(values)
        else:
            frame[name] = values
    return frame


def _typed(texts: pd.Series) -> pd.Series:
    """Texts of a file as numbers or truth values, if all are such."""
    given = [text for text in texts if isinstance(text, str) and text and text.lower() not in _NO_NUMBER]
    if given and all(text.lower() in ("true", "false") for text in given):
        return texts.str.lower().map({"true": True, "false": False})
    if given and all(_NUMBER.fullmatch(text) and text[-1].isdigit() for text in given):
        return pd.to_numeric(texts, errors="coerce")
    return texts


def _plain_column(values: pd.Series) -> pd.Series:
    """A column as one of five kinds: texts, numbers, truth values, times or lists; missing values stay missing."""
    values = values.reset_index(drop=True)
    kind = values.dtype
    if pd.api.types.is_bool_dtype(kind):
        return values.astype("boolean")
    if pd.api.types.is_integer_dtype(kind):
        return values.astype("UInt64" if str(kind).lower().startswith("uint64") else "Int64")
    if pd.api.types.is_float_dtype(kind):
        return values.astype("float64").replace([np.inf, -np.inf], np.nan).astype("Float64")
    if isinstance(kind, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_any_dtype(kind):
        return pd.to_datetime(values, utc=True).dt.tz_localize(None)
    objects = [_plain_value(value) for value in values.astype(object).tolist()]
    kinds = {type(value) for value in objects if value is not None}
    if kinds == {list}:
        return pd.Series(_of_one_kind(objects), dtype=object)
    if kinds == {bool}:
        return pd.Series(objects, dtype="boolean")
    if kinds and kinds <= {int, float}:
        if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in objects):
            return pd.Series(objects, dtype="Int64")
        return pd.Series([None if value is None else _float(value) for value in objects], dtype="Float64")
    if kinds == {pd.Timestamp}:
        return pd.to_datetime(pd.Series(objects), utc=True).dt.tz_localize(None)
    return pd.Series([None if value is None else _text(value) for value in objects], dtype=object)


def _of_one_kind(lists: list[list | None]) -> list[list | None]:
    """Lists whose entries a Parquet file can hold: numbers that fit, or texts, or truth values; others become texts."""
    entries = [entry for each in lists if each is not None for entry in each if entry is not None]
    kinds = {type(entry) for entry in entries}
    fit = all(type(entry) is not int or -(2**63) <= entry < 2**63 for entry in entries)
    if fit and (kinds <= {int, float} or kinds <= {bool} or kinds <= {str}):
        return lists
    return [None if each is None else [None if one is None else _text(one) for one in each] for each in lists]


def _text(value: Any) -> str:
    """A value as a text that a file can hold."""
    return str(value).encode("utf-8", "replace").decode()


def _float(value: float) -> float | None:
    """A finite number, or ``None``."""
    return float(value) if abs(value) <= _LARGEST else None


def _plain_value(value: Any) -> Any:
    """A value as Python's own; ``None`` if it is missing."""
    if isinstance(value, _NESTED) and not isinstance(value, dict):
        return [_text(each) if isinstance(each, (str, *_NESTED)) else whole(each) for each in value]
    if value is None or is_missing(value):
        return None
    if isinstance(value, (np.generic, Decimal)):
        return float(value) if isinstance(value, Decimal) else value.item()
    return pd.Timestamp(value) if isinstance(value, date) else value
