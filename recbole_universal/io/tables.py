"""Reads ids from Parquet files and Arrow tables."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from tqdm import tqdm

from recbole_universal.io.column_names import FurtherColumns, Named, find_columns, weak_guess
from recbole_universal.io.duck import connection, literal_path, quoted
from recbole_universal.io.source import Chunk, Source

_VECTORS = 2**8  # of 2,048 rows at once
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
_FLOATS = {"FLOAT", "DOUBLE"}
_NESTED = ("STRUCT", "MAP", "UNION")
_NO_ARROW = ("Object", "Int128", "UInt128")
_FILE = "recbole_universal_file"  # the column of file names
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"

Columns = list[tuple[str, str]]  # names and DuckDB's types
# By attribute of a chunk: "users", "items", and perhaps "times", "weights" and "events".
Chosen = dict[str, tuple[str, str]]


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its content."""
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def is_arrow(source: Any) -> bool:
    """Whether an object is a table that exports Arrow data, such as a polars frame or an Arrow table."""
    return hasattr(source, "__arrow_c_stream__") and not isinstance(source, type)


@contextmanager
def _parquet(
    paths: Sequence[Path], where: str, folder: Path | None = None, partitions: Sequence[str] = ()
) -> Iterator[tuple[duckdb.DuckDBPyConnection, str, list]]:
    """Parquet files; ``partitions`` are columns that subfolders of ``folder`` make, such as ``day=1``."""
    # DuckDB would read partitions from the whole path, and prefer them to columns of the file.
    options = "hive_partitioning = false, union_by_name = true, binary_as_string = true"
    table = f"read_parquet($1, {options})"
    if partitions:
        relative = f"substr({_FILE}, {len(str(folder)) + 1})"
        made = [
            f"nullif(url_decode(regexp_extract({relative}, '/{_pattern(name)}=([^/]*)/', 1)), '{_NO_VALUE}') "
            f"AS {quoted(name)}"
            for name in partitions
        ]
        table = f"(SELECT *, {', '.join(made)} FROM read_parquet($1, {options}, filename = '{_FILE}'))"
    try:
        with connection(paths, f"{where} cannot be read as Parquet") as duck:
            yield duck, table, [[literal_path(path) for path in paths]]
    except ValueError as error:
        if len(paths) == 1 or not isinstance(error.__cause__, duckdb.Error):
            raise
        _name_damaged(paths)
        raise


def _name_damaged(paths: Sequence[Path]) -> None:
    """Name the first file that cannot be read alone.

    Raises:
        ValueError: if there is one.
    """
    for path in paths:
        with connection([path], f"{path} cannot be read as Parquet") as duck:
            duck.execute("SELECT bit_xor(hash(t)) FROM read_parquet($1) t", [literal_path(path)]).fetchall()


def _pattern(name: str) -> str:
    """A name as the text of a regular expression in SQL."""
    return re.sub(r"([^\w\s])", r"\\\1", name).replace("'", "''")


def _partitions(paths: Sequence[Path], folder: Path | None) -> list[str]:
    """Names of the columns that folders make, such as ``day`` of ``day=1``."""
    folders = [name for path in paths for name in (path.relative_to(folder).parts[:-1] if folder else ())]
    return list(dict.fromkeys(name.partition("=")[0] for name in folders if name.find("=") > 0))


@contextmanager
def _arrow(table: Any, where: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, str, list]]:
    with connection([], f"{where} cannot be read") as duck:
        odd = [name for name, _ in _no_arrow(table)]
        duck.register("given", _Stream(table.drop(odd) if odd else table))
        yield duck, "given", []


