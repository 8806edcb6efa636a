"""Arrays of item vectors that a user brings, by id: images, audio, embeddings of a language model."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_universal import arguments
from recbole_universal.io.column_names import listed_names
from recbole_universal.io.ids import IdLookup, is_missing, is_utf_8, whole
from recbole_universal.io.paths import existing_path
from recbole_universal.io.tables import is_parquet, whole_table

_ID_NAMES = ("ids", "id", "item_id", "items")
_ENDINGS = ".npz, .npy, .csv, .tsv or .parquet"


def item_vectors(source: Any, items: pd.Index, name: str = "vectors") -> NDArray[np.float32]:
    """The vectors of a catalogue's items.

    Args:
        source: a mapping from id to vector; a pair of ids and an array [n, dim]; an array with one row for each item of
            the catalogue, in its order; or the path of a file. A file ``.npz`` holds an array of ids (``ids``) and an
            array of vectors. A file ``.npy`` holds one row for each item of the catalogue, as RecBole's
            ``preload_weight`` does, or beside it is a text file with the same name and the ending ``.ids``, one id a
            line. A table (CSV, TSV, Parquet) has the ids in its first column and numbers, or one list, in the others.
        items: the ids of the catalogue, [n_items].
        name: name of the array, for messages.

    Returns:
        float32 [n_items, dim]; zeros for an item without a vector.

    Raises:
        ValueError: if ids occur twice, none of them is an item, vectors differ in length, hold NaN or infinity, or are
            all zero.
        OSError: if a file cannot be read.
    """
    return read_vectors(source, name).of_items(items)


class ItemVectors(NamedTuple):
    """Vectors of some items.

    Attributes:
        ids: their ids, distinct, [n]; ``None``: the vectors have the order of a catalogue.
        vectors: finite, float32 [n, dim].
        where: what they are of, for messages.
    """

    ids: pd.Index | None
    vectors: NDArray[np.float32]
    where: str

    def of_items(self, items: pd.Index) -> NDArray[np.float32]:
        """The vectors of a catalogue's items; see :func:`item_vectors`."""
        if self.ids is None:
            if len(self.vectors) != len(items):
                raise ValueError(
                    f"{self.where}: has {len(self.vectors)} rows for {len(items)} items; give the ids too, or one row "
                    "an item."
                )
            return self._not_all_zero(self.vectors)
        rows = IdLookup(self.ids).indices(map(str, items.tolist()))
        found = rows >= 0
        if len(items) and not found.any():
            raise ValueError(
                f"{self.where}: no id is an item of the interactions, such as {listed_names(items.tolist()[:3])}; it "
                f"has ids such as {listed_names(self.ids.tolist()[:3])}."
            )
        vectors = np.zeros((len(items), self.vectors.shape[1]), dtype=np.float32)
        vectors[found] = self.vectors[rows[found]]
        return self._not_all_zero(vectors)

    def _not_all_zero(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(vectors) and not vectors.any():
            raise ValueError(f"{self.where}: all vectors of the items are zero, and zeros stand for no vector.")
        return vectors


def read_vectors(source: Any, name: str = "vectors") -> ItemVectors:
    """Vectors and their ids out of a source, as of :func:`item_vectors`.

    Raises:
        ValueError: if ids occur twice, vectors differ in length, or hold NaN or infinity.
        OSError: if a file cannot be read.
    """
    where = f"{name}: [{source}]" if isinstance(source, (str, os.PathLike)) else name
    ids, values = _parts(source, where)
    array = _numbers(values, where)
    if ids is None:
        return ItemVectors(None, array, where)
    known = pd.Index([str(whole(one)) for one in ids], dtype=object)
    bad = [row for row, one in enumerate(ids) if is_missing(one) or not is_utf_8(str(one))]
    if bad:
        raise ValueError(f"{where}: {len(bad)} of {len(known)} ids are missing or no text, the first in row {bad[0]}.")
    if len(known) != len(array):
        raise ValueError(f"{where}: has {len(known)} ids for {len(array)} vectors.")
    if not known.is_unique:
        raise ValueError(
            f"{where}: the id {listed_names(known[known.duplicated()].unique()[:1].tolist())} is there twice."
        )
    return ItemVectors(known, array, where)


def _parts(source: Any, where: str) -> tuple[Sequence[Any] | None, Any]:
    """Ids, or ``None`` for the catalogue's order, and vectors."""
    if isinstance(source, (str, os.PathLike)):
        path = existing_path(source, where)
        if path.is_dir():
            raise ValueError(f"{where}: is a folder; give a file.")
        return _of_file(path, where)
    if isinstance(source, Mapping):
        return list(source), list(source.values())
    if isinstance(source, tuple) and len(source) == 2:
        return list(source[0]), source[1]
    return None, source


def _of_file(path: Path, where: str) -> tuple[Sequence[Any] | None, Any]:
    ending = path.suffix.lower()
    try:
        if ending == ".npz":
            return _of_npz(path, where)
        if ending == ".npy":
            ids = path.with_suffix(".ids")
            lines = ids.read_text(encoding="utf-8").splitlines() if ids.is_file() else None
            return lines, np.load(path, allow_pickle=False)
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        if str(error).startswith(where):
            raise
        raise ValueError(f"{where}: is no array file that can be read: {_about(error)}.") from error
    if is_parquet(path):
        frame = whole_table(path, where)
    elif ending in (".csv", ".tsv", ".txt"):
        try:
            frame = pd.read_csv(path, sep="," if ending == ".csv" else "\t", dtype={0: str}, keep_default_na=False)
        except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
            raise ValueError(f"{where}: is no table that can be read: {str(error).strip()}.") from error
        if _is_fraction(frame.columns[-1]):
            raise ValueError(f"{where}: its first row holds numbers; give the columns names in a row before them.")
    else:
        raise ValueError(f"{where}: must end in {_ENDINGS}. Encode pictures, sound and texts into vectors first.")
    if frame.shape[1] < 2:
        raise ValueError(f"{where}: needs a column of ids and columns of numbers, and has {frame.shape[1]} column.")
    values = frame.iloc[:, 1:]
    is_list = values.shape[1] == 1 and values.iloc[:, 0].map(lambda value: isinstance(value, (list, np.ndarray))).any()
    return frame.iloc[:, 0].tolist(), values.iloc[:, 0].tolist() if is_list else values.to_numpy()


def _is_fraction(name: Any) -> bool:
    """Whether a name of a column is a number such as 0.25; whole numbers are names that pandas writes."""
    return re.fullmatch(r"[+-]?\d*\.\d+([eE][+-]?\d+)?(\.\d+)?", str(name)) is not None


def _about(error: Exception) -> str:
    """What is wrong with an array file. NumPy advises to load unsafely what it does not know."""
    return "it holds Python objects or is another kind of file" if "pickle" in str(error) else str(error).rstrip(".")


def _of_npz(path: Path, where: str) -> tuple[Sequence[Any] | None, Any]:
    with np.load(path, allow_pickle=False) as file:
        names = list(file)
        named = [name for name in names if name.lower() in _ID_NAMES]
        others = [name for name in names if name not in named]
        if len(others) != 1 or len(named) > 1:
            raise ValueError(f"{where}: must hold one array of ids, called ids, and one of vectors; it holds {names}.")
        return (file[named[0]].tolist() if named else None), file[others[0]]


def _numbers(values: Any, where: str) -> NDArray[np.float32]:
    """Vectors as an array, float32 [n, dim].

    Raises:
        ValueError: if they are no finite numbers of one length.
    """
    if isinstance(values, list):
        lengths = {len(each) if hasattr(each, "__len__") and not isinstance(each, str) else -1 for each in values}
        if len(lengths) > 1 or lengths == {-1}:
            problem = "vectors differ in length" if -1 not in lengths else "a vector is no list of numbers"
            raise ValueError(f"{where}: {problem}.")
    single = real_numbers(values, where)
    if single.ndim != 2 or not single.shape[1]:
        raise ValueError(f"{where}: must be an array [n, dim], got the shape {single.shape}.")
    if not len(single):
        raise ValueError(f"{where}: holds no vector.")
    wrong = np.asarray(~np.isfinite(single).all(axis=1))
    if wrong.any():
        raise ValueError(
            f"{where}: {int(wrong.sum())} of {len(wrong)} vectors hold NaN or infinity, the first in row "
            f"{int(wrong.argmax())}. Leave such items out; they count as items without a vector."
        )
    return single


def real_numbers(values: Any, where: str) -> NDArray[np.float32]:
    """Values as an array of any shape, in which a number too large for float32 is infinite.

    Args:
        values: what NumPy turns into an array.
        where: what they are of, for messages.

    Raises:
        ValueError: if they are no real numbers.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "cmM":
            with np.errstate(over="ignore"):
                return np.asarray(array, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # PyTorch raises RuntimeError
        raise ValueError(f"{where}: holds values that are no numbers: {arguments.shown(str(error))}.") from error
    raise ValueError(f"{where}: holds {'complex numbers' if array.dtype.kind == 'c' else 'times'}; give real numbers.")
