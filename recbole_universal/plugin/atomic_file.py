"""Reads RecBole's atomic files. An error names the file, the row and the column."""

from __future__ import annotations

import codecs
import contextlib
import csv
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import recbole.data.dataset.dataset as recbole_dataset_module
from recbole.utils import FeatureSource, FeatureType

# Texts of an atomic file that mean a missing number.
_MISSING = (
    *(
        "",
        " ",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
    ),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)
_TYPES = [kind.value for kind in FeatureType]


class AtomicFileError(ValueError):
    """An atomic file cannot be used; the message has the file, the position and the valid values."""


@contextlib.contextmanager
def reading_checked() -> Iterator[None]:
    """Let RecBole read atomic files with a byte order mark (BOM), and report errors with their position in the file."""
    dataset = recbole_dataset_module.Dataset
    stock = dataset._load_feat

    def load_feat(self, filepath, source):
        check_header(filepath, self.config, source)
        try:
            with _reading_bom(Path(filepath), self.config["encoding"] or "utf-8"):
                table = stock(self, filepath, source)
        except AtomicFileError:
            raise
        except ValueError as error:
            loaded, unloaded = self._get_load_and_unload_col(source)
            skipped = lambda name: name in (unloaded or ()) or (loaded is not None and name not in loaded)  # noqa: E731
            raise _explained(error, filepath, self.config, skipped) from error
        for key in ("USER_ID_FIELD", "ITEM_ID_FIELD") if source == FeatureSource.INTERACTION else ():
            loaded, field = [] if table is None else list(table), self.config[key]
            if field is not None and field not in loaded:
                raise AtomicFileError(
                    f"[{filepath}], row 1: the .inter file has no column [{field}] (key {key}); loaded columns: "
                    f"{loaded}. The keys load_col and unload_col choose what is loaded."
                )
        return table

    dataset._load_feat = load_feat
    try:
        yield
    finally:
        dataset._load_feat = stock


@contextlib.contextmanager
def reading_as_text() -> Iterator[None]:
    """As :func:`reading_checked`, but RecBole reads atomic files without quoting, with pandas' C parser.

    Each line is a row, and only the separator divides it into fields, as in the files that RecBole writes. A quote is a
    character, and ``NA`` is a token like any other. RecBole's reader (pandas' Python parser) treats quotes as field
    delimiters. It stops at a quote that is not closed, and drops rows whose user or item is called ``NA`` or ``null``.
    """
    release = tuple(int(number) for number in recbole_dataset_module.pd.__version__.split(".")[:2])
    exact = {} if release >= (3, 1) else {"float_precision": "round_trip"}  # the default since pandas 3.1

    def as_text(kwargs):
        if kwargs.get("engine") == "python" and len(kwargs.get("delimiter", "")) == 1:
            missing = {name: [""] if kind is str else _MISSING for name, kind in kwargs["dtype"].items()}
            kwargs.update(engine="c", quoting=csv.QUOTE_NONE, keep_default_na=False, na_values=missing, **exact)

    with reading_checked(), _read_csv(as_text):
        yield


