"""Training-free baselines for the next item. Each has a grid of hyperparameters that are chosen on validation.

Every class has a ``grid`` of keyword arguments, ``fit(histories, n_items)`` and ``scores(queries)``, float32
[n, n_items].
"""

from __future__ import annotations

import time
from typing import ClassVar

import baselines
import numpy as np
import scipy.sparse as sp
from ordered_split import OrderedSplit, ndcg_of_ranks

from recbole_universal.graph.histories import Histories
from recbole_universal.graph.transitions import Transitions


class OrderedBaseline:
    """Base of all baselines."""

    grid: ClassVar[list[dict]] = [{}]

    def fit(self, histories: Histories, n_items: int) -> OrderedBaseline:
        """Learn from the histories of users."""
        self.n_items, self.histories = n_items, histories
        self.matrix = histories.matrix(n_items)
        self.degree = np.bincount(histories.items, minlength=n_items).astype(np.float32)
        return self

    def scores(self, queries: Histories) -> np.ndarray:
        """Float32 [n, n_items], higher is better."""
        raise NotImplementedError

    def _or_popularity(self, values: np.ndarray) -> np.ndarray:
        """Scores in which items of score 0 come after all others, in the order of popularity."""
        return np.where(values == 0, self.degree / self.degree.sum() - 1, values).astype(np.float32)


class MostPop(OrderedBaseline):
    """Number of events."""

    def scores(self, queries: Histories) -> np.ndarray:
        """See OrderedBaseline."""
        return np.tile(self.degree, (len(queries), 1))


class RecentPop(OrderedBaseline):
    """Number of events in the last part of the time before the query."""

    grid: ClassVar = [{"share": share} for share in (0.003, 0.01, 0.03, 0.1)]

    def __init__(self, share: float):
        self.share = share

    def fit(self, histories: Histories, n_items: int) -> RecentPop:
        """See OrderedBaseline."""
        super().fit(histories, n_items)
        order = np.argsort(histories.times, kind="stable")
        self.times, self.items = histories.times[order], histories.items[order]
        self.span = self.share * (self.times[-1] - self.times[0])
        return self

    def scores(self, queries: Histories) -> np.ndarray:
        """See OrderedBaseline."""
        stop = np.searchsorted(self.times, queries.now)
        start = np.searchsorted(self.times, np.minimum(queries.now, self.times[-1]) - self.span)
        counts = [np.bincount(self.items[a:b], minlength=self.n_items) for a, b in zip(start, stop, strict=True)]
        return np.array(counts, dtype=np.float32) + 1e-6 * self.degree / self.degree.max()


class _OfMatrix(OrderedBaseline):
    """A baseline of :mod:`baselines`, which does not know the order."""

    kind: ClassVar[type[baselines.Baseline]]

    def __init__(self, **hyperparameters):
        self.hyperparameters = hyperparameters

    def fit(self, histories: Histories, n_items: int) -> _OfMatrix:
        """See OrderedBaseline."""
        super().fit(histories, n_items)
        self.fitted = self.kind(**self.hyperparameters).fit(self.matrix)
        return self

    def scores(self, queries: Histories) -> np.ndarray:
        """See OrderedBaseline."""
        return self.fitted.scores_of(queries.matrix(self.n_items), queries.users)


class ItemKNN(_OfMatrix):
    """Cosine of items."""

    kind = baselines.ItemKNN
    grid: ClassVar = [{"k": k, "shrink": s} for k in (100, 500) for s in (0.0, 20.0)]


class UserKNN(_OfMatrix):
    """Cosine of users."""

    kind = baselines.UserKNN
    grid = baselines.UserKNN.grid


class EASE(_OfMatrix):
    """Steck, WWW 2019."""

    kind = baselines.EASE
    grid: ClassVar = [{"reg": reg} for reg in (50.0, 250.0, 1000.0)]


