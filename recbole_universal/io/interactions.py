"""Reads interactions from a file, a folder, a data frame or an Arrow table."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_universal.io.column_names import FurtherColumns, Named, TimeColumn, listed_names
from recbole_universal.io.core import Core
from recbole_universal.io.frames import frame_source
from recbole_universal.io.interaction_table import InteractionTable
from recbole_universal.io.json_records import is_json, json_source
from recbole_universal.io.paths import input_files, name_in
from recbole_universal.io.row_times import RowTimes
from recbole_universal.io.rows import Rows
from recbole_universal.io.source import Report, Source
from recbole_universal.io.streams import open_text
from recbole_universal.io.tables import arrow_source, is_arrow, is_parquet, parquet_sources
from recbole_universal.io.text import text_source
from recbole_universal.io.weights import RowWeights

_MOST_LISTED = 10


def read_interactions(
    source: Any,
    user_column: Hashable | None,
    item_column: Hashable | None,
    report: Report,
    show_progress: bool = False,
    *,
    time_column: Hashable | None = None,
    read_times: bool = True,
    order: str | None = None,
    weight_column: Hashable | None = None,
    event_column: Hashable | None = None,
    event_weights: Mapping[str, float] | None = None,
    core: Core | None = None,
) -> InteractionTable:
    """Read interactions from a frame or a file.

    Args:
        source: a data frame of pandas, a table that hands over Arrow data (polars, pyarrow, ...), or the path of a
            delimited text file, a JSON file, a Parquet file, a folder of parts of one of these, or a pattern of parts
            such as ``logs/2024-*.parquet``.
        user_column: name of the user column; ``None``: recognised. In a text file without header: position, from 1.
        item_column: as ``user_column``.
        report: receives a sentence on each thing that is left out or guessed.
        show_progress: whether to draw a progress bar.
        read_times: whether times and order are read at all.
        time_column: as ``user_column``, of the time of each interaction. If no name is usual, no time is read.
        order: ``rows``: the interactions are in the order of the rows, and no time is read. ``None``: times order them.

        weight_column: as ``user_column``, of the weight of each interaction, a number of at least 0; ``None``: no
            weight is read.
        event_column: as ``user_column``, of the kind of each interaction. It is read with ``event_weights``.
        event_weights: weight of each kind, which multiplies that of the weight column; ``None``: no kind is read.
        core: numbers of interactions of the users and items that stay; ``None``: all stay.

    Raises:
        ValueError: if no row is usable, most rows are unusable, or the columns or the dates are ambiguous.
        OSError: if the file cannot be read.
        ImportError: if a file needs a package that is not installed.
    """
    if order not in (None, "rows"):
        raise ValueError(f"order (--order): must be rows, or left out, got [{order}].")
    if order and time_column is not None:
        raise ValueError("order (--order) and time_column (--time-column) exclude each other: give one of them.")
    if not read_times:
        time_column = order = None
    time = TimeColumn(time_column, wanted=order is None and read_times)
    reads_events = event_weights is not None
    reads_weights = reads_events or weight_column is not None
    further = FurtherColumns(time, weight_column, event_column, reads_events)
    where, sources = open_sources(source, (user_column, item_column), further, show_progress)
    first = sources[0]
    for each in sources:
        for note in each.notes:
            report(note)
    if ignored := _ignored(sources):
        report(f"{where}: ignored columns: {ignored}.")
    if first.time_note:
        report(f"{where}: {first.time_note}")
    times = None if first.time is None else RowTimes(first.time, time_column is not None)
    weights = RowWeights(event_weights) if reads_weights else None
    rows = Rows(first.strip, times, weights, by_rows=order == "rows")
    try:
        for each in sources:
            prefix = f"{name_in(where, each.where)}, " if len(sources) > 1 else ""
            for chunk in each.chunks():
                rows.add(chunk, f"{prefix}{each.row}")
        return rows.table(where, first, report, core)
    finally:
        rows.close()


def open_sources(
    source: Any, named: Named, further: FurtherColumns, show_progress: bool, whole: bool = False
) -> tuple[str, list[Source]]:
    """The name of the table for messages, and one source per file; the arguments as in :func:`read_interactions`.

    Args:
        source: the table.
        named: the columns of the users and the items.
        further: further columns that are read.
        show_progress: whether to draw a progress bar.
        whole: whether the chunks have the other columns, too.

    Raises:
        ValueError: if it is no table, or the columns are ambiguous.
        OSError: if the file cannot be read.
    """
    where, sources = _sources(source, named, further, show_progress, whole)
    if further.time.name is None:
        _without_different_times(sources)
    return where, sources


def _sources(
    source: Any, named: Named, further: FurtherColumns, show_progress: bool, whole: bool
) -> tuple[str, list[Source]]:
    if isinstance(source, pd.DataFrame):
        return "The data frame", [frame_source(source, named, further, "The data frame", whole)]
    if is_arrow(source):
        return "The table", [arrow_source(source, named, further, "The table", show_progress, whole)]
    if not isinstance(source, (str, os.PathLike)):
        kind = type(source).__name__
        hint = "; call .collect() first" if hasattr(source, "collect") else ""
        raise ValueError(f"interactions: must be a data frame, an Arrow table or the path of a file, got {kind}{hint}.")
    path, folder, files = input_files(source, "interactions")
    where = str(path)
    kinds = [is_parquet(file) for file in files]
    if files and all(kinds):
        sources = parquet_sources(files, folder, named, further, where, show_progress, whole)
        return where, _of_one_table(path, sources)
    forms = [("Parquet",) if parquet else _endings(file) for file, parquet in zip(files, kinds, strict=True)]
    if odd := [file for file, form in zip(files, forms, strict=True) if form != forms[0]]:
        raise ValueError(
            f"[{path}] is a folder of different files, such as [{files[0].name}] and [{odd[0].name}]; give a file, or "
            "a folder of parts of one table."
        )
    made = [_file_source(file, named, further, show_progress, folder is not None, whole) for file in files]
    sources = [each for each in made if each]
    if not sources:
        raise ValueError(f"[{path}] is a folder without files, or with empty ones; give a file, or a folder of parts.")
    return where, _of_one_table(path, sources)


def _ignored(sources: list[Source]) -> str:
    """Names of the columns that no part uses, at most ten; "" if there are none."""
    used = {name for each in sources for name in (*each.columns, each.time)}
    names = {name.strip(): None for each in sources for name in each.ignored if name not in used}
    listed = [name[:60] for name in names if name]
    rest = len(listed) - _MOST_LISTED
    return ", ".join(listed[:_MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _endings(file: Path) -> tuple[str, ...]:
    return tuple(file.suffixes[-2:] if file.suffix in (".gz", ".zst") else file.suffixes[-1:])


def _of_one_table(path: Path, sources: list[Source]) -> list[Source]:
    for each in sources:
        if each.has_names != sources[0].has_names:
            with_header, without = sorted((sources[0], each), key=lambda source: not source.has_names)
            raise ValueError(
                f"[{path}] is a folder of different tables: [{Path(with_header.where).name}] has a header, "
                f"[{Path(without.where).name}] has none."
            )
        if each.columns != sources[0].columns:
            raise ValueError(
                f"[{path}] is a folder of different tables: [{Path(sources[0].where).name}] has the columns "
                f"{listed_names(sources[0].columns)}, [{Path(each.where).name}] {listed_names(each.columns)}."
            )
    return sources


def _without_different_times(sources: list[Source]) -> None:
    """Read no times if the parts of a table have different time columns."""
    names = list(dict.fromkeys(each.time for each in sources))
    if len(names) < 2:
        return
    listed = " and ".join("no usual name" if name is None else f"[{name}]" for name in names[:2])
    for each in sources:
        each.ignored += [each.time] if each.time is not None else []
        each.time = None
    sources[
        0
    ].time_note = (
        f"no time is used, since the time columns of the parts differ: {listed}. time_column (--time-column) names one."
    )


def _file_source(
    path: Path, named: Named, further: FurtherColumns, show_progress: bool, is_part: bool, whole: bool
) -> Source | None:
    """A text or JSON file; ``None`` for an empty part of a folder, which Spark writes."""
    with open_text(path) as file:
        first = file.start()
    if is_part and first.strip() in ("", "[]"):
        return None
    make = json_source if is_json(first) else text_source
    return make(path, first, named, further, show_progress, whole)
