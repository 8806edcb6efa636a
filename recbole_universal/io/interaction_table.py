"""Distinct interactions, and the rows that they come from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_universal.io.bad_rows import BadRows
from recbole_universal.io.column_names import plain_name
from recbole_universal.io.events import Events, RowTimes
from recbole_universal.io.ids import NOT_TEXT, Ids
from recbole_universal.io.layout import position_example
from recbole_universal.io.source import Chunk, Report, Source
from recbole_universal.io.weights import RowWeights

# If a table has this many rows, a column with a distinct value in nearly every row holds neither users nor items.
_ENOUGH_ROWS = 20
_NEARLY_ALL = 0.95
# Words that are read as ids. They are reported, since a database or pandas may have meant a missing value.
_NULL_WORDS = ("NULL", "null", "None", "NaN", "nan", "NA", "N/A", "<NA>", "\\N")


@dataclass
class InteractionTable:
    """Distinct interactions of users with items.

    Attributes:
        users: ids of the users in the order of their first row. The name is that of their column, if it has one.
        items: ids of the items, likewise.
        user_codes: int64 [n_pairs], indices into ``users``.
        item_codes: int64 [n_pairs], indices into ``items``.
        columns: names of the user and the item column.
        events: all interactions in their order; ``None``: the order is not known.
        weights: sum of the weights of each pair's rows, float64 [n_pairs]; ``None``: all pairs count the same.
    """

    users: pd.Index
    items: pd.Index
    user_codes: np.ndarray
    item_codes: np.ndarray
    columns: tuple[str, str]
    events: Events | None = None
    weights: np.ndarray | None = None

    def matrix(self) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
        """The interactions, users and items sorted by id, so that the order of the rows changes no recommendation.

        Returns:
            csr float32 [n_users, n_items]; the matrix row of each user; the index into ``items`` of each matrix column.
        """
        user_order, item_order = _order(self.users), _order(self.items)
        rows, columns = np.argsort(user_order), np.argsort(item_order)
        ones = np.ones(len(self.user_codes), dtype=np.float32)
        shape = (len(self.users), len(self.items))
        matrix = sp.csr_matrix((ones, (rows[self.user_codes], columns[self.item_codes])), shape=shape)
        matrix.sort_indices()
        return matrix, rows, item_order

    def amounts(self) -> sp.csr_matrix | None:
        """The sum of the weights of each entry of :meth:`matrix`, csr float64 with the same entries; some may be 0.

        ``None`` without weights.
        """
        if self.weights is None:
            return None
        rows, columns = np.argsort(_order(self.users)), np.argsort(_order(self.items))
        entries = (self.weights, (rows[self.user_codes], columns[self.item_codes]))
        amounts = sp.csr_matrix(entries, shape=(len(self.users), len(self.items)))
        amounts.sort_indices()
        return amounts

    def ordered(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None] | None:
        """Row and column of :meth:`matrix` of each event, by user, then by time, its time and its weight, if known.

        ``None`` without an order.
        """
        if self.events is None:
            return None
        rows, columns = np.argsort(_order(self.users)), np.argsort(_order(self.items))
        return rows[self.events.user_codes], columns[self.events.item_codes], self.events.times, self.events.weights


def distinct_pairs(
    user_codes: np.ndarray, item_codes: np.ndarray, n_items: int, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Distinct pairs of rows, sorted, int64 [n_pairs] each, and the sum of the weights of each pair's rows.

    The order of the rows changes no sum.
    """
    pairs = user_codes.astype(np.int64)
    pairs *= n_items
    pairs += item_codes
    if weights is None:
        pairs.sort()  # much faster than np.unique, which hashes
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        return pairs // n_items, pairs % n_items, None
    order = np.lexsort((weights, pairs))
    pairs = pairs[order]
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    return pairs[starts] // n_items, pairs[starts] % n_items, np.add.reduceat(weights[order], starts)


def _order(ids: pd.Index) -> np.ndarray:
    text = [str(value) for value in ids]
    return np.array(sorted(range(len(text)), key=text.__getitem__), dtype=np.int64)


@dataclass
class UsableRows:
    """The rows of a table that are not left out, in their order.

    Attributes:
        users: ids of the users in the order of their first row.
        items: ids of the items in the order of their first row.
        user_codes: [n_rows], indices into ``users``.
        item_codes: [n_rows], indices into ``items``.
        seconds: time of each row, float64 [n_rows]; ``None``: no time is used.
        weights: weight of each row, float64 [n_rows]; ``None``: no weights are read.
        timed: which of the rows with a user and an item have a time, or need none, bool.
    """

    users: pd.Index
    items: pd.Index
    user_codes: np.ndarray
    item_codes: np.ndarray
    seconds: np.ndarray | None
    weights: np.ndarray | None
    timed: np.ndarray


