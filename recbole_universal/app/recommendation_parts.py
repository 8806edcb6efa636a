"""A folder of Parquet parts of recommendations. A run that was stopped goes on with the missing parts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import recbole_universal
from recbole_universal.app.arrow_tables import import_pyarrow
from recbole_universal.array_store import canonical_json
from recbole_universal.files import locked_folder, write_text

#: Describes the run. Readers of Parquet folders leave out names that begin with an underscore.
MANIFEST = "_manifest.json"
#: An empty file that says that all parts are there, as engines write it.
COMPLETE = "_SUCCESS"
_MOST_JSON_BYTES = 2**16
_IDS_AT_ONCE = 2**16


@dataclass(frozen=True)
class Part:
    """Consecutive asked users, from ``start`` up to ``stop``, and the file of their lists."""

    start: int
    stop: int
    path: Path


class PartsFolder:
    """The output folder of one run.

    Args:
        folder: the folder.
        run: all that the lists depend on, as JSON of one level. Parts of another run are never mixed with its parts.
        n_users: number of asked users.
        part_users: number of users of a part.

    Attributes:
        parts: all parts, in the order of the users.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any], n_users: int, part_users: int) -> None:
        self._folder = folder
        starts = range(0, n_users, part_users)
        self._run = {"format": 1, **run, "users": n_users, "users of a part": part_users, "parts": len(starts)}
        self.parts = [
            Part(start, min(n_users, start + part_users), folder / f"part-{number:05d}.parquet")
            for number, start in enumerate(starts)
        ]

    @contextmanager
    def opened(self) -> Iterator[list[Part]]:
        """Create or check the folder and lock it; the folder is marked as complete when the ``with`` block ends.

        Yields:
            The missing parts.

        Raises:
            ValueError: if the folder holds parts of another run.
            FileExistsError: if it holds other files.
            OSError: if it cannot be written, or another process writes into it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked_folder(self._folder):
                self._check()
                # A part may have been removed from a complete folder, or be damaged.
                (self._folder / COMPLETE).unlink(missing_ok=True)
                yield [part for part in self.parts if not part.path.exists()]
                write_text(self._folder / COMPLETE, "")
        except BlockingIOError as error:
            raise BlockingIOError(f"output (--output): another process writes into [{self._folder}].") from error

    def n_rows(self) -> int:
        """Number of rows of all parts.

        Raises:
            ValueError: if a part is damaged.
        """
        arrow, n_rows = import_pyarrow(), 0
        for part in self.parts:
            try:
                n_rows += arrow.parquet.read_metadata(part.path).num_rows
            except arrow.ArrowException as error:
                raise ValueError(f"[{part.path}] is damaged: {error}. Remove it and run again.") from error
        return n_rows

    def _check(self) -> None:
        """Compare the manifest with the run, or write it."""
        file = self._folder / MANIFEST
        if not file.exists():
            others = sorted(name for name in os.listdir(self._folder) if not name.startswith("."))
            if others:
                raise FileExistsError(
                    f"output (--output): [{self._folder}] holds other files, such as [{others[0]}], and no {MANIFEST}; "
                    "name a new folder."
                )
            write_text(file, json.dumps(self._run, indent=1) + "\n")
            return
        try:
            with open(file, "rb") as stream:
                found = json.loads(stream.read(_MOST_JSON_BYTES))
            if not isinstance(found, dict):
                raise ValueError("it is no JSON object")
            differing = sorted(name for name in {*found, *self._run} if found.get(name) != self._run.get(name))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"[{file}] is no description of a run: {error}. Name a new folder.") from error
        if differing:
            values = ", ".join(f"{name} [{found.get(name)}] and not [{self._run.get(name)}]" for name in differing)
            raise ValueError(
                f"output (--output): [{self._folder}] holds lists of another run, with {values}. Name a new folder, or "
                "remove this one."
            )


def description_of_run(
    digest: str,
    users: pd.Index,
    rows: NDArray[np.int64],
    allowed: NDArray[np.bool_] | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """All that lists depend on, as JSON.

    Args:
        digest: digest of the saved recommender.
        users: ids of the asked users, [n].
        rows: row of each in the interactions, -1 for an unknown user, [n].
        allowed: whether each item may be recommended, bool [n_items]; ``None``: all may.
        settings: settings of the lists.
    """
    asked = hashlib.sha256()
    for start in range(0, len(users), _IDS_AT_ONCE):
        some = slice(start, start + _IDS_AT_ONCE)
        asked.update(canonical_json([list(map(repr, users[some].tolist())), rows[some].tolist()]).encode())
    return {
        "recbole_universal": recbole_universal.__version__,
        "recommender": digest,
        "asked users": asked.hexdigest(),
        "allowed items": None if allowed is None else hashlib.sha256(allowed.tobytes()).hexdigest(),
        **settings,
    }
