"""Ids and the item-item matrix as Arrow tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_universal.app.output_columns import output_columns


def id_column(name: str, ids: pd.Index) -> Any:
    """Ids as an Arrow array.

    Args:
        name: what the ids are of, for messages.
        ids: the ids.

    Raises:
        ValueError: if Arrow cannot hold these ids.
        ImportError: without pyarrow.
    """
    arrow = import_pyarrow()
    values = ids.tolist()
    try:
        is_large = all(type(value) is int for value in values) and max(values, default=0) >= 2**63
        column = arrow.array(values, arrow.uint64() if is_large else None)
        same = [(type(value), value) for value in column.to_pylist()] == [(type(value), value) for value in values]
    except (arrow.ArrowException, OverflowError):
        same = False
    if not same:
        kinds = ", ".join(sorted({type(value).__name__ for value in values})[:5])
        raise ValueError(
            f"{name}: ids must be of one type that Parquet holds, such as text or integers below 2**64, and are "
            f"{kinds}; convert them, such as by astype(str), and fit again."
        )
    return column


def relations_table(relations: sp.csr_matrix, users: pd.Index, items: pd.Index) -> Any:
    """An item-item matrix as an Arrow table of pairs.

    Args:
        relations: csr float32 [n_items, n_items].
        users: ids of the users, whose column decides on the name of the items'.
        items: id of each item, [n_items].

    Returns:
        The item, ``neighbor`` and ``weight``, by item, the largest weight first.
    """
    arrow = import_pyarrow()
    rows = np.repeat(np.arange(len(items)), np.diff(relations.indptr))
    order = np.lexsort((relations.indices, -relations.data, rows))
    ids = id_column("items", items)
    name = output_columns(users, items, "neighbor")[1]
    columns = {
        "item_id" if name == "weight" else name: ids.take(arrow.array(rows[order])),
        "neighbor": ids.take(arrow.array(relations.indices[order])),
        "weight": arrow.array(relations.data[order]),
    }
    return arrow.table(columns)


def import_pyarrow() -> Any:
    """The package pyarrow.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet, folders of recommenders and Arrow tables are written with pyarrow, which is not installed: pip "
            "install pyarrow, or write CSV."
        ) from error
    return pyarrow
