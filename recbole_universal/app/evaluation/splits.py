"""Ways to hold out interactions, on which recommenders are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_universal.app.analysis.evaluation import HELD_OUT_SHARE, RandomSplit
from recbole_universal.graph.held_out import LEAST_RETURNS, last_event_split
from recbole_universal.graph.histories import FIRST_SECONDS, Histories
from recbole_universal.graph.interaction_graph import binary_matrix

#: Names of the splits.
SPLITS = ("time", "random", "last", "folds")
# The latest part of the events, which a split in time holds out, as a share. Folds divide it into equal parts.
_LATEST, _LATEST_OF_FOLDS = 0.1, 0.4


@dataclass
class Fold:
    """A training part, and the held-out items of the users who are evaluated.

    Attributes:
        train: the training part, binary csr [n_users, n_items].
        test: held-out items, binary csr [n_users, n_items]; at least one of each evaluated user.
        users: evaluated users, int64 [n]. Each has an interaction in the training part.
        histories: the training part in order; ``None`` if recommenders get no order.
        cut: time before which the training part ends; ``None`` if it has no end.
        repeats: whether the users come back to items. Lists and held-out items then contain items that the user had.
        seen_only: interactions of weight 0, which lists leave out, binary csr [n_users, n_items]; ``None``: none.
        weights: weights of the interactions of ``train``, and 0 for those of ``seen_only``; ``None``: all are equal.
    """

    train: sp.csr_matrix
    test: sp.csr_matrix
    users: np.ndarray
    histories: Histories | None = None
    cut: float | None = None
    repeats: bool = False
    seen_only: sp.csr_matrix | None = None
    weights: sp.csr_matrix | None = None

    def excluded(self, users: np.ndarray) -> sp.csr_matrix:
        """Items that lists of some users leave out, csr [n, n_items]."""
        return sp.csr_matrix((len(users), self.train.shape[1])) if self.repeats else self.seen()[users]

    def seen(self) -> sp.csr_matrix:
        """All interactions that a recommender may know of, binary csr [n_users, n_items]."""
        return self.train if self.seen_only is None else (self.train + self.seen_only).tocsr()


@dataclass
class Split:
    """A way to hold out interactions.

    Attributes:
        name: one of :data:`SPLITS`.
        folds: one fold, or several points in time, the earliest first.
        n_eligible: number of users who could be evaluated. At most ``max_users`` of them are drawn.
        sentences: what is held out, for people.
    """

    name: str
    folds: list[Fold]
    n_eligible: int
    sentences: list[str]


def make_split(
    name: str | None, matrix: sp.csr_matrix, histories: Histories | None, max_users: int, n_folds: int, seed: int
) -> Split:
    """Hold out interactions.

    Args:
        name: one of :data:`SPLITS`; ``None``: ``time`` if the times are those of a clock and enough users come back,
            otherwise ``last`` if the order is known, otherwise ``random``.
        matrix: the interactions, csr [n_users, n_items].
        histories: the same in order; ``None``: the order is not known.
        max_users: number of users to draw at most.
        n_folds: number of points in time of the split ``folds``.
        seed: seed of everything random.

    Raises:
        ValueError: if the split needs times or an order that the interactions lack, or nothing can be held out.
    """
    if name is None:
        returns = _in_time(histories, matrix.shape[1], 1, _LATEST) if histories and histories.has_clock else []
        enough = sum(len(fold.users) for fold in returns) >= LEAST_RETURNS
        name = "time" if enough else "last" if histories else "random"
    if name == "random":
        return _random(matrix, histories, max_users, seed)
    if histories is None:
        raise ValueError(
            f"split (--split): [{name}] needs the order of the interactions. Name their time column with time_column "
            "(--time-column), set order (--order) to rows if the rows are in order, or take split random."
        )
    generator = np.random.default_rng(seed)
    if name == "last":
        return _last(histories, matrix.shape[1], max_users, generator)
    if histories.times is None:
        raise ValueError(
            f"split (--split): [{name}] needs times. Name their column with time_column (--time-column), or take split "
            "last or random."
        )
    latest = _LATEST if name == "time" else _LATEST_OF_FOLDS
    folds = _in_time(histories, matrix.shape[1], 1 if name == "time" else n_folds, latest)
    eligible = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *(fold.users for fold in folds)]))
    drawn = generator.permutation(eligible)[:max_users]
    for fold in folds:
        fold.users = np.intersect1d(fold.users, drawn)
    return _checked(name, [fold for fold in folds if len(fold.users)], len(eligible), _in_time_sentences(folds))


def _random(matrix: sp.csr_matrix, histories: Histories | None, max_users: int, seed: int) -> Split:
    held_out = RandomSplit(matrix, max_users, seed)
    sentences = [f"Split: random. A random {HELD_OUT_SHARE:.0%} of the items of each evaluated user are held out."]
    if histories is not None:
        sentences.append(
            "A random split has no before and after, so no recommender gets the order; split last or time uses it."
        )
    fold = Fold(held_out.train, held_out.test, held_out.users)
    n_eligible = int((np.diff(matrix.indptr) >= 2).sum())
    return _checked("random", [fold] if len(fold.users) else [], n_eligible, sentences)


def _last(histories: Histories, n_items: int, max_users: int, generator: np.random.Generator) -> Split:
    support, query = last_event_split(histories, n_items, max_users, generator)
    fold = _fold(support, query)
    sentence = "Split: last. The last item of each evaluated user is held out (leave-one-out)."
    return _checked("last", [fold] if len(fold.users) else [], int((histories.lengths >= 2).sum()), [sentence])


def _in_time(histories: Histories, n_items: int, n_folds: int, latest: float) -> list[Fold]:
    """One fold for each of some points in time, which divide the latest events into parts of one size."""
    assert histories.times is not None
    edges = np.unique(np.quantile(histories.times, 1 - latest * np.arange(n_folds, 0, -1) / n_folds))
    folds = []
    for start, end in zip(edges, [*edges[1:], np.inf], strict=True):
        before = histories.where(histories.times < start)
        if len(before.items):
            later = histories.where((histories.times >= start) & (histories.times < end))
            folds.append(_fold(before.asked_later(), later.matrix(n_items), float(start)))
    return folds


def _fold(before: Histories, later: sp.csr_matrix, cut: float | None = None) -> Fold:
    """The fold of a training part and of all later items of each user."""
    train = binary_matrix(before.matrix(later.shape[1]))
    repeats = before.repeats(train)  # the training part decides, since the held-out part is not known
    test = (later if repeats else later - later.multiply(train)).tocsr()
    test.eliminate_zeros()
    users = np.flatnonzero((np.diff(train.indptr) > 0) & (np.diff(test.indptr) > 0))
    return Fold(train, test, users, before, cut, repeats)


def _in_time_sentences(folds: Sequence[Fold]) -> list[str]:
    cuts = [shown_time(fold.cut) for fold in folds if fold.cut is not None]
    later = [fold.histories.are_asked_later for fold in folds if fold.histories is not None]
    how = ["The model ranks as with recommend --later."] if any(later) else []
    if len(cuts) < 2:
        return [
            f"Split: time. Everything from {', '.join(cuts)} on is held out; recommenders see what came before.",
            *how,
        ]
    return [
        f"Split: folds. From {len(cuts)} points in time on ({', '.join(cuts)}), the items until the next point are "
        "held out; recommenders see what came before the point. A user's figures are means over the points.",
        *how,
    ]


def shown_time(time: float) -> str:
    """A time for people: a date if it is seconds since 1970."""
    return f"{pd.Timestamp(time, unit='s'):%Y-%m-%d %H:%M}" if time > FIRST_SECONDS else f"{time:g}"


def _checked(name: str, folds: list[Fold], n_eligible: int, sentences: list[str]) -> Split:
    """The split.

    Raises:
        ValueError: if no user can be evaluated.
    """
    if not folds:
        missing = {
            "random": "no user has two different items, and one of them is held out",
            "last": "no user has an earlier item and a new last one",
        }.get(name, "no user has an item before the point in time and a new one after it; split random needs no time")
        raise ValueError(f"split (--split): [{name}] holds nothing out: {missing}. The file is too small for it.")
    return Split(name, folds, n_eligible, sentences)
