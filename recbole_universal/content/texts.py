"""The text of each item, out of the columns of a table of items."""

from __future__ import annotations

import html
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from recbole_universal.io.column_names import listed_names
from recbole_universal.io.ids import IdLookup, is_missing

#: Characters of a text that the encoders read. A title is described by far fewer.
MOST_CHARACTERS = 2000
_MARKUP = re.compile(r"<(script|style)\b.*?(</\1\s*>|$)|<!--.*?(-->|$)|</?[a-z][^<>]*>", re.IGNORECASE | re.DOTALL)
_ADDRESS = re.compile(r"(https?://|www\.|/)\S*|\S+\.(jpe?g|png|gif|webp|html?)", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
# Values of a column that decide whether it is text.
_LOOKED_AT = 1000


def cleaned(value: Any) -> str:
    """A value as plain text: without HTML and repeated blanks, at most :data:`MOST_CHARACTERS` long.

    Args:
        value: a text, a list of texts, another value, or a missing one, which is "". A list of words, such as a
            ``token_seq`` of RecBole, is a text. Entries with blanks, such as tags of two words, have commas between.
    """
    if isinstance(value, (list, tuple, set, frozenset)):
        entries = [str(each).strip() for each in value if not _is_missing(each)]
        value = (", " if any(" " in each for each in entries) else " ").join(entries)
    if _is_missing(value):
        return ""
    text = str(value)[: 4 * MOST_CHARACTERS]  # markup takes room
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate is no character
    if "<" in text:
        text = _MARKUP.sub(" ", text)
    return " ".join(html.unescape(text).split())[:MOST_CHARACTERS]


def _is_missing(value: Any) -> bool:
    return not value if isinstance(value, str) else is_missing(value)


def is_text(values: Iterable[Any]) -> bool:
    """Whether a column holds texts that say what an item is.

    At least half of the values that are given are strings or lists with a letter in them, and are no address of a page
    or a picture. Numbers, truth values and times are no text.

    Args:
        values: the column. The first thousand given values count.
    """
    n_given = n_texts = 0
    for value in values:
        if not isinstance(value, (str, list, tuple)) and is_missing(value):
            continue
        text = cleaned(value)
        if isinstance(value, (str, list, tuple)) and not text:
            continue
        n_given += 1
        n_texts += isinstance(value, (str, list, tuple)) and bool(_LETTER.search(text)) and not _ADDRESS.fullmatch(text)
        if n_given == _LOOKED_AT:
            break
    return n_given > 0 and 2 * n_texts >= n_given


def chosen_fields(columns: Mapping[Hashable, Sequence[Any]], named: Sequence[str] | None, where: str) -> list[Hashable]:
    """The columns whose texts describe the items.

    Args:
        columns: the columns by name, without the ids.
        named: names of the columns to take; ``None``: all that :func:`is_text` accepts.
        where: what the columns are of, for the message.

    Raises:
        ValueError: if a named column does not exist.
    """
    if named is None:
        return [name for name, values in columns.items() if is_text(values)]
    by_text = {str(name): name for name in columns}
    if missing := [name for name in named if name not in by_text]:
        raise ValueError(
            f"content_fields: {where} has no column {listed_names(missing)}. "
            f"Columns: {listed_names(list(columns)) or 'none'}."
        )
    return [by_text[name] for name in named]


def item_texts(columns: Mapping[Hashable, Sequence[Any]], fields: Sequence[Hashable], n_items: int) -> list[str]:
    """One text an item: the texts of its fields, one after the other; "" for an item without any.

    Args:
        columns: the columns by name, [n_items] each.
        fields: names of the columns to join, in this order.
        n_items: number of items.
    """
    parts: list[list[str]] = [[] for _ in range(n_items)]
    for name in fields:
        for row, value in enumerate(columns[name]):
            text = cleaned(value)
            if text:
                parts[row].append(text)
    return [" . ".join(each)[:MOST_CHARACTERS] for each in parts]


def texts_of_table(
    frame: pd.DataFrame, ids: pd.Index, items: pd.Index, named: Sequence[str] | None, where: str
) -> list[str]:
    """The text of each item of a catalogue out of a table of items.

    Args:
        frame: the table, the ids in its first column.
        ids: the ids of its rows.
        items: the ids of the catalogue, [n_items].
        named: as in :func:`chosen_fields`.
        where: as in :func:`chosen_fields`.

    Returns:
        The texts, [n_items]; "" for an item without a row.

    Raises:
        ValueError: if a named column does not exist, or no item of the catalogue has a row.
    """
    columns: dict[Hashable, Sequence[Any]] = {name: frame[name].tolist() for name in frame.columns[1:]}
    fields = chosen_fields(columns, named, where)
    of_rows = item_texts(columns, fields, len(frame))
    rows = IdLookup(ids).indices(items.tolist())
    if len(items) and not (rows >= 0).any():
        raise ValueError(
            f"{where}: no id of the table is an item of the interactions, such as {listed_names(items.tolist()[:3])}; "
            f"the table has ids such as {listed_names(ids.tolist()[:3])}."
        )
    return [of_rows[row] if row >= 0 else "" for row in rows.tolist()]
