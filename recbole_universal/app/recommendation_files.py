"""Recommendations as CSV, TSV or Parquet files."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from recbole_universal.app.arrow_tables import import_pyarrow
from recbole_universal.files import atomic_write

#: Endings of the files that can be written.
ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq")


@contextmanager
def open_recommendations(path: str | os.PathLike[str]) -> Iterator[TextWriter | ParquetWriter]:
    """Open a file for recommendations, which takes its place when the ``with`` block ends without an error.

    Args:
        path: the file; its ending says its format.

    Yields:
        The writer. It needs the names of its columns before the first rows.

    Raises:
        ValueError: if the ending is unknown.
        OSError: if the file cannot be written.
        ImportError: if Parquet is written without pyarrow.
    """
    path = Path(os.path.expanduser(path))
    name = path.name.lower()
    if not name.endswith(ENDINGS):
        raise ValueError(f"output: the name of [{path}] must end in one of {', '.join(ENDINGS)}.")
    if path.is_dir():
        raise IsADirectoryError(f"output: [{path}] is a folder; give the name of a file.")
    with output_file(path, "output") as file:
        writer = (ParquetWriter if name.endswith((".parquet", ".pq")) else TextWriter)(file, name)
        yield writer
        writer.close()


@contextmanager
def output_file(path: Path, argument: str) -> Iterator[IO[bytes]]:
    """Open a file as :func:`atomic_write` does; errors name the argument.

    Raises:
        OSError: if there is no such folder, or the file cannot be written.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{argument}: there is no folder [{path.parent}].")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(atomic_write(path))
        except OSError as error:
            raise OSError(f"{argument}: cannot write [{path}]: {error.strerror}.") from error
        yield file


class TextWriter:
    """Writes rows as CSV or TSV, plain or gzip.

    Attributes:
        columns: names of the columns, which the first rows need.
    """

    columns: Sequence[str] = ()

    def __init__(self, file: IO[bytes], name: str) -> None:
        # The gzip header gets no name and no time, so that the same recommendations give the same file.
        self._zipped = gzip.GzipFile("", "wb", 6, file, mtime=0) if name.endswith(".gz") else None
        self._text = io.TextIOWrapper(self._zipped or file, encoding="utf-8", newline="", write_through=False)
        self._format: dict[str, Any] = {"delimiter": "\t" if ".tsv" in name[-7:] else ",", "lineterminator": "\n"}
        self._has_header = False

    def write(
        self, users: pd.Index, items: pd.Index, scores: np.ndarray, ranks: np.ndarray, new: np.ndarray | None = None
    ) -> None:
        """Write rows; ``new`` says whether nobody has had the item, if there is such a column."""
        self._write_header()
        values = map("{:.7g}".format, scores.tolist())
        columns = users.tolist(), items.tolist()
        # The module csv quotes a line feed, but before Python 3.13 no carriage return, which also ends a line.
        has_return = any("\r" in text for ids in columns for text in ids if isinstance(text, str))
        rows = csv.writer(self._text, **self._format, quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL)
        is_new = [] if new is None else [["true" if each else "false" for each in new.tolist()]]
        rows.writerows(zip(*columns, values, ranks.tolist(), *is_new, strict=True))

    def _write_header(self) -> None:
        if not self._has_header:
            csv.writer(self._text, **self._format).writerow(self.columns)
            self._has_header = True

    def close(self) -> None:
        """Write the rest; the file stays open."""
        self._text.flush()
        self._text.detach()
        if self._zipped:
            self._zipped.close()


class ParquetWriter:
    """Writes rows as Parquet; ids are integers or strings.

    Attributes:
        columns: as of :class:`TextWriter`.
    """

    columns: Sequence[str] = ()

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._arrow = import_pyarrow()
        self._file = file
        self._writer: Any = None

    def write(
        self, users: pd.Index, items: pd.Index, scores: np.ndarray, ranks: np.ndarray, new: np.ndarray | None = None
    ) -> None:
        """Write rows; ``new`` says whether nobody has had the item, if there is such a column."""
        columns = [self._ids(users), self._ids(items), self._arrow.array(scores), self._arrow.array(ranks)]
        columns += [] if new is None else [self._arrow.array(new)]
        table = self._arrow.table(dict(zip(self.columns, columns, strict=True)))
        if self._writer is None:
            self._writer = self._arrow.parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def _ids(self, ids: pd.Index) -> Any:
        if pd.api.types.is_integer_dtype(ids):
            return self._arrow.array(ids.to_numpy())
        return self._arrow.array([str(value) for value in ids], type=self._arrow.string())

    def close(self) -> None:
        """Write the rest; the file stays open."""
        if self._writer is not None:
            self._writer.close()
