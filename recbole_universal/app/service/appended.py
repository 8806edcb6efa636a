"""Interactions that arrive after a fit. They are in an SQLite database beside the recommender's files.

SQLite lets several processes write to one file, which DuckDB does not. A row is on the disk before :meth:`append`
returns. Rows get rising ids in the order of their commits, so the rows that a saved recommender includes are those up
to one id.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

#: Subfolder of a recommender's folder, and the database in it.
FOLDER, FILE = "appended", "interactions.sqlite"
# Seconds that a writer waits for another process that writes.
_WAIT = 4.0
_TABLE = """
CREATE TABLE IF NOT EXISTS interactions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user NOT NULL, item NOT NULL, time REAL NOT NULL, weight REAL NOT NULL,
    UNIQUE (user, item, time, weight)
)
"""

_INSERT = "INSERT OR IGNORE INTO interactions (user, item, time, weight) VALUES (?, ?, ?, ?)"

Id = int | str


class DatabaseError(OSError):
    """The database cannot be read or written."""


class Row(NamedTuple):
    """One interaction: user, item, time in seconds since 1970 or in the unit of the fit, and weight, at least 0.

    The weight counts if those of the fit have weights.
    """

    user: Id
    item: Id
    time: float
    weight: float = 1.0


class AppendedInteractions:
    """The interactions in the database of a folder. Threads and processes may use it at the same time.

    Args:
        folder: the folder of a recommender.

    Raises:
        OSError: if the database cannot be made or opened.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser() / FOLDER
        try:
            self.folder.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"There is no folder [{folder}].") from error
        except FileExistsError as error:
            raise FileExistsError(f"[{self.folder}] is a file; new interactions need a folder of this name.") from error
        self._file = self.folder / FILE
        self._local = threading.local()
        with self._connection() as connection:
            connection.execute(_TABLE)
            connection.execute("SELECT id, user, item, time FROM interactions LIMIT 0")  # the table of another program

    def append(self, *requests: Sequence[Row]) -> list[int]:
        """Store the rows of some requests in one transaction; they are on the disk when this returns.

        A row that is there already counts once.

        Returns:
            Number of new rows of each request.

        Raises:
            OSError: if they cannot be stored. None of them is stored then.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            totals = [connection.total_changes]
            for rows in requests:
                connection.executemany(_INSERT, rows)
                totals.append(connection.total_changes)
            connection.execute("COMMIT")
        return [after - before for before, after in pairwise(totals)]

    def of_user(self, user: Id, after: int) -> list[tuple[Id, float, float]]:
        """Item, time and weight of the interactions of a user, in the order of time.

        Args:
            user: id of the user.
            after: id of the last row that does not count.
        """
        query = "SELECT item, time, weight FROM interactions WHERE user = ? AND id > ? ORDER BY time, id"
        with self._connection() as connection:
            return connection.execute(query, (user, after)).fetchall()

    def rows(self, after: int) -> tuple[list[Row], int]:
        """All rows after an id, in the order of time, and the id of the last row ever stored."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            found = connection.execute(
                "SELECT user, item, time, weight FROM interactions WHERE id > ? ORDER BY time, id", (after,)
            ).fetchall()
            last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'interactions'").fetchone()
            connection.execute("COMMIT")
        return [Row(*row) for row in found], last[0] if last else 0

    def erase(self, users: Sequence[Id]) -> int:
        """Remove all rows of some users, and their remains in the files; returns the number of rows.

        Raises:
            OSError: if they cannot be removed, or their remains cannot.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            before = connection.total_changes
            connection.executemany("DELETE FROM interactions WHERE user = ?", [(user,) for user in users])
            n_rows = connection.total_changes - before
            connection.execute("COMMIT")
            is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise OSError(f"[{self._file}]: another process reads it, so remains of the rows stay; erase again.")
        return n_rows

    def close(self) -> None:
        """Close the connection of this thread."""
        if (connection := getattr(self._local, "connection", None)) is not None:
            connection.close()
            self._local.connection = None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The connection of this thread; an error of the database becomes a :class:`DatabaseError`."""
        connection = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = sqlite3.connect(self._file, timeout=_WAIT, isolation_level=None)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")
                self._local.connection = connection
            yield connection
        except sqlite3.Error as error:
            raise DatabaseError(f"[{self._file}]: {error}.") from error
        finally:
            if connection is not None and connection.in_transaction:  # an error of any kind
                with suppress(sqlite3.Error):
                    connection.rollback()


def now() -> float:
    """The time of an interaction that comes without one, seconds since 1970."""
    return time.time()
