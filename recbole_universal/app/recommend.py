"""Recommendations for a table of interactions with a pre-trained model."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recbole_universal import arguments
from recbole_universal.app.content_settings import ContentSettings, checked_new_items
from recbole_universal.app.core import checked_core
from recbole_universal.app.item_rules import ItemColumns
from recbole_universal.app.model_choice import AUTO, given_model, ranker_of
from recbole_universal.app.output_columns import output_columns
from recbole_universal.app.recommendation_blocks import Block, NewInBlocks, RecommendationJob, checked_top_k
from recbole_universal.app.weighting import Weighting
from recbole_universal.content.defaults import LEAST_JOIN_Z
from recbole_universal.io.core import Core
from recbole_universal.io.interaction_table import InteractionTable
from recbole_universal.io.interactions import read_interactions
from recbole_universal.io.item_table import read_items
from recbole_universal.io.source import Report
from recbole_universal.io.users import read_users

if TYPE_CHECKING:
    from recbole_universal.app.new_catalogue import ReadCatalogue
    from recbole_universal.checkpoint import Pretrained
    from recbole_universal.ranking.ranker import UniversalRanker


def recommend(
    interactions: Any = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    data_path: str | os.PathLike[str] | None = None,
    new_users: Any = None,
    top_k: int = 10,
    users: Any = None,
    user_column: Hashable | None = None,
    item_column: Hashable | None = None,
    time_column: Hashable | None = None,
    order: str | None = None,
    later: bool = False,
    weight_column: Hashable | None = None,
    event_column: Hashable | None = None,
    event_weights: Mapping[Any, float] | None = None,
    half_life: float | None = None,
    user_inter_num_interval: str | int | None = None,
    item_inter_num_interval: str | int | None = None,
    include_seen: bool = False,
    items: Any = None,
    where: str | None = None,
    new_items: bool | int = False,
    content_fields: Any = None,
    content_encoders: Any = None,
    item_vectors: Any = None,
    content_join_z: float | None = LEAST_JOIN_Z,
    fast: bool = False,
    pretrained: str | os.PathLike[str] | Pretrained = "auto",
    device: str = "cpu",
    show_progress: bool = True,
) -> pd.DataFrame:
    """Recommend items with a pre-trained model, whose network is not trained further, or with a checkpoint of RecBole.

    If the interactions have times or are in order, a model that reads the order ranks where that helps. Held-out next
    items of some users decide, and a message says so. docs/order.md explains it.

    Warnings report which model ranks and why, rows that are left out (rows without id, repeated pairs), guesses about
    the columns, users without interactions, and lists that are short. A warning also says that popularity ranks for all
    users.

    Args:
        interactions: one row per interaction: a frame of pandas or polars, an Arrow table, or the path of a text, JSON
            or Parquet file or of a folder of such parts (text and JSON also as gzip or zstd). Ids may be of any type.
            Ids of text files stay text. Also the folder of a saved :class:`Recommender`. ``None`` with ``checkpoint``.
        checkpoint: a model that RecBole trained and saved, such as ``saved/LightGCN-Nov-27-2026_10-00-00.pth``. Its
            dataset is loaded again, and the model ranks for the users of it. Their items of all splits count as seen,
            and a sequential model continues their latest ones. **The file is a pickle, which runs code when it is
            opened: give only files that you trust.**
        data_path: the folder that holds the folder of the checkpoint's dataset; ``None``: where it was in training.
        new_users: interactions of users who were not in the training of the checkpoint, as of ``interactions``. The
            pre-trained model ranks for them, by their items that the checkpoint knows. The columns are named by
            ``user_column``, ``item_column`` and ``time_column``. Users of the training keep the checkpoint's lists.
        top_k: recommendations per user, at least 1. A message says how many users get fewer.
        users: ids of the users who get recommendations, or a file of them; ``None``: all users. A user without
            interactions gets the most popular items. Their score is the number of users of the item, divided by that of
            the most popular item.
        user_column: name of the user column; ``None``: found by a usual name. For a text file without header, its
            position, from 1.
        item_column: as ``user_column``.
        time_column: as ``user_column``; where no column has a usual name, the interactions have no times.
        order: ``rows``: the rows are in the order of time, and no time column is read.
        later: whether the users get the recommendations some time after the last interaction of all, and not each right
            after an interaction of their own. The model is then checked on what users did after a point in time
            (docs/order.md). It needs times of a clock.
        weight_column: as ``user_column``, of the weight of each interaction: a number of at least 0, such as a rating,
            a play count or a quantity (docs/weights.md). An item of weight 0 is no evidence of taste, and the user has
            seen it. ``None``: all interactions count the same.
        event_column: as ``user_column``, of the kind of each interaction, which ``event_weights`` weighs.
        event_weights: weight of each kind, such as ``{"view": 1, "cart": 3, "purchase": 10}``. It multiplies the weight
            of the weight column.
        half_life: age in days at which an interaction weighs half. It needs times of a clock. ``None``: age does not
            count.
        user_inter_num_interval: number of different items of a user, such as ``5``, which is ``[5,inf)``, or
            ``[5,1000]``. Users and items with other numbers are left out, until all that stay fit. A user who is left
            out gets the most popular items if ``users`` names the user. ``None``: any number.
        item_inter_num_interval: likewise, number of different users of an item.
        include_seen: whether to recommend items that the user has interacted with, too. Where the rows repeat items and
            ``universal-sequential`` ranks, they are recommended in any case.
        items: an item table for ``where`` and content, as of :meth:`Recommender.set_items`. It replaces that of a
            folder.
        where: a rule on the columns of the item table, such as ``category == 'shoes' and price < 50``. Only items that
            fit are recommended.
        new_items: whether the lists show items of the item table that nobody has had, at the ranks that their content
            earns in a self-check (docs/content.md). A number gives them so many places of each list. A folder needs a
            fit with content.
        content_fields: names of the columns of the item table that are text; ``None`` and ``auto``: columns that hold
            text. Content ranks known items, too, where the self-check finds it better, and a message says so. It is
            read if ``new_items``, ``content_fields`` or ``item_vectors`` is given.
        content_encoders: encoders of the texts, such as ``["tfidf", "minilm"]``, or functions from texts to vectors;
            ``None``: ``tfidf`` and ``distil``.
        item_vectors: further vectors of the items, such as of pictures: a file, several files, or a mapping from names
            to files, arrays, pairs of ids and an array, or mappings from ids to vectors.
        content_join_z: smallest accepted z-score of the test whether the content belongs to the items; ``None``: any.
        fast: whether to rank by one item-item matrix instead of the network (:meth:`UniversalRanker.item_item`). For
            many users this is much faster. The recommendations are less accurate (docs/zero_shot.md). It needs a model
            with the family ``proximity``.
        pretrained: name of a shipped model, folder of a model, or a loaded model; ``auto``: ``universal-sequential``
            where the order is known and helps, otherwise ``universal-base``.
        device: where to compute. Experimental: any other than ``cpu`` is not tested.
        show_progress: whether to draw progress bars on stderr.

    Returns:
        Users and items in columns of the names that came in (``user_id`` and ``item_id`` if none came in), ``score``
        (higher is better; comparable within one user) and ``rank`` (from 1), best first, users in the order of
        ``users`` or of their first row. A user who has seen nearly all items gets fewer than ``top_k`` rows. With
        ``new_items`` a column ``new`` says whether nobody has had the item.

    Raises:
        ValueError: naming the file, column or argument and the valid values.
        OSError: if a file cannot be read.
        ImportError: if zstd text is read without pyarrow.
    """
    messages: list[str] = []
    try:
        job = open_job(
            messages.append,
            interactions,
            checkpoint=checkpoint,
            data_path=data_path,
            new_users=new_users,
            top_k=top_k,
            users=users,
            user_column=user_column,
            item_column=item_column,
            time_column=time_column,
            order=order,
            later=later,
            weighting=Weighting.checked(weight_column, event_column, event_weights, half_life),
            core=checked_core(user_inter_num_interval, item_inter_num_interval),
            include_seen=include_seen,
            items=items,
            where=where,
            new_items=new_items,
            content=ContentSettings.checked(content_fields, content_encoders, item_vectors, content_join_z),
            fast=fast,
            pretrained=pretrained,
            device=device,
            show_progress=show_progress,
        )
        blocks = list(job.blocks())
    finally:
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=2)
    user, item, scores, ranks = (
        np.concatenate([getattr(block, name) for block in blocks]) for name in ("users", "items", "scores", "ranks")
    )
    columns = [job.users.take(user), job.items.take(item), scores, ranks]
    if job.with_new:
        columns.append(np.concatenate([block.new for block in blocks]))
    return pd.DataFrame(dict(zip(output_columns(job.users, job.items, with_new=job.with_new), columns, strict=True)))


def open_job(
    report: Report,
    interactions: Any,
    *,
    checkpoint: Any,
    data_path: Any,
    new_users: Any,
    top_k: Any,
    users: Any,
    user_column: Any,
    item_column: Any,
    time_column: Any,
    order: Any,
    later: Any,
    weighting: Weighting,
    core: Core | None,
    include_seen: Any,
    items: Any,
    where: Any,
    new_items: Any,
    content: ContentSettings,
    fast: Any,
    pretrained: Any,
    device: Any,
    show_progress: Any,
) -> RecommendationJob:
    """Check the arguments of :func:`recommend` and read the data; ``report`` receives the messages.

    Raises:
        ValueError: as :func:`recommend`.
    """
    shared = report, show_progress, top_k, include_seen
    of_a_file = {
        "item_column (--item-column)": item_column,
        "time_column (--time-column)": time_column,
        "order (--order)": order,
        "later (--later)": True if later else None,
        **weighting.given(),
        "user_inter_num_interval, item_inter_num_interval (--user-inter-num-interval, --item-inter-num-interval)": core,
        "pretrained (--model)": None if isinstance(pretrained, str) and pretrained == AUTO else pretrained,
    }
    wanted = checked_new_items(new_items, checked_top_k(top_k))
    if items is not None and where is None and not wanted and not content.asked:
        raise ValueError(
            "items (--items): belongs to where (--where), content_fields (--content-fields) or new_items "
            "(--new-items); give one of them."
        )
    if not wanted and not content.asked:
        refuse_content(content)
    if checkpoint is None:
        if interactions is None:
            raise ValueError(
                "interactions (INTERACTIONS): name a file of interactions, or a model that RecBole trained with "
                "checkpoint (--checkpoint)."
            )
        if data_path is not None:
            raise ValueError("data_path (--data-path): belongs to checkpoint (--checkpoint), which is not given.")
        if new_users is not None:
            raise ValueError("new_users (--new-users): belongs to checkpoint (--checkpoint), which is not given.")
        from recbole_universal.app.recommender_files import is_recommender

        if is_recommender(interactions):
            _refuse_given("interactions (INTERACTIONS): is a recommender, which", of_a_file | content.given())
            from recbole_universal.app.recommender_job import RecommenderJob

            return RecommenderJob(*shared, interactions, fast, device, users, user_column, items, where, wanted)
        table_job = TableJob(*shared, later, fast, pretrained, device, weighting)
        table_job.read(interactions, users, user_column, item_column, time_column, order, core)
        table_job.choose_items(items, where, wanted, content)
        return table_job
    without = {"interactions (INTERACTIONS)": interactions, **of_a_file, "fast (--fast)": True if fast else None}
    without |= {"items (--items)": items, "where (--where)": where}
    without |= {"new_items (--new-items)": wanted or None, **content.given()}
    if new_users is not None:  # these belong to its file
        check_column_names(user_column, item_column, time_column)
        without = {name: value for name, value in without.items() if not name.startswith(("item_", "time_", "order"))}
    _refuse_given("checkpoint (--checkpoint):", without)
    from recbole_universal.app.checkpoint_job import CheckpointJob

    columns = user_column, item_column, time_column
    return CheckpointJob(*shared, checkpoint, data_path, device, users, columns, order, new_users)


def refuse_content(content: ContentSettings) -> None:
    """Refuse settings of content that nothing reads.

    Raises:
        ValueError: if there are any.
    """
    if given := [name for name, value in content.given().items() if value is not None]:
        raise ValueError(
            f"{given[0]}: belongs to new_items (--new-items), content_fields (--content-fields) or item_vectors "
            "(--item-vectors); give one of them."
        )


def _refuse_given(what: str, values: dict[str, Any]) -> None:
    """Refuse arguments that are given.

    Raises:
        ValueError: if a value is not ``None``.
    """
    given = [name for name, value in values.items() if value is not None]
    if given:
        raise ValueError(f"{what} brings its own data and model, so leave out {' and '.join(given)}.")


class TableJob(RecommendationJob):
    """Recommendations for a table of interactions with a pre-trained model.

    Attributes:
        table: the interactions.
        model: the given model; ``None``: the data choose a shipped one.
        device: where to compute.
    """

    def __init__(
        self,
        report: Report,
        show_progress: bool,
        top_k,
        include_seen: bool,
        later: bool,
        fast: bool,
        pretrained,
        device,
        weighting: Weighting,
    ) -> None:
        super().__init__(report, show_progress, top_k, include_seen)
        self._allowed: np.ndarray | None = None
        self._wanted: bool | int = False
        self._catalogue: ReadCatalogue | None = None
        self._later = arguments.flag("recommend", "later", later)
        self._fast = arguments.flag("recommend", "fast", fast)
        self._weighting = weighting
        self.device = str(arguments.device(device))
        self.model = given_model(pretrained)
        if fast and self.model is not None and "proximity" not in self.model.families:
            raise ValueError(
                f"fast (--fast): needs a model with the family [proximity]; this one has {self.model.families}."
            )
        if later and (fast or (self.model is not None and "sequence" not in self.model.families)):
            raise ValueError("later (--later): needs a model that reads times; leave out fast (--fast) and the model.")

    def read(
        self,
        interactions,
        users,
        user_column: Hashable | None,
        item_column: Hashable | None,
        time_column: Hashable | None = None,
        order: str | None = None,
        core: Core | None = None,
    ) -> None:
        """Read the interactions, and the users who get recommendations."""
        check_column_names(user_column, item_column, time_column)
        asked = None if users is None else read_users(users, user_column, self._report)
        self.table = read_interactions(
            interactions,
            user_column,
            item_column,
            self._report,
            self._show_progress,
            time_column=time_column,
            order=order,
            read_times=self._reads_order or self._weighting.half_life is not None,
            core=core,
            **self._weighting.columns(),
        )
        self.items = self.table.items
        self._choose_users(self.table.users, asked)

    def _left_out_users(self) -> pd.Index | None:
        return self.table.left_out_users

    def choose_items(self, items: Any, where: Any, wanted: bool | int, content: ContentSettings) -> None:
        """Recommend only the items that fit a rule on an item table, read content, and recommend new items.

        Args:
            items: the item table.
            where: the rule; ``None``: all items.
            wanted: what :func:`checked_new_items` returns.
            content: what the content of the items is.

        Raises:
            ValueError: if there is no table, the rule is none, or the content is not usable.
        """
        table = None if items is None else read_items(items, self.items.name, self._report)
        if (wanted or content.asked) and self._fast:
            self._report("fast (--fast) ranks known items without content.")
        if wanted or (content.asked and not self._fast):
            from recbole_universal.app.new_catalogue import joined, read_catalogue

            known = self.items[self.table.item_order]
            self._catalogue = read_catalogue(known, self.table.matrix(), table, content)
            if wanted:
                self._wanted, self.with_new = wanted, True
                self.items = joined(self.items, self._catalogue.new)
        if where is None:
            return
        if table is None:
            raise ValueError("where (--where): needs an item table; name it with items (--items).")
        columns = ItemColumns(table, self.items)
        for sentence in columns.about_items_without_row():
            self._report(sentence)
        self._allowed = columns.matching(where)

    @property
    def _reads_order(self) -> bool:
        return not self._fast and (self.model is None or "sequence" in self.model.families)

    def summary(self) -> str:
        """One sentence about the data."""
        table = self.table
        return (
            f"{len(table.user_codes)} interactions of {len(table.users)} users with {len(table.items)} items "
            f"(users from [{table.columns[0]}], items from [{table.columns[1]}])."
        )

    def blocks(self) -> Iterator[Block]:
        """The recommendations of all users, a block of users at a time."""
        rows, item_order = np.where(self._indices < 0, -1, self.table.user_rows[self._indices]), self.table.item_order
        ranker = self._ranker(self.take_table())
        ranker.on_fallback = self._report
        if self._fast:
            ranker.prepare_fast()  # with a progress bar of its own
        ranker.show_progress = False  # one bar over all blocks instead of one per block
        top_k = functools.partial(ranker.top_k, fast=self._fast)
        allowed = None if self._allowed is None else self._allowed[item_order]
        degree = np.bincount(ranker.evidence.indices, minlength=len(item_order))
        new = None
        if self._catalogue is not None and self._wanted:
            from recbole_universal.app.shown_new_items import ShownNewItems

            catalogue = self._catalogue.fitted(ranker, self._show_progress)
            shown = ShownNewItems(catalogue, self._wanted, self._top_k, self._fast)
            self._report(shown.about_ranking())
            of_new = None if self._allowed is None else self._allowed[len(item_order) :]
            new = NewInBlocks(shown, ranker.evidence, of_new)
        places = np.arange(len(self.items))
        places[: len(item_order)] = item_order
        for block in self._ranked(rows, degree, top_k, allowed, new):
            block.items = places[block.items]
            yield block

    def take_table(self) -> InteractionTable:
        """The interactions, which the job then forgets, since they take memory."""
        table = self.table
        del self.table
        return table

    def _ranker(self, table: InteractionTable) -> UniversalRanker:
        """The ranker of the given model, or of the shipped one that suits the interactions.

        Raises:
            ValueError: if the interactions lack the order or the times that it needs.
        """
        from recbole_universal.app.fitted_interactions import FittedInteractions

        read = FittedInteractions.of_table(table)
        del table
        settings: dict[str, Any] = {"device": self.device, "show_progress": self._show_progress}
        settings |= {"later": self._later, "weights": read.weights(self._weighting.half_life)}
        if self._catalogue is not None and not self._fast:
            settings["content"] = self._catalogue.spaces_of_known
        histories = read.histories if self._reads_order else None
        return ranker_of(read.matrix, histories, self.model, self._report, **settings)


def check_column_names(user_column: Any, item_column: Any, time_column: Any) -> None:
    """Refuse values that cannot name a column: lists, arrays, frames, tensors.

    Raises:
        ValueError: naming the argument.
    """
    for kind, name in {"user": user_column, "item": item_column, "time": time_column}.items():
        arguments.column_name(kind, name)
