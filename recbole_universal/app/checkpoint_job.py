"""Recommendations with a model that RecBole trained and saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from recbole_universal import arguments
from recbole_universal.app.recommendation_blocks import REPEATS, Block, RecommendationJob
from recbole_universal.io.source import Report
from recbole_universal.io.users import read_users
from recbole_universal.plugin.trained_model import TrainedModel


class CheckpointJob(RecommendationJob):
    """Recommendations for the users of a checkpoint's dataset."""

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
        user_column: Any,
    ) -> None:
        super().__init__(report, show_progress, top_k, include_seen)
        asked = None if users is None else read_users(users, user_column, report)
        self._model = TrainedModel(checkpoint, data_path, str(arguments.device(device)))
        self.items = self._model.items
        self._choose_users(self._model.users, asked)

    def summary(self) -> str:
        """One sentence about the model and its data."""
        model = self._model
        return (
            f"{model.name}, trained on [{model.dataset_name}]: {model.matrix.nnz} interactions of {len(model.users)} "
            f"users with {len(model.items)} items."
        )

    def blocks(self) -> Iterator[Block]:
        """The recommendations of all users, a block of users at a time."""
        model = self._model
        if model.repeats:
            self._report(REPEATS)
        yield from self._ranked(
            self._indices, np.bincount(model.matrix.indices, minlength=len(self.items)), model.top_k
        )
