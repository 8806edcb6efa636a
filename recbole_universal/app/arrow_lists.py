"""Lists of a saved recommender for batches of users in Arrow, as Spark's ``mapInArrow`` takes them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from recbole_universal import arguments
from recbole_universal.app.arrow_tables import import_pyarrow
from recbole_universal.app.output_columns import output_columns
from recbole_universal.app.ranked_lists import recommended
from recbole_universal.app.recommender_files import check_saved_matrix, load_recommender, recommender_digest, unchanged
from recbole_universal.app.recommender_state import RecommenderState
from recbole_universal.graph.threads import one_thread
from recbole_universal.io.ids import is_missing

if TYPE_CHECKING:
    import pyarrow


class ArrowLists:
    """The lists of a saved recommender as a function of Arrow batches of users (docs/engines.md).

    ``users.mapInArrow(lists, lists.schema)`` ranks on the workers of Spark. Each worker process maps the folder into
    its memory, and ranks with one thread. The object itself is small.

    Args:
        folder: a folder that :meth:`Recommender.save` wrote, at the same path on all machines.
        k: length of a list, at least 1.
        where: as of :meth:`Recommender.recommend`, like the next argument.
        filter_seen: whether to leave out the items that the person has had.
        fast: whether to rank by the item-item matrix, which the folder must hold (``fit --fast``).

    Attributes:
        schema: the columns of the lists in Spark's words, such as ``user_id string, item_id bigint, score float, rank
            int``.

    Raises:
        FileNotFoundError: if the folder holds no recommender.
        ValueError: if an argument is of another type, there is no item table for ``where``, or no matrix for ``fast``.
        ImportError: without pyarrow.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        k: int = 10,
        where: str | None = None,
        filter_seen: bool | None = None,
        fast: bool = False,
    ) -> None:
        state = load_recommender(folder, "cpu")
        self._folder = os.path.realpath(os.path.expanduser(folder))
        self._digest = recommender_digest(folder)
        self._settings: dict[str, Any] = {"candidates": None, "exclude": None, "where": where}
        self._settings["k"] = arguments.integer("ArrowLists", "k", k, 1)
        self._settings |= {"filter_seen": filter_seen, "fast": arguments.flag("ArrowLists", "fast", fast)}
        if filter_seen is not None:
            arguments.flag("ArrowLists", "filter_seen", filter_seen)
        if where is not None:
            state.checked_columns().matching(where)
        if fast:
            check_saved_matrix(state.ranker, folder)
        self._names = output_columns(state.users, state.items)
        self._kinds = [_kind(name, ids) for name, ids in (("users", state.users), ("items", state.items))]

    @property
    def schema(self) -> str:
        """The columns of the lists in Spark's words."""
        kinds = *self._kinds, "float", "int"
        return ", ".join(f"`{name.replace('`', '``')}` {kind}" for name, kind in zip(self._names, kinds, strict=True))

    def __call__(self, batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        """The lists of batches of users.

        Args:
            batches: one row a user, with the id in the first column. Unknown users get the most popular items.

        Yields:
            One row for each recommendation, best first, with the columns of :attr:`schema`.

        Raises:
            ValueError: if a batch has no column, a row has no id, an unknown id is no integer where all users are
                integers, or the folder has been saved again since this object was made.
        """
        arrow = import_pyarrow()
        for batch in batches:
            if not getattr(batch, "num_columns", 0):
                raise ValueError(
                    f"users: the lists are those of Arrow batches with the ids in the first column, such as "
                    f"[pyarrow.record_batch({{'user': ['alice']}})]; one of them is {type(batch).__name__}"
                    f"{' without a column' if hasattr(batch, 'num_columns') else ''}."
                )
            users = batch.column(0).to_pylist()
            if missing := [row for row, user in enumerate(users, 1) if is_missing(user)]:
                raise ValueError(f"users: row {missing[0]} of a batch has no id; drop such rows.")
            if not users:
                continue
            with one_thread():
                frame, _ = recommended(_state(self._folder, self._digest), users, None, **self._settings)
            columns = [_column(frame[name], kind) for name, kind in zip(self._names, self._kinds, strict=False)]
            columns += [arrow.array(frame[name].to_numpy()) for name in self._names[2:]]
            yield arrow.record_batch(columns, names=list(self._names))


@functools.lru_cache(maxsize=1)
def _state(folder: str, digest: str) -> RecommenderState:
    """The recommender of a folder, loaded once in a process."""
    with unchanged(folder, digest):
        return load_recommender(folder, "cpu")


def _kind(name: str, ids: pd.Index) -> str:
    """The type of ids in Spark.

    Raises:
        ValueError: if Spark has none for them.
    """
    if not pd.api.types.is_integer_dtype(ids):
        return "string"
    if len(ids) and ids.max() >= 2**63:
        raise ValueError(f"{name}: Spark has no integers of 2**63 and more; fit with the ids as texts.")
    return "bigint"


def _column(ids: pd.Series, kind: str) -> Any:
    arrow = import_pyarrow()
    if kind == "string":
        return arrow.array([str(name) for name in ids], arrow.string())
    try:
        return arrow.array([int(name) if isinstance(name, str) else name for name in ids.tolist()], arrow.int64())
    except (ValueError, arrow.ArrowException, OverflowError, TypeError) as error:
        raise ValueError(
            f"users: the ids of this recommender are integers, and one of the asked is none: {error}"
        ) from error
