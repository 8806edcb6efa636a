"""One state of a recommender. It never changes; an update makes a new one."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from recbole_universal import arguments
from recbole_universal.app.fitted_interactions import FittedInteractions
from recbole_universal.app.model_choice import ranker_of
from recbole_universal.app.recommendation_blocks import named
from recbole_universal.app.recommendation_files import COLUMNS
from recbole_universal.checkpoint import Pretrained
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.popularity import popularity_order, popularity_share
from recbole_universal.io.ids import IdLookup, is_missing
from recbole_universal.io.source import Report
from recbole_universal.ranking.ranker import UniversalRanker


@dataclass(frozen=True)
class FitSettings:
    """Arguments of a fit that its ranker does not hold.

    Attributes:
        chooses_model: whether the data choose a shipped model.
        later: the argument.
        columns: names of the user, the item and the time column, ``None`` where they are found by a usual name.
    """

    chooses_model: bool
    later: bool
    columns: tuple[Hashable | None, ...]

    def described(self) -> dict[str, Any]:
        """The settings as JSON. Names of columns that JSON lacks become texts."""
        columns = [name if isinstance(name, (str, int, type(None))) else str(name) for name in self.columns]
        return {"chooses_model": self.chooses_model, "later": self.later, "columns": columns}

    @classmethod
    def of_description(cls, description: dict[str, Any]) -> FitSettings:
        """The settings that :meth:`described` describes."""
        user, item, time = description["columns"]
        return cls(bool(description["chooses_model"]), bool(description["later"]), (user, item, time))


class RecommenderState:
    """Ids, ranker, and what a new fit needs.

    Args:
        ranker: a ranker of the users and items.
        users: id of each row of the ranker's matrix, distinct, [n_users].
        items: id of each column, distinct, [n_items].
        settings: arguments of the fit; ``None``: the ranker comes from elsewhere.
        histories: the interactions in the order of time; ``None``: the order is not known.
        appended: id of the last interaction of a service's database that these interactions include; 0: none.

    Raises:
        ValueError: if there are more or fewer ids than rows or columns.
    """

    def __init__(
        self,
        ranker: UniversalRanker,
        users: pd.Index,
        items: pd.Index,
        settings: FitSettings | None = None,
        histories: Histories | None = None,
        appended: int = 0,
    ) -> None:
        self.ranker, self.users, self.items = ranker, users, items
        self.settings, self.histories, self.appended = settings, histories, appended
        if ranker.matrix.shape != (len(users), len(items)):
            raise ValueError(
                f"users, items: must be the ids of the matrix, {list(ranker.matrix.shape)}, got "
                f"[{len(users)}, {len(items)}]."
            )
        self.find_user, self.find_item = IdLookup(users), IdLookup(items)
        degree = np.bincount(ranker.matrix.indices, minlength=len(items))
        self._popular, self._share = popularity_order(degree), popularity_share(degree)

    @classmethod
    def fitted(
        cls,
        interactions: FittedInteractions,
        settings: FitSettings,
        model: Pretrained | None,
        device: str,
        report: Report,
        show_progress: bool,
    ) -> RecommenderState:
        """The state of interactions.

        Args:
            interactions: the interactions.
            settings: arguments of the fit.
            model: the model; ``None``: the data choose a shipped one.
            device: where to compute.
            report: receives the messages.
            show_progress: whether to draw progress bars.

        Raises:
            ValueError: if the interactions lack the order or the times that the model needs.
        """
        matrix, histories = interactions.matrix, interactions.histories
        ranker = ranker_of(
            matrix, histories, model, report, later=settings.later, device=device, show_progress=show_progress
        )
        ranker.on_fallback = report
        ranker.network.falls_back()
        ranker.show_progress = False
        return cls(ranker, interactions.users, interactions.items, settings, histories)

    def refitted(self, interactions: FittedInteractions, report: Report, show_progress: bool) -> RecommenderState:
        """The state of other interactions by the same fit."""
        settings, model = self.checked_settings(), self.ranker.pretrained
        state = self.fitted(
            interactions,
            settings,
            None if settings.chooses_model else model,
            str(self.ranker.device),
            report,
            show_progress,
        )
        state.appended = self.appended
        return state

    def interactions(self) -> FittedInteractions:
        """The interactions of the fit."""
        return FittedInteractions(self.users, self.items, self.ranker.matrix, self.histories)

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

    def popular_lists(self, n: int, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Columns of the most popular items, int64 [n, k], -1 where no items are left, and their scores."""
        popular = self._popular if allowed is None else self._popular[allowed[self._popular]]
        items = np.full((n, k), -1)
        items[:, : len(popular)] = popular[:k]
        return items, self._share[items]

    def frame(self, ids: pd.Index, items: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
        """One row for each item of lists [n, k]; the name of the ids is that of the first column."""
        is_item = items >= 0
        row, rank = np.nonzero(is_item)
        values = ids.take(row), self.items.take(items[is_item]), scores[is_item], (rank + 1).astype(np.int32)
        return pd.DataFrame(dict(zip((ids.name, *COLUMNS[1:]), values, strict=True)))

    def allowed(self, candidates: Any, exclude: Any, unknown: dict[Any, None]) -> np.ndarray | None:
        """Whether each item may be recommended, bool [n_items]; ``None``: all may."""
        if candidates is None and exclude is None:
            return None
        allowed = np.full(len(self.items), candidates is None)
        if candidates is not None:
            allowed[self.known_items("candidates", candidates, unknown)] = True
        if exclude is not None:
            allowed[self.known_items("exclude", exclude, unknown)] = False
        return allowed

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
    return [f"{len(ids)} {kind} ids have no interactions and do not count: {named(ids)}."] if ids else []
