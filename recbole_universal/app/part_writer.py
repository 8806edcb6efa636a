"""What each worker of an engine does: it loads a saved recommender and writes parts of the recommendations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from recbole_universal.app.recommendation_files import open_recommendations
from recbole_universal.app.recommendation_parts import Part
from recbole_universal.app.recommender_files import unchanged
from recbole_universal.app.recommender_job import RecommenderJob


@dataclass(frozen=True)
class PartSettings:
    """What all parts have in common.

    Attributes:
        folder: folder of the saved recommender.
        digest: digest of the recommender that the run began with.
        top_k: recommendations per user.
        include_seen: whether to recommend the user's items.
        fast: whether to rank by the item-item matrix.
        allowed: whether each item may be recommended, bool [n_items]; ``None``: all may.
        columns: names of the four columns.
    """

    folder: str
    digest: str
    top_k: int
    include_seen: bool
    fast: bool
    allowed: NDArray[np.bool_] | None
    columns: Sequence[str]


class PartWriter:
    """Writes parts of one run, with one thread. The first part loads the recommender."""

    def __init__(self) -> None:
        self._messages: list[str] = []
        self._job: _JobOfParts | None = None

    def write(self, settings: PartSettings, part: Part, users: pd.Index, rows: Any) -> tuple[int, list[str]]:
        """Write a part. It appears when it is complete.

        Args:
            settings: the settings of the run.
            part: the part.
            users: ids of its users, [n].
            rows: row of each in the interactions, -1 for an unknown user, int64 [n].

        Returns:
            The number of users, and messages for people.

        Raises:
            ValueError: if the folder holds another recommender than at the beginning of the run.
            OSError: if a file cannot be read or written.
        """
        job = self._job = self._job or self._loaded(settings)
        try:
            with open_recommendations(part.path) as writer:
                writer.columns = settings.columns
                for block in job.blocks_of(np.array(rows)):  # a copy, since those of Ray are read-only
                    items = job.items.take(block.items)
                    writer.write(users.take(block.users), items, block.scores, block.ranks)
        except OSError as error:
            raise OSError(f"output (--output): cannot write [{part.path}]: {error.strerror or error}") from error
        messages = list(dict.fromkeys(self._messages))
        self._messages.clear()
        return len(users), messages

    def _loaded(self, settings: PartSettings) -> _JobOfParts:
        torch.set_num_threads(1)
        with unchanged(settings.folder, settings.digest):
            job = _JobOfParts(
                self._messages.append,
                False,
                settings.top_k,
                settings.include_seen,
                settings.folder,
                settings.fast,
                device="cpu",
                users=None,
                user_column=None,
                items=None,
                where=None,
            )
        job.allowed = None if settings.allowed is None else np.array(settings.allowed)
        return job


class _JobOfParts(RecommenderJob):
    """Recommendations of a part; the process that asked counts the short lists of all parts."""

    def _report_short(self, lengths: np.ndarray, what: str) -> None:
        pass
