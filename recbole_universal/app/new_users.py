"""Users who were not in the training of a model, ranked by the pre-trained model over the model's items."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.app.recommendation_blocks import named
from recbole_universal.graph.histories import Histories
from recbole_universal.io.ids import IdLookup
from recbole_universal.io.interactions import read_interactions
from recbole_universal.io.source import Report
from recbole_universal.ranking.ranker import UniversalRanker


class NewUsers:
    """Users of a table whom a model does not know, and their histories over the items of the model.

    Args:
        interactions: a table as of ``recommend``.
        columns: names of the user, the item and the time column; ``None``: recognised.
        order: as of ``recommend``.
        users: ids that the model knows.
        items: ids of the model's items, in the order of its columns.
        report: receives the messages.
        show_progress: whether to draw progress bars.

    Attributes:
        ids: ids of the users that the model does not know, as texts, in the order of their first row.
        histories: the items of each that the model knows, oldest first.
    """

    def __init__(
        self,
        interactions: Any,
        columns: tuple[Hashable | None, Hashable | None, Hashable | None],
        order: str | None,
        users: pd.Index,
        items: pd.Index,
        report: Report,
        show_progress: bool,
    ) -> None:
        table = read_interactions(
            interactions, *columns[:2], report, show_progress, time_column=columns[2], order=order
        )
        is_new = IdLookup(users).indices(table.users) < 0
        if not is_new.all():
            report(
                f"new_users (--new-users): {int((~is_new).sum())} of {len(is_new)} users were in the training and keep "
                f"the model's recommendations: {named(table.users[~is_new])}."
            )
        found = IdLookup(items).indices(table.items)
        if (found < 0).any():
            unknown = table.items[found < 0]
            report(f"new_users (--new-users): {len(unknown)} items are unknown to the model: {named(unknown)}.")
        events = table.events
        codes = (table.user_codes, table.item_codes) if events is None else (events.user_codes, events.item_codes)
        kept = is_new[codes[0]] & (found[codes[1]] >= 0)
        rows, places = np.cumsum(is_new)[codes[0][kept]] - 1, found[codes[1][kept]]
        # Without an order the items stand in the order of the model's columns.
        order_of_rows = np.lexsort((places, rows)) if events is None else np.argsort(rows, kind="stable")
        self.ids = pd.Index([str(one) for one in table.users[is_new]], dtype=object)
        ends = np.searchsorted(rows[order_of_rows], np.arange(1, len(self.ids)))
        self.histories = Histories.of_lists(np.split(places[order_of_rows], ends) if len(self.ids) else [])
        self._show_progress, self._report = show_progress, report

    def fit(self, matrix: sp.csr_matrix, device: str) -> None:
        """Prepare the ranker.

        Args:
            matrix: the interactions of the model's users, csr [n_users, n_items].
            device: where to compute.
        """
        self._ranker = UniversalRanker(matrix, "universal-base", device=device, show_progress=self._show_progress)
        self._ranker.on_fallback = self._report
        self._ranker.show_progress = False  # one bar over all users

    def top_k(
        self, rows: NDArray[np.int64], k: int, exclude_seen: bool | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best items of some users.

        Args:
            rows: indices into :attr:`ids`, int64 [n].
            k: items per user.
            exclude_seen: whether the user's items are left out; ``None``: unless people come back to items.

        Returns:
            Columns of the items, int64 [n, k], -1 after the last one, and their scores.
        """
        return self._ranker.top_k_of(self.histories[rows], k, exclude_seen)
