"""Reads ids from JSON: an object per line, an array of objects, or a sequence of objects."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from recbole_universal.io.column_names import FurtherColumns, Named, find_columns, weak_guess
from recbole_universal.io.source import Chunk, Source
from recbole_universal.io.streams import LONGEST_LINE, TextFile, open_text

_SAMPLE_RECORDS = 1000
_CHUNK_RECORDS = 2**16
# Numbers stay as they are written.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=lambda _: None)


def is_json(first: str) -> bool:
    """Whether a file that starts with this text is JSON."""
    text = first.lstrip()
    if not text.startswith(("{", "[")):
        return False
    try:
        _DECODER.raw_decode(text.removeprefix("[").lstrip())
        return True
    except (ValueError, RecursionError):
        return text[1:].lstrip().startswith(('"', "{", "["))


def json_source(
    path: Path, first: str, named: Named, columns: FurtherColumns, show_progress: bool, whole: bool = False
) -> Source:
    """A file of JSON records that starts with ``first``; the rest as in ``open_sources``.

    Raises:
        ValueError: if it holds no records or the keys are ambiguous.
    """
    by_line = _is_a_record(next(line for line in first.split("\n") if line.strip()))
    names: dict[str, None] = {}
    for number, (_, record) in enumerate(_records(path, by_line, False)):
        if number == _SAMPLE_RECORDS and not whole:
            break
        if isinstance(record, dict):
            names.update(dict.fromkeys(record))
    if not names:
        raise ValueError(f'{path} is JSON without records, such as {{"user_id": 1, "item_id": 2}}.')
    listed = list(names)
    indices = find_columns(listed, named, f"{path} (JSON)")
    found, time_note = columns.find(listed, indices, f"{path} (JSON)")
    keys = (listed[indices[0]], listed[indices[1]])
    further = {kind: listed[index] for kind, index in found.items()}
    ignored = [name for name in listed if name not in (*keys, *further.values())]
    return Source(
        where=str(path),
        columns=keys,
        ignored=ignored,
        row="line" if by_line else "record",
        chunks=partial(_chunks, path, by_line, keys, further, show_progress, ignored if whole else []),
        guess=weak_guess(listed, indices, named),
        given=None not in named,
        strip=True,
        time=further.get("times"),
        event=further.get("events"),
        time_note=time_note,
    )


def _is_a_record(line: str) -> bool:
    try:
        return isinstance(_DECODER.decode(line), dict)
    except (ValueError, RecursionError):
        return False


def _chunks(
    path: Path,
    by_line: bool,
    keys: tuple[str, str],
    further: dict[str, str],
    show_progress: bool,
    others: Sequence[str],
) -> Iterator[Chunk]:
    users: list[Any] = []
    items: list[Any] = []
    values: dict[str, list[str | None]] = {kind: [] for kind in further}
    rest: list[list[Any]] = []  # a row of other values per record
    numbers: list[int] = []
    problems: dict[int, str] = {}

    def chunk() -> Chunk:
        user_ids, item_ids = (np.array(ids, dtype=object) for ids in (users, items))
        stored = {kind: np.array(texts, dtype=object) for kind, texts in values.items()}
        columns = [_objects(of_key) for of_key in zip(*rest, strict=True)] if rest else [_objects([]) for _ in others]
        return Chunk(user_ids, item_ids, np.array(numbers), problems, further=stored, others=columns)

    for number, record in _records(path, by_line, show_progress):
        ids = [None, None]
        if not isinstance(record, dict):
            problems[len(users)] = "no JSON object"
        else:
            ids = [record.get(key) for key in keys]
            for kind, value in zip(("user", "item"), ids, strict=True):
                if isinstance(value, (dict, list)):
                    article = "an" if kind == "item" else "a"
                    problems.setdefault(len(users), f"{article} {kind} that is no text or number")
        users.append(_text(ids[0]))
        items.append(_text(ids[1]))
        for kind, key in further.items():
            value = record.get(key) if isinstance(record, dict) else None
            values[kind].append(None if value is None else str(value))
        if others:
            rest.append([_value(record.get(key)) if isinstance(record, dict) else None for key in others])
        numbers.append(number)
        if len(users) == _CHUNK_RECORDS:
            yield chunk()
            users, items, rest, numbers, problems = [], [], [], [], {}
            values = {kind: [] for kind in further}
    yield chunk()


def _value(value: Any) -> Any:
    """A value of another column: text, a list of texts, or ``None``."""
    if isinstance(value, list):
        return [text for one in value if (text := _value(one if not isinstance(one, list) else str(one))) is not None]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else _text(value)


def _objects(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else None


def _records(path: Path, by_line: bool, show_progress: bool) -> Iterator[tuple[int, Any]]:
    """Yields the number and the value of each record; the value of a line that is not JSON is ``None``."""
    size = os.path.getsize(path)
    with (
        open_text(path) as file,
        tqdm(total=size, desc="reading", unit="B", unit_scale=True, disable=not show_progress) as bar,
    ):
        blocks = _with_progress(file, file.blocks() if by_line else file.pieces(), bar)
        yield from _of_lines(blocks) if by_line else _of_array(blocks, path)


def _with_progress(file: TextFile, blocks: Iterator[str], bar: tqdm) -> Iterator[str]:
    for block in blocks:
        yield block
        bar.update(file.read_bytes - bar.n)


def _of_lines(blocks: Iterator[str]) -> Iterator[tuple[int, Any]]:
    """Records of lines."""
    number = 0
    for block in blocks:
        for line in block.split("\n"):
            number += 1
            if line.strip():
                try:
                    yield number, _DECODER.decode(line)
                except (ValueError, RecursionError):
                    yield number, None


def _of_array(pieces: Iterator[str], path: Path) -> Iterator[tuple[int, Any]]:
    """Records of an array, or one after the other; a record may span several pieces of the text."""
    number, rest, array = 0, "", False
    for piece in pieces:
        text, position = rest + piece, 0
        if not number and not array and text.lstrip().startswith("["):
            array, text = True, text.lstrip()[1:]
        while (position := _next(text, position)) < len(text):
            try:
                record, position = _DECODER.raw_decode(text, position)
            except (ValueError, RecursionError) as error:
                if len(text) - position > LONGEST_LINE:
                    message = f"{path}: record {number + 1} is no JSON, or longer than 1 MiB."
                    raise ValueError(message) from error
                break
            number += 1
            yield number, record
        rest = text[position:]
    if rest.strip() != "]" * array:
        raise ValueError(f"{path}: record {number + 1} is no JSON, or the file ends within it.")


def _next(text: str, position: int) -> int:
    """Position of the next record, after blanks and commas."""
    while position < len(text) and (text[position].isspace() or text[position] == ","):
        position += 1
    return position
