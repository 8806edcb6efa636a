"""Scorers of histories in order: what a user takes next.

A scorer is a relation between items under a weighting of the history: an item that came a steps before the last one
weighs ``decay ** a``. The scorers of :mod:`recbole_universal.graph.scorers` are the case without order, decay 1. Some
of them are scorers here too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
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
from recbole_universal.graph.sequence_definitions import LINEAR_SEQUENCE, POWERS, SEQUENCE_SCORERS
from recbole_universal.graph.sequence_scores import SequenceScores
from recbole_universal.graph.sparse_sums import arrays_under, check_indices, csr_arrays, csr_of
from recbole_universal.graph.sums import best_columns, in_large_pages
from recbole_universal.graph.threads import lazy_property
from recbole_universal.graph.transitions import Transitions
from recbole_universal.graph.user_sums import UserSums

# Filters in the order of their numbers of singular vectors.
_FILTERS = ("mid_pass", "full_pass")
_LONGEST_GAP = 10
_MOST_RANK = 200
# As for the scorers without order.
_MOST_EVENTS, _MOST_USERS = 2**22, 2**19
# Number of histories that are scored at once, and bound on the floats of an array with a value for each history and
# each item.
_BLOCK_USERS, _BLOCK_FLOATS = 128, 2**23
# Number of most popular items among which the transitions' factors draw, and number of the largest factors that do.
_MOST_DRAWN_FROM, _N_DRAWING = 2**14, 64
# Number of items that are popular at a point in time and can be drawn.
_N_RECENT = 256
# The prefixes of at most this number of events are neighbours.
_MOST_PREFIXES = 2**20


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
    linear = LINEAR_SEQUENCE
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
        self._arrays = {name: in_large_pages(array) for name, array in arrays.items()}
        arrays = self._arrays
        self.n_items = int(arrays["n_items"])
        _check_shapes(arrays, self.n_items)
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
        check_indices("cuts", arrays["cuts"], arrays["vectors"].shape[1] + 1, size=len(_FILTERS))
        # All attributes from here on are what the scores of histories read. They describe the sampled users.
        self.base = self.matrix[arrays["sample"]]
        self.row_in_sample = np.full(self.n_users, -1)
        self.row_in_sample[arrays["sample"]] = np.arange(len(arrays["sample"]))
        half = inverse_power(np.diff(self.base.indptr).astype(np.float32), 0.5).numpy()
        self.user_sums = UserSums(self.base, half)
        shape = (self.n_items, self.n_items)
        self.relations = {name: csr_of(name, arrays, shape) for name in ("next", "transitions", "neighbors")}
        self.relations["reversed_transitions"] = self.relations["transitions"].T.tocsr()
        self.relations["identity"] = sp.eye(self.n_items, format="csr", dtype=np.float32)
        fitted = arrays_under("regression.", arrays)
        self.regression = Regression.from_arrays(fitted, self.device, self.n_items)
        prefixes = arrays_under("prefixes.", arrays)
        self.prefixes = PrefixNeighbors(prefixes)
        self.prefix_weights = {decay: arrays[f"prefix_regression_{decay}"] for decay in (0.7, 0.9)}
        self.popular = arrays["popular"]
        self.popular_column = np.full(self.n_items, -1)
        self.popular_column[self.popular] = np.arange(len(self.popular))
        self.vectors = arrays["vectors"]
        self.cuts = dict(zip(_FILTERS, arrays["cuts"].tolist(), strict=True))
        self.low_rank = arrays["low_rank.sources"], arrays["low_rank.targets"]
        self._degree = arrays["degree"]
        self._powers: dict[float, NDArray[np.float32]] = {}
        # The items among which the factors draw, the column of each item or -1, and factors [n_factors, n_columns].
        self.popularity_order = popularity_order(self.item_degree)
        self.drawn_from = self.popularity_order[:_MOST_DRAWN_FROM]
        self.drawing_column = np.full(self.n_items, -1)
        self.drawing_column[self.drawn_from] = np.arange(len(self.drawn_from))
        targets = self.low_rank[1][self.drawn_from, :_N_DRAWING]
        targets = targets * self.power(POWERS["low_rank"][1])[self.drawn_from, None]
        self.drawing_targets = np.ascontiguousarray(targets.T)

    def power(self, power: float) -> NDArray[np.float32]:
        """``degree ** -power``, and 0 for an item without sampled events, float32 [n_items]."""
        if power not in self._powers:
            degree = self._degree
            values = np.where(degree > 0, np.maximum(degree, np.float32(1)) ** np.float32(-power), np.float32(0))
            self._powers[power] = values.astype(np.float32)
        return self._powers[power]

    def recent_counts(self, horizon: float) -> NDArray[np.float32]:
        """Decayed counts of each item at each point in time, float32 [n_points, n_items]."""
        return self._arrays[f"recent.counts_{horizon}"]

    def steps_of(self, now: NDArray[np.float64]) -> NDArray[np.int64] | None:
        """Index of the last point in time before each time, int64 [n]; ``None`` without a clock."""
        if "recent.starts" not in self._arrays:
            return None
        return np.maximum(np.searchsorted(self._arrays["recent.starts"], now, side="right") - 1, 0)

    @lazy_property
    def recently_popular(self) -> list[sp.csr_matrix]:
        """The largest :meth:`recent_counts` of each point in time, csr [n_points, n_items] for each horizon."""
        matrices = []
        for horizon in HORIZONS:
            counts = self.recent_counts(horizon)
            n, k = len(counts), min(_N_RECENT, self.n_items)
            items = best_columns(counts, k)
            values = np.take_along_axis(counts, items, 1).ravel()
            indptr = np.arange(n + 1) * k
            matrices.append(sp.csr_matrix((values, items.ravel(), indptr), shape=counts.shape))
        return matrices

    @property
    def block_users(self) -> int:
        """Number of histories to score at once, which bounds the memory for any number of users and items."""
        return max(1, min(_BLOCK_USERS, _BLOCK_FLOATS // self.n_items))

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
        """The scores of some histories, of every item by few scorers and of given items by all.

        Args:
            histories: the histories.
            preference: factor of each item's scores, which orders items of equal scores, float32 [n_items].
        """
        return SequenceScores(self, histories, preference)

    def scores_of(self, histories: Histories) -> torch.Tensor:
        """Scores of every item for some histories.

        Args:
            histories: the histories.

        Returns:
            float32 [n_scorers, n, n_items] in the order of :data:`SEQUENCE_SCORERS`; higher is better. The items of the
            history are scored too.
        """
        items = np.tile(np.arange(self.n_items), (len(histories), 1))
        return self.asked(histories, torch.ones(self.n_items)).of(items, np.full(len(histories), self.n_items))


def _check_shapes(arrays: Mapping[str, np.ndarray], n_items: int) -> None:
    """Check stored tables before compiled code reads rows of them.

    Raises:
        ValueError: if an array has another shape.
    """
    n_popular = len(arrays["popular"])
    shapes = {name: (n_items,) for name in ("degree", "prefixes.rarity")}
    tables = {name: (n_items, arrays[name].shape[-1]) for name in ("vectors", "low_rank.sources")}
    tables["low_rank.targets"] = tables["low_rank.sources"]
    tables |= {f"prefix_regression_{decay}": (n_popular, n_popular) for decay in (0.7, 0.9)}
    if "recent.starts" in arrays:
        n_points = len(arrays["recent.starts"])
        tables |= {f"recent.counts_{horizon}": (n_points, n_items) for horizon in HORIZONS}
    for name, shape in {**shapes, **tables}.items():
        if arrays[name].shape != shape:
            raise ValueError(f"its array {name} must have the shape {list(shape)} and has {list(arrays[name].shape)}")


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