def check_header(file: str | Path, config: Any, source: Any = FeatureSource.INTERACTION) -> None:
    """Check the first row of an atomic file, which RecBole parses without a check.

    Args:
        file: The atomic file.
        config: RecBole ``Config``.
        source: RecBole's name of the kind of file.

    Raises:
        AtomicFileError: If the row does not name columns, each once, and their types.
    """
    separator = config["field_separator"]
    where, header = f"[{file}], row 1", read_header(file, config)
    fields = [field.split(":") for field in header.split(separator)]
    if any(len(field) != 2 for field in fields):
        raise AtomicFileError(
            f"{where}: must name the columns and their types, such as user_id:token{separator}item_id:token "
            f"(field_separator: {separator!r}), got {header[:100]!r}. docs/stages.md makes such a file of a CSV file."
        )
    names = [name for name, _ in fields]
    for name, kind in fields:
        if kind not in _TYPES:
            raise AtomicFileError(f"{where}: column [{name}] is of the type [{kind}]; valid are {', '.join(_TYPES)}.")
        if names.count(name) > 1:
            raise AtomicFileError(f"{where}: column [{name}] is named {names.count(name)} times; name it once.")
        ids = (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"])
        if source == FeatureSource.INTERACTION and name in ids and kind != FeatureType.TOKEN.value:
            raise AtomicFileError(f"{where}: column [{name}] is of the type [{kind}]; ids must be of the type token.")


def read_header(file: str | Path, config: Any) -> str:
    """The first row of an atomic file.

    Raises:
        AtomicFileError: If it cannot be decoded.
    """
    try:
        with open(file, encoding=_with_bom(config["encoding"] or "utf-8")) as stream:
            return stream.readline().rstrip("\n")
    except (UnicodeError, LookupError) as error:
        raise _explained(error, file, config) from error


def _explained(
    error: Exception, file: str | Path, config: Any, skipped: Callable[[str], bool] = lambda name: False
) -> AtomicFileError:
    """The cause of an error in reading an atomic file, with the line of the first wrong value."""
    encoding, separator = config["encoding"] or "utf-8", config["field_separator"]
    if isinstance(error, LookupError):
        return AtomicFileError(f"encoding: Python knows no encoding [{encoding}]; utf-8 is the usual one.")
    with open(file, encoding=_with_bom(encoding), errors="surrogateescape") as stream:
        with contextlib.suppress(UnicodeError):
            header = next(stream, "").rstrip("\n")
            columns = [field.partition(":") for field in header.split(separator)]
            for number, line in enumerate([header], 1) if _odd_byte(header) else enumerate(stream, 2):
                byte = _odd_byte(line)
                if byte is not None:
                    return AtomicFileError(
                        f"[{file}], line {number}: the byte 0x{byte:02x} is no text in {encoding}; save the file as "
                        "UTF-8, or name its encoding with the key encoding, such as latin-1 or utf-16."
                    )
                for (name, _, kind), value in zip(columns, line.rstrip("\n").split(separator), strict=False):
                    values = {"float": [value], "float_seq": value.split(config["seq_separator"])}.get(kind, [])
                    bad = [] if skipped(name) else [one for one in values if not _is_number(one)]
                    if bad:
                        return AtomicFileError(
                            f"[{file}], line {number}, column [{name}]: {bad[0][:100]!r} is no number, and the column "
                            f"is of the type {kind}; correct the value, or leave the column out with unload_col."
                        )
    return AtomicFileError(f"[{file}] cannot be read: {' '.join(str(error).split())}.")


def _odd_byte(line: str) -> int | None:
    """The first byte that is not text in the encoding, which ``surrogateescape`` preserves."""
    return next((ord(sign) - 0xDC00 for sign in line if "\udc80" <= sign <= "\udcff"), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in _MISSING
    return True


def _with_bom(encoding: str) -> str:
    """The encoding that reads a file with or without byte order mark."""
    try:
        return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    except LookupError:
        return encoding  # open() raises the error of an unknown encoding


@contextlib.contextmanager
def _reading_bom(file: Path, encoding: str) -> Iterator[None]:
    with file.open("rb") as stream:
        marked = stream.read(3) == codecs.BOM_UTF8 and _with_bom(encoding) == "utf-8-sig"
    if not marked or "open" in vars(recbole_dataset_module):  # a run of this package reads checked twice
        yield
        return
    recbole_dataset_module.open = functools.partial(_open_marked, file)  # hides Python's open in this module alone
    try:
        with _read_csv(lambda kwargs: kwargs.update(encoding="utf-8-sig")):
            yield
    finally:
        del recbole_dataset_module.open


def _open_marked(marked: Path, file: str, *args: Any, **kwargs: Any) -> Any:
    if Path(file) == marked:
        kwargs["encoding"] = "utf-8-sig"
    return open(file, *args, **kwargs)


@contextlib.contextmanager
def _read_csv(change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Give RecBole a copy of the module pandas whose ``read_csv`` gets changed arguments."""
    pandas = recbole_dataset_module.pd

    def read_csv(*args, **kwargs):
        change(kwargs)
        return pandas.read_csv(*args, **kwargs)

    recbole_dataset_module.pd = SimpleNamespace(**{**vars(pandas), "read_csv": read_csv})
    try:
        yield
    finally:
        recbole_dataset_module.pd = pandas
