"""Names of the columns of recommendations, for the class, the function and the commands."""

from __future__ import annotations

import pandas as pd

_USER, _ITEM = "user_id", "item_id"
#: Columns after the user and the item.
VALUES = ("score", "rank")
#: The column after them, of lists with new items: whether nobody has had the item.
NEW = "new"


def output_columns(
    users: pd.Index, items: pd.Index, first: str | None = None, with_new: bool = False
) -> tuple[str, ...]:
    """Names of the four columns of recommendations, or of five with new items.

    Users and items have the names of the columns that they came from. The names are ``user_id`` and ``item_id`` if they
    came without names, or by names that would repeat another column.

    Args:
        users: ids of users; their name is that of their column.
        items: ids of items, likewise.
        first: name of the first column if it holds no users.
        with_new: whether a column :data:`NEW` follows.
    """
    values = (*VALUES, NEW) if with_new else VALUES
    user, item = _name(users, _USER), _name(items, _ITEM)
    if len({user, item, *values}) < 2 + len(values):
        user, item = _USER, _ITEM
    return first or user, _ITEM if item == first else item, *values


def _name(ids: pd.Index, otherwise: str) -> str:
    return ids.name if isinstance(ids.name, str) and ids.name.strip() else otherwise
