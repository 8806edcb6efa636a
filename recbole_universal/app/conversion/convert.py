"""Tables of interactions to datasets of RecBole, and back."""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from recbole_universal import arguments
from recbole_universal.app.conversion.atomic_dataset import AtomicTable, dataset_name, file_names, new_dataset
from recbole_universal.app.conversion.reading import ColumnRules, Interactions, SideTable
from recbole_universal.app.conversion.to_tables import atomic_files, write_tables
from recbole_universal.app.recommend import check_column_names
from recbole_universal.app.recommendation_files import ENDINGS
from recbole_universal.files import would_replace
from recbole_universal.io.column_names import TimeColumn, listed_names, plain_name
from recbole_universal.io.source import Report


def convert(
    source: Any,
    output: str | os.PathLike[str],
    *,
    items: Any = None,
    users: Any = None,
    user_column: Hashable | None = None,
    item_column: Hashable | None = None,
    time_column: Hashable | None = None,
    order: str | None = None,
    token_columns: Sequence[str] = (),
    sequence_columns: Sequence[str] = (),
    sequence_separator: str = " ",
    overwrite: bool = False,
    show_progress: bool = True,
    report: Report | None = None,
) -> list[Path]:
    """Write interactions as a dataset of RecBole, or a dataset of RecBole as tables.

    The columns of the users, the items, the times and the ratings become ``user_id``, ``item_id``, ``timestamp`` in
    unix seconds, and ``rating``. All other columns are kept. docs/convert.md has the types.

    Args:
        source: interactions as of :func:`recbole_universal.recommend`, which become a dataset. Also the folder of a
            dataset of RecBole or an ``.inter`` file, which become tables if ``output`` is a file.
        output: the folder of the dataset, such as ``dataset/shop``. For tables, a ``.csv``, ``.tsv``, ``.csv.gz``,
            ``.tsv.gz`` or ``.parquet`` file. Items and users of the dataset go into files beside it, such as
            ``ratings.items.csv``.
        items: a table of items and what is known of them, which becomes the ``.item`` file.
        users: a table of users, which becomes the ``.user`` file.
        user_column: as of :func:`recbole_universal.recommend`.
        item_column: likewise.
        time_column: likewise.
        order: ``rows``: no column is read as times.
        token_columns: names of columns whose numbers are names, such as a postcode: they become ``token``.
        sequence_columns: names of columns whose texts are lists: they become ``token_seq`` or ``float_seq``.
        sequence_separator: what separates the elements of such a text.
        overwrite: whether an existing dataset is replaced.
        show_progress: whether to draw progress bars on stderr.
        report: receives a sentence on each thing that is left out, guessed or replaced; ``None``: warnings.

    Returns:
        The files that were written.

    Raises:
        ValueError: naming the file, column, row or argument and the valid values.
        FileExistsError: if files exist that may not be replaced. Nothing is written then.
        OSError: if a file cannot be read or written.
        ImportError: if Parquet is written without pyarrow.
    """
    if not isinstance(output, (str, os.PathLike)) or not os.fspath(output):
        raise ValueError(f"output (--output): must be the path of a folder or a file, got {arguments.shown(output)}.")
    target = Path(os.path.expanduser(os.fspath(output)))
    show_progress = arguments.flag("convert", "show_progress", show_progress)
    overwrite = arguments.flag("convert", "overwrite (--overwrite)", overwrite)
    check_column_names(user_column, item_column, time_column)
    rules = ColumnRules(
        _names("token_columns (--token-columns)", token_columns),
        _names("sequence_columns (--sequence-columns)", sequence_columns),
        _separator(sequence_separator),
    )
    messages: dict[str, None] = {}
    tell = report or messages.setdefault
    try:
        if target.name.lower().endswith(ENDINGS):
            given = {"items (--items)": items, "users (--users)": users}
            if names := [name for name, value in given.items() if value is not None]:
                raise ValueError(f"{names[0]}: belongs to the output of a dataset; the output [{output}] is a table.")
            return write_tables(atomic_files(source), target, (user_column, item_column), tell, show_progress)
        time = TimeColumn(time_column, wanted=order is None)
        if order not in (None, "rows") or (order and time_column is not None):
            raise ValueError("order (--order): must be rows, or left out; time_column (--time-column) excludes it.")
        _check_inputs(target, (source, items, users))
        with new_dataset(target, overwrite) as write:
            inter = Interactions(source, (user_column, item_column), time, rules, tell, show_progress)
            tables = _with_side_tables(inter, items, users, rules, tell, show_progress)
            return write(tables)
    finally:
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=2)


def _with_side_tables(
    inter: Interactions, items: Any, users: Any, rules: ColumnRules, report: Report, show_progress: bool
) -> dict[str, AtomicTable]:
    """The atomic files by their ending.

    Raises:
        ValueError: if a table has no column of ids, or the rules name a column that no table has.
    """
    tables: dict[str, AtomicTable] = {"inter": inter}
    read, taken = {*inter.columns}, [column for column, _ in inter.header()]
    for kind, table, id_name in (("item", items, inter.names[1]), ("user", users, inter.names[0])):
        if table is not None:
            side = SideTable(table, kind, id_name, taken, rules, report, show_progress)
            tables[kind] = side
            read |= {*side.columns}
            taken += [column for column, _ in side.header()]
    _check_rules(rules, read)
    return tables


def _check_inputs(target: Path, sources: Sequence[Any]) -> None:
    """Refuse to replace an input.

    Raises:
        ValueError: if the dataset holds an input, or is in the folder of one.
    """
    for source in sources:
        if not isinstance(source, (str, os.PathLike)):
            continue
        files = [target / file for file in file_names(dataset_name(target))]
        if would_replace(source, target) or any(would_replace(file, source) for file in files):
            raise ValueError(f"output (--output): [{target}] holds an input file, or is in an input folder.")


def _names(argument: str, given: Any) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"{argument}: must be names of columns, such as ['genre'], got {arguments.shown(given)}.")
    return list(given)


def _separator(given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError(
            f"sequence_separator (--sequence-separator): must be a text such as |, got {arguments.shown(given)}."
        )
    return given


def _check_rules(rules: ColumnRules, read: set[str]) -> None:
    known = {form for name in read for form in (name, plain_name(name))}
    for argument, given in (
        ("token_columns (--token-columns)", rules.tokens),
        ("sequence_columns (--sequence-columns)", rules.sequences),
    ):
        if unknown := [name for name in given if name not in known]:
            raise ValueError(
                f"{argument}: there is no other column [{unknown[0]}]. Columns: {listed_names(sorted(read))}."
            )