class _Stream:
    """Shows DuckDB the Arrow side of a table alone, whatever else the table is."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


def parquet_sources(
    paths: Sequence[Path],
    folder: Path | None,
    named: Named,
    further: FurtherColumns,
    where: str,
    show_progress: bool,
    whole: bool = False,
) -> list[Source]:
    """Parquet files, of a folder if one is given; the chunks of ``whole`` ones have the other columns, too.

    Consecutive files with ids and times of the same types are one source. Read together, files of other types would be
    cast by DuckDB: large whole numbers to floats that are equal.

    Raises:
        ValueError: if a file cannot be read or the columns are ambiguous.
    """
    columns: dict[str, Columns] = {}
    with _parquet(paths, where) as (duck, table, parameters):
        fields = "(name, type, converted_type, logical_type::VARCHAR, num_children)"
        query = f"SELECT file_name, list({fields})::VARCHAR, list(name) FROM parquet_schema($1) GROUP BY file_name"
        rows = duck.execute(query, parameters).fetchall()
        schemas = {file: schema for file, schema, _ in rows}
        written = {schema: names for _, schema, names in rows}
        files = {schemas[str(path)]: path for path in reversed(paths)}  # the first file of each schema
        for schema, path in files.items():
            columns[schema] = _described(duck, table, [[literal_path(path)]])
    stored = {name.lower() for each in columns.values() for name, _ in each}
    made = [(name, "VARCHAR") for name in _partitions(paths, folder) if name.lower() not in stored]
    # Partition folders divide a table by design. Their columns hold users or items only if the caller says so.
    used_folders = [(name, kind) for name, kind in made if name in map(str, (*named, *further.names))]
    chosen: dict[str, tuple[Chosen, str]] = {}
    for schema in dict.fromkeys(schemas[str(path)] for path in paths):
        name = where if files[schema] == paths[0] else str(files[schema])
        candidates = [*columns[schema], *used_folders]
        names = _written_names(candidates, [*written[schema], *(name for name, _ in used_folders)])
        try:
            chosen[schema] = _chosen(candidates, names, named, further, name)
        except ValueError as error:
            if unused := [f"[{name}]" for name, kind in made if (name, kind) not in used_folders]:
                raise ValueError(f"{error} Folders make further columns: {', '.join(unused[:10])}.") from error
            raise
    runs = [list(run) for _, run in groupby(paths, lambda path: chosen[schemas[str(path)]])]
    sources = []
    for run in runs:
        schema = schemas[str(run[0])]
        used, time_note = chosen[schema]
        if len(runs) > 1:  # among numbers, true is not 1
            used = {each: (name, "VARCHAR" if kind == "BOOLEAN" else kind) for each, (name, kind) in used.items()}
            where = str(run[0])
        opened = partial(_parquet, run, where, folder, [name for name, _ in (made if whole else used_folders)])
        of_run = {name: kind for path in reversed(run) for name, kind in columns[schemas[str(path)]]}
        first = dict(columns[schema])
        all_columns = [*first.items(), *((name, kind) for name, kind in of_run.items() if name not in first), *made]
        row_name = _RowsOfFiles(opened, run, folder) if folder is not None and len(run) > 1 else None
        sources.append(_source(opened, all_columns, used, time_note, named, where, show_progress, whole, row_name))
    return sources


def arrow_source(
    table: Any, named: Named, further: FurtherColumns, where: str, show_progress: bool, whole: bool = False
) -> Source:
    """A table that exports Arrow data; the chunks of a ``whole`` one have the other columns, too.

    Raises:
        ValueError: if the columns are ambiguous.
    """
    opened = partial(_arrow, table, where)
    with opened() as (duck, name, parameters):
        columns = [*_described(duck, name, parameters), *_no_arrow(table)]
    names = _written_names(columns, getattr(table, "column_names", None))
    chosen, time_note = _chosen(columns, names, named, further, where)
    return _source(opened, columns, chosen, time_note, named, where, show_progress, whole)


def column_values(source: Any, where: str, column_of: Callable[[list[str]], int]) -> list:
    """Ids of one column of a Parquet file or an Arrow table; a missing one is ``None`` or NaN.

    Args:
        source: the path of the file, or the table.
        where: the table, for messages.
        column_of: index of the column, from the names of all columns.
    """
    is_file = isinstance(source, Path)
    with _parquet([source], where) if is_file else _arrow(source, where) as (duck, table, parameters):
        columns = _described(duck, table, parameters)
        if is_file:
            written = duck.execute("SELECT list(name) FROM parquet_schema($1)", parameters).fetchall()[0][0]
        else:
            columns += _no_arrow(source)
            written = getattr(source, "column_names", None)
        name, kind = columns[column_of(_written_names(columns, written))]
        duck.execute(f"SELECT {_selected(name, kind, 'id', where)} FROM {table}", parameters)
        return _values(duck.fetchdf(), "id", kind).tolist()


def whole_table(source: Any, where: str) -> pd.DataFrame:
    """All columns of a Parquet file or an Arrow table.

    Args:
        source: the path of the file, or the table.
        where: the table, for messages.

    Raises:
        ValueError: if it cannot be read.
    """
    is_file = isinstance(source, Path)
    with _parquet([source], where) if is_file else _arrow(source, where) as (duck, table, parameters):
        return duck.execute(f"SELECT * FROM {table}", parameters).fetchdf()


def _no_arrow(table: Any) -> Columns:
    """Columns of a polars frame whose type Arrow lacks."""
    schema: Any = getattr(table, "schema", None)
    kinds = schema.items() if hasattr(schema, "items") else ()
    return [(name, str(kind)) for name, kind in kinds if str(kind) in _NO_ARROW]


def _written_names(columns: Columns, written: Sequence[str] | None) -> list[str]:
    """Names as they are in the table: of two columns ``user_id``, DuckDB calls the second one ``user_id_1``."""
    names = [name for name, _ in columns]
    return names if written is None else [name if name in written else re.sub(r"_\d+$", "", name) for name in names]


def _chosen(
    columns: Columns, names: list[str], named: Named, further: FurtherColumns, where: str
) -> tuple[Chosen, str]:
    """The columns that are read, and a sentence on times that are not read.

    Args:
        columns: all columns.
        names: their names as they are written.
        named: names that the caller gives to the user and the item column.
        further: what the caller says about further columns.
        where: the table, for messages.
    """
    indices = find_columns(names, named, where)
    found, time_note = further.find(names, indices, where)
    if "times" in found and columns[found["times"]][1] in _NO_ARROW and further.time.name is None:
        del found["times"]
    chosen = {each: columns[index] for each, index in {"users": indices[0], "items": indices[1], **found}.items()}
    for each, (name, kind) in chosen.items():
        if each in ("users", "items") or kind in _NO_ARROW:
            _selected(name, kind, "", where)  # refuses what holds no ids, or cannot be read
    return chosen, time_note


def _source(
    opened,
    columns: Columns,
    chosen: Chosen,
    time_note: str,
    named: Named,
    where: str,
    show_progress: bool,
    whole: bool,
    row_name: Callable[[int], str] | None = None,
) -> Source:
    used = {each: name for each, (name, _) in chosen.items()}
    names = used["users"], used["items"]
    others = [(name, kind) for name, kind in columns if name not in used.values()]
    return Source(
        where=where,
        columns=names,
        ignored=[name for name, _ in others],
        row="row",
        chunks=partial(_chunks, opened, chosen, show_progress, others if whole else [], row_name),
        guess=weak_guess(names, (0, 1), named),
        given=None not in named,
        time=used.get("times"),
        event=used.get("events"),
        time_note=time_note,
    )


def _described(duck: duckdb.DuckDBPyConnection, table: str, parameters: list) -> Columns:
    described = duck.execute(f"DESCRIBE SELECT * FROM {table}", parameters).fetchall()
    return [(name, kind) for name, kind, *_ in described]


def _selected(name: str, kind: str, alias: str, where: str) -> str:
    """A column as SQL: numbers, or text where DuckDB's type has no equal in NumPy; and whether it is missing."""
    column = quoted(name)
    if kind in _NO_ARROW:
        raise ValueError(f"{where}: column [{name}] has the type {kind}, which is not read; cast it to text or Int64.")
    if kind.endswith("]") or kind.startswith(_NESTED):
        raise ValueError(f"{where}: column [{name}] holds values that are no ids ({kind[:60]}).")
    if kind in _INTEGERS or kind == "BOOLEAN":
        value = f"coalesce({column}, {'false' if kind == 'BOOLEAN' else '0'})"
    elif kind == '"NULL"':
        return f"'' AS {alias}, true AS no_{alias}"
    elif kind in _FLOATS:
        value = f"{column}::DOUBLE" if kind == "DOUBLE" else column
    else:
        value = f"coalesce({column}::VARCHAR, '')"
    return f"{value} AS {alias}, {column} IS NULL AS no_{alias}"


