"""Writes a dataset of RecBole: a folder of atomic files, and the config keys that they need."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from recbole_universal.app.conversion.reading import ITEM, RATING, TIME, USER
from recbole_universal.files import replaced_folder, write_text

Header = Sequence[tuple[str, str]]


class AtomicTable(Protocol):
    """What an atomic file is made of."""

    def header(self) -> list[tuple[str, str]]:
        """Names and types of the columns."""

    def fields(self) -> Iterator[list[list[str]]]:
        """The fields of each column, a block of rows at a time."""


def file_names(name: str) -> list[str]:
    """Names of the files that :func:`new_dataset` may write."""
    return [*(f"{name}.{kind}" for kind in ("inter", "item", "user")), f"{name}.yaml"]


def dataset_name(folder: Path) -> str:
    """The name of the dataset of a folder.

    Raises:
        ValueError: if the folder has no usable name.
        FileExistsError: if it is a file.
    """
    name = folder.name
    if not name.strip(". ") or "\n" in name:
        raise ValueError(f"output (--output): [{folder}] ends in no name of a dataset, such as dataset/shop.")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"output (--output): [{folder}] is a file; name a folder, such as dataset/shop.")
    return name


@contextmanager
def new_dataset(folder: Path, replace: bool) -> Iterator[Callable[[dict[str, AtomicTable]], list[Path]]]:
    """Open a dataset for writing, which takes its place when the ``with`` block ends without an error.

    Args:
        folder: the folder of the dataset.
        replace: whether an existing dataset is replaced.

    Yields:
        A function that writes the atomic files by their ending (``inter``, ``item``, ``user``) and returns their paths.

    Raises:
        FileExistsError: if files exist that may not be replaced.
        OSError: if a file cannot be written.
    """
    name = dataset_name(folder)
    with replaced_folder(folder, file_names(name), replace) as new:

        def write(tables: dict[str, AtomicTable]) -> list[Path]:
            for kind, table in tables.items():
                with open(new / f"{name}.{kind}", "xb") as file:
                    _write(file, table)
            headers = {kind: table.header() for kind, table in tables.items()}
            write_text(new / f"{name}.yaml", config(name, headers))
            return [folder / f"{name}.{kind}" for kind in (*tables, "yaml")]

        yield write


def _write(file: IO[bytes], table: AtomicTable) -> None:
    file.write(("\t".join(f"{name}:{kind}" for name, kind in table.header()) + "\n").encode())
    for columns in table.fields():
        for row in map("\t".join, zip(*columns, strict=True)):
            file.write(row.encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def config(name: str, headers: Mapping[str, Header]) -> str:
    """The config keys of a dataset, as the text of a yaml file."""
    loaded = {kind: [column for column, _ in header] for kind, header in headers.items()}
    fields = {"USER_ID_FIELD": USER, "ITEM_ID_FIELD": ITEM, "TIME_FIELD": TIME, "RATING_FIELD": RATING}
    needed = {key: field for key, field in fields.items() if field in loaded["inter"]}
    lines = [
        "# Config keys of the dataset, which recbole-universal convert wrote.",
        f"# python run_recbole_universal.py --dataset={name} --data_path=FOLDER_ABOVE --config_files=THIS_FILE",
        *(f"{key}: {field}  # (str) name of a column" for key, field in needed.items()),
        "load_col:  # (dict) columns that are loaded",
        *(f"  {kind}: {json.dumps(columns, ensure_ascii=False)}" for kind, columns in loaded.items()),
    ]
    return "\n".join(lines) + "\n"
