"""The files behind an input path."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path


def existing_path(given: str | os.PathLike[str], argument: str) -> Path:
    """The path of a regular file or a folder that exists.

    Args:
        given: the path; ``~`` is expanded.
        argument: name of the argument, for messages.

    Raises:
        ValueError: if the path is empty, a URL, a pipe or a device.
        FileNotFoundError: if the path does not exist.
    """
    text = os.fsdecode(given)
    if not text:
        raise ValueError(f"{argument}: the path is empty.")
    path = Path(os.path.expanduser(text))
    if not path.exists():
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
            raise ValueError(f"{argument}: [{text}] is a URL, and URLs are not read; download the file first.")
        raise FileNotFoundError(f"There is no file [{path}].")
    if not path.is_dir():
        _check_regular(path)
    return path


def matches(pattern: str | os.PathLike[str]) -> list[Path]:
    """Files and folders of a pattern such as ``logs/2024-*.parquet``, by name; none if the text is an existing path."""
    text = os.path.expanduser(os.fsdecode(pattern))
    if os.path.exists(text) or not glob.has_magic(text):
        return []
    return [Path(match) for match in sorted(glob.glob(text, recursive=True))]


def input_files(given: str | os.PathLike[str], argument: str) -> tuple[Path, Path | None, list[Path]]:
    """The files of a table: one file, the parts of a folder, or the files of a pattern.

    Args:
        given: path of a file or a folder, or a pattern, in which ``*``, ``?``, ``[...]`` and ``**`` have their usual
            meaning; ``~`` is expanded.
        argument: name of the argument, for messages.

    Returns:
        The path or pattern, for messages; the folder whose subfolders may make columns, or ``None``; the files.

    Raises:
        ValueError: if the path is empty, a URL, a pipe or a device.
        OSError: if the path does not exist or a folder cannot be read.
    """
    if not (found := matches(given)):
        path = existing_path(given, argument)
        return (path, path, parts(path)) if path.is_dir() else (path, None, [path])
    pattern = Path(os.path.expanduser(os.fsdecode(given)))
    fixed = _without_magic(pattern)
    files: dict[Path, None] = {}  # ``**`` matches a folder and its files
    for path in found:
        if path.is_dir():
            files |= dict.fromkeys(parts(path))
        elif not path.name.startswith((".", "_")):
            _check_regular(path)
            files |= dict.fromkeys([path] if path.stat().st_size else [])
    return pattern, fixed, list(files)


def parts(folder: Path) -> list[Path]:
    """Files of a folder in the order of their names, without empty ones and names that begin with . or _ (Spark).

    Raises:
        ValueError: if a part is a pipe or a device.
        OSError: if a folder cannot be read.
    """
    files = []
    for root, folders, names in walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        files += [Path(root, name) for name in names if not name.startswith((".", "_"))]
    for file in files:
        _check_regular(file)
    return [file for file in files if file.stat().st_size]


def walk(folder: str | os.PathLike[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """As ``os.walk`` in the order of the names, each folder once; a link to a folder is followed.

    Raises:
        OSError: if a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for root, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        yield root, folders, sorted(names)


def name_in(table: str, file: str | os.PathLike[str]) -> str:
    """The name of a file of a table, with the folders that tell it from the others.

    Args:
        table: path of a folder, or a pattern.
        file: a file of it.
    """
    folder = Path(table) if os.path.isdir(table) else _without_magic(Path(table))
    return os.path.relpath(file, folder)


def _without_magic(pattern: Path) -> Path:
    return next(parent for parent in pattern.parents if not glob.has_magic(str(parent)))


def _check_regular(path: Path) -> None:
    """Refuse a pipe, which cannot be read twice and may wait for ever, and devices."""
    mode = path.stat().st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        raise ValueError(f"[{path}] is a pipe: write it to a file first.")
    if not stat.S_ISREG(mode):
        raise ValueError(f"[{path}] is no regular file.")
