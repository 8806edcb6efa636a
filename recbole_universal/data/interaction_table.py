"""Somebody's interactions, a data frame or a file, as codes and the ids they stand for; imports no RecBole."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_universal.data.column_names import find_columns, recognised
from recbole_universal.data.text_table import BadRows, read_id_lines, read_text

Report = Callable[[str], None]


@dataclass
class InteractionTable:
    """Distinct interactions of users with items.

    Attributes:
        users: ids of the users in the order of their first row.
        items: ids of the items in the order of their first row.
        user_codes: int64 [n_pairs], places in ``users``.
        item_codes: int64 [n_pairs], places in ``items``.
        columns: names of the user and the item column.
    """

    users: pd.Index
    items: pd.Index
    user_codes: np.ndarray
    item_codes: np.ndarray
    columns: tuple[str, str]

    def matrix(self) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
        """The interactions in an order that depends on the ids alone, so that the order of the rows changes no list.

        Returns:
            csr float32 [n_users, n_items], the row of each place in ``users``, the place in ``items`` of each column.
        """
        user_order, item_order = _order(self.users), _order(self.items)
        rows, columns = np.argsort(user_order), np.argsort(item_order)
        ones = np.ones(len(self.user_codes), dtype=np.float32)
        shape = (len(self.users), len(self.items))
        matrix = sp.csr_matrix((ones, (rows[self.user_codes], columns[self.item_codes])), shape=shape)
        matrix.sort_indices()
        return matrix, rows, item_order


def _order(ids: pd.Index) -> np.ndarray:
    text = [str(value) for value in ids]
    return np.array(sorted(range(len(text)), key=text.__getitem__), dtype=np.int64)


def read_interactions(
    source: pd.DataFrame | str | os.PathLike[str],
    user_column: Hashable | None,
    item_column: Hashable | None,
    report: Report,
    show_progress: bool = False,
) -> InteractionTable:
    """Read interactions from a data frame, a delimited text file (also gzip) or a Parquet file.

    Args:
        source: data frame or path.
        user_column: name of the user column; ``None``: recognised. In a text file without header: position, from 1.
        item_column: as ``user_column``.
        report: is told what is left out or guessed.
        show_progress: whether to draw a progress bar.

    Raises:
        ValueError: if there is no usable row or the columns cannot be told.
        OSError: if the file cannot be read.
        ImportError: if Parquet is read without pyarrow.
    """
    if isinstance(source, pd.DataFrame):
        return _from_frame(source, user_column, item_column, "The data frame", report)
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"interactions: must be a data frame or the path of a file, got {type(source).__name__}.")
    path = existing_file(source)
    if is_parquet(path):
        return _from_parquet(path, user_column, item_column, report)
    text = read_text(path, user_column, item_column, show_progress)
    if text.bad.count:
        report(text.bad.text(str(path), text.n_rows))
    for note in text.notes:
        report(note)
    users, items = pd.Index(text.users), pd.Index(text.items)
    user_codes, item_codes = (np.asarray(codes, dtype=np.int64) for codes in (text.user_codes, text.item_codes))
    if len(users) > 1 and _like_a_header(users) and _like_a_header(items):
        report(
            f"{path}: the first row is counted as data: user [{users[0]}], item [{items[0]}]. If it is a header, name "
            "the columns by it instead of by position."
        )
    return _distinct(users, items, user_codes, item_codes, text.columns, str(path), text.n_rows, report)


def read_users(source: Any, user_column: Hashable | None, report: Report) -> list:
    """Users to make lists for, in the given order.

    Args:
        source: ids (list, array, series), or text: a file of ids, one a line or in a user column, or ids parted by
            commas.
        user_column: name of the user column in the file; ``None``: recognised.
        report: is told of users without id.

    Raises:
        ValueError: if there is no user.
        OSError: if the file cannot be read.
    """
    where, bad = "users", BadRows()
    if isinstance(source, os.PathLike) or (isinstance(source, str) and _is_file_name(source)):
        path = existing_file(source)
        where = str(path)
        if is_parquet(path):
            names = _parquet(path).schema.names
            place = _user_place(names, user_column, where)
            values = _parquet_frame(path, [names[place]]).iloc[:, 0].tolist()
        else:
            values, bad = read_id_lines(path, user_column)
    elif isinstance(source, str):
        values = [part.strip() for part in source.split(",") if part.strip()]
    else:
        if isinstance(source, pd.DataFrame):
            source = source.iloc[:, _user_place(list(source.columns), user_column, "users")]
        values = source.tolist() if hasattr(source, "tolist") else source
        values = list(values) if hasattr(values, "__iter__") else [values]
    ids = []
    for number, value in enumerate(values, start=1):
        if _is_missing(value):
            bad.add(f"row {number}", "no user id")
        else:
            ids.append(int(value) if isinstance(value, float) and value.is_integer() else value)
    if bad.count:
        report(bad.text(where, len(ids) + bad.count))
    if not ids:
        raise ValueError(f"{where}: there is no user in it.")
    return list(dict.fromkeys(ids))


def existing_file(path: str | os.PathLike[str]) -> Path:
    """The path of a file or of a folder of Parquet files.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file [{path}].")
    if path.is_dir() and not any(path.glob("*.parquet")):
        raise IsADirectoryError(f"[{path}] is a folder without Parquet files; give a file.")
    return path


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its content (a folder holds Parquet files)."""
    if path.is_dir():
        return True
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def import_pyarrow():
    """The module pyarrow.

    Raises:
        ImportError: saying how to install it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet needs pyarrow, which is not installed: pip install pyarrow, or use CSV files."
        ) from error
    return pyarrow


