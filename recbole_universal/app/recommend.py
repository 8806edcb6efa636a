"""Recommendations for a table of interactions with a pre-trained model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.app.recommendation_files import COLUMNS
from recbole_universal.io.ids import IdLookup
from recbole_universal.io.interactions import read_interactions
from recbole_universal.io.source import Report
from recbole_universal.io.users import read_users

if TYPE_CHECKING:
    import scipy.sparse as sp

    from recbole_universal.checkpoint import Pretrained
    from recbole_universal.ranking.ranker import UniversalRanker

#: Value of ``pretrained`` that lets the data choose a shipped model.
AUTO = "auto"
# A block is small enough for little memory and large enough that its overhead does not count.
_BLOCK_USERS = 2048


@dataclass
class Block:
    """Recommendations of some users, one row each: index of user and item, score, rank from 1; each [n_rows]."""

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray


def recommend(
    interactions: Any,
    *,
    top_k: int = 10,
    users: Any = None,
    user_column: Hashable | None = None,
    item_column: Hashable | None = None,
    time_column: Hashable | None = None,
    order: str | None = None,
    include_seen: bool = False,
    fast: bool = False,
    pretrained: str | os.PathLike[str] | Pretrained = "auto",
    device: str = "cpu",
    show_progress: bool = True,
) -> pd.DataFrame:
    """Recommend items with a pre-trained model, whose network is not trained further.

    If the interactions have times or are in order, a model that reads the order ranks where that helps. The last items
    of some users are held out to find out.

    Warnings report which model ranks and why, rows that are left out (rows without id, repeated pairs), guesses about
    the columns, users without interactions, and lists that are short. A warning also says that popularity ranks for all
    users.

    Args:
        interactions: one row per interaction: a frame of pandas or polars, an Arrow table, or the path of a text, JSON
            or Parquet file or of a folder of such parts (text and JSON also as gzip or zstd). Ids may be of any type.
            Ids of text files stay text.
        top_k: recommendations per user, at least 1. A message says how many users get fewer.
        users: ids of the users who get recommendations, or a file of them; ``None``: all users. A user without
            interactions gets the most popular items. Their score is the number of users of the item, divided by that of
            the most popular item.
        user_column: name of the user column; ``None``: found by a usual name. For a text file without header, its
            position, from 1.
        item_column: as ``user_column``.
        time_column: as ``user_column``; where no column has a usual name, the interactions have no times.
        order: ``rows``: the rows are in the order of time, and no time column is read.
        include_seen: whether to recommend items that the user has interacted with, too. Where the order is known and
            the rows repeat items, they are recommended in any case.
        fast: whether to rank by one item-item matrix instead of the network (:meth:`UniversalRanker.item_item`). For
            many users this is much faster. The recommendations are less accurate (docs/zero_shot.md). It needs a model
            with the family ``proximity``.
        pretrained: name of a shipped model, folder of a model, or a loaded model; ``auto``: ``universal-sequential``
            where the order is known and helps, otherwise ``universal-base``.
        device: where to compute. Experimental: any other than ``cpu`` is not tested.
        show_progress: whether to draw progress bars on stderr.

    Returns:
        ``user``, ``item``, ``score`` (higher is better; comparable within one user) and ``rank`` (from 1), best first,
        users in the order of ``users`` or of their first row. A user who has seen nearly all items gets fewer than
        ``top_k`` rows.

    Raises:
        ValueError: naming the file, column or argument and the valid values.
        OSError: if a file cannot be read.
        ImportError: if zstd text is read without pyarrow.
    """
    messages: list[str] = []
    try:
        job = RecommendationJob(messages.append, show_progress, top_k, include_seen, fast, pretrained, device)
        job.read(interactions, users, user_column, item_column, time_column, order)
        blocks = list(job.blocks())
    finally:
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=2)
    user, item, scores, ranks = (
        np.concatenate([getattr(block, name) for block in blocks]) for name in ("users", "items", "scores", "ranks")
    )
    columns = (job.users.take(user), job.items.take(item), scores, ranks)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


class RecommendationJob:
    """One call: checks its arguments, reads the interactions, and ranks the users in blocks.

    Attributes:
        table: the interactions.
        users: ids of the users who get recommendations.
        items: ids of all items.
    """

    def __init__(
        self, report: Report, show_progress: bool, top_k, include_seen: bool, fast: bool, pretrained, device
    ) -> None:
        # PyTorch takes seconds to import.
        from recbole_universal.checkpoint import Pretrained, load_pretrained

        self._report = report
        self._show_progress = arguments.flag("recommend", "show_progress", show_progress)
        self._include_seen = arguments.flag("recommend", "include_seen", include_seen)
        self._fast = arguments.flag("recommend", "fast", fast)
        self._top_k = _checked_top_k(top_k)
        self._device = str(arguments.device(device))
        self._pretrained = None if isinstance(pretrained, str) and pretrained == AUTO else pretrained
        if self._pretrained is not None and not isinstance(self._pretrained, Pretrained):
            self._pretrained = load_pretrained(self._pretrained)
        if fast and self._pretrained is not None and "proximity" not in self._pretrained.families:
            raise ValueError(
                f"fast (--fast): needs a model with the family [proximity]; this one has {self._pretrained.families}."
            )

    def read(
        self,
        interactions,
        users,
        user_column: Hashable | None,
        item_column: Hashable | None,
        time_column: Hashable | None = None,
        order: str | None = None,
    ) -> None:
        """Read the interactions, and the users who get recommendations."""
        named = {"user": user_column, "item": item_column, "time": time_column}
        for kind, name in named.items():
            _check_column_name(f"{kind}_column (--{kind}-column)", name)
        asked = None if users is None else read_users(users, user_column, self._report)
        self.table = read_interactions(
            interactions,
            user_column,
            item_column,
            self._report,
            self._show_progress,
            time_column=time_column,
            order=order,
            read_times=not self._fast and (self._pretrained is None or "sequence" in self._pretrained.families),
        )
        self.items = self.table.items
        self.users = self.table.users
        self._indices = np.arange(len(self.users))
        if asked is not None:
            self.users, self._indices = find_users(asked, self.table.users, IdLookup(self.table.users))
            self._report_unknown()

    def blocks(self) -> Iterator[Block]:
        """The recommendations of all users, a block of users at a time."""
        from recbole_universal.graph.popularity import popularity_order, popularity_share

        matrix, rows, item_order = self.table.matrix()
        rows = np.where(self._indices < 0, -1, rows[self._indices])
        ranker = self.ranker(matrix)
        ranker.on_fallback = self._report
        if self._fast:
            ranker.prepare_fast()  # with a progress bar of its own
        ranker.show_progress = False  # one bar over all blocks instead of one per block
        # A user without interactions has no row in the matrix, so the asked users do not change other users' results.
        degree = np.bincount(matrix.indices, minlength=matrix.shape[1])
        popular = popularity_order(degree)[: self._top_k]
        share = popularity_share(degree)[popular]
        lengths = []
        with tqdm(total=len(rows), desc="recommending", unit="user", disable=not self._show_progress) as bar:
            for start in range(0, len(rows), _BLOCK_USERS):
                block = rows[start : start + _BLOCK_USERS]
                known = block >= 0
                items, scores = np.tile(popular, (len(block), 1)), np.tile(share, (len(block), 1))
                if known.any():
                    exclude_seen = False if self._include_seen else None
                    items[known], scores[known] = ranker.top_k(
                        block[known], len(popular), exclude_seen, fast=self._fast
                    )
                is_item = items >= 0
                user, rank = np.nonzero(is_item)
                yield Block(start + user, item_order[items[is_item]], scores[is_item], (rank + 1).astype(np.int32))
                lengths.append(is_item.sum(axis=1))
                bar.update(len(block))
        self._report_short(np.concatenate(lengths))

    def ranker(self, matrix: sp.csr_matrix) -> UniversalRanker:
        """The ranker of the given model, or of the shipped one that suits the interactions."""
        from recbole_universal.graph.histories import Histories
        from recbole_universal.ranking.order_check import WITHOUT_ORDER, chosen_ranker
        from recbole_universal.ranking.ranker import UniversalRanker

        settings: dict[str, Any] = {"device": self._device, "show_progress": self._show_progress}
        histories = Histories.of_table(self.table)
        if self._pretrained is not None and "sequence" in self._pretrained.families and histories is None:
            raise ValueError(
                "pretrained (--model): this model reads the order of the interactions. Name their time column with "
                "time_column (--time-column), or set order (--order) to rows if the rows are in the order of time."
            )
        if self._pretrained is not None:
            return UniversalRanker(matrix, self._pretrained, histories=histories, **settings)
        if self._fast or histories is None:
            return UniversalRanker(matrix, WITHOUT_ORDER, **settings)
        ranker, message = chosen_ranker(matrix, histories, **settings)
        self._report(message)
        network = ranker.network
        if network.ranks_candidates and network.candidate_pairs.repeats and not ranker.fallback_reason():
            self._report("The users come back to items, so items that a user had are recommended too.")
        return ranker

    def _report_short(self, lengths: np.ndarray) -> None:
        n_short, n_empty = int((lengths < self._top_k).sum()), int((lengths == 0).sum())
        if n_short:
            self._report(
                f"{n_short} of {len(lengths)} users have fewer than {self._top_k} items that they have not seen, so "
                f"they get fewer recommendations" + (f"; {n_empty} have none." if n_empty else ".")
            )

    def _report_unknown(self) -> None:
        unknown = self.users[self._indices < 0]
        if len(unknown):
            self._report(without_list(unknown, len(self.users), "users have no interactions"))


def without_list(ids: Sequence | pd.Index, n: int, who: str) -> str:
    """A sentence on those of n people who get popular items.

    Args:
        ids: their ids.
        n: number of people.
        who: the people and what they lack.
    """
    return f"{len(ids)} of {n} {who} and get the most popular items: {named(ids)}."


def named(ids: Sequence | pd.Index) -> str:
    """The first five ids, for messages."""
    return ", ".join(f"[{name}]" for name in ids[:5]) + (", ..." if len(ids) > 5 else "")


def _checked_top_k(top_k: Any) -> int:
    if not arguments.is_integer(top_k) or top_k < 1:
        raise ValueError(f"top_k (--top-k): must be a whole number of at least 1, got {arguments.shown(top_k)}.")
    return int(top_k)


def _check_column_name(argument: str, name: Any) -> None:
    """Refuse values that cannot name a column: lists, arrays, frames, tensors."""
    try:
        hash(name)
        is_array = getattr(name, "ndim", 0) > 0  # a tensor has a hash
    except TypeError:
        is_array = True
    if is_array:
        raise ValueError(f"{argument}: must be the name of a column, got {arguments.shown(name)}.")


def find_users(asked: Sequence, users: pd.Index, lookup: IdLookup) -> tuple[pd.Index, np.ndarray]:
    """Ids of the asked users and their indices in ``users``, -1 for unknown users."""
    chosen: dict[Any, tuple[Any, int]] = {}  # "7" and 7 may be one user
    for name, index in zip(asked, lookup.indices(asked).tolist(), strict=True):
        key = ("known", index) if index >= 0 else ("unknown", isinstance(name, (bool, np.bool_)), name)
        chosen.setdefault(key, (name, index))
    codes = np.array([index for _, index in chosen.values()], dtype=np.int64)
    known = users.take(np.maximum(codes, 0))
    if (codes >= 0).all():
        return known, codes
    ids = [name if index < 0 else id_ for (name, index), id_ in zip(chosen.values(), known.tolist(), strict=True)]
    # The type object keeps 1 an integer next to 2.5.
    return pd.Index(ids, dtype=object if len({type(name) for name in ids}) > 1 else None), codes
