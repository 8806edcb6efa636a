"""Rules on the columns of an item table, such as ``category == 'shoes' and price < 50``.

A rule may come from a client of a service. It is parsed, its parts are checked against a short list, and it is computed
here. Nothing in it is executed.
"""

from __future__ import annotations

import ast
import keyword
import operator
import re
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_universal import arguments
from recbole_universal.app.recommendation_blocks import named
from recbole_universal.io.column_names import listed_names
from recbole_universal.io.ids import IdLookup
from recbole_universal.io.item_table import ItemTable

#: Limits of a rule: number of characters, and how deep parts may lie within others.
MOST_CHARACTERS, MOST_DEPTH = 2000, 20

_LARGEST = float(np.finfo(float).max)
_COMPARED: dict[type, Callable[[Any, Any], Any]] = {
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le},
    **{ast.Gt: operator.gt, ast.GtE: operator.ge},
}
_HELP = "A rule compares columns with values, such as category == 'shoes' and price < 50, or brand in ['a', 'b']"
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2}.*)?)?")
_KINDS = {"text": "texts", "number": "numbers", "bool": "truth values", "time": "times", "list": "lists"}


class _Refused(Exception):
    """A part that rules do not have."""

    def __init__(self, node: ast.expr) -> None:
        super().__init__()
        self.node = node


class _Truth(NamedTuple):
    """Where a condition holds and where it does not, bool [n_items]; where a value is missing, neither."""

    yes: NDArray[np.bool_]
    no: NDArray[np.bool_]


class _Column(NamedTuple):
    """Values of a column by item, [n_items], and where they are missing."""

    name: str
    kind: str
    values: np.ndarray
    missing: NDArray[np.bool_]


class ItemColumns:
    """The columns of an item table, in the order of the items of the interactions.

    Args:
        table: the table.
        items: ids of the items, [n_items].

    Attributes:
        without_row: items that the table lacks, bool [n_items].
    """

    def __init__(self, table: ItemTable, items: pd.Index) -> None:
        self._rows = IdLookup(table.ids).indices(items.tolist())
        self.without_row = self._rows < 0
        self._series = {_rule_name(str(name)): table.frame[name] for name in table.frame}
        self._columns: dict[str, list[str]] = {}
        for column in map(str, table.frame):
            self._columns.setdefault(_rule_name(column), []).append(column)
        self._made: dict[str, _Column] = {}
        self._title, self._items = None if table.title is None else table.frame[table.title], items

    @property
    def names(self) -> list[str]:
        """Names of the columns in rules."""
        return list(self._series)

    def about_items_without_row(self) -> list[str]:
        """A sentence on the items that the table lacks, if there are any."""
        missing = self._items[self.without_row]
        if not len(missing):
            return []
        return [
            f"{len(missing)} of {len(self._items)} items have no row in the item table and fit no rule: "
            f"{named(missing)}."
        ]

    def titles(self) -> pd.Series | None:
        """Name of each item for people, by id; ``None`` where an item has none, or if no column has names."""
        if self._title is None:
            return None
        missing = self.without_row | self._title.isna().to_numpy()[self._rows]
        titles = np.where(missing, None, self._title.to_numpy(dtype=object)[self._rows])
        return pd.Series(titles, index=self._items, name="title", dtype=object)

    def column(self, name: str) -> _Column:
        """A column.

        Raises:
            ValueError: if there is none of this name, or more than one.
        """
        shown, name = name, _rule_name(name)
        if name not in self._series:
            raise ValueError(
                f"where (--where): the item table has no column [{shown[:60]}]. Columns: {listed_names(self.names)}."
            )
        if len(columns := self._columns[name]) > 1:
            raise ValueError(
                f"where (--where): [{name}] may be any of the columns {listed_names(columns)}; rename all but one."
            )
        if name not in self._made:
            series = self._series[name]
            missing = self.without_row | series.isna().to_numpy()[self._rows]
            kind, values = _values(series)
            self._made[name] = _Column(name, kind, values[self._rows], missing)
        return self._made[name]

    def matching(self, rule: Any) -> NDArray[np.bool_]:
        """Whether each item fits a rule, bool [n_items].

        A comparison with a missing value neither holds nor fails, as in SQL. An item without a row never fits.

        Args:
            rule: a text such as ``category == 'shoes' and price < 50``.

        Raises:
            ValueError: if it is no rule, names another column, or compares values of different types.
        """
        try:
            return _truth(_parsed(rule), self, 0).yes
        except _Refused as refused:
            part = ast.get_source_segment(rule.strip(), refused.node) or type(refused.node).__name__
            bits = isinstance(refused.node, (ast.BinOp, ast.UnaryOp)) and re.search("[&|~]", part)
            hint = " Write and, or, not for &, |, ~." if bits else ""
            raise ValueError(f"where (--where): [{part[:60]}] is not allowed.{hint} {_HELP}.") from None


