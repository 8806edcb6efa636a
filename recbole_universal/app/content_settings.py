"""The arguments that say what the content of items is, for the class, the function and the commands."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal import arguments
from recbole_universal.content.defaults import DEFAULT_ENCODERS, LEAST_JOIN_Z
from recbole_universal.content.encoders import TextEncoder, is_encoder, known_encoders, text_encoder
from recbole_universal.io.tables import is_arrow

#: The argument that asks for new items.
NEW_ITEMS = "new_items (--new-items)"
_VECTORS, _ENCODERS = "item_vectors (--item-vectors)", "content_encoders (--content-encoders)"


@dataclass(frozen=True)
class ContentSettings:
    """What the content of items is.

    Attributes:
        fields: columns of text of the item table; ``None``: all that hold text.
        encoders: encoders of the texts, names or functions.
        vectors: further vectors by the name of their space, as
            :func:`~recbole_universal.content.arrays.item_vectors` takes them.
        join_z: smallest accepted z-score of the join test; ``None``: any.
        asked: whether fields (``auto`` among them) or vectors are given, so that content is read without new items.
    """

    fields: tuple[str, ...] | None = None
    encoders: tuple[Any, ...] = DEFAULT_ENCODERS
    vectors: Mapping[str, Any] | None = None
    join_z: float | None = LEAST_JOIN_Z
    asked: bool = False

    @classmethod
    def checked(cls, fields: Any, encoders: Any, vectors: Any, join_z: Any) -> ContentSettings:
        """The settings of arguments of a caller; ``None`` stands for each default but that of ``join_z``.

        Args:
            fields: names of columns, one name, or ``auto`` for all that hold text.
            encoders: names of encoders or functions, or one.
            vectors: a source of vectors, a list of sources, or a mapping from names to sources.
            join_z: see :attr:`join_z`.

        Raises:
            ValueError: if an argument is of another type.
        """
        is_auto = isinstance(fields, str | list | tuple) and fields in ("auto", ["auto"], ("auto",))
        named = None
        if fields is not None and not is_auto:
            named = tuple(_listed("content_fields (--content-fields)", fields, str))
        given = DEFAULT_ENCODERS if encoders is None else _listed(_ENCODERS, encoders)
        names = []
        for encoder in given:
            known = is_encoder(encoder) if isinstance(encoder, str) else isinstance(encoder, TextEncoder)
            if not known and not callable(encoder):
                raise ValueError(
                    f"{_ENCODERS}: must be {known_encoders()}, or functions, got {arguments.shown(encoder)}."
                )
            names.append(encoder if isinstance(encoder, str) else text_encoder(encoder).name)
        if twice := [name for index, name in enumerate(names) if name in names[:index]]:
            raise ValueError(
                f"{_ENCODERS}: two of them have the name [{twice[0]}]; give a function a name of its own by "
                "TextEncoder(name, version, function)."
            )
        if join_z is not None and (not arguments.is_real(join_z) or not 0 <= join_z < np.inf):
            raise ValueError(
                f"content_join_z (--content-join-z): must be a number of at least 0, or None for any content, got "
                f"{arguments.shown(join_z)}."
            )
        asked = fields is not None or vectors is not None
        return cls(named, tuple(given), None if vectors is None else _sources(vectors, names), join_z, asked)

    def given(self) -> dict[str, Any]:
        """The arguments that are not their defaults, by name; ``None`` for the others."""
        return {
            "content_fields (--content-fields)": self.fields or ("auto" if self.asked and not self.vectors else None),
            _ENCODERS: None if self.encoders == DEFAULT_ENCODERS else self.encoders,
            _VECTORS: self.vectors,
            "content_join_z (--content-join-z)": None if self.join_z == LEAST_JOIN_Z else "given",
        }


def checked_new_items(new_items: Any, k: int, argument: str = "top_k (--top-k)") -> bool | int:
    """The argument ``new_items``: false, true for the earned ranks, or a number of places.

    Args:
        new_items: the argument; ``None`` is false.
        k: length of a list.
        argument: name of the length, for the message.

    Raises:
        ValueError: if it is of another type, or there are fewer places.
    """
    if new_items is None or isinstance(new_items, (bool, np.bool_)):
        return bool(new_items)
    if not arguments.is_integer(new_items) or not 1 <= new_items <= k:
        raise ValueError(
            f"{NEW_ITEMS}: must be true for the ranks that new items earn, or a number of places from 1 to {argument} "
            f"{k}, got {arguments.shown(new_items)}."
        )
    return int(new_items)


def _listed(argument: str, given: Any, kind: type = object) -> list:
    """One value or several as a list.

    Raises:
        ValueError: if there is none, one of another type, or one twice.
    """
    one = isinstance(given, str) or not isinstance(given, Iterable)
    values = [given] if one else list(given)
    if not values or not all(isinstance(value, kind) for value in values):
        raise ValueError(f"{argument}: must be a list of names, got {arguments.shown(given)}.")
    if twice := [value for index, value in enumerate(values) if value in values[:index]]:
        raise ValueError(f"{argument}: {arguments.shown(twice[0])} is given twice.")
    return values


def _sources(given: Any, taken: Sequence[str]) -> dict[str, Any]:
    """Sources of vectors by name. A source without a name has that of its file. Names that occur twice get a number.

    Args:
        given: the argument of a caller.
        taken: names of other spaces.

    Raises:
        ValueError: if there is none.
    """
    if isinstance(given, Mapping) and all(map(_is_source, given.values())):
        named = [(str(name), source) for name, source in given.items()]
    elif isinstance(given, list) and all(map(_is_source, given)):
        named = [(_name(source), source) for source in given]
    else:
        named = [(_name(given), given)]
    if not named:
        raise ValueError(f"{_VECTORS}: must be a source of vectors, or several, got {arguments.shown(given)}.")
    names: dict[str, Any] = {}
    for name, source in named:
        if not _is_source(source):
            raise ValueError(
                f"{_VECTORS}: must be files, arrays [n, dim], pairs of ids and an array, or mappings from ids to "
                f"vectors, got {arguments.shown(source)}."
            )
        possible = (name if number == 1 else f"{name} {number}" for number in itertools.count(1))
        names[next(one for one in possible if one not in names and one not in taken)] = source
    return names


def _is_source(value: Any) -> bool:
    """Whether a value may be vectors of several items, and no single vector."""
    if isinstance(value, pd.DataFrame) or is_arrow(value):
        return False
    if isinstance(value, (str, os.PathLike)):
        return True
    if isinstance(value, Mapping):
        return len(value) > 0
    if isinstance(value, tuple):
        return len(value) == 2 and isinstance(value[0], (Sequence, np.ndarray, pd.Index, pd.Series))
    return getattr(value, "ndim", 1) == 2


def _name(source: Any) -> str:
    return Path(source).stem if isinstance(source, (str, os.PathLike)) else "vectors"
