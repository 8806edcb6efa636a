"""Recommendations of a recommender that was fitted and saved."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from recbole_universal import arguments
from recbole_universal.app.list_filters import list_filters
from recbole_universal.app.new_catalogue import joined
from recbole_universal.app.new_item_filters import NewItemSet
from recbole_universal.app.recommendation_blocks import Block, NewInBlocks, RecommendationJob
from recbole_universal.app.recommender_files import load_recommender
from recbole_universal.app.shown_new_items import ShownNewItems
from recbole_universal.io.item_table import read_items
from recbole_universal.io.source import Report
from recbole_universal.io.users import read_users


class RecommenderJob(RecommendationJob):
    """Recommendations for the users of a folder that ``Recommender.save`` wrote.

    Attributes:
        ranker: its ranker.
        allowed: whether each item may be recommended, bool [n_items]; ``None``: all may.
        rows: row of each asked user in the interactions, -1 for an unknown user, int64 [n_users].
    """

    def __init__(
        self,
        report: Report,
        show_progress: bool,
        top_k: Any,
        include_seen: bool,
        folder: Any,
        fast: Any,
        device: Any,
        users: Any,
        user_column: Any,
        items: Any,
        where: Any,
        new_items: bool | int = False,
    ) -> None:
        super().__init__(report, show_progress, top_k, include_seen)
        self._fast = arguments.flag("recommend", "fast", fast)
        asked = None if users is None else read_users(users, user_column, report)
        state = load_recommender(folder, device)
        self.ranker, self.items = state.ranker, state.items
        if items is not None:
            state = state.with_item_table(read_items(items, state.items.name, report), report)
        self.allowed = list_filters(state, state.users, None, None, where, {}).of(np.arange(0))
        self._new: NewInBlocks | None = None
        if new_items:
            shown = ShownNewItems(state.checked_catalogue(), new_items, self._top_k, self._fast)
            of_new = list_filters(NewItemSet(state), state.users, None, None, where, {}).of(np.arange(0))
            self._new = NewInBlocks(shown, self.ranker.evidence, of_new)
            self.items, self.with_new = joined(self.items, shown.catalogue.ids), True
            report(shown.about_ranking())
        self._choose_users(state.users, asked)
        self.rows = self._indices

    def summary(self) -> str:
        """One sentence about the data."""
        n_users, n_items = self.ranker.matrix.shape
        return f"a recommender of {self.ranker.matrix.nnz} interactions of {n_users} users with {n_items} items."

    def blocks(self) -> Iterator[Block]:
        """The recommendations of all users, a block of users at a time."""
        return self.blocks_of(self.rows)

    def blocks_of(self, rows: np.ndarray) -> Iterator[Block]:
        """The recommendations of some rows of the interactions, -1 for an unknown user, int64 [n]."""
        self.ranker.on_fallback = self._report
        if self._fast:
            self.ranker.prepare_fast()
        degree = np.bincount(self.ranker.evidence.indices, minlength=self.ranker.matrix.shape[1])
        top_k = functools.partial(self.ranker.top_k, fast=self._fast)
        return self._ranked(rows, degree, top_k, self.allowed, self._new)