class TransitionsT10P(OrderedBaseline):
    """Directed transitions of at most ten steps, each divided by the steps, with decay over the history."""

    grid: ClassVar = [{"decay": decay} for decay in (0.0, 0.4, 0.7, 0.9)]

    def __init__(self, decay: float):
        self.decay = decay

    def fit(self, histories: Histories, n_items: int) -> TransitionsT10P:
        """See OrderedBaseline."""
        super().fit(histories, n_items)
        counts = Transitions(histories, n_items).matrix(lambda gap: (gap <= 10) / gap)
        left, right = (sp.diags(baselines.inverse_power(self.degree, power)) for power in (0.8, 0.2))
        self.weights = (left @ counts @ right).tocsr()
        return self

    def scores(self, queries: Histories) -> np.ndarray:
        """See OrderedBaseline."""
        return self._or_popularity((queries.weighted(self.n_items, self.decay) @ self.weights).toarray())


class VSKNN(OrderedBaseline):
    """Vector multiplication session-based kNN (Ludewig and Jannach, UMUAI 2018), with linear decay in the query.

    The similarity of a training history is the sum of the weights of the common items. Its items are weighted by the
    place of the latest common item, and by their rarity.
    """

    grid: ClassVar = [{"k": k, "n_latest": n} for k in (100, 500) for n in (10, 50)]

    def __init__(self, k: int, n_latest: int):
        self.k, self.n_latest = k, n_latest

    def fit(self, histories: Histories, n_items: int) -> VSKNN:
        """See OrderedBaseline."""
        super().fit(histories, n_items)
        self.by_item = self.matrix.T.tocsr()
        self.rarity = np.log(len(histories) / np.maximum(self.degree, 1)).astype(np.float32)
        return self

    def scores(self, queries: Histories) -> np.ndarray:
        """See OrderedBaseline."""
        latest = queries.latest(self.n_latest)
        weights = 1 - latest.ages / np.maximum(latest.lengths, 1)[latest.rows]
        shape = (len(queries), self.n_items)
        query = sp.csr_matrix((weights.astype(np.float32), (latest.rows, latest.items)), shape=shape)
        similar = (query @ self.by_item).tocsr()
        row = np.repeat(np.arange(len(queries)), np.diff(similar.indptr))
        similar.data[similar.indices == queries.users[row]] = 0
        similar.eliminate_zeros()
        nearest = baselines.keep_largest(similar, self.k)
        row = np.repeat(np.arange(len(queries)), np.diff(nearest.indptr))
        newest = np.zeros(nearest.nnz)
        for start in range(0, nearest.nnz, 2**16):  # age of the latest common item of each pair
            block = slice(start, start + 2**16)
            common = self.matrix[nearest.indices[block]].multiply(query[row[block]])
            newest[block] = common.max(axis=1).toarray()[:, 0]
        nearest.data = nearest.data * newest.astype(np.float32)
        return self._or_popularity((nearest @ self.matrix).toarray() * self.rarity)


ORDERED_BASELINES: dict[str, type[OrderedBaseline]] = {
    "MostPop": MostPop,
    "RecentPop": RecentPop,
    "ItemKNN": ItemKNN,
    "UserKNN": UserKNN,
    "EASE": EASE,
    "T10P": TransitionsT10P,
    "V-SKNN": VSKNN,
}


def ordered_baseline_ranks(split: OrderedSplit, name: str) -> tuple[np.ndarray | None, dict]:
    """Test ranks of a baseline whose hyperparameters are chosen by NDCG@10 on validation, and how they came about."""
    kind = ORDERED_BASELINES[name]
    if name == "RecentPop" and not split.test.train.has_clock:
        return None, {"note": "no clock"}
    n_users = len(split.test.train)
    if issubclass(kind, _OfMatrix) and not kind.kind.affordable((n_users, split.n_items)):
        return None, {"note": "not affordable"}
    start, best = time.perf_counter(), -1.0
    for hyperparameters in kind.grid:
        fitted = kind(**hyperparameters).fit(split.valid.train, split.n_items)
        score = float(ndcg_of_ranks(split.evaluate(fitted.scores, "valid")).mean()) if len(kind.grid) > 1 else 0.0
        if score > best:
            best, chosen, kept = score, hyperparameters, fitted
    if split.test.train is not split.valid.train:
        kept = kind(**chosen).fit(split.test.train, split.n_items)
    ranks = split.evaluate(kept.scores, "test")
    return ranks, {"hyperparameters": chosen, "seconds": time.perf_counter() - start}
