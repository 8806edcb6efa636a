"""Columns of rows: in memory up to a number of rows, in temporary files beyond it."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

#: Rows that are kept in memory.
ROWS_IN_MEMORY = 2**22
#: Rows of a block that is read from the files.
ROWS_AT_ONCE = 2**22


class RowStore:
    """Rows of numbers, which are added in blocks and read in blocks, in their order.

    The files have no name where the system supports this (Linux, macOS), so that a killed process leaves none. They
    are in the folder of temporary files, which the environment variable ``TMPDIR`` names.

    Args:
        **types: NumPy type of each column, by its name.

    Attributes:
        n_rows: number of rows.
    """

    def __init__(self, **types: str) -> None:
        self._types = {name: np.dtype(kind) for name, kind in types.items()}
        self._parts: list[dict[str, NDArray]] = []
        self._n_in_memory = self.n_rows = 0
        self._files: dict[str, IO[bytes]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._types)

    def add(self, **columns: NDArray) -> None:
        """Add rows; each column is [n].

        Raises:
            OSError: if the disk of the temporary files is full.
        """
        block = {name: np.asarray(columns[name], dtype=kind) for name, kind in self._types.items()}
        n_rows = len(next(iter(block.values())))
        self._parts.append(block)
        self._n_in_memory += n_rows
        self.n_rows += n_rows
        if self._n_in_memory > ROWS_IN_MEMORY:
            self._write()

    def _write(self) -> None:
        """Move the rows that are in memory to the files."""
        try:
            for name in self._types:
                if name not in self._files:
                    self._files[name] = tempfile.TemporaryFile(prefix="recbole_universal-")
                self._files[name].seek(0, 2)
                for part in self._parts:
                    self._files[name].write(np.ascontiguousarray(part[name]).data)
                self._files[name].flush()
        except OSError as error:
            n_rows = self.n_rows
            self.close()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            a_row = sum(kind.itemsize for kind in self._types.values())
            raise OSError(
                f"The disk of [{tempfile.gettempdir()}] is full: the first {n_rows} rows need "
                f"{n_rows * a_row} bytes of temporary files there. Set the environment variable TMPDIR to a "
                "folder with more space."
            ) from error
        self._parts.clear()
        self._n_in_memory = 0

    def blocks(self) -> Iterator[dict[str, NDArray]]:
        """All rows in their order, as blocks of columns."""
        n_written = self.n_rows - self._n_in_memory
        for start in range(0, n_written, ROWS_AT_ONCE):
            n_rows = min(ROWS_AT_ONCE, n_written - start)
            block = {}
            for name, kind in self._types.items():
                self._files[name].seek(start * kind.itemsize)
                block[name] = np.frombuffer(self._files[name].read(n_rows * kind.itemsize), dtype=kind)
            yield block
        if self._parts:
            self._parts = [self._joined()]
            yield dict(self._parts[0])

    def _joined(self) -> dict[str, NDArray]:
        if len(self._parts) == 1:
            return self._parts[0]
        return {name: np.concatenate([part[name] for part in self._parts]) for name in self._types}

    def close(self) -> None:
        """Remove all rows."""
        for file in self._files.values():
            file.close()
        self._files, self._parts, self._n_in_memory, self.n_rows = {}, [], 0, 0
