"""DuckDB connections: in memory, one per call, without network and extensions, limited to the given files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "memory_limit": "1500MB",
    "temp_directory": "",
}


@contextmanager
def connection(files: Sequence[Path], problem: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that may read the given files and nothing else.

    Args:
        files: the files.
        problem: start of the message if DuckDB cannot read something.

    Raises:
        ValueError: in place of DuckDB's errors.
        KeyboardInterrupt: if a signal stopped DuckDB.
    """
    duck = duckdb.connect(":memory:", config=_SETTINGS)
    try:
        paths = [form for file in files for form in (str(file), literal_path(file))]
        duck.execute("SET allowed_paths = $1", [paths])
        duck.execute("SET enable_external_access = false")
        duck.execute("SET enable_progress_bar = false")
        yield duck
    except (RuntimeError, duckdb.InterruptException) as error:
        if "interrupt" not in str(error).lower():
            raise
        raise KeyboardInterrupt from error  # DuckDB has its own error for a signal
    except duckdb.OutOfMemoryException as error:
        raise ValueError(
            f"{problem} in {_SETTINGS['memory_limit']} of memory. A row group of its files, or a value, is too large: "
            "write the files again with smaller row groups, such as 100,000 rows."
        ) from error
    except duckdb.Error as error:
        raise ValueError(f"{problem}: {str(error).splitlines()[0]}") from error
    finally:
        duck.close()


def literal_path(path: Path) -> str:
    """A path as DuckDB takes it without seeing a pattern in it."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def quoted(name: str) -> str:
    """A column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'