def _values(frame: pd.DataFrame, alias: str, kind: str) -> pd.Series:
    """The ids of a column that was selected; a missing one is ``None``."""
    values, missing = frame[alias], frame[f"no_{alias}"]
    if kind.startswith(("DECIMAL", "HUGEINT", "UHUGEINT")):
        values = pd.Series([_number(value) for value in values], dtype=object)
    return values.astype(object).mask(missing, None) if missing.any() else values


def _selected_time(name: str, kind: str) -> str:
    """A column of times as SQL: microseconds since 1970 UTC, numbers or text."""
    column = quoted(name)
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return f"epoch_us({column}) AS times"
    if kind in _INTEGERS or kind in _FLOATS or kind.startswith(("DECIMAL", "HUGEINT", "UHUGEINT")):
        return f"{column}::DOUBLE AS times"
    return f"coalesce({column}::VARCHAR, '') AS times"


def _selected_value(each: str, name: str, kind: str) -> str:
    """A column of times, weights or events as SQL."""
    if each == "times":
        return _selected_time(name, kind)
    is_number = kind in _INTEGERS or kind in _FLOATS or kind.startswith(("DECIMAL", "HUGEINT", "UHUGEINT"))
    return f"{quoted(name)}::{'DOUBLE' if each == 'weights' and is_number else 'VARCHAR'} AS {each}"


