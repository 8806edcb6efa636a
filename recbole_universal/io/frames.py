"""Reads ids from pandas data frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from recbole_universal.io.column_names import FurtherColumns, Named, find_columns, weak_guess
from recbole_universal.io.source import Chunk, Source

_ROWS_AT_ONCE = 2**18  # of whole rows


def frame_source(frame: pd.DataFrame, named: Named, columns: FurtherColumns, where: str, whole: bool = False) -> Source:
    """A data frame of pandas; the chunks of a ``whole`` one have the other columns, too.

    Raises:
        ValueError: if the columns are ambiguous.
    """
    names = list(frame.columns)
    unnamed = names == list(range(len(names))) and len(names) > 1 and named == (None, None)
    guess = ""
    if unnamed:
        indices = (0, 1)
        guess = "there are no column names, so column 0 is taken for the users and column 1 for the items"
    else:
        indices = find_columns(names, named, where)
        guess = weak_guess(names, indices, named)
    further, time_note = columns.find(names, indices, where)

    others = [index for index in range(len(names)) if index not in (*indices, *further.values())]

    def chunks() -> Iterator[Chunk]:
        users, items = (_plain(frame.iloc[:, index]) for index in indices)
        values = {kind: frame.iloc[:, index] for kind, index in further.items()}
        if not whole:
            yield Chunk(users, items, range(1, len(frame) + 1), further=values)
            return
        for start in range(0, len(frame), _ROWS_AT_ONCE):
            part = slice(start, min(len(frame), start + _ROWS_AT_ONCE))
            yield Chunk(
                users[part],
                items[part],
                range(start + 1, part.stop + 1),
                further={kind: column.iloc[part] for kind, column in values.items()},
                others=[frame.iloc[part, index] for index in others],
            )

    return Source(
        where=where,
        columns=(str(names[indices[0]]), str(names[indices[1]])),
        ignored=[str(names[index]) for index in others],
        row="row",
        chunks=chunks,
        guess=guess,
        given=None not in named,
        has_names=not unnamed,
        time=str(names[further["times"]]) if "times" in further else None,
        event=str(names[further["events"]]) if "events" in further else None,
        time_note=time_note,
    )


def _plain(values: pd.Series) -> Any:
    """Converts a column of a categorical, nullable or Arrow type to plain values."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object if values.hasnans else values.cat.categories.dtype)
    if isinstance(values.dtype, pd.ArrowDtype) or (
        pd.api.types.is_extension_array_dtype(values.dtype) and pd.api.types.is_numeric_dtype(values.dtype)
    ):
        return values.to_numpy(dtype=object, na_value=None)  # type: ignore[call-overload]
    return values
