"""Titles of items, from a table that has a column of ids and a column of titles."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_universal.io.column_names import listed_names, plain_name, recognised
from recbole_universal.io.ids import IdLookup, is_missing
from recbole_universal.io.paths import existing_path
from recbole_universal.io.streams import open_text
from recbole_universal.io.tables import is_parquet

_TITLE = re.compile(r"(.*title|.*name|label|headline)")
_MOST_CHARACTERS = 200


class Titles:
    """Titles by the ids of items.

    Args:
        ids: ids of items.
        titles: the title of each; ``None`` or blank: none.
    """

    def __init__(self, ids: Sequence = (), titles: Sequence[str | None] = ()) -> None:
        self._find = IdLookup(pd.Index(list(ids), dtype=object))
        self._titles = [None if is_missing(title) else str(title).strip()[:_MOST_CHARACTERS] for title in titles]

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> Titles:
        """The titles of a table, a delimited text file or a Parquet file.

        Raises:
            ValueError: if it has no column of ids or of titles, naming the columns.
            OSError: if it cannot be read.
        """
        file = existing_path(path, "items")
        table = pd.read_parquet(file) if is_parquet(file) else _text_table(file)
        names = list(table.columns)
        ids = recognised(names, "item")
        titles = [index for index, name in enumerate(names) if _is_title(name) and index not in ids]
        if len(ids) != 1 or not titles:
            lacking = "titles, such as title" if len(ids) == 1 else "item ids, such as item_id"
            raise ValueError(
                f"[{file}]: no column, or more than one, holds the {lacking}. Columns: {listed_names(names)}."
            )
        best = next((index for index in titles if plain_name(names[index]).lower() == "title"), titles[0])
        return cls(table.iloc[:, ids[0]].tolist(), table.iloc[:, best].tolist())

    def of(self, items: Sequence) -> list[str | None]:
        """The title of each item."""
        return [self._titles[index] if index >= 0 else None for index in self._find.indices(items).tolist()]


def _is_title(name: Hashable) -> bool:
    return bool(_TITLE.fullmatch(re.sub(r"[\W_]", "", plain_name(name)).lower()))


def _text_table(file: Path) -> pd.DataFrame:
    with open_text(file) as text:
        header = text.start().split("\n", 1)[0]
    separator = max("\t,;|", key=header.count)
    quoting: Any = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    try:
        return pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, quoting=quoting)
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"[{file}] is no table with a header: {error}.") from error
