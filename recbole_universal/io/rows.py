"""Collects the rows of a table, and makes distinct interactions of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recbole_universal.io.bad_rows import BadRows
from recbole_universal.io.column_names import plain_name
from recbole_universal.io.core import Core
from recbole_universal.io.events import Events
from recbole_universal.io.ids import NOT_TEXT, Ids
from recbole_universal.io.interaction_table import InteractionTable, distinct_pairs
from recbole_universal.io.row_checks import check_distinct, like_a_header
from recbole_universal.io.row_store import RowStore
from recbole_universal.io.row_times import RowTimes
from recbole_universal.io.source import Chunk, Report, Source
from recbole_universal.io.usable_rows import UsableRows
from recbole_universal.io.weights import RowWeights

# Words that are read as ids. They are reported, since a database or pandas may have meant a missing value.
_NULL_WORDS = ("NULL", "null", "None", "NaN", "nan", "NA", "N/A", "<NA>", "\\N")


@dataclass
class Rows:
    """Collects the rows of all chunks as codes.

    Many rows are kept in temporary files. They disappear with the object, and with :meth:`close`.

    Attributes:
        strip: whether blanks around an id are ignored.
        times: reads the times; ``None``: they are not read.
        weights: reads the weights; ``None``: they are not read.
        by_rows: whether the order of the rows is the order of the interactions.
        kinds: kinds of the ids; one kind in a table whose only ids are in both columns of its chunks.
        n_rows: number of rows.
        bad: the rows that are left out.
        shown: the first rows, for messages.
    """

    strip: bool
    times: RowTimes | None = None
    weights: RowWeights | None = None
    by_rows: bool = False
    kinds: tuple[str, ...] = ("user", "item")
    n_rows: int = 0
    bad: BadRows = field(default_factory=BadRows)
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.users, self.items = Ids(self.strip), Ids(self.strip)
        columns = {"user_codes": "int32", "item_codes": "int32"}
        if self.times is not None:
            columns |= {"forms": "int8", "values": "float64", "others": "float64"}
        if self.weights is not None:
            columns |= {"weights": "float64"}
        self._store = RowStore(**columns)

    def close(self) -> None:
        """Remove the temporary files."""
        self._store.close()

    def add(self, chunk: Chunk, row: str) -> NDArray[np.bool_]:
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
        for user, item in zip(users[: 2 - len(self.shown)], items, strict=False):
            self.shown.append(f"user [{self.users.name(user)}], item [{self.items.name(item)}]")
        columns = {"user_codes": users, "item_codes": items}
        if self.times is not None:
            read = self.times.add(chunk, usable, row)
            columns |= {"forms": read.forms, "values": read.values, "others": read.others}
        if weights is not None:
            columns |= {"weights": weights[usable]}
        self._store.add(**columns)
        return usable

    def _leave_out(self, indices: np.ndarray, users: np.ndarray, items: np.ndarray, chunk: Chunk, row: str) -> None:
        numbers, first = np.unique(np.asarray(chunk.numbers)[indices], return_index=True)  # a line may hold several ids
        for index in indices[first[:5]].tolist():
            reason = chunk.problems.get(index)
            if reason is None and NOT_TEXT in (users[index], items[index]):
                reason = "an id that is not UTF-8"
            missing = [kind for kind, codes in zip(self.kinds, (users, items), strict=False) if codes[index] < 0]
            self.bad.add(
                chunk.named(row, chunk.numbers[index]), reason or ", ".join(f"no {kind} id" for kind in missing)
            )
        self.bad.count += max(0, len(numbers) - 5)

    def table(self, where: str, source: Source, report: Report, core: Core | None = None) -> InteractionTable:
        """The distinct pairs. Reports which rows were left out, which columns were guessed and which ids were joined.

        Args:
            where: the table, for messages.
            source: the table.
            report: receives the messages.
            core: numbers of interactions of the users and items that stay; ``None``: all stay.

        Raises:
            ValueError: if there are too few usable rows, or a guessed column holds neither users nor items.
        """
        rows = self.usable(where, source, report)
        left_out = None if core is None else _keep_core(rows, core, where, report)
        n_usable, in_order = 0, self.by_rows or rows.reading is not None
        time_column = None if rows.reading is None else source.time
        pairs, events = [], []
        for block in rows.by_user():
            n_usable += len(block.user_codes)
            codes = block.user_codes, block.item_codes
            pairs.append(distinct_pairs(*codes, len(rows.items), block.weights))
            if in_order:
                events.append(Events.in_order(*codes, block.seconds, time_column, block.weights))
        self.close()
        users, items = rows.users, rows.items
        if source.has_names:
            users, items = (
                ids.rename(plain_name(name)) for ids, name in zip((users, items), source.columns, strict=True)
            )
        user_codes, item_codes, sums = _joined(pairs)
        joined = Events.joined(events) if in_order else None
        table = InteractionTable(users, items, user_codes, item_codes, source.columns, joined, sums, left_out)
        self._check(table, n_usable, where, source, report)
        return table

    def _check(self, table: InteractionTable, n_usable: int, where: str, source: Source, report: Report) -> None:
        """Report repeated pairs, and columns that may hold other things than ids.

        Raises:
            ValueError: if a guessed column holds neither users nor items.
        """
        users, items, n_pairs = table.users, table.items, len(table.user_codes)
        repeated = n_usable - n_pairs
        if repeated and source.one_item:
            verb = "repeats" if repeated == 1 else "repeat"
            once = f"each pair counts once{'' if table.events is None else ', but in the order of the interactions'}"
            report(
                f"{where}: {repeated} of {self.n_rows} rows {verb} a pair of user and item that came before; "
                f"{once if table.weights is None else 'the weights of a pair are added'}."
            )
        if not source.has_names and len(users) > 1 and like_a_header(users) and like_a_header(items):
            report(
                f"{where}: the first row is counted as data: user [{users[0]}], item [{items[0]}]. If it is a header, "
                "name the columns by it instead of by position."
            )
        if source.one_item and not source.given:
            counts = {"user": len(users), "item": len(items)}
            check_distinct(where, source, n_pairs, counts, "; ".join(self.shown), report)

    def usable(self, where: str, source: Source, report: Report) -> UsableRows:
        """The rows with a user, an item and, where times are used, a time. Reports as :meth:`table`.

        Raises:
            ValueError: if there are too few.
        """
        reading = None
        if self.times is not None and self._store.n_rows:
            reading = self.times.settle(where, self.bad)
        left_out = self.bad.text(where, self.n_rows) if self.bad.count else ""
        if self._store.n_rows == (0 if self.times is None else self.times.n_left_out):
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
        every = np.arange(len(self.users)), np.arange(len(self.items))
        users, items = (codes.astype(np.int32) for codes in every)
        rows = UsableRows(pd.Index(users), pd.Index(items), self._store, users, items, reading)
        used = _used(rows) if self.bad.count else every  # an id may occur in an unusable row only, or first
        if len(self.kinds) > 1:
            rows.users, rows.user_index = self._joined(self.users, used[0], "user", where, report)
        rows.items, rows.item_index = self._joined(self.items, used[1], self.kinds[-1], where, report)
        return rows

    def _needed(self) -> str:
        kinds = [*self.kinds, *([] if self.times is None else ["time"]), *([] if self.weights is None else ["weight"])]
        return " and ".join(f"{'an' if kind == 'item' else 'a'} {kind}" for kind in kinds)

    def _joined(
        self, ids: Ids, used: NDArray[np.int64], kind: str, where: str, report: Report
    ) -> tuple[pd.Index, NDArray[np.int32]]:
        if self.strip:
            for word in _NULL_WORDS:
                if word in ids:
                    report(f"{where}: the {kind} id [{word}] is an id like any other here.")
        joined, index, pairs = ids.joined(used)
        if pairs:
            which = f"{pairs[0][0]!r} and {pairs[0][1]!r}"
            report(f"{where}: {len(pairs)} {kind} ids have several types, such as {which}; each pair is one {kind}.")
        return joined, index


def _used(rows: UsableRows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes of the users and of the items that a row has, in the order of their first row."""
    users, items = dict[int, None](), dict[int, None]()
    for block in rows.blocks():
        users |= dict.fromkeys(pd.unique(block.user_codes).tolist())
        items |= dict.fromkeys(pd.unique(block.item_codes).tolist())
    return np.array(list(users), dtype=np.int64), np.array(list(items), dtype=np.int64)


def _keep_core(rows: UsableRows, core: Core, where: str, report: Report) -> pd.Index:
    """Leave out the rows of users and items outside of the core; return the ids of these users."""
    shape = len(rows.users), len(rows.items)
    pairs = (distinct_pairs(block.user_codes, block.item_codes, shape[1], None)[:2] for block in rows.by_user())
    users, items = core.of(where, pairs, shape, report)
    left_out = rows.users[~users]
    rows.keep(users, items)
    return left_out


def _joined(
    pairs: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64] | None]],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64] | None]:
    """The pairs of blocks of users."""
    users, items, sums = zip(*pairs, strict=True)
    return np.concatenate(users), np.concatenate(items), None if sums[0] is None else np.concatenate(sums)