def _rule_name(name: str) -> str:
    """A column's name as Python's parser spells it: ``item price`` is ``item_price``."""
    normal = unicodedata.normalize("NFKC", name.strip())
    plain = re.sub(" +", "_", "".join(sign if f"a{sign}".isidentifier() else " " for sign in normal)) or "_"
    plain = plain if plain.isidentifier() else f"_{plain}"
    return f"{plain}_" if keyword.iskeyword(plain) else plain


def _values(series: pd.Series) -> tuple[str, np.ndarray]:
    """Kind and values of a column of an item table; missing ones are replaced by any value."""
    kind = series.dtype
    if kind == "boolean":
        return "bool", series.fillna(False).to_numpy(bool)
    if pd.api.types.is_numeric_dtype(kind):
        return "number", series.fillna(0).to_numpy("int64" if kind == "Int64" else None)
    if pd.api.types.is_datetime64_any_dtype(kind):
        return "time", series.to_numpy("datetime64[us]")  # nanoseconds hold no more than the years 1678 to 2261
    is_list = any(isinstance(value, list) for value in series)
    empty: Any = [] if is_list else ""
    values = np.empty(len(series), dtype=object)
    values[:] = [empty if value is None or value is pd.NA or value != value else value for value in series.tolist()]
    return "list" if is_list else "text", values


def _parsed(rule: Any) -> ast.expr:
    """The expression of a rule.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(rule, str) or not rule.strip():
        raise ValueError(f"where (--where): must be a rule as a text, got {arguments.shown(rule)}. {_HELP}.")
    if len(rule) > MOST_CHARACTERS:
        raise ValueError(f"where (--where): has {len(rule)} characters; at most {MOST_CHARACTERS} are read.")
    if "\\" in rule or "\0" in rule:
        raise ValueError("where (--where): must not hold a backslash; write a quote within the other kind of quotes.")
    try:
        return ast.parse(rule.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        hint = " Compare with ==." if re.search(r"[^=!<>]=[^=]", rule) else ""
        hint += " Write and, or, not, in with small letters." if re.search(r"\b(AND|OR|NOT|IN)\b", rule) else ""
        raise ValueError(f"where (--where): cannot be read: {arguments.shown(rule)}.{hint} {_HELP}.") from error


def _truth(node: ast.expr, columns: ItemColumns, depth: int) -> _Truth:
    """Where a condition holds."""
    if depth > MOST_DEPTH:
        raise ValueError(f"where (--where): its parts lie more than {MOST_DEPTH} deep within each other.")
    if isinstance(node, ast.BoolOp):
        parts = [_truth(value, columns, depth + 1) for value in node.values]
        yes, no = [part.yes for part in parts], [part.no for part in parts]
        if isinstance(node.op, ast.And):
            return _Truth(np.logical_and.reduce(yes), np.logical_or.reduce(no))
        return _Truth(np.logical_or.reduce(yes), np.logical_and.reduce(no))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        part = _truth(node.operand, columns, depth + 1)
        return _Truth(part.no, part.yes)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        pairs = [_compared(sides[k], op, sides[k + 1], columns) for k, op in enumerate(node.ops)]
        return _Truth(
            np.logical_and.reduce([pair.yes for pair in pairs]), np.logical_or.reduce([pair.no for pair in pairs])
        )
    if isinstance(node, ast.Name):
        column = columns.column(node.id)
        if column.kind != "bool":
            raise ValueError(f"where (--where): [{node.id}] holds {_KINDS[column.kind]}; compare it with a value.")
        return _known(column.values, column.missing)
    raise _Refused(node)


def _known(holds: np.ndarray, missing: NDArray[np.bool_]) -> _Truth:
    holds = np.asarray(holds, dtype=bool)
    return _Truth(holds & ~missing, ~holds & ~missing)


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, columns: ItemColumns) -> _Truth:
    """Where one comparison holds."""
    if isinstance(op, (ast.In, ast.NotIn)):
        truth = _contained(left, right, columns)
        return truth if isinstance(op, ast.In) else _Truth(truth.no, truth.yes)
    if type(op) not in _COMPARED:
        raise ValueError(f"where (--where): [is] is not allowed; compare with == or !=. {_HELP}.")
    sides = [columns.column(node.id) if isinstance(node, ast.Name) else _constant(node) for node in (left, right)]
    named = [side for side in sides if isinstance(side, _Column)]
    if not named:
        raise ValueError(f"where (--where): one side of each comparison must be a column. {_HELP}.")
    if len(named) == 2 and named[0].kind != named[1].kind:
        first, second = named
        raise ValueError(
            f"where (--where): [{first.name}] holds {_KINDS[first.kind]} and [{second.name}] {_KINDS[second.kind]}."
        )
    column = named[0]
    if column.kind == "list":
        raise ValueError(f"where (--where): [{column.name}] holds lists; write 'value' in {column.name}.")
    if column.kind == "bool" and not isinstance(op, (ast.Eq, ast.NotEq)):
        raise ValueError(f"where (--where): [{column.name}] holds truth values; compare it with == or !=.")
    values = [side.values if isinstance(side, _Column) else _fitting(side, column) for side in sides]
    return _known(_COMPARED[type(op)](*values), np.logical_or.reduce([each.missing for each in named]))


def _contained(left: ast.expr, right: ast.expr, columns: ItemColumns) -> _Truth:
    """Where a column's value is one of a list, or a list or a text of a column holds a value."""
    if isinstance(left, ast.Name) and isinstance(right, (ast.List, ast.Tuple, ast.Set)):
        column = columns.column(left.id)
        if column.kind == "list":
            raise ValueError(f"where (--where): [{column.name}] holds lists; write 'value' in {column.name}.")
        values = [_fitting(_constant(node), column) for node in right.elts]
        holds = np.logical_or.reduce([column.values == value for value in values], initial=False)
        return _known(np.broadcast_to(holds, column.missing.shape), column.missing)
    if isinstance(right, ast.Name):
        column, value = columns.column(right.id), _constant(left)
        if column.kind not in ("list", "text"):
            raise ValueError(f"where (--where): [{column.name}] holds {_KINDS[column.kind]}, in which nothing lies.")
        if column.kind == "text":
            value = _fitting(value, column)
        return _known(np.array([value in whole for whole in column.values], dtype=bool), column.missing)
    raise ValueError("where (--where): [in] needs a list of values, such as brand in ['a', 'b'].")


