"""Scorers of histories in order: what a user takes next.

A scorer is a relation between items under a weighting of the history: an item that came a steps before the last one
weighs ``decay ** a``. The scorers of :mod:`recbole_universal.graph.scorers` are the case without order, decay 1. Some
of them are scorers here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.extmath import randomized_svd
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_graph import binary_matrix
from recbole_universal.graph.item_models import inverse_power, nearest_neighbors, sampled_users, singular_vectors
from recbole_universal.graph.popularity import popularity_order
from recbole_universal.graph.prefixes import PrefixNeighbors, prefix_regression
from recbole_universal.graph.recent_popularity import HORIZONS, recent_popularity
from recbole_universal.graph.regression import Regression, mean_degree, ridge_regressions
from recbole_universal.graph.scorers import PENALTY
from recbole_universal.graph.sparse_sums import UserItems, check_indices, csr_arrays, csr_of
from recbole_universal.graph.transitions import Transitions


class SequenceScorer(NamedTuple):
    """A relation between items and a weighting of the history.

    Attributes:
        relation: name of the relation.
        decay: weight of an item of age a is ``decay ** a``; 0 is the last item alone, 1 no order.
        words: what it measures, for explanations.
    """

    relation: str
    decay: float
    words: str


#: Scorers in the order of the first axis of :meth:`SequenceScorers.scores_of`.
SEQUENCE_SCORERS: dict[str, SequenceScorer] = {
    "next_item": SequenceScorer("next", 0.0, "what follows the last item"),
    "transitions_short": SequenceScorer("transitions", 0.4, "what follows the last few items"),
    "transitions": SequenceScorer("transitions", 0.7, "what follows the latest items"),
    "transitions_long": SequenceScorer("transitions", 0.9, "what follows the items of the history"),
    "cosine_transitions": SequenceScorer(
        "cosine_transitions", 0.7, "what follows the latest items more than others do"
    ),
    "reversed_transitions": SequenceScorer("reversed_transitions", 0.7, "what comes before the latest items"),
    "low_rank_transitions": SequenceScorer("low_rank", 0.7, "what follows items like the latest ones"),
    "low_rank_transitions_long": SequenceScorer("low_rank", 0.9, "what follows items like those of the history"),
    "prefix_regression": SequenceScorer("prefix_regression_0.7", 0.7, "prediction from the order of the latest items"),
    "prefix_regression_long": SequenceScorer("prefix_regression_0.9", 0.9, "prediction from the order of the history"),
    "prefix_neighbors": SequenceScorer("prefix_neighbors", 0.85, "what followed in similar histories"),
    "neighbors": SequenceScorer("neighbors", 1.0, "similarity to the items of the history"),
    "recent_neighbors": SequenceScorer("neighbors", 0.8, "similarity to the latest items"),
    "full_pass": SequenceScorer("full_pass", 1.0, "wide low-pass filter"),
    "recent_mid_pass": SequenceScorer("mid_pass", 0.9, "medium low-pass filter of the latest items"),
    "regression": SequenceScorer("regression", 1.0, "regression on the items of the history"),
    "recent_regression": SequenceScorer("regression", 0.7, "regression on the latest items"),
    "user_squared": SequenceScorer("user_squared", 1.0, "users with the same rare items"),
    "recent_user_squared": SequenceScorer("user_squared", 0.8, "users with the same rare items of late"),
    "recent_user_cosine": SequenceScorer("user_cosine", 0.8, "users with the same items of late"),
    "popularity": SequenceScorer("popularity", 1.0, "popularity"),
    "recent_popularity": SequenceScorer("recent_popularity_0", 1.0, "popularity of the last while"),
    "recent_popularity_long": SequenceScorer("recent_popularity_1", 1.0, "popularity of late"),
    "repeats": SequenceScorer("identity", 1.0, "how often the item was had"),
    "recent_repeats": SequenceScorer("identity", 0.7, "how recently the item was had"),
}
# Relations that are not linear in the weighted history.
_NOT_LINEAR = ("user_squared", "popularity", "recent_popularity_0", "recent_popularity_1", "prefix_neighbors")
# Index of each filter's number of singular vectors.
_CUTS = {"mid_pass": 0, "full_pass": 1}
# Exponents of the degrees of the earlier and the later item, by relation.
_POWERS = {
    "next": (0.5, 0.3),
    "transitions": (0.8, 0.2),
    "cosine_transitions": (0.5, 0.5),
    "reversed_transitions": (0.6, 0.4),
    "low_rank": (0.5, -0.3),
}
_LONGEST_GAP = 10
_MOST_RANK = 200
# As for the scorers without order.
_MOST_EVENTS, _MOST_USERS = 2**22, 2**19
_BLOCK_FLOATS = 2**24
# An addition in a product of sparse matrices takes as long as so many in a product with a dense one.
_SPARSE_COST = 8
# The prefixes of at most this number of events are neighbours.
_MOST_PREFIXES = 2**20


class SequenceScores(NamedTuple):
    """Scores of some histories.

    Attributes:
        scores: scores of every item by every scorer, float32 [n_scorers, n, n_items].
    """

    scores: torch.Tensor

    def draw(self, k: int, excluded: sp.csr_matrix, allowed: np.ndarray | None) -> np.ndarray:
        """The best items of each scorer, see :class:`~recbole_universal.features.candidates.HistoryScores`."""
        left_out = UserItems.of(excluded, self.scores.device)
        before = self.scores[:, left_out.rows, left_out.items]
        self.scores[:, left_out.rows, left_out.items] = -torch.inf
        values = self.scores if allowed is None else self.scores.masked_fill(~torch.from_numpy(allowed), -torch.inf)
        best, items = values.topk(min(k, values.shape[2]), dim=2)
        self.scores[:, left_out.rows, left_out.items] = before
        return torch.where(best > 0, items, -1).permute(1, 0, 2).flatten(1).numpy()

    def of(self, items: np.ndarray, lengths: np.ndarray) -> torch.Tensor:
        """Scores of some items of each history, float32 [n_scorers, n, width].

        Args:
            items: items of each history, int64 [n, width].
            lengths: number of items of each history; those after them score 0, int64 [n].
        """
        after = torch.from_numpy(np.arange(items.shape[1]) >= lengths[:, None])
        index = torch.from_numpy(items).expand(len(self.scores), -1, -1)
        return self.scores.gather(2, index).masked_fill_(after, 0.0)


class SequenceScorers:
    """The scorers of one log of histories.

    A log of more than 2**22 events or 2**19 users is sampled by user, as by
    :class:`~recbole_universal.graph.scorers.GraphScorers`.

    Args:
        histories: the training histories, of the users 0 to n - 1.
        n_items: number of items.
        n_neighbors: number of neighbours of an item.
        max_rank: largest number of singular vectors.
        max_regression_size: largest number of items in the regressions, which relate the most popular ones.
        kind: whether the times are a clock, and whether the histories repeat items. ``None``: as these histories have
            them. A part of a log can look like another kind than the log.
        show_progress: whether to draw a progress bar.

    Attributes:
        names: names of the scorers.
        linear: names of the scorers that are linear in the weighted history.
        decays: :attr:`SequenceScorer.decay` by scorer.
        repeats: whether more than a hundredth of the events repeat an earlier item of the user.
        histories: the argument, without times.
        matrix: the interactions without order, binary csr [n_users, n_items].
        n_users: number of users.
        n_items: number of items.
        user_degree: number of different items of each user, float32 [n_users].
        item_degree: number of different users of each item, float32 [n_items].
        device: device of the scores, always the CPU.
    """

    names = tuple(SEQUENCE_SCORERS)
    linear = tuple(name for name, scorer in SEQUENCE_SCORERS.items() if scorer.relation not in _NOT_LINEAR)
    decays: Mapping[str, float] = {name: scorer.decay for name, scorer in SEQUENCE_SCORERS.items()}
    device = torch.device("cpu")

    def __init__(
        self,
        histories: Histories,
        n_items: int,
        *,
        n_neighbors: int = 200,
        max_rank: int = 256,
        max_regression_size: int = 6000,
        kind: tuple[bool, bool] | None = None,
        show_progress: bool = False,
    ) -> None:
        for name, value in (
            ("n_neighbors", n_neighbors),
            ("max_rank", max_rank),
            ("max_regression_size", max_regression_size),
        ):
            arguments.integer("sequence scorers", name, value, 1)
        whole = binary_matrix(histories.matrix(n_items))
        sample = sampled_users(_events(histories, n_items), _MOST_EVENTS, _MOST_USERS)
        bar = tqdm(total=5, desc="sequence scorers", unit="step", disable=not show_progress)

        def step(values):
            bar.update()
            return values

        base, sampled = whole[sample], histories[sample]
        degree = np.bincount(sampled.items, minlength=n_items).astype(np.float64)
        transitions = step(Transitions(sampled, n_items))
        arrays = {"sample": sample, "n_items": np.array(n_items), "degree": degree.astype(np.float32)}
        arrays |= {f"histories.{name}": getattr(histories, name) for name in ("items", "indptr", "now")}
        near = transitions.matrix(lambda gap: (gap <= _LONGEST_GAP) / gap)
        arrays |= csr_arrays("next", transitions.matrix(lambda gap: (gap == 1) * 1.0))
        arrays |= csr_arrays("transitions", near)
        arrays |= csr_arrays("neighbors", step(nearest_neighbors(base, n_neighbors)).T.tocsr())
        vectors, cuts = step(singular_vectors(base, max_rank, (2, 1)))
        arrays |= {"vectors": vectors, "cuts": cuts} | _low_rank(near, degree)
        popular = popularity_order(degree)[:max_regression_size]
        popular = popular[degree[popular] > 0]
        arrays["popular"] = popular
        for decay in (0.7, 0.9):
            arrays[f"prefix_regression_{decay}"] = prefix_regression(transitions, degree, popular, decay)
        ridge = PENALTY * mean_degree(base, max_regression_size)
        (regression,) = ridge_regressions(base, [ridge], max_regression_size, self.device)
        arrays |= {f"regression.{name}": array for name, array in step(regression).arrays().items()}
        few = sampled_users(_events(sampled, n_items), _MOST_PREFIXES, _MOST_USERS)
        prefixes = step(PrefixNeighbors.of(sampled[few], n_items, SEQUENCE_SCORERS["prefix_neighbors"].decay))
        arrays |= {f"prefixes.{name}": array for name, array in prefixes.arrays().items()}
        has_clock, repeats = kind or (histories.has_clock, histories.repeats(whole))
        arrays["repeats"] = np.array(repeats)
        if has_clock:
            arrays |= recent_popularity(histories, n_items)
        bar.close()
        self._load(arrays)

    def _load(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)
        self.n_items = int(arrays["n_items"])
        items, indptr, now = (arrays[f"histories.{name}"] for name in ("items", "indptr", "now"))
        self.n_users = len(indptr) - 1
        check_indices("histories.items", items, self.n_items)
        self.histories = Histories(items, indptr, np.arange(self.n_users), now=now)
        self.matrix = self.histories.matrix(self.n_items)
        self.repeats = bool(arrays["repeats"])
        self.user_degree = np.diff(self.matrix.indptr).astype(np.float32)
        self.item_degree = np.bincount(self.matrix.indices, minlength=self.n_items).astype(np.float32)
        check_indices("sample", arrays["sample"], self.n_users)
        check_indices("popular", arrays["popular"], self.n_items, size=len(arrays["prefix_regression_0.7"]))
        check_indices("cuts", arrays["cuts"], arrays["vectors"].shape[1] + 1, size=len(_CUTS))
        self._base = self.matrix[arrays["sample"]]
        self._by_item = self._base.T.tocsr()
        self._sample_index = np.full(self.n_users, -1)
        self._sample_index[arrays["sample"]] = np.arange(len(arrays["sample"]))
        self._user_half = inverse_power(np.diff(self._base.indptr).astype(np.float32), 0.5).numpy()
        shape = (self.n_items, self.n_items)
        self._relations = {name: csr_of(name, arrays, shape) for name in ("next", "transitions", "neighbors")}
        self._relations["reversed_transitions"] = self._relations["transitions"].T.tocsr()
        self._relations["cosine_transitions"] = self._relations["transitions"]
        self._relations["identity"] = sp.eye(self.n_items, format="csr", dtype=np.float32)
        fitted = {n.removeprefix("regression."): array for n, array in arrays.items() if n.startswith("regression.")}
        self._regression = Regression.from_arrays(fitted, self.device, self.n_items)
        prefixes = {n.removeprefix("prefixes."): array for n, array in arrays.items() if n.startswith("prefixes.")}
        self._prefixes = PrefixNeighbors(prefixes)
        self._degree = torch.from_numpy(arrays["degree"])

    @property
    def block_users(self) -> int:
        """Number of histories to score at once, which bounds the memory for any number of users and items."""
        return max(1, _BLOCK_FLOATS // max(len(self.names) * self.n_items, 3 * len(self._base.indptr)))

    def arrays(self) -> dict[str, np.ndarray]:
        """The state of the scorers, for :meth:`from_arrays`."""
        return self._arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SequenceScorers:
        """Scorers with a state from :meth:`arrays`.

        Raises:
            KeyError, ValueError: if an array is missing or has another form.
        """
        scorers = cls.__new__(cls)
        scorers._load(arrays)
        return scorers

    def asked(self, histories: Histories, preference: torch.Tensor) -> SequenceScores:
        """The scores of some histories, times a preference of each item, [n_items]. Every scorer scores every item."""
        return SequenceScores(self.scores_of(histories).mul_(preference))

    def scores_of(self, histories: Histories) -> torch.Tensor:
        """Scores of every item for some histories.

        Args:
            histories: the histories.

        Returns:
            float32 [n_scorers, n, n_items] in the order of :data:`SEQUENCE_SCORERS`; higher is better. The items of the
            history are scored too.
        """
        out = torch.empty(len(self.names), len(histories), self.n_items)
        weighted = {
            scorer.decay: histories.weighted(self.n_items, scorer.decay) for scorer in SEQUENCE_SCORERS.values()
        }
        for index, (name, scorer) in enumerate(SEQUENCE_SCORERS.items()):
            put = self._method(scorer.relation)
            put(out[index], scorer.relation, weighted[scorer.decay], histories)
            if name == "user_squared":
                reached = out[index] > 0
            elif name == "popularity":
                out[index] *= reached
        return out

    def _method(self, relation: str) -> Callable[[torch.Tensor, str, sp.csr_matrix, Histories], None]:
        if relation in self._relations:
            return self._put_relation
        if relation.endswith("_pass"):
            return self._put_filter
        if relation.startswith("prefix_regression"):
            return self._put_prefix_regression
        if relation.startswith("recent_popularity"):
            return self._put_recent_popularity
        return {
            "low_rank": self._put_low_rank,
            "prefix_neighbors": self._put_prefix_neighbors,
            "regression": self._put_regression,
            "user_squared": self._put_users,
            "user_cosine": self._put_users,
            "popularity": self._put_popularity,
        }[relation]

    def _put_relation(self, out: torch.Tensor, relation: str, weighted: sp.csr_matrix, _: Histories) -> None:
        source_power, target_power = _POWERS.get(relation, (0.0, 0.0))
        (self._scaled(weighted, source_power) @ self._relations[relation]).toarray(out=out.numpy())
        if target_power:
            out *= self._power(target_power)

    def _put_low_rank(self, out: torch.Tensor, relation: str, weighted: sp.csr_matrix, _: Histories) -> None:
        source_power, target_power = _POWERS[relation]
        spectrum = torch.from_numpy(self._scaled(weighted, source_power) @ self._arrays["low_rank.sources"])
        torch.mm(spectrum, torch.from_numpy(self._arrays["low_rank.targets"]).T, out=out)
        out *= self._power(target_power)

    def _put_filter(self, out: torch.Tensor, relation: str, weighted: sp.csr_matrix, _: Histories) -> None:
        rank = int(self._arrays["cuts"][_CUTS[relation]])
        vectors = self._arrays["vectors"]
        spectrum = torch.from_numpy(self._scaled(weighted, 0.5) @ vectors)
        torch.mm(spectrum[:, :rank], torch.from_numpy(vectors[:, :rank]).T, out=out)
        out *= self._power(-0.5)

    def _put_prefix_regression(self, out: torch.Tensor, relation: str, weighted: sp.csr_matrix, _: Histories) -> None:
        popular = self._arrays["popular"]
        out.zero_().numpy()[:, popular] = weighted[:, popular] @ self._arrays[relation]

    def _put_regression(self, out: torch.Tensor, _: str, weighted: sp.csr_matrix, histories: Histories) -> None:
        users = torch.from_numpy(histories.users)
        self._regression.put_scores(out, users, UserItems.of(weighted, self.device, weighted=True))

    def _put_prefix_neighbors(self, out: torch.Tensor, _: str, __: sp.csr_matrix, histories: Histories) -> None:
        self._prefixes.scores(self._sampled(histories)).toarray(out=out.numpy())

    def _put_users(self, out: torch.Tensor, relation: str, weighted: sp.csr_matrix, histories: Histories) -> None:
        squared = relation == "user_squared"
        query = self._scaled(weighted, 0.7) if squared else weighted
        if self._has_few_paths(query):
            self._similar_of_few(query, histories, squared).toarray(out=out.numpy())
            return
        similar = (self._base @ query.T).toarray()
        sampled = np.flatnonzero(self._sampled(histories).users >= 0)
        similar[self._sample_index[histories.users[sampled]], sampled] = 0.0  # a user's similarity to itself
        similar *= self._user_half[:, None]
        if squared:
            np.square(similar, out=similar)
        out.copy_(torch.from_numpy((self._by_item @ similar).T))

    def _has_few_paths(self, query: sp.csr_matrix) -> bool:
        """Whether sparse products of users take less time than dense ones."""
        n_users = query.astype(bool) @ np.diff(self._by_item.indptr).astype(np.float64)
        mean_degree = self._base.nnz / max(1, self._base.shape[0])
        return float(n_users.sum()) * mean_degree * _SPARSE_COST < len(n_users) * self._base.nnz

    def _similar_of_few(self, query: sp.csr_matrix, histories: Histories, squared: bool) -> sp.csr_matrix:
        """Scores of items by similar users, csr [n, n_items], where few users share an item."""
        similar = (query @ self._by_item).tocsr()
        own = np.where(self._sampled(histories).users >= 0, self._sample_index[histories.users], -1)
        similar.data[similar.indices == np.repeat(own, np.diff(similar.indptr))] = 0.0  # a user's own similarity
        similar.data *= self._user_half[similar.indices]
        if squared:
            np.square(similar.data, out=similar.data)
        return similar @ self._base

    def _put_popularity(self, out: torch.Tensor, *_: object) -> None:
        out.copy_(torch.from_numpy(self.item_degree).expand_as(out))

    def _put_recent_popularity(self, out: torch.Tensor, relation: str, _: sp.csr_matrix, histories: Histories) -> None:
        if "recent.starts" not in self._arrays:
            out.zero_()
            return
        index = np.searchsorted(self._arrays["recent.starts"], histories.now, side="right") - 1
        counts = self._arrays[f"recent.counts_{HORIZONS[int(relation[-1])]}"]
        out.copy_(torch.from_numpy(counts[np.maximum(index, 0)]))

    def _sampled(self, histories: Histories) -> Histories:
        """The same histories, whose users are -1 if they are not in the sample."""
        index = np.where(histories.users >= 0, self._sample_index[histories.users], -1)
        users = np.where(index >= 0, histories.users, -1)
        return Histories(histories.items, histories.indptr, users)

    def _scaled(self, weighted: sp.csr_matrix, power: float) -> sp.csr_matrix:
        """A weighted history with each item divided by a power of its degree."""
        if not power:
            return weighted
        data = weighted.data * self._power(power).numpy()[weighted.indices]
        return sp.csr_matrix((data, weighted.indices, weighted.indptr), shape=weighted.shape)

    def _power(self, power: float) -> torch.Tensor:
        """``degree ** -power``, and 0 for an item without sampled events, float32 [n_items]."""
        return torch.where(self._degree > 0, self._degree.clamp(min=1.0) ** -power, 0.0)


def _events(histories: Histories, n_items: int) -> sp.csr_matrix:
    """Histories as a matrix with an entry for each event; events of one item are not added."""
    ones = np.ones(len(histories.items), dtype=np.float32)
    return sp.csr_matrix((ones, histories.items, histories.indptr), shape=(len(histories), n_items))


def _low_rank(transitions: sp.csr_matrix, degree: np.ndarray) -> dict[str, np.ndarray]:
    """Factors of the transitions in the cosine's normalisation."""
    n_items = transitions.shape[0]
    half = sp.diags(inverse_power(degree.astype(np.float32), 0.5).numpy())
    rank = min(_MOST_RANK, max(8, n_items // 8), n_items)
    left, values, right = randomized_svd(half @ transitions @ half, rank, n_iter=3, random_state=0)
    sources, targets = (left * values).astype(np.float32), np.ascontiguousarray(right.T, dtype=np.float32)
    return {"low_rank.sources": sources, "low_rank.targets": targets}