def _selected_other(name: str, kind: str, alias: str) -> str:
    """A column that holds no ids as SQL: text, or a list of texts."""
    if kind in _NO_ARROW:
        _selected(name, kind, "", "")  # refuses the type
    return f"{quoted(name)}::{'VARCHAR[]' if kind.endswith(']') else 'VARCHAR'} AS {alias}"


def _times(values: pd.Series, kind: str) -> pd.Series:
    """Times of a column that was selected."""
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        return pd.to_datetime(values, unit="us", utc=True)
    return values


def _number(text: str) -> Any:
    """A decimal number, as an integer if it is whole."""
    head, _, tail = text.partition(".")
    return int(head) if head and not tail.strip("0") else text


class _RowsOfFiles:
    """Names the file and the row of a row of several files, whose sizes it reads at the first call."""

    def __init__(self, opened, paths: Sequence[Path], folder: Path) -> None:
        self._opened, self._folder, self._paths = opened, folder, paths
        self._starts: list[int] = []  # number of rows before each file

    def __call__(self, number: int) -> str:
        if not self._starts:
            with self._opened() as (duck, _, parameters):
                query = "SELECT file_name, num_rows FROM parquet_file_metadata($1)"
                sizes = dict(duck.execute(query, parameters).fetchall())
            self._starts = [0, *accumulate(sizes[str(path)] for path in self._paths[:-1])]
        index = bisect_left(self._starts, number) - 1  # the last one, as files may be empty
        return f"{self._paths[index].relative_to(self._folder)}, row {number - self._starts[index]}"


def _chunks(
    opened, chosen: Chosen, show_progress: bool, others: Columns, row_name: Callable[[int], str] | None
) -> Iterator[Chunk]:
    with (
        opened() as (duck, table, parameters),
        tqdm(desc="reading", unit="row", unit_scale=True, disable=not show_progress) as bar,
    ):
        further = {each: column for each, column in chosen.items() if each not in ("users", "items")}
        selected = [_selected(*chosen[each], each, "") for each in ("users", "items")]
        selected += [_selected_value(each, *column) for each, column in further.items()]
        selected += [_selected_other(name, kind, f"other_{number}") for number, (name, kind) in enumerate(others)]
        duck.execute(f"SELECT {', '.join(selected)} FROM {table}", parameters)
        row_number = 1
        while len(frame := duck.fetch_df_chunk(_VECTORS)):
            users, items = (_values(frame, each, chosen[each][1]) for each in ("users", "items"))
            values = {each: frame[each] for each in further}
            if "times" in values:
                values["times"] = _times(values["times"], chosen["times"][1])
            rest = [frame[f"other_{number}"] for number in range(len(others))]
            numbers = range(row_number, row_number + len(users))
            yield Chunk(users, items, numbers, further=values, others=rest, row_name=row_name)
            row_number += len(users)
            bar.update(len(users))
