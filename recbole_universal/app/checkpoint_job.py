"""Recommendations with a model that RecBole trained and saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from recbole_universal import arguments
from recbole_universal.app.new_users import NewUsers
from recbole_universal.app.recommendation_blocks import REPEATS, Block, RecommendationJob, without_list
from recbole_universal.io.source import Report
from recbole_universal.io.users import read_users
from recbole_universal.plugin.trained_model import TrainedModel


class CheckpointJob(RecommendationJob):
    """Recommendations for the users of a checkpoint's dataset, and for new users of a table."""

    def __init__(
        self,
        report: Report,
        show_progress: bool,
        top_k: Any,
        include_seen: bool,
        checkpoint: Any,
        data_path: Any,
        device: Any,
        users: Any,
        columns: tuple[Any, Any, Any],
        order: Any,
        new_users: Any,
    ) -> None:
        super().__init__(report, show_progress, top_k, include_seen)
        asked = None if users is None else read_users(users, columns[0], report)
        self._model = TrainedModel(checkpoint, data_path, str(arguments.device(device)))
        self.items = self._model.items
        known = self._model.users
        self._n_trained = len(known)
        self._new: NewUsers | None = None
        if new_users is not None:
            of_model = self._model.users, self._model.items
            self._new = NewUsers(new_users, columns, order, *of_model, report, self._show_progress)
            self._new.fit(self._model.matrix, str(arguments.device(device)))
            known = known.append(self._new.ids)
        self._choose_users(known, asked)
        self._set_apart_without_items()

    def summary(self) -> str:
        """One sentence about the model and its data."""
        model = self._model
        return (
            f"{model.name}, trained on [{model.dataset_name}]: {model.matrix.nnz} interactions of {len(model.users)} "
            f"users with {len(model.items)} items."
            + ("" if self._new is None else f" New users, whom the universal model ranks: {self._n_new()}.")
        )

    def _n_new(self) -> int:
        return int((self._indices >= self._n_trained).sum())

    def _set_apart_without_items(self) -> None:
        """Give new users without an item that the model knows the index of unknown users."""
        if self._new is None:
            return
        is_new = self._indices >= self._n_trained
        lengths = self._new.histories.lengths[self._indices[is_new] - self._n_trained]
        without = np.flatnonzero(is_new)[lengths == 0]
        if len(without):
            self._report(without_list(self.users[without], len(self.users), "users have no item that the model knows"))
        self._indices[without] = -1

    def blocks(self) -> Iterator[Block]:
        """The recommendations of all users, a block of users at a time."""
        model = self._model
        if model.repeats:
            self._report(REPEATS)
        yield from self._ranked(
            self._indices, np.bincount(model.matrix.indices, minlength=len(self.items)), self._top_k_of_rows
        )

    def _top_k_of_rows(self, rows: np.ndarray, k: int, exclude_seen: bool | None) -> tuple[np.ndarray, np.ndarray]:
        """The best items of users of the training, whom the model ranks, and of new users."""
        is_new = rows >= self._n_trained
        if self._new is None or not is_new.any():
            return self._model.top_k(rows, k, exclude_seen)
        items, scores = np.full((len(rows), k), -1, dtype=np.int64), np.full((len(rows), k), -np.inf, dtype=np.float32)
        items[is_new], scores[is_new] = self._new.top_k(rows[is_new] - self._n_trained, k, exclude_seen)
        if not is_new.all():
            items[~is_new], scores[~is_new] = self._model.top_k(rows[~is_new], k, exclude_seen)
        return items, scores
