"""Everyday use by the user's own ids: fit, recommend, filter, explain, save, load."""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_universal import arguments
from recbole_universal.app.explanation import explanation
from recbole_universal.app.recommend import AUTO, TableJob
from recbole_universal.app.recommendation_blocks import find_users, named, without_list
from recbole_universal.app.recommendation_files import COLUMNS
from recbole_universal.app.recommender_files import load_recommender, save_recommender
from recbole_universal.checkpoint import Pretrained
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.item_models import best_of_sums, nearest_neighbors
from recbole_universal.graph.popularity import popularity_order, popularity_share
from recbole_universal.io.ids import IdLookup, is_missing
from recbole_universal.ranking.ranker import UniversalRanker

# Number of nearest neighbours of an item among which `similar_items` finds the most similar ones, if the model has no
# item-item matrix.
_N_NEIGHBORS = 200


class Recommender:
    """Recommends items by the user's own ids with a pre-trained model, whose network is not trained further.

    :meth:`fit` and :meth:`load` make one. Several threads may use it at the same time.

    Args:
        ranker: a ranker of the users and items. Do not update it.
        users: id of each row of the ranker's matrix, distinct, [n_users].
        items: id of each column, distinct, [n_items].

    Attributes:
        ranker: the argument.
        users: ids of the users, in the order of their text.
        items: ids of the items, in the order of their text.

    Raises:
        ValueError: if there are more or fewer ids than rows or columns.
    """

    def __init__(self, ranker: UniversalRanker, users: pd.Index, items: pd.Index) -> None:
        self.ranker, self.users, self.items = ranker, users, items
        if ranker.matrix.shape != (len(users), len(items)):
            raise ValueError(
                f"users, items: must be the ids of the matrix, {list(ranker.matrix.shape)}, got "
                f"[{len(users)}, {len(items)}]."
            )
        self._find_user, self._find_item = IdLookup(users), IdLookup(items)
        degree = np.bincount(ranker.matrix.indices, minlength=len(items))
        self._popular, self._share = popularity_order(degree), popularity_share(degree)

    @classmethod
    def fit(
        cls,
        interactions: Any,
        *,
        model: str | os.PathLike[str] | Pretrained = AUTO,
        user_column: Hashable | None = None,
        item_column: Hashable | None = None,
        time_column: Hashable | None = None,
        order: str | None = None,
        later: bool = False,
        device: str = "cpu",
        show_progress: bool = True,
    ) -> Recommender:
        """Read interactions and compute their statistics.

        Warnings report what :func:`~recbole_universal.recommend` reports, and that popularity ranks for all users.

        Args:
            interactions: as of :func:`~recbole_universal.recommend`, like the next arguments: a frame of pandas or
                polars, an Arrow table, or the path of a file or a folder.
            model: name of a shipped model, folder of a model, or a loaded model; ``auto``: ``universal-sequential``
                where the order is known and helps, otherwise ``universal-base``.
            user_column: name of the user column; ``None``: found by a usual name.
            item_column: as ``user_column``.
            time_column: as ``user_column``; where no column has a usual name, the interactions have no times.
            order: ``rows``: the rows are in the order of time, and no time column is read.
            later: as of :func:`~recbole_universal.recommend`.
            device: where to compute. Experimental: any other than ``cpu`` is not tested.
            show_progress: whether to draw progress bars on stderr.

        Raises:
            ValueError: naming the file, column or argument and the valid values.
            OSError: if a file cannot be read.
        """
        messages: list[str] = []
        try:
            job = TableJob(messages.append, show_progress, 1, False, later, False, model, device)
            job.read(interactions, None, user_column, item_column, time_column, order)
            matrix, rows, item_order = job.table.matrix()
            ranker = job.ranker(matrix)
            ranker.on_fallback = messages.append
            ranker.network.falls_back()
        finally:
            for message in messages:
                warnings.warn(message, UserWarning, stacklevel=2)
        ranker.show_progress = False
        return cls(ranker, job.table.users.take(np.argsort(rows)), job.table.items.take(item_order))

    def recommend(
        self,
        users: Any = None,
        *,
        histories: Iterable[Iterable[Any]] | None = None,
        k: int = 10,
        candidates: Any = None,
        exclude: Any = None,
        filter_seen: bool | None = None,
    ) -> pd.DataFrame:
        """The best items of users, or of histories of people without a row in the interactions.

        Unknown ids are no error. A user without interactions and a history without a known item get the most popular
        items. One warning names the unknown ids.

        Args:
            users: ids, or one id; ``None``: all users. A user that comes twice gets one list.
            histories: item ids of each person, oldest first, such as ``[["tea", "cups"], ["coffee"]]``.
            k: length of a list, at least 1.
            candidates: ids of the only items that may be recommended; ``None``: all may. The lists are personal among
                these items, however few they are.
            exclude: ids of items that are never recommended.
            filter_seen: whether to leave out the items that the person has had; ``None``: unless people come back to
                items.

        Returns:
            ``user``, ``item``, ``score`` (higher is better; comparable within one list) and ``rank`` (from 1), best
            first. With ``histories``, ``history`` is the position of the history, from 0, and there is no ``user``. A
            list has ``k`` rows, or one for each item that is left. A list of popular items has the number of an item's
            users, divided by that of the most popular item, as scores.

        Raises:
            ValueError: if users and histories are given, an argument is of another type, ``k`` is out of range, or the
                model cannot rank histories (it reads families other than ``proximity`` or ``sequence``).
        """
        if users is not None and histories is not None:
            raise ValueError("users and histories exclude each other: give one of them.")
        k = min(arguments.integer("Recommender.recommend", "k", k, 1), len(self.items))
        if filter_seen is not None:
            arguments.flag("Recommender.recommend", "filter_seen", filter_seen)
        unknown: dict[Any, None] = {}
        allowed = self._allowed(candidates, exclude, unknown)
        settings: dict[str, Any] = {"k": k, "exclude_seen": filter_seen, "allowed": allowed}
        ids: pd.Index
        if histories is not None:
            lists = [self._known_items("histories", one, unknown) for one in _lists("histories", histories)]
            is_known = np.array([len(items) > 0 for items in lists], dtype=bool)
            known = Histories.of_lists(items for items in lists if len(items))
            ids, who = pd.RangeIndex(len(lists), name="history"), "histories have no known item"
            rank = partial(self.ranker.top_k_of, known, **settings)
        else:
            ids, rows = self.users, np.arange(len(self.users))
            if users is not None:
                ids, rows = find_users(_ids("users", users), self.users, self._find_user)
            is_known = rows >= 0
            ids, who = ids.rename("user"), "users have no interactions"
            rank = partial(self.ranker.top_k, rows[is_known], **settings)
        strangers = [] if is_known.all() else [without_list(ids[~is_known], len(ids), who)]
        self._warn([*strangers, *_unknown(unknown)])
        items, scores = self._popular_lists(len(ids), k, allowed)
        if is_known.any():
            items[is_known], scores[is_known] = rank()
        return self._frame(ids, items, scores)

    def _popular_lists(self, n: int, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Columns of the most popular items, int64 [n, k], -1 where no items are left, and their scores."""
        popular = self._popular if allowed is None else self._popular[allowed[self._popular]]
        items = np.full((n, k), -1)
        items[:, : len(popular)] = popular[:k]
        return items, self._share[items]

    def _frame(self, ids: pd.Index, items: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
        """One row for each item of lists [n, k]; the name of the ids is that of the first column."""
        is_item = items >= 0
        row, rank = np.nonzero(is_item)
        values = ids.take(row), self.items.take(items[is_item]), scores[is_item], (rank + 1).astype(np.int32)
        return pd.DataFrame(dict(zip((ids.name, *COLUMNS[1:]), values, strict=True)))

    def _allowed(self, candidates: Any, exclude: Any, unknown: dict[Any, None]) -> np.ndarray | None:
        """Whether each item may be recommended, bool [n_items]; ``None``: all may."""
        if candidates is None and exclude is None:
            return None
        allowed = np.full(len(self.items), candidates is None)
        if candidates is not None:
            allowed[self._known_items("candidates", candidates, unknown)] = True
        if exclude is not None:
            allowed[self._known_items("exclude", exclude, unknown)] = False
        return allowed

    def _known_items(self, argument: str, ids: Any, unknown: dict[Any, None]) -> np.ndarray:
        """Columns of item ids, int64 [n]; unknown ids go to ``unknown``."""
        ids = _ids(argument, ids)
        found = self._find_item.indices(ids)
        unknown.update(dict.fromkeys(name for name, index in zip(ids, found.tolist(), strict=True) if index < 0))
        return found[found >= 0]

    def _warn(self, messages: Sequence[str]) -> None:
        if messages:
            warnings.warn(" ".join(messages), UserWarning, stacklevel=3)

    def similar_items(self, items: Any, k: int = 10) -> pd.DataFrame:
        """The items that are related most to each item, whoever asks.

        With the family ``proximity``, the relation is that of :meth:`UniversalRanker.item_item`, whose matrix the first
        call computes. With other models it is the cosine of the items' users.

        Args:
            items: ids, or one id. A warning names the unknown ones, which get no row.
            k: most rows of an item, at least 1. There are fewer if fewer items are related.

        Returns:
            ``similar_to`` (the given item), ``item``, ``score`` (higher is nearer) and ``rank`` (from 1), nearest
            first.

        Raises:
            ValueError: if an argument is of another type, or ``k`` is out of range.
        """
        k = min(arguments.integer("Recommender.similar_items", "k", k, 1), len(self.items))
        unknown: dict[Any, None] = {}
        asked = pd.unique(self._known_items("items", items, unknown))
        self._warn(_unknown(unknown))
        if "proximity" in self.ranker.pretrained.families:
            relations = self.ranker.item_item()[asked]
        else:
            relations = nearest_neighbors(self.ranker.matrix, max(k, _N_NEIGHBORS), asked)
        found = best_of_sums(sp.eye(len(asked), format="csr", dtype=np.float32), relations, k, exclude_seen=False)
        return self._frame(self.items.take(asked).rename("similar_to"), *found)

    def explain(self, user: Any, item: Any) -> str:
        """Why an item has its place in the list of a user without filters, in words.

        The shares of the scorers are those of :meth:`UniversalRanker.explain`. The shares of the user's items come from
        the scorers that are linear in these items.

        Args:
            user: id of a user.
            item: id of an item.

        Returns:
            Some sentences, also for unknown ids and for an item that is no candidate.

        Raises:
            ValueError: if an argument is no id, or the model ranks no candidates (it lacks the families ``proximity``
                and ``sequence``).
        """
        rows = self._find_user.indices(_ids("user", [user])), self._find_item.indices(_ids("item", [item]))
        row, column = (int(found[0]) for found in rows)
        if row < 0:
            return f"[{user}] has no interactions, so the most popular items are recommended."
        if column < 0:
            return f"[{item}] is no item of the interactions, so it is never recommended."
        return explanation(self.ranker, row, column, self.users, self.items)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the recommender into a folder, and replace the recommender that is there.

        Arrays are written as safetensors, ids as Parquet, the rest as JSON. The folder has the new recommender when it
        is complete. A stopped save leaves the old one, or none.

        Args:
            folder: the folder; it is created if it is missing.

        Raises:
            ValueError: if ids are neither all integers nor all texts, or ``folder`` is no path; nothing is written.
            FileExistsError: if the folder holds a ``recommender.json`` of another program.
            OSError: if a file cannot be written.
            ImportError: without pyarrow.
        """
        save_recommender(folder, self.ranker, self.users, self.items)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, device: str = "cpu") -> Recommender:
        """The recommender of a folder. It gives the same lists, and no statistic is computed again.

        The arrays stay in the file until they are read, and processes that load one folder share their memory. Nothing
        in the folder can run code.

        Args:
            folder: a folder that :meth:`save` wrote.
            device: as of :meth:`fit`.

        Raises:
            FileNotFoundError: if the folder holds no complete recommender.
            ValueError: if a file is damaged, or of another version of the package.
            ImportError: without pyarrow.
        """
        return cls(*load_recommender(folder, device))