@dataclass
class Rows:
    """Collects the rows of all chunks as codes.

    Attributes:
        strip: whether blanks around an id are ignored.
        times: collects the times; ``None``: they are not read.
        weights: collects the weights; ``None``: they are not read.
        by_rows: whether the order of the rows is the order of the interactions.
        kinds: kinds of the ids; one kind in a table whose only ids are in both columns of its chunks.
        n_rows: number of rows.
        bad: the rows that are left out.
        codes: codes of the users and the items of each chunk's usable rows.
        shown: the first rows, for messages.
    """

    strip: bool
    times: RowTimes | None = None
    weights: RowWeights | None = None
    by_rows: bool = False
    kinds: tuple[str, ...] = ("user", "item")
    n_rows: int = 0
    bad: BadRows = field(default_factory=BadRows)
    codes: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.users, self.items = Ids(self.strip), Ids(self.strip)

    def add(self, chunk: Chunk, row: str) -> np.ndarray:
        """Add the rows of a chunk; messages call a row ``row``. Returns which rows are usable, bool [n_rows]."""
        self.n_rows += len(chunk.users) if chunk.n_rows < 0 else chunk.n_rows
        try:
            users, items = self.users.codes(chunk.users), self.items.codes(chunk.items)
        except (TypeError, NotImplementedError) as error:
            raise ValueError(f"The users or the items are values that are no ids: {error}") from error
        usable = (users >= 0) & (items >= 0)
        weights = None if self.weights is None else self.weights.read(chunk)
        usable[list(chunk.problems)] = False
        if not usable.all():
            self._leave_out(np.flatnonzero(~usable), users, items, chunk, row)
            users, items = users[usable], items[usable]
        if self.times is not None:
            self.times.add(chunk, usable, row)
        if self.weights is not None and weights is not None:
            self.weights.parts.append(weights[usable])
        for user, item in zip(users[: 2 - len(self.shown)], items, strict=False):
            self.shown.append(f"user [{self.users.name(user)}], item [{self.items.name(item)}]")
        self.codes.append((users, items))
        return usable

    def _leave_out(self, indices: np.ndarray, users: np.ndarray, items: np.ndarray, chunk: Chunk, row: str) -> None:
        numbers, first = np.unique(np.asarray(chunk.numbers)[indices], return_index=True)  # a line may hold several ids
        for index in indices[first[:5]].tolist():
            reason = chunk.problems.get(index)
            if reason is None and NOT_TEXT in (users[index], items[index]):
                reason = "an id that is not UTF-8"
            missing = [kind for kind, codes in zip(self.kinds, (users, items), strict=False) if codes[index] < 0]
            self.bad.add(f"{row} {chunk.numbers[index]}", reason or ", ".join(f"no {kind} id" for kind in missing))
        self.bad.count += max(0, len(numbers) - 5)

    def table(self, where: str, source: Source, report: Report) -> InteractionTable:
        """The distinct pairs. Reports which rows were left out, which columns were guessed and which ids were joined.

        Raises:
            ValueError: if there are too few usable rows, or a guessed column holds neither users nor items.
        """
        rows = self.usable(where, source, report)
        users, items, user_codes, item_codes = rows.users, rows.items, rows.user_codes, rows.item_codes
        seconds, weights, n_usable, shown = rows.seconds, rows.weights, len(user_codes), "; ".join(self.shown)
        if source.has_names:
            users, items = (
                ids.rename(plain_name(name)) for ids, name in zip((users, items), source.columns, strict=True)
            )
        events = None
        if self.by_rows or seconds is not None:
            events = Events.in_order(user_codes, item_codes, seconds, None if seconds is None else source.time, weights)
        pair_users, pair_items, sums = distinct_pairs(user_codes, item_codes, len(items), weights)
        repeated = n_usable - len(pair_users)
        if repeated and source.one_item:
            verb = "repeats" if repeated == 1 else "repeat"
            once = f"each pair counts once{'' if events is None else ', but in the order of the interactions'}"
            report(
                f"{where}: {repeated} of {self.n_rows} rows {verb} a pair of user and item that came before; "
                f"{once if sums is None else 'the weights of a pair are added'}."
            )
        if not source.has_names and len(users) > 1 and _like_a_header(users) and _like_a_header(items):
            report(
                f"{where}: the first row is counted as data: user [{users[0]}], item [{items[0]}]. If it is a header, "
                "name the columns by it instead of by position."
            )
        if source.one_item and not source.given:
            _check_distinct(where, source, len(pair_users), {"user": len(users), "item": len(items)}, shown, report)
        return InteractionTable(users, items, pair_users, pair_items, source.columns, events, sums)

    def usable(self, where: str, source: Source, report: Report) -> UsableRows:
        """The rows with a user, an item and, where times are used, a time. Reports as :meth:`table`.

        Raises:
            ValueError: if there are too few.
        """
        rows = self._with_times(where)
        n_usable = len(rows.user_codes)
        left_out = self.bad.text(where, self.n_rows) if self.bad.count else ""
        if not n_usable:
            raise ValueError(f"{left_out or where + ':'} There is no usable row; each needs {self._needed()}.")
        if 2 * self.bad.count > self.n_rows:
            raise ValueError(f"{left_out} That is more than half of the rows, so nothing is read.")
        if left_out:
            report(left_out)
        if source.guess:
            report(f"{where}: {source.guess}. First rows: {'; '.join(self.shown)}.")
        if self.times is not None:
            report(f"{where}: {self.times.sentence}")
        if self.weights is not None and (about_kinds := self.weights.check(where, source.event)):
            report(about_kinds)
        if len(self.kinds) > 1:
            rows.users, rows.user_codes = self._joined(self.users, rows.user_codes, "user", where, report)
        rows.items, rows.item_codes = self._joined(self.items, rows.item_codes, self.kinds[-1], where, report)
        return rows

    def _needed(self) -> str:
        kinds = [*self.kinds, *([] if self.times is None else ["time"]), *([] if self.weights is None else ["weight"])]
        return " and ".join(f"{'an' if kind == 'item' else 'a'} {kind}" for kind in kinds)

    def _with_times(self, where: str) -> UsableRows:
        """The usable rows before ids are joined."""
        none = np.zeros(0, dtype=np.int32)
        users, items = (np.concatenate(codes) for codes in zip((none, none), *self.codes, strict=True))
        weights = None if self.weights is None else np.concatenate([np.zeros(0), *self.weights.parts])
        self.codes.clear()
        timed, seconds = np.ones(len(users), dtype=bool), None
        if self.times is not None and len(users):
            timed, seconds = self.times.settle(where, self.bad)
        weights = None if weights is None else weights[timed]
        return UsableRows(pd.Index([]), pd.Index([]), users[timed], items[timed], seconds, weights, timed)

    def _joined(self, ids: Ids, codes: np.ndarray, kind: str, where: str, report: Report):
        if self.strip:
            for word in _NULL_WORDS:
                if word in ids:
                    report(f"{where}: the {kind} id [{word}] is an id like any other here.")
        joined, codes, pairs = ids.joined(codes, self.bad.count > 0)
        if pairs:
            which = f"{pairs[0][0]!r} and {pairs[0][1]!r}"
            report(f"{where}: {len(pairs)} {kind} ids have several types, such as {which}; each pair is one {kind}.")
        return joined, codes