def _is_file_name(text: str) -> bool:
    """Whether text is meant as a file, also one that is missing, rather than as ids."""
    endings = (".txt", ".csv", ".tsv", ".gz", ".parquet", ".pq", ".inter", ".user", ".dat", ".data")
    return os.path.exists(text) or ("," not in text and ("/" in text or text.lower().endswith(endings)))


def _user_place(names: Sequence[Hashable], user_column: Hashable | None, where: str) -> int:
    if user_column is not None and user_column in names:
        return list(names).index(user_column)
    places = [0] if len(names) == 1 else recognised(names, "user")
    if len(places) != 1:
        listed = ", ".join(map(str, names))
        raise ValueError(f"{where}: no column is known to hold the users; name it user_id. Columns: {listed}.")
    return places[0]


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    missing = pd.isna(value)
    return bool(missing) if isinstance(missing, (bool, np.bool_)) else False


def _parquet(path: Path):
    pyarrow = import_pyarrow()
    try:
        return pyarrow.parquet.ParquetDataset(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error


def _parquet_frame(path: Path, columns: list[str]) -> pd.DataFrame:
    """Columns of a file; nullable types, since integers beside a missing value would become floats."""
    pyarrow = import_pyarrow()
    try:
        table = _parquet(path).read(columns=columns)
        for place, column in enumerate(table.columns):
            if pyarrow.types.is_dictionary(column.type):
                table = table.set_column(place, table.field(place).name, column.cast(column.type.value_type))
        return table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error


def _from_parquet(path: Path, user_column, item_column, report: Report) -> InteractionTable:
    names = _parquet(path).schema.names
    user, item = find_columns(names, user_column, item_column, str(path))
    frame = _parquet_frame(path, [names[user], names[item]])
    return _from_frame(frame, names[user], names[item], str(path), report)


def _from_frame(frame: pd.DataFrame, user_column, item_column, where: str, report: Report) -> InteractionTable:
    names = list(frame.columns)
    if names == list(range(len(names))) and len(names) > 1 and user_column is None and item_column is None:
        report(f"{where} has no column names; column 0 is taken for the users and column 1 for the items.")
        places = (0, 1)
    else:
        places = find_columns(names, user_column, item_column, where)
    user_codes, users = _factorized(frame.iloc[:, places[0]], where)
    item_codes, items = _factorized(frame.iloc[:, places[1]], where)
    usable = (user_codes >= 0) & (item_codes >= 0)
    if not usable.all():
        bad = BadRows()
        for row in np.flatnonzero(~usable):
            missing = [kind for kind, codes in (("user", user_codes), ("item", item_codes)) if codes[row] < 0]
            bad.add(f"row {row + 1}", ", ".join(f"no {kind} id" for kind in missing))
        report(bad.text(where, len(frame)))
    # Ids all of whose rows are unusable do not exist.
    user_codes, kept_users = pd.factorize(user_codes[usable])
    item_codes, kept_items = pd.factorize(item_codes[usable])
    columns = (str(names[places[0]]), str(names[places[1]]))
    ids = users.take(kept_users), items.take(kept_items)
    return _distinct(*ids, user_codes, item_codes, columns, where, len(frame), report)


def _factorized(values: pd.Series, where: str) -> tuple[np.ndarray, pd.Index]:
    """Codes in the order of the rows, -1 for a missing id, and the ids as a plain index."""
    try:
        codes, found = pd.factorize(values)
    except (TypeError, NotImplementedError) as error:
        message = f"{where}: column [{values.name}] holds values that are no ids: {error}"
        raise ValueError(message) from error
    ids = pd.Index(found.to_numpy() if isinstance(values.dtype, pd.ArrowDtype) else found)
    if isinstance(ids, pd.CategoricalIndex):
        ids = ids.astype(ids.categories.dtype)
    if pd.api.types.is_float_dtype(ids) and np.all(np.mod(ids, 1) == 0) and np.all(np.abs(ids) < 2**53):
        ids = ids.astype(np.int64)  # pandas makes floats of integers beside a missing value
    if not pd.api.types.is_numeric_dtype(ids):
        blank = np.array([_is_missing(value) for value in ids], dtype=bool)
        if blank.any():
            codes = np.where(blank[codes] | (codes < 0), -1, codes)
    return np.asarray(codes, dtype=np.int64), ids


def _like_a_header(ids: pd.Index) -> bool:
    """Whether the first id is a word and most of the others have a digit."""
    digits = [any(character.isdigit() for character in str(value)) for value in ids[:1000]]
    return not digits[0] and sum(digits) > len(digits) / 2


def _distinct(users, items, user_codes, item_codes, columns, where: str, n_rows: int, report: Report):
    if not len(user_codes):
        raise ValueError(f"{where}: there is no usable row; each needs a user and an item.")
    pairs = np.unique(user_codes * len(items) + item_codes)
    repeated = len(user_codes) - len(pairs)
    if repeated:
        report(
            f"{where}: {repeated} of {n_rows} rows repeat a pair of user and item that came before; "
            "each pair counts once."
        )
    return InteractionTable(users, items, pairs // len(items), pairs % len(items), columns)