def _lists(argument: str, values: Any) -> list:
    """A list of lists.

    Raises:
        ValueError: if it is none.
    """
    is_array = getattr(values, "ndim", 1) > 0 and hasattr(values, "__iter__")
    if isinstance(values, (str, bytes, pd.DataFrame)) or not is_array:
        raise ValueError(
            f"{argument}: must be lists of item ids, such as [[1, 2], [3]], got {arguments.shown(values)}."
        )
    lists = list(values)
    for one in lists:
        if isinstance(one, (str, bytes)) or not hasattr(one, "__iter__"):
            raise ValueError(
                f"{argument}: each must be a list of item ids, such as [[1, 2], [3]], got {arguments.shown(one)}."
            )
    return lists


def _ids(argument: str, values: Any) -> list:
    """Ids of an argument; a single id is a list of one.

    Raises:
        ValueError: if a value is no id.
    """
    if isinstance(values, pd.DataFrame):
        raise ValueError(f"{argument}: must be ids, got a frame; give one of its columns.")
    try:
        values = values.tolist() if hasattr(values, "tolist") else values
    except RuntimeError as error:  # a sparse tensor
        raise ValueError(f"{argument}: must be ids, [n]; {error}.") from error
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        values = [values]
    ids = list(values)
    for value in ids:
        if not isinstance(value, Hashable) or (hasattr(value, "__iter__") and not isinstance(value, (str, tuple))):
            raise ValueError(f"{argument}: must be ids, [n], got {arguments.shown(value)} among them.")
    return ["" if is_missing(value) else value for value in ids]


def _unknown(unknown: dict[Any, None]) -> list[str]:
    """A sentence on unknown items, if there are any."""
    ids = list(unknown)
    return [f"{len(ids)} item ids have no interactions and do not count: {named(ids)}."] if ids else []