def _check_distinct(
    where: str, source: Source, n_pairs: int, counts: dict[str, int], shown: str, report: Report
) -> None:
    """Checks for a column with a distinct value in nearly every row, which holds times or row numbers, not ids."""
    for kind, column in zip(("user", "item"), source.columns, strict=True):
        if n_pairs < _ENOUGH_ROWS or counts[kind] <= _NEARLY_ALL * n_pairs:
            continue
        if source.guess:
            columns = "--user-column, --item-column"
            if source.row == "line" and not source.has_names:
                columns = position_example(len(source.ignored) + 2 + (source.time is not None))
            raise ValueError(
                f"{where}: nothing is read, since [{column}], taken for the {kind}s, has {counts[kind]} different "
                f"values in {n_pairs} rows, like a time or the number of a row. First rows: {shown}. Give the columns "
                f"({columns})."
            )
        other = "user" if kind == "item" else "item"
        report(
            f"{where}: [{column}] has {counts[kind]} different values in {n_pairs} rows, so most {kind}s have a single "
            f"{other}. If it is a time or the number of a row, name another {kind} column (--{kind}-column)."
        )


def _like_a_header(ids: pd.Index) -> bool:
    """Whether the first id is a word and most of the others have a digit."""
    digits = [any(character.isdigit() for character in str(value)) for value in ids[:1000]]
    return not digits[0] and sum(digits) > len(digits) / 2