def _constant(node: ast.expr) -> Any:
    """A text, a number or a truth value.

    Raises:
        ValueError: if it is something else.
    """
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        sign, node = -1 if isinstance(node.op, ast.USub) else 1, node.operand
        if not isinstance(node, ast.Constant) or isinstance(node.value, (str, bool)):
            raise _Refused(node)
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (str, bool, int, float)):
        raise _Refused(node)
    return node.value if isinstance(node.value, str) or sign == 1 else -node.value


def _fitting(value: Any, column: _Column) -> Any:
    """A value as the values of a column are stored.

    Raises:
        ValueError: if the column holds values of another type.
    """
    kind = "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
    if column.kind == "time" and kind == "text":
        try:
            if not _DATE.fullmatch(value.strip()):  # pandas reads "now", "5" and "" too
                raise ValueError
            moment = pd.Timestamp(value.strip())
            moment = moment if moment.tzinfo is None else moment.tz_convert("UTC").tz_localize(None)
            return moment.as_unit("us").to_datetime64()
        except (ValueError, OverflowError) as error:
            raise ValueError(
                f"where (--where): [{column.name}] holds times, and {value[:60]!r} is none; write '2026-11-27'."
            ) from error
    if kind != column.kind:
        words = {"text": f"is a text: write {value} without quotes", "number": f"is a number: write '{value}'"}
        hint = words.get(kind, "is a truth value") if {kind, column.kind} == {"text", "number"} else "is not"
        raise ValueError(f"where (--where): [{column.name}] holds {_KINDS[column.kind]}, and {value!r} {hint}.")
    if kind != "number":
        return value
    kinds = column.values.dtype
    least, most = -_LARGEST, _LARGEST
    if kinds.kind in "iu":
        least, most = np.iinfo(kinds).min, np.iinfo(kinds).max
    if least <= value <= most:
        return value
    return np.inf if value > 0 else -np.inf
