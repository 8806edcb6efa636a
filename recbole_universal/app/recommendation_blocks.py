"""Recommendations for the asked users, a block of users at a time, whatever model ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.io.ids import IdLookup
from recbole_universal.io.source import Report

if TYPE_CHECKING:
    import scipy.sparse as sp

    from recbole_universal.app.shown_new_items import ShownNewItems

#: What a job reports where the data repeat items.
REPEATS = "The users come back to items, so items that a user had are recommended too."
# A block is small enough for little memory and large enough that its overhead does not count.
_BLOCK_USERS = 2048


@dataclass
class Block:
    """Recommendations of some users, one row each: index of user and item, score, rank from 1; each [n_rows].

    With new items, ``new`` says whether nobody has had the item.
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    new: np.ndarray | None = None


class NewInBlocks(NamedTuple):
    """The new items of a job.

    Attributes:
        shown: how they are shown.
        user_items: the items of the users, csr [n_users, n_items].
        allowed: whether each new item may be recommended, bool [n_new]; ``None``: all may.
    """

    shown: ShownNewItems
    user_items: sp.csr_matrix
    allowed: np.ndarray | None

    @property
    def n_items(self) -> int:
        """Number of new items."""
        return self.shown.catalogue.lists.n_new

    def merged(self, rows: np.ndarray, items: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lists of some rows of the interactions with new items; see :meth:`ShownNewItems.merged`."""
        return self.shown.merged(items, scores, self.user_items[rows], self.allowed)


class RecommendationJob:
    """One call: who is asked about, and the blocks of the recommendations. A subclass knows the data and the model.

    Args:
        report: receives the messages.
        show_progress: whether to draw a progress bar on stderr.
        top_k: recommendations per user.
        include_seen: whether to recommend items that the user has interacted with.

    Attributes:
        users: ids of the users who get recommendations; the name is that of their column.
        items: ids of all items, likewise.
        with_new: whether the lists say which items are new.
    """

    users: pd.Index
    items: pd.Index
    with_new = False

    def __init__(self, report: Report, show_progress: bool, top_k: Any, include_seen: bool) -> None:
        self._report = report
        self._show_progress = arguments.flag("recommend", "show_progress", show_progress)
        self._include_seen = arguments.flag("recommend", "include_seen", include_seen)
        self._top_k = checked_top_k(top_k)

    def summary(self) -> str:
        """One sentence about the data."""
        raise NotImplementedError

    def blocks(self) -> Iterator[Block]:
        """The recommendations of all users, a block of users at a time."""
        raise NotImplementedError

    def _choose_users(self, known: pd.Index, asked: list | None) -> None:
        """Recommend for the asked users; ``None``: all who are known."""
        self.users = known
        self._indices = np.arange(len(known))
        if asked is not None:
            self.users, self._indices = find_users(asked, known, IdLookup(known))
            self._report_unknown()

    def _ranked(
        self,
        rows: np.ndarray,
        degree: np.ndarray,
        top_k: Callable[..., tuple[np.ndarray, np.ndarray]],
        allowed: np.ndarray | None = None,
        new: NewInBlocks | None = None,
    ) -> Iterator[Block]:
        """The blocks; an item is its column.

        Args:
            rows: row of each user in the interactions, -1 for an unknown user.
            degree: number of users of each item.
            top_k: the best items of some rows, -1 after the last one, and their scores. It takes the rows, the number
                of items, and whether the user's items are left out, where ``None`` lets the model decide. With
                ``allowed``, it takes that, too.
            allowed: whether each item may be recommended, bool [n_items]; ``None``: all may.
            new: the new items, which have the columns from n_items on; ``None``: there are none.
        """
        from recbole_universal.graph.popularity import popularity_order, popularity_share

        # A user without interactions has no row in the matrix, so the asked users do not change other users' results.
        order = popularity_order(degree)
        best = order[: self._top_k] if allowed is None else order[allowed[order]][: self._top_k]
        popular = np.full(min(self._top_k, len(order) + (0 if new is None else new.n_items)), -1)
        popular[: len(best)] = best
        share = popularity_share(degree)[popular]
        n_known = min(self._top_k, len(order))
        exclude_seen = False if self._include_seen else None
        settings = {} if allowed is None else {"allowed": allowed}
        lengths = []
        with tqdm(total=len(rows), desc="recommending", unit="user", disable=not self._show_progress) as bar:
            for start in range(0, len(rows), _BLOCK_USERS):
                block = rows[start : start + _BLOCK_USERS]
                known = block >= 0
                items, scores = np.tile(popular, (len(block), 1)), np.tile(share, (len(block), 1))
                if known.any():
                    found = top_k(block[known], n_known, exclude_seen, **settings)
                    items[known], scores[known] = (_widened(each, len(popular)) for each in found)
                    if new is not None:
                        items[known], scores[known] = new.merged(block[known], items[known], scores[known])
                is_item = items >= 0
                user, rank = np.nonzero(is_item)
                is_new = None if new is None else items[is_item] >= len(order)
                yield Block(start + user, items[is_item], scores[is_item], (rank + 1).astype(np.int32), is_new)
                lengths.append(is_item.sum(axis=1))
                bar.update(len(block))
        self._report_short(np.concatenate(lengths), "" if allowed is None else "that the filters allow and ")
        if new is not None and (sentence := new.shown.about_lists()):
            self._report(sentence)

    def _report_short(self, lengths: np.ndarray, what: str) -> None:
        n_short, n_empty = int((lengths < self._top_k).sum()), int((lengths == 0).sum())
        if n_short:
            self._report(
                f"{n_short} of {len(lengths)} users have fewer than {self._top_k} items {what}that they have not seen, "
                f"so they get fewer recommendations" + (f"; {n_empty} have none." if n_empty else ".")
            )

    def _left_out_users(self) -> pd.Index | None:
        """Ids of the users whom the intervals of the call leave out; ``None`` without intervals."""
        return None

    def _report_unknown(self) -> None:
        unknown, left_out = self.users[self._indices < 0], self._left_out_users()
        is_left_out = np.zeros(len(unknown), dtype=bool)
        if left_out is not None:
            is_left_out = IdLookup(left_out).indices(unknown.tolist()) >= 0
        for ids, why in (
            (unknown[~is_left_out], "users have no interactions"),
            (unknown[is_left_out], "users are left out by user_inter_num_interval and item_inter_num_interval"),
        ):
            if len(ids):
                self._report(without_list(ids, len(self.users), why))


def _widened(lists: np.ndarray, k: int) -> np.ndarray:
    """Lists of length k, with -1 after their end."""
    return np.pad(lists, ((0, 0), (0, k - lists.shape[1])), constant_values=-1)


def checked_top_k(top_k: Any) -> int:
    """Return ``top_k`` as an int.

    Raises:
        ValueError: if it is no integer of at least 1, or too large.
    """
    if not arguments.is_integer(top_k) or not 1 <= top_k < arguments.LARGEST:
        raise ValueError(
            f"top_k (--top-k): must be a whole number of at least 1 and below {arguments.LARGEST}, got "
            f"{arguments.shown(top_k)}."
        )
    return int(top_k)


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
    return pd.Index(ids, dtype=object if len({type(name) for name in ids}) > 1 else None, name=users.name), codes


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
