"""One state of a recommender. It never changes; an update makes a new one."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_universal import arguments
from recbole_universal.app.fitted_interactions import FittedInteractions
from recbole_universal.app.item_rules import ItemColumns
from recbole_universal.app.model_choice import ranker_of
from recbole_universal.app.new_catalogue import NewCatalogue, ReadCatalogue, joined
from recbole_universal.app.output_columns import output_columns
from recbole_universal.app.recommendation_blocks import named
from recbole_universal.app.weighting import Weighting
from recbole_universal.checkpoint import Pretrained
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_weights import event_weights, evidence_of
from recbole_universal.graph.popularity import popularity_order, popularity_share
from recbole_universal.io.ids import IdLookup, is_missing
from recbole_universal.io.item_table import ItemTable
from recbole_universal.io.source import Report
from recbole_universal.ranking.ranker import UniversalRanker


@dataclass(frozen=True)
class FitSettings:
    """Arguments of a fit that its ranker does not hold.

    Attributes:
        chooses_model: whether the data choose a shipped model.
        later: the argument.
        columns: names of the user, the item and the time column, ``None`` where they are found by a usual name.
        weighting: how much each interaction counts.
    """

    chooses_model: bool
    later: bool
    columns: tuple[Hashable | None, ...]
    weighting: Weighting = field(default_factory=Weighting)

    def described(self) -> dict[str, Any]:
        """The settings as JSON. Names of columns that JSON lacks become texts."""
        columns = [name if isinstance(name, (str, int, type(None))) else str(name) for name in self.columns]
        described = {"chooses_model": self.chooses_model, "later": self.later, "columns": columns}
        return {**described, "weighting": self.weighting.described()}

    @classmethod
    def of_description(cls, description: dict[str, Any]) -> FitSettings:
        """The settings that :meth:`described` describes."""
        user, item, time = description["columns"]
        weighting = Weighting.checked(**description["weighting"])
        return cls(bool(description["chooses_model"]), bool(description["later"]), (user, item, time), weighting)


class RecommenderState:
    """Ids, ranker, and what a new fit needs.

    Args:
        ranker: a ranker of the users and items.
        users: id of each row of the ranker's matrix, distinct, [n_users]; the name is that of their column.
        items: id of each column, distinct, [n_items], likewise.
        settings: arguments of the fit; ``None``: the ranker comes from elsewhere.
        histories: the interactions in the order of time; ``None``: the order is not known.
        amounts: see :class:`FittedInteractions`.
        appended: id of the last interaction of a service's database that these interactions include; 0: none.

    Attributes:
        popular: columns of all items, most popular first, int64 [n_items].
        share: number of users of each item, divided by that of the most popular item, float32 [n_items].
        item_table: the item table; ``None``: there is none.
        excluded: ids of items that are in no list, also of items without interactions.
        columns: the columns of the item table, or ``None``.
        catalogue: the content of all items, and the ranking of new items; ``None``: a fit without
            content.
        not_excluded: whether each item may be in a list, bool [n_items]; ``None``: all may.

    Raises:
        ValueError: if there are more or fewer ids than rows or columns.
    """

    item_table: ItemTable | None = None
    excluded: tuple = ()
    columns: ItemColumns | None = None
    not_excluded: np.ndarray | None = None
    catalogue: NewCatalogue | None = None

    def __init__(
        self,
        ranker: UniversalRanker,
        users: pd.Index,
        items: pd.Index,
        settings: FitSettings | None = None,
        histories: Histories | None = None,
        amounts: sp.csr_matrix | None = None,
        appended: int = 0,
    ) -> None:
        self.ranker, self.users, self.items, self.settings = ranker, users, items, settings
        self.histories, self.amounts, self.appended = histories, amounts, appended
        if ranker.matrix.shape != (len(users), len(items)):
            raise ValueError(
                f"users, items: must be the ids of the matrix, {list(ranker.matrix.shape)}, got "
                f"[{len(users)}, {len(items)}]."
            )
        self.find_user, self.find_item = IdLookup(users), IdLookup(items)
        degree = np.bincount(ranker.evidence.indices, minlength=len(items))
        self.popular, self.share = popularity_order(degree), popularity_share(degree)

    def with_item_table(self, table: ItemTable | None, report: Report) -> RecommenderState:
        """This state with another item table; ``report`` receives a sentence on items without a row."""
        state = copy.copy(self)
        state.item_table, state.columns = table, None if table is None else ItemColumns(table, self.items)
        for sentence in [] if state.columns is None else state.columns.about_items_without_row():
            report(sentence)
        return state

    def with_other_table(self, table: ItemTable | None, report: Report) -> RecommenderState:
        """This state with a table that came after the fit; ``report`` also hears of items that the fit did not read."""
        if table is not None and self.catalogue is not None:
            unknown: dict[Any, None] = dict.fromkeys(table.ids[self.find_item.indices(table.ids.tolist()) < 0].tolist())
            self.new_items("items", unknown)
            if unknown:
                report(
                    f"items (--items): no list shows {len(unknown)} of {len(table.ids)} items, since the fit did not "
                    f"read them: {named(list(unknown))}. Fit again with this table."
                )
        return self.with_item_table(table, report)

    def with_catalogue(self, catalogue: NewCatalogue | None) -> RecommenderState:
        """This state with other new items."""
        state = copy.copy(self)
        state.catalogue = catalogue
        return state

    def with_excluded(self, ids: tuple) -> RecommenderState:
        """This state with other items that are in no list."""
        state = copy.copy(self)
        found = self.find_item.indices(ids)
        state.excluded, state.not_excluded = ids, None
        if (found >= 0).any():
            state.not_excluded = np.ones(len(self.items), dtype=bool)
            state.not_excluded[found[found >= 0]] = False
        return state

    def checked_columns(self) -> ItemColumns:
        """The columns of the item table.

        Raises:
            ValueError: if there is none.
        """
        if self.columns is None:
            raise ValueError(
                "where (--where): needs an item table: give it with items (--items) of the fit, or with set_items."
            )
        return self.columns

    def checked_catalogue(self) -> NewCatalogue:
        """The new items.

        Raises:
            ValueError: if there are none.
        """
        if self.catalogue is None:
            raise ValueError(
                "new_items (--new-items): needs the content of the items: fit with new_items (--new-items) and an item "
                "table, items (--items)."
            )
        return self.catalogue

    @classmethod
    def fitted(
        cls,
        interactions: FittedInteractions,
        settings: FitSettings,
        model: Pretrained | None,
        device: str,
        report: Report,
        show_progress: bool,
        catalogue: ReadCatalogue | None = None,
    ) -> RecommenderState:
        """The state of interactions.

        Args:
            interactions: the interactions.
            settings: arguments of the fit.
            model: the model; ``None``: the data choose a shipped one.
            device: where to compute.
            report: receives the messages.
            show_progress: whether to draw progress bars.
            catalogue: the content of the items; ``None``: there is none.

        Raises:
            ValueError: if the interactions lack the order or the times that the model needs.
        """
        matrix, histories = interactions.matrix, interactions.histories
        ranker = ranker_of(
            matrix,
            histories,
            model,
            report,
            later=settings.later,
            weights=interactions.weights(settings.weighting.half_life),
            content=None if catalogue is None else catalogue.spaces_of_known,
            device=device,
            show_progress=show_progress,
        )
        ranker.on_fallback = report
        ranker.network.falls_back()
        ranker.show_progress = False
        state = cls(ranker, interactions.users, interactions.items, settings, histories, interactions.amounts)
        return state.with_catalogue(None if catalogue is None else catalogue.fitted(ranker, show_progress))

    def refitted(
        self, interactions: FittedInteractions, report: Report, show_progress: bool, erased: Sequence[int] = ()
    ) -> RecommenderState:
        """The state of other interactions by the same fit.

        Args:
            interactions: the interactions.
            report: receives the messages.
            show_progress: whether to draw progress bars.
            erased: columns of items that are erased, so that they are no new items either.
        """
        settings, model = self.checked_settings(), self.ranker.pretrained
        catalogue = None
        if self.catalogue is not None:
            catalogue = self.catalogue.of_known(self.items, interactions.items, np.asarray(erased, dtype=np.int64))
        state = self.fitted(
            interactions,
            settings,
            None if settings.chooses_model else model,
            str(self.ranker.device),
            report,
            show_progress,
            catalogue,
        )
        state.appended = self.appended
        return state.with_item_table(self.item_table, report).with_excluded(self.excluded)

    def interactions(self) -> FittedInteractions:
        """The interactions of the fit."""
        return FittedInteractions(self.users, self.items, self.ranker.matrix, self.histories, self.amounts)

    def as_evidence(self, history: Histories) -> Histories:
        """A history without times, with the weights that a fit would give its items; none if the fit has none.

        Args:
            history: one history with times, and weights as of the interactions.
        """
        half_life = None if self.settings is None else self.settings.weighting.half_life
        known = history.without_weights() if self.amounts is None else history
        if (half_life is None and self.amounts is None) or "proximity" not in self.ranker.pretrained.families:
            return Histories(known.items, known.indptr, weights=known.weights)
        n_items = len(self.items)
        weights = event_weights(known, n_items, half_life)
        if weights.count_nonzero():
            relative = evidence_of(known.matrix(n_items), weights)
            weights.data[weights.data > 0] = relative.data
        return Histories(weights.indices.astype(np.int64), weights.indptr.astype(np.int64), weights=weights.data)

    def checked_settings(self) -> FitSettings:
        """Arguments of the fit.

        Raises:
            ValueError: if they are not known.
        """
        if self.settings is None:
            raise ValueError(
                "This recommender cannot be updated, since it was made of a ranker or saved by an older version: fit "
                "it again."
            )
        return self.settings

    def frame(
        self,
        ids: pd.Index,
        items: np.ndarray,
        scores: np.ndarray,
        first: str | None = None,
        new: pd.Index | None = None,
    ) -> pd.DataFrame:
        """One row for each item of lists [n, k].

        Args:
            ids: ids of the lists, [n].
            items: their items by column, -1 where a list ends; new items have the indices after the columns.
            scores: their scores.
            first: name of the ids if they are no users.
            new: ids of the new items, if a column says which items are new.
        """
        is_item = items >= 0
        row, rank = np.nonzero(is_item)
        every = self.items if new is None else joined(self.items, new)
        values = [ids.take(row), every.take(items[is_item]), scores[is_item], (rank + 1).astype(np.int32)]
        if new is not None:
            values.append(items[is_item] >= len(self.items))
        names = output_columns(self.users, self.items, first, with_new=new is not None)
        return pd.DataFrame(dict(zip(names, values, strict=True)))

    def new_items(self, argument: str, unknown: dict[Any, None]) -> np.ndarray:
        """Indices of the new items among unknown ids, int64 [n]; only the others stay in ``unknown``."""
        if self.catalogue is None:
            return np.zeros(0, dtype=np.int64)
        ids = list(unknown)
        unknown.clear()
        return np.unique(known(argument, ids, self.catalogue.find, unknown))

    def known_items(self, argument: str, ids: Any, unknown: dict[Any, None]) -> np.ndarray:
        """Columns of item ids, int64 [n]; unknown ids go to ``unknown``."""
        return known(argument, ids, self.find_item, unknown)


def known(argument: str, ids: Any, lookup: IdLookup, unknown: dict[Any, None]) -> np.ndarray:
    """Indices of the known ids of an argument, int64 [n]; the other ids go to ``unknown``.

    Raises:
        ValueError: if a value is no id.
    """
    ids = as_ids(argument, ids)
    found = lookup.indices(ids)
    if len(ids) and not len(found[found >= 0]) and all(isinstance(value, (bool, np.bool_)) for value in ids):
        raise ValueError(f"{argument}: must be ids, not truth values; give the ids where they are true.")
    unknown.update(dict.fromkeys(name for name, index in zip(ids, found.tolist(), strict=True) if index < 0))
    return found[found >= 0]


def as_ids(argument: str, values: Any) -> list:
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


def about_unknown(unknown: dict[Any, None], kind: str = "item") -> list[str]:
    """A sentence on unknown ids, if there are any."""
    ids = list(unknown)
    if not ids:
        return []
    verbs = f"{kind} id has no interactions and does" if len(ids) == 1 else f"{kind} ids have no interactions and do"
    return [f"{len(ids)} {verbs} not count: {named(ids)}."]
