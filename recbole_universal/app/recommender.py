"""Everyday use by the user's own ids: fit, recommend, filter, explain, save, load."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from recbole_universal import arguments
from recbole_universal.app.arrow_tables import relations_table
from recbole_universal.app.content_settings import ContentSettings
from recbole_universal.app.core import checked_core
from recbole_universal.app.explanation import explained
from recbole_universal.app.fitted_interactions import FittedInteractions
from recbole_universal.app.model_choice import AUTO
from recbole_universal.app.new_catalogue import read_catalogue
from recbole_universal.app.ranked_lists import as_lists, recommended, similar_to_all
from recbole_universal.app.recommend import TableJob, check_column_names, refuse_content
from recbole_universal.app.recommender_files import load_recommender, save_recommender
from recbole_universal.app.recommender_state import FitSettings, RecommenderState, about_unknown, as_ids, known
from recbole_universal.app.weighting import Weighting
from recbole_universal.checkpoint import Pretrained
from recbole_universal.content.defaults import LEAST_JOIN_Z
from recbole_universal.io.interactions import read_interactions
from recbole_universal.io.item_table import read_items
from recbole_universal.io.source import Report
from recbole_universal.ranking.ranker import UniversalRanker
from recbole_universal.ranking.state_swap import swapped

if TYPE_CHECKING:
    import pyarrow


class Recommender:
    """Recommends items by the user's own ids with a pre-trained model, whose network is not trained further.

    :meth:`fit` and :meth:`load` make one. Several threads may use it at the same time.

    Args:
        ranker: a ranker of the users and items. Do not update it.
        users: id of each row of the ranker's matrix, distinct, [n_users]; their name is that of the column in lists.
        items: id of each column, distinct, [n_items], likewise.

    Raises:
        ValueError: if there are more or fewer ids than rows or columns.
    """

    def __init__(self, ranker: UniversalRanker, users: pd.Index, items: pd.Index) -> None:
        self._state = RecommenderState(ranker, users, items)

    @classmethod
    def _of(cls, state: RecommenderState) -> Recommender:
        made = cls.__new__(cls)
        made._state = state
        return made

    @property
    def ranker(self) -> UniversalRanker:
        """The ranker."""
        return self._state.ranker

    @property
    def users(self) -> pd.Index:
        """Ids of the users, in the order of their text."""
        return self._state.users

    @property
    def items(self) -> pd.Index:
        """Ids of the items, in the order of their text."""
        return self._state.items

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
        items: Any = None,
        new_items: bool = False,
        content_fields: Any = None,
        content_encoders: Any = None,
        item_vectors: Any = None,
        content_join_z: float | None = LEAST_JOIN_Z,
        weight_column: Hashable | None = None,
        event_column: Hashable | None = None,
        event_weights: Mapping[Any, float] | None = None,
        half_life: float | None = None,
        user_inter_num_interval: str | int | None = None,
        item_inter_num_interval: str | int | None = None,
        device: str = "cpu",
        show_progress: bool = True,
    ) -> Recommender:
        """Read interactions and compute their statistics.

        Warnings report what :func:`~recbole_universal.recommend` reports, also whether content ranks known items, and
        that popularity ranks for all users.

        Args:
            interactions: as of :func:`~recbole_universal.recommend`, like the next arguments: a frame of pandas or
                polars, an Arrow table, or the path of a file or a folder.
            model: name of a shipped model, folder of a model, or a loaded model; ``auto``: ``universal-sequential``
                where the order is known and helps, otherwise ``universal-base``.
            user_column: name of the user column; ``None``: found by a usual name.
            item_column: as ``user_column``.
            time_column: as ``user_column``; where no column has a usual name, the interactions have no times.
            order: ``rows``: the rows are in the order of time, and no time column is read.
            items: an item table, as of :meth:`set_items`.
            new_items: whether to read the content of the items. Then items of the item table that nobody has had are
                ranked, so that :meth:`recommend` can show them, and content ranks known items where the self-check
                finds it better (docs/content.md). ``content_fields`` or ``item_vectors`` ask for the same.
            content_fields: as of :func:`~recbole_universal.recommend`, like the next arguments: columns of text, or
                ``auto``.
            content_encoders: encoders of the texts.
            item_vectors: further vectors of the items.
            content_join_z: smallest accepted z-score of the test whether the content belongs to the items.
            later: as of :func:`~recbole_universal.recommend`, like the next arguments.
            weight_column: name of a column of weights, numbers of at least 0.
            event_column: name of a column of kinds of events; ``None``: found by a usual name.
            event_weights: weight of each kind, such as ``{"view": 1, "purchase": 10}``.
            half_life: age in days at which an interaction weighs half.
            user_inter_num_interval: as of :func:`~recbole_universal.recommend`. It holds for these interactions alone;
                :meth:`partial_fit` and :meth:`remove` leave nothing else out.
            item_inter_num_interval: likewise.
            device: where to compute. Experimental: any other than ``cpu`` is not tested.
            show_progress: whether to draw progress bars on stderr.

        Raises:
            ValueError: naming the file, column or argument and the valid values.
            OSError: if a file cannot be read.
        """
        with _warned() as report:
            weighting = Weighting.checked(weight_column, event_column, event_weights, half_life)
            content = ContentSettings.checked(content_fields, content_encoders, item_vectors, content_join_z)
            reads_content = arguments.flag("Recommender.fit", "new_items", new_items) or content.asked
            if not reads_content:
                refuse_content(content)
            job = TableJob(report, show_progress, 1, False, later, False, model, device, weighting)
            core = checked_core(user_inter_num_interval, item_inter_num_interval)
            job.read(interactions, None, user_column, item_column, time_column, order, core)
            settings = FitSettings(job.model is None, later, (user_column, item_column, time_column), weighting)
            read = FittedInteractions.of_table(job.take_table())
            table = None if items is None else read_items(items, read.items.name, report)
            catalogue = read_catalogue(read.items, read.matrix, table, content) if reads_content else None
            state = RecommenderState.fitted(read, settings, job.model, job.device, report, show_progress, catalogue)
            return cls._of(state.with_item_table(table, report))

    def set_items(self, table: Any) -> None:
        """Give the items columns, such as category, price and title, for the rules of :meth:`recommend`.

        A warning counts the items without a row. They fit no rule. Updates and :meth:`save` keep the table. The content
        and the new items stay those of the fit.

        Args:
            table: one row an item: a frame of pandas or polars, an Arrow table, or the path of a JSON file, a Parquet
                file, or a text file with a header, such as CSV or RecBole's ``.item``. The column of ids is called as
                in the interactions, or has a usual name. ``None`` removes the table.

        Raises:
            ValueError: if it is no such table. Nothing changes then.
            OSError: if the file cannot be read.
        """
        with _warned() as report:
            read = None if table is None else read_items(table, self.items.name, report)
            self._replace(lambda state: state.with_item_table(read, report))

    def set_excluded(self, items: Any) -> None:
        """Leave items out of all lists from now on, such as those that are sold out.

        They replace the items of an earlier call. Updates and :meth:`save` keep them. Items without interactions are
        remembered, so they are left out when :meth:`partial_fit` brings them.

        Args:
            items: ids, or one id; ``None``: none.

        Raises:
            ValueError: if a value is no id. Nothing changes then.
        """
        ids = tuple(dict.fromkeys([] if items is None else as_ids("items", items)))
        known("items", ids, self._state.find_item, {})  # refuses truth values
        self._replace(lambda state: state.with_excluded(ids))

    @property
    def titles(self) -> pd.Series | None:
        """Title of each item of :attr:`items`, ``None`` where it has none; ``None`` without a title column.

        The column of the item table is called title or name, or so after product, item or movie.
        """
        columns = self._state.columns
        return None if columns is None else columns.titles()

    def partial_fit(
        self,
        new: Any,
        *,
        user_column: Hashable | None = None,
        item_column: Hashable | None = None,
        time_column: Hashable | None = None,
        show_progress: bool = True,
    ) -> None:
        """Add interactions, also of new users and items.

        The recommender is then that of a fit of all interactions, and the statistics are computed again. Other threads
        get lists of the old interactions until then. Warnings report what :meth:`fit` reports. The weights come from
        the columns of the fit. The content is that of the fit, so an item that neither the item table nor the vectors
        had then has none.

        Args:
            new: interactions as of :meth:`fit`. They have times if those of the fit have times. If the order of the
                rows counts, the new rows follow the old ones.
            user_column: name of the user column; ``None``: as in the fit.
            item_column: as ``user_column``.
            time_column: as ``user_column``.
            show_progress: whether to draw progress bars on stderr.

        Raises:
            ValueError: naming the file, column or argument and the valid values; if the recommender was made of a
                ranker. Nothing changes then.
            OSError: if a file cannot be read.
        """
        state = self._state
        given = user_column, item_column, time_column
        settings = state.checked_settings()
        defaults = settings.columns
        user_column, item_column, time_column = (
            default if name is None else name for name, default in zip(given, defaults, strict=True)
        )
        check_column_names(user_column, item_column, time_column)
        histories = state.histories
        in_rows = histories is not None and histories.times is None
        with _warned() as report:
            table = read_interactions(
                new,
                user_column,
                item_column,
                report,
                arguments.flag("Recommender.partial_fit", "show_progress", show_progress),
                time_column=time_column,
                read_times=histories is not None,
                order="rows" if in_rows else None,
                **settings.weighting.columns(),
            )
            if histories is not None and table.events is None:
                raise ValueError(
                    "new: needs times, since the interactions of the fit have them; name their column with time_column."
                )
            self._replace(lambda old: old.refitted(old.interactions().with_table(table), report, show_progress))

    def remove(self, *, users: Any = None, items: Any = None, show_progress: bool = True) -> None:
        """Erase users and items, and compute the statistics again.

        The recommender is then equal, to the last bit, to that of a fit of the interactions without them. An item
        without another user and a user without another item are erased, too. Other threads get lists of the old
        interactions until then. A folder keeps what was saved there until :meth:`save` replaces it.

        The content of ``items`` is erased, too. An item with content whose last user is erased is a new item.

        Args:
            users: ids of users, or one id. One warning names the unknown ids.
            items: ids of items, or one id.
            show_progress: whether to draw progress bars on stderr.

        Raises:
            ValueError: if an argument is of another type, no interaction is left, or the recommender was made of a
                ranker. Nothing changes then.
        """
        arguments.flag("Recommender.remove", "show_progress", show_progress)

        def without(state: RecommenderState) -> RecommenderState:
            state.checked_settings()
            unknown: tuple[dict[Any, None], dict[Any, None]] = ({}, {})
            rows = known("users", [] if users is None else users, state.find_user, unknown[0])
            columns = known("items", [] if items is None else items, state.find_item, unknown[1])
            if messages := [*about_unknown(unknown[0], "user"), *about_unknown(unknown[1])]:
                report(" ".join(messages))
            if not len(rows) and not len(columns):
                return state
            return state.refitted(state.interactions().without(rows, columns), report, show_progress, columns.tolist())

        with _warned() as report:
            self._replace(without)

    def _replace(self, change: Callable[[RecommenderState], RecommenderState]) -> None:
        """Replace the state; start again if a change in another thread takes effect first."""
        before = self._state
        while not swapped(self, before, change(before)):
            before = self._state

    def recommend(
        self,
        users: Any = None,
        *,
        histories: Iterable[Iterable[Any]] | None = None,
        k: int = 10,
        candidates: Any = None,
        exclude: Any = None,
        where: str | None = None,
        filter_seen: bool | None = None,
        fast: bool = False,
        new_items: bool | int = False,
    ) -> pd.DataFrame:
        """The best items of users, or of histories of people without a row in the interactions.

        Unknown ids are no error. A user without interactions and a history without a known item get the most popular
        items. One warning names the unknown ids.

        Args:
            users: ids, or one id; ``None``: all users. A user that comes twice gets one list.
            histories: item ids of each person, oldest first, such as ``[["tea", "cups"], ["coffee"]]``.
            k: length of a list, at least 1.
            candidates: ids of the only items that may be recommended; ``None``: all may. The lists are personal among
                these items, however few they are. Also a mapping from users, or positions of histories, to ids, or a
                table with a user and an item column. A user who is not in it gets an empty list.
            exclude: ids of items that are not recommended, in the same forms. A user who is not in a mapping loses no
                item.
            where: a rule on the columns of the item table, such as ``category == 'shoes' and price < 50``. Only items
                that fit may be recommended. docs/everyday.md describes rules.
            filter_seen: whether to leave out the items that the person has had, those of weight 0 too; ``None``: unless
                people come back to items and a model that reads the order ranks.
            fast: whether to rank by the item-item matrix (:meth:`UniversalRanker.item_item`), which takes less time and
                is less accurate. The first call computes the matrix.
            new_items: whether to show new items at the ranks that they earn, or in how many places of each list. It
                needs a fit with content. Users without interactions and histories without a known item get none. A new
                item of a history stays out of its list, unless ``filter_seen`` is false.

        Returns:
            Users and items in columns of the names that came in (``user_id`` and ``item_id`` if none came in),
            ``score`` (higher is better; comparable within one list) and ``rank`` (from 1), best first. With
            ``histories``, the first column is ``history``, the position of the history, from 0. A list has ``k`` rows,
            or one for each item that is left. A list of popular items has the number of an item's users, divided by
            that of the most popular item, as scores. With ``new_items``, a column ``new`` says whether nobody has had
            the item. Such an item has the score of the item above it.

        Raises:
            ValueError: if users and histories are given, an argument is of another type, ``k`` is out of range, there
                is no item table for ``where``, the model cannot rank histories (it reads families other than
                ``proximity`` or ``sequence``), or it has no item-item matrix and ``fast`` is set.
        """
        state = self._state
        found, messages = recommended(
            state, users, histories, k, candidates, exclude, where, filter_seen, fast, new_items
        )
        self._warn(messages)
        return found

    def _warn(self, messages: Sequence[str]) -> None:
        if messages:
            warnings.warn(" ".join(messages), UserWarning, stacklevel=3)

    def similar_items(self, items: Any, k: int = 10) -> pd.DataFrame:
        """The items that are related most to each item, whoever asks.

        The neighbours of a new item are the known items that are nearest by content.

        Items of :meth:`set_excluded` are left out. With the family ``proximity``, the relation is that of
        :meth:`UniversalRanker.item_item`, whose matrix the first call computes. With other models it is the cosine of
        the items' users.

        Args:
            items: ids, or one id. A warning names the unknown ones, which get no row.
            k: most rows of an item, at least 1. There are fewer if fewer items are related.

        Returns:
            ``similar_to`` (the given item), the items in a column of the name that came in, ``score`` (higher is
            nearer) and ``rank`` (from 1), nearest first.

        Raises:
            ValueError: if an argument is of another type, or ``k`` is out of range.
        """
        state = self._state
        k = min(arguments.integer("Recommender.similar_items", "k", k, 1), len(state.items))
        ids, lists, messages = similar_to_all(state, items, k)
        self._warn(messages)
        return state.frame(ids, *lists, "similar_to")

    def to_arrow(self) -> pyarrow.Table:
        """The item-item matrix as an Arrow table, for any engine that serves such matrices.

        The sum of the weights of a user's items ranks all items (:meth:`UniversalRanker.item_item`). Each item has at
        most 200 neighbours.

        Returns:
            The item in a column of the name that came in, ``neighbor`` and ``weight`` (float32, may be negative); one
            row a pair, the strongest neighbour of an item first.

        Raises:
            ValueError: if the model has no family ``proximity``, or ids are neither all integers nor all texts.
            ImportError: without pyarrow.
        """
        state = self._state
        return relations_table(state.ranker.item_item(), state.users, state.items)

    def __repr__(self) -> str:
        state = self._state
        model = state.ranker.pretrained.card.get("name", "a model")
        n_users, n_items = state.ranker.matrix.shape
        return f"<Recommender: {n_users} users, {n_items} items, {state.ranker.matrix.nnz} pairs, {model}>"

    def explain(self, user: Any = None, item: Any = None, *, history: Any = None) -> str:
        """Why an item has its place in the list of a user, or of a history, without filters, in words.

        The shares of the scorers are those of :meth:`UniversalRanker.explain`. The shares of the person's items come
        from the scorers that are linear in these items.

        Args:
            user: id of a user.
            item: id of an item.
            history: item ids of a person without a row, oldest first, in the place of ``user``.

        Returns:
            Some sentences, also for unknown ids and for an item that is no candidate.

        Raises:
            ValueError: if an argument is no id, user and history are both given or both missing, the model ranks no
                candidates (it lacks the families ``proximity`` and ``sequence``), or it cannot rank histories.
        """
        if (user is None) == (history is None):
            raise ValueError("user, history: give one of them.")
        if history is not None:
            history = as_lists("history", [history])[0]
        return explained(self._state, item, user=user, history=history).text

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
        save_recommender(folder, self._state)

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
            ValueError: if a file is damaged, or of another version of the package, or there is no such device.
            ImportError: without pyarrow.
        """
        return cls._of(load_recommender(folder, device))


@contextmanager
def _warned() -> Iterator[Report]:
    """What receives messages, which become warnings of the caller's caller at the end, each once."""
    messages: dict[str, None] = {}
    try:
        yield messages.setdefault
    finally:
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=4)
