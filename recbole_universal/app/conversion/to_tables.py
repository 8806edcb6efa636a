"""Writes the atomic files of a dataset as tables."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from recbole_universal.app.arrow_tables import import_pyarrow
from recbole_universal.app.conversion.values import BLANK, FLOAT, FLOAT_SEQ, TOKEN_SEQ
from recbole_universal.app.recommendation_files import TextWriter, output_file
from recbole_universal.files import would_replace
from recbole_universal.io.column_names import FurtherColumns, Named, OneColumn, TimeColumn, is_atomic, plain_name
from recbole_universal.io.interactions import open_sources
from recbole_universal.io.paths import existing_path
from recbole_universal.io.rows import Rows
from recbole_universal.io.source import Report
from recbole_universal.io.times import NULL_WORDS

_OTHER_FILES = (".kg", ".link", ".net", ".useremb", ".itememb")


def atomic_files(source: Any) -> dict[str, Path]:
    """The atomic files of a dataset by their ending, with ``inter`` first.

    Args:
        source: the folder of a dataset, or its ``.inter`` file.

    Raises:
        ValueError: if it is neither.
        FileNotFoundError: if there is no such path.
    """
    problem = "a table is written of a dataset of RecBole: its folder, or its .inter file"
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"output (--output): {problem}. For a dataset, name a folder such as dataset/shop.")
    path = existing_path(source, "source (SOURCE)")
    if not path.is_dir():
        if path.suffix != ".inter":
            raise ValueError(f"source (SOURCE): [{path}] is no .inter file; {problem}.")
        inter = path
    else:
        found = sorted(file for file in path.iterdir() if file.suffix == ".inter")
        named = [file for file in found if file.stem == path.resolve().name] or found
        if len(named) != 1:
            listed = ", ".join(f"[{file.name}]" for file in named) or "none"
            raise ValueError(f"source (SOURCE): [{path}] must hold one .inter file, and it has {listed}; name a file.")
        inter = named[0]
    sides = {kind: inter.with_suffix(f".{kind}") for kind in ("item", "user")}
    return {"inter": inter, **{kind: file for kind, file in sides.items() if file.is_file()}}


def write_tables(files: dict[str, Path], output: Path, named: Named, report: Report, show_progress: bool) -> list[Path]:
    """Write each atomic file as a table; the file of the interactions takes its name last.

    Args:
        files: the atomic files by their ending.
        output: the table of the interactions.
        named: names of the columns of the users and the items in the ``.inter`` file.
        report: receives a sentence on each thing that is left out.
        show_progress: whether to draw progress bars.

    Returns:
        The tables.

    Raises:
        ValueError: if a file is no atomic file, or a table would replace one.
        OSError: if a file cannot be read or written.
        ImportError: if Parquet is written without pyarrow.
    """
    stem, dot, ending = output.name.partition(".") if output.name.count(".") == 1 else _parted(output.name)
    outputs = {kind: output.with_name(f"{stem}.{kind}s{dot}{ending}") for kind in files} | {"inter": output}
    for table in outputs.values():
        if any(would_replace(table, file) for file in files.values()):
            raise ValueError(f"output (--output): [{table}] is an input file; name another.")
    others = [
        file.name
        for file in sorted(files["inter"].parent.glob(f"{files['inter'].stem}.*"))
        if file.suffix in _OTHER_FILES
    ]
    if others:
        report(f"{files['inter'].parent}: not converted: {', '.join(others)}.")
    ids: dict[str, Any] = {kind: OneColumn(kind, f"{kind}_id") for kind in ("item", "user")} | {"inter": named}
    with ExitStack() as stack:
        for kind in files:  # the last one that is opened is renamed first
            file = stack.enter_context(output_file(outputs[kind], "output (--output)"))
            _write_table(file, outputs[kind].name, files[kind], ids[kind], report, show_progress)
    return list(outputs.values())


def _parted(name: str) -> tuple[str, str, str]:
    """A name with several dots before, at and after the dot of its ending."""
    cut = -2 if name.lower().endswith(".gz") else -1
    parts = name.split(".")
    return ".".join(parts[:cut]), ".", ".".join(parts[cut:])


def _write_table(file: IO[bytes], name: str, atomic: Path, named: Any, report: Report, show_progress: bool) -> None:
    where, (source,) = open_sources(atomic, named, FurtherColumns(TimeColumn(wanted=False)), show_progress, whole=True)
    is_side = isinstance(named, OneColumn)
    header = [*source.columns[: 1 if is_side else 2], *source.ignored]
    if not all(map(is_atomic, header)):
        raise ValueError(
            f"[{atomic}], row 1: must name the columns and their types, such as user_id:token, got "
            f"[{next(one for one in header if not is_atomic(one))}]."
        )
    kinds = [column.strip().rpartition(":")[2] for column in header]
    writer = _ParquetTable if name.lower().endswith((".parquet", ".pq")) else _TextTable
    table = writer(file, name, [plain_name(column) for column in header], kinds)
    rows = Rows(source.strip, kinds=(named.kind,) if is_side else ("user", "item"))
    try:
        for chunk in source.chunks():
            usable = rows.add(chunk, source.row)
            ids = [chunk.users] if is_side else [chunk.users, chunk.items]
            columns = [[one.strip() for one in np.asarray(values)[usable].tolist()] for values in ids]
            columns += [[one or None for one in np.asarray(values)[usable].tolist()] for values in chunk.others]
            table.add(columns)
        rows.usable(where, source, report)
    except ValueError as error:
        raise error if str(where) in str(error) else ValueError(f"{where}: {error}") from error
    finally:
        rows.close()
        table.close()  # a writer of Parquet that is left open complains on stderr


class _TextTable(TextWriter):
    """Writes fields as they are, as CSV or TSV."""

    def __init__(self, file: IO[bytes], name: str, names: Sequence[str], kinds: Sequence[str]) -> None:
        super().__init__(file, name)
        self.columns = names
        self._write_header()

    def add(self, columns: Sequence[Sequence[str | None]]) -> None:
        """Write rows."""
        csv.writer(self._text, **self._format).writerows(zip(*columns, strict=True))


class _ParquetTable:
    """Writes fields as texts, numbers, and lists of them."""

    def __init__(self, file: IO[bytes], name: str, names: Sequence[str], kinds: Sequence[str]) -> None:
        arrow = self._arrow = import_pyarrow()
        types = {
            FLOAT: arrow.float64(),
            FLOAT_SEQ: arrow.list_(arrow.float64()),
            TOKEN_SEQ: arrow.list_(arrow.string()),
        }
        self._kinds = kinds
        columns = [(column, types.get(kind, arrow.string())) for column, kind in zip(names, kinds, strict=True)]
        self._schema = arrow.schema(columns)
        self._writer = arrow.parquet.ParquetWriter(file, self._schema)

    def add(self, columns: Sequence[Sequence[str | None]]) -> None:
        """Write rows.

        Raises:
            ValueError: if a number cannot be read.
        """
        arrays = [
            self._arrow.array(_numbers_or_texts(field.name, values, kind), type=field.type)
            for values, kind, field in zip(columns, self._kinds, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.table(arrays, schema=self._schema))

    def close(self) -> None:
        """Write the rest; the file stays open."""
        self._writer.close()


def _numbers_or_texts(name: str, values: Sequence[str | None], kind: str) -> list[Any]:
    try:
        return list(_typed(values, kind))
    except ValueError as error:
        raise ValueError(f"the column [{name}] must hold numbers: {error}. Write CSV, which keeps texts.") from error


def _typed(values: Sequence[str | None], kind: str) -> Iterator[Any]:
    for value in values:
        if value is None or (kind == FLOAT and value.strip() in NULL_WORDS):
            yield None
        elif kind == FLOAT:
            yield float(value)
        elif kind == FLOAT_SEQ:
            yield [float(one) for one in value.split()]
        else:
            yield [one for one in value.split(BLANK) if one] if kind == TOKEN_SEQ else value
