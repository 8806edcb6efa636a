"""Training-free graph scorers: how much a user's interactions say about every item.

No scorer needs a gradient: user-user similarity, random walks, a nearest-neighbour graph, spectral filters, a ridge
regression and popularity. All are sums over the items of users, computed on the CPU for the items that are asked for.
docs/ablation.md compares them with more scorers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.graph.graph_scores import GraphScores
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_graph import InteractionGraph, binary_matrix
from recbole_universal.graph.item_item import item_item
from recbole_universal.graph.item_models import (
    inverse_power,
    most_items,
    nearest_neighbors,
    sampled_users,
    singular_vectors,
    thinned,
    weight_sums,
)
from recbole_universal.graph.popularity import item_degrees, popularity_order
from recbole_universal.graph.regression import Regression, mean_degree, ridge_regressions
from recbole_universal.graph.scorer_definitions import FILTERS, LINEAR, POWERS, SCORERS
from recbole_universal.graph.sparse_sums import arrays_under, check_indices, check_weights, checked_csr, csr_of
from recbole_universal.graph.sums import in_large_pages
from recbole_universal.graph.threads import lazy_property
from recbole_universal.graph.user_sums import UserSums

#: Penalty of the regression, as a multiple of the mean item degree.
PENALTY = 3.0
# Larger matrices are sampled by user: they take 16 bytes an interaction, and some arrays have a row a user.
_MOST_INTERACTIONS = 2**26
_MOST_USERS = 2**19
# A user with more items is thinned before items are related to items, since the cost is quadratic in the user's items
# (see `thinned`). The number of items is lower where the users would relate more pairs than the second number.
_MOST_ITEMS, _MOST_PATHS = 10_000, 2**32
# Number of histories that are scored at once, and bound on the floats of an array with a value for each history and
# each item. Smaller blocks spend more of their time outside of the loops, and larger ones leave the cache.
_BLOCK_USERS, _BLOCK_FLOATS = 128, 2**23
# Number of most popular items among which the shortest filter draws candidates. It bounds the operations of a history.
_MOST_FILTERED = 2**14
# Prefix of the names of the arrays of the regression.
_REGRESSION = "regression."


class GraphScorers:
    """The scorers of one interaction matrix.

    A matrix of more than 2**26 (67 million) interactions or 2**19 users is sampled: items and users are related through
    a sample of the users, which is drawn with a fixed seed. Degrees and the items of each scored user come from the
    whole matrix. Nearest neighbours and :meth:`item_item` use only 10**8 // n items of a user with
    n > 10,000 items. Both numbers of items are lower where the users relate more than 2**32 pairs of items.

    Args:
        matrix: interactions, sparse [n_users, n_items]; any value but 0 counts as one interaction.
        weighted: whether the values weigh the interactions, in the items of a user and in the relations of items. The
            degrees stay counts. The values should have a mean near 1
            (:func:`~recbole_universal.graph.interaction_weights.evidence_of`) and be from 2**-40 to 2**40.
        n_neighbors: number of neighbours of an item in the nearest-neighbour graph.
        max_rank: largest number of singular vectors of the filters. It is an eighth of the smaller side, between 8 and
            this number, where the side allows it.
        max_regression_size: largest number of users or items in the regression, whose cost is cubic in it. If there are
            more of both, it relates this number of most popular items.
        penalty: penalty of the regression, > 0, as a multiple of the mean degree of the items that it relates.
        device: device of the computation. Experimental: not tested on CUDA.
        show_progress: whether to draw progress bars.

    Attributes:
        names: names of the scorers, in the order of :meth:`scores`.
        linear: names of the scorers that are linear in the user's items.
        decays: 1 for each scorer, since the order does not count.
        repeats: False, since a matrix has each interaction once.
        n_users: number of users.
        n_items: number of items.
        user_degree: number of interactions of each user, float32 [n_users].
        item_degree: number of interactions of each item, float32 [n_items].
        n_neighbors: the argument.
    """

    names, linear, repeats = tuple(SCORERS), LINEAR, False
    decays: Mapping[str, float] = dict.fromkeys(SCORERS, 1.0)

    def __init__(
        self,
        matrix: sp.spmatrix | sp.sparray,
        *,
        weighted: bool = False,
        n_neighbors: int = 100,
        max_rank: int = 256,
        max_regression_size: int = 6000,
        penalty: float = PENALTY,
        device: str | torch.device = "cpu",
        show_progress: bool = False,
    ) -> None:
        whole = InteractionGraph(matrix).user_item if weighted else binary_matrix(matrix)
        check_weights("matrix", whole.data)
        for name, value in (
            ("n_neighbors", n_neighbors),
            ("max_rank", max_rank),
            ("max_regression_size", max_regression_size),
        ):
            arguments.integer("graph scorers", name, value, 1)
        arguments.real("graph scorers", "penalty", penalty, 0)
        target = arguments.device(device)
        steps = ("neighbors", "filters", "regression")
        bar = tqdm(total=len(steps), desc="graph scorers", unit="step", disable=not show_progress)
        sample = sampled_users(whole, _MOST_INTERACTIONS, _MOST_USERS)
        base = whole if len(sample) == whole.shape[0] else whole[sample]
        neighbors = nearest_neighbors(_thin(base), n_neighbors)
        bar.update()
        vectors, cuts = singular_vectors(base, max_rank, (4, 2, 1))
        bar.update()
        row = np.full(whole.shape[0], -1)
        row[sample] = np.arange(len(sample))
        ridge = penalty * mean_degree(base, max_regression_size)
        (regression,) = ridge_regressions(base, [ridge], max_regression_size, target, row)
        bar.update()
        bar.close()
        arrays = {"sample": sample, "vectors": vectors, "cuts": cuts, "n_neighbors": np.array(n_neighbors)}
        arrays |= {"matrix.data": whole.data} if weighted else {}
        self._load({**arrays, **_prefixed(regression), **_matrix_arrays(whole, neighbors)}, target)

    def _load(self, arrays: Mapping[str, np.ndarray], device: torch.device) -> None:
        self._arrays, self.device = {name: in_large_pages(array) for name, array in arrays.items()}, device
        arrays = self._arrays
        self.n_neighbors = int(arrays["n_neighbors"])
        indices, indptr, self.n_items = arrays["matrix.indices"], arrays["matrix.indptr"], int(arrays["n_items"])
        self.n_users = len(indptr) - 1
        ones = np.ones(len(indices), dtype=np.float32)
        self.matrix = checked_csr(ones, indices, indptr, (self.n_users, self.n_items))
        self._weights = arrays.get("matrix.data")  # None: all are 1
        if self._weights is not None:
            check_weights("its array matrix.data", self._weights)
        self.user_degree = np.diff(indptr).astype(np.float32)
        self.item_degree = item_degrees(self.matrix).astype(np.float32)
        # All arrays from here on describe the sampled users.
        sample = arrays["sample"]
        check_indices("sample", sample, self.n_users)
        check_indices("cuts", arrays["cuts"], arrays["vectors"].shape[1] + 1, least=1, size=len(FILTERS))
        self._by_source = csr_of("neighbors", arrays, (self.n_items, self.n_items))
        base = self._sampled_matrix()
        user_sums, degree = weight_sums(base)
        self._half = inverse_power(degree, 0.5).numpy()
        self._root = np.divide(1, self._half, out=np.zeros_like(self._half), where=self._half > 0)
        powers = [inverse_power(degree, power).numpy() for power in POWERS]
        self._item_powers = np.ascontiguousarray(np.stack(powers, axis=1))
        self._user_inverse_power = {p: inverse_power(user_sums, p).numpy() for p in (0.5, 1.0)}
        self._base = base
        self._user_sums = UserSums(base, self._user_inverse_power[0.5])
        self._sample_index = np.full(self.n_users, -1)
        self._sample_index[sample] = np.arange(len(sample))
        fitted = arrays_under(_REGRESSION, arrays)
        if "row" in fitted:
            check_indices("regression.row", fitted["row"], self.n_users, least=-1, size=self.n_users)
        self._regression = Regression.from_arrays(fitted, device, self.n_items)
        self._popular = popularity_order(self.item_degree)
        # The shortest filter of some items: the items, the column of each item or -1, and factors [rank, n_columns].
        self._filtered = self._popular[:_MOST_FILTERED]
        self._filter_columns = np.full(self.n_items, -1)
        self._filter_columns[self._filtered] = np.arange(len(self._filtered))
        targets = arrays["vectors"][self._filtered, : int(arrays["cuts"][0])] * self._root[self._filtered, None]
        self._low_pass = np.ascontiguousarray(targets.T)

    def _sampled_matrix(self) -> sp.csr_matrix:
        whole, sample = self.matrix, self._arrays["sample"]
        if self._weights is not None:
            whole = sp.csr_matrix((self._weights, whole.indices, whole.indptr), shape=whole.shape)
        return whole if len(sample) == self.n_users else whole[sample]

    @property
    def block_users(self) -> int:
        """Number of histories to score at once, which bounds the memory for any number of users and items."""
        return max(1, min(_BLOCK_USERS, _BLOCK_FLOATS // self.n_items))

    def arrays(self) -> dict[str, np.ndarray]:
        """The state of the scorers, for :meth:`from_arrays`."""
        return self._arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], device: str | torch.device = "cpu") -> GraphScorers:
        """Scorers with a state from :meth:`arrays`.

        Raises:
            KeyError, ValueError: if an array is missing or has another form.
        """
        scorers = cls.__new__(cls)
        scorers._load(arrays, torch.device(device))
        return scorers

    @lazy_property
    def histories(self) -> Histories:
        """The items of each user. Their order says nothing."""
        return Histories(self.matrix.indices, self.matrix.indptr, np.arange(self.n_users), weights=self._weights)

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        """:meth:`scores_of` the histories of some users of the matrix, int64 [n]."""
        return self.scores_of(self.histories[users.cpu().numpy()])

    def scores_of(self, histories: Histories) -> torch.Tensor:
        """Scores of every item for some histories, whose order and repetitions do not count.

        Args:
            histories: the histories.

        Returns:
            float32 [n_scorers, n, n_items] in the order of ``SCORERS``, on the scorers' device; higher is better,
            0 for an item that no path joins to the history. The items of the history are scored too.
        """
        items = np.tile(np.arange(self.n_items), (len(histories), 1))
        return self.asked(histories, torch.ones(self.n_items)).of(items, np.full(len(histories), self.n_items))

    def asked(self, histories: Histories, preference: torch.Tensor) -> GraphScores:
        """The scores of some histories, of every item by few scorers and of given items by all.

        Args:
            histories: the histories, whose order and repetitions do not count.
            preference: factor of each item's scores, which orders items of equal scores, float32 [n_items].
        """
        return GraphScores(self, histories, preference)

    def item_item(self, weights: Mapping[str, float], n_relations: int, show_progress: bool = False) -> sp.csr_matrix:
        """The weighted sum of the linear scorers as one item-item matrix.

        The sum of the rows of a user's items approximates the user's scores. The matrix omits relations of items
        without a common user, and keeps only the strongest relations of each item. An item beyond the 16,384 most
        popular ones is only related to the items whose sums over common users rank it among ``2 * n_relations``.
        :mod:`recbole_universal.graph.item_item` explains the terms.

        Args:
            weights: weight of each scorer of ``LINEAR``; 0 for a missing one.
            n_relations: number of relations to keep for each item, those of the largest absolute value.
            show_progress: whether to draw a progress bar.

        Returns:
            csr float32 [n_items, n_items], row = item of the user, zero diagonal.

        Raises:
            ValueError: if ``n_relations`` is no integer of at least 1.
        """
        arguments.integer("item_item", "n_relations", n_relations, 1)
        return item_item(self, _thin(self._sampled_matrix()), weights, n_relations, show_progress)

    def with_interactions(self, matrix: sp.spmatrix | sp.sparray) -> GraphScorers:
        """Scorers of a matrix with further interactions, without the slow steps of a rebuild.

        User-user similarities, popularity and the nearest neighbours equal those of a rebuild with the same sample.
        New users join the sample. Only items whose neighbours may have changed get new neighbours. The singular
        vectors and the regression stay those of the last build, where a new item scores 0.

        Args:
            matrix: all interactions, [n_users, n_items]; new users and items are additional rows and columns.

        Raises:
            ValueError: if the matrix has fewer users or items than before, or the interactions have weights.
        """
        if self._weights is not None:
            raise ValueError(
                "Scorers of interactions with weights cannot be updated; make new ones of all interactions."
            )
        binary = binary_matrix(matrix)
        grown = binary.shape[0] - self.n_users, binary.shape[1] - self.n_items
        if min(grown) < 0:
            raise ValueError(
                f"matrix: must have the previous users and items, at least [{self.n_users}, {self.n_items}], "
                f"got [{binary.shape[0]}, {binary.shape[1]}]"
            )
        before = self.matrix.copy()
        before.resize(binary.shape)
        changed_users = np.diff((before != binary).indptr) > 0
        sample = np.concatenate([self._arrays["sample"], np.arange(self.n_users, binary.shape[0])])
        before, base = (_thin(interactions[sample]) for interactions in (before, binary))
        # If an item gains or loses a user, its cosines change, and with them the neighbours of items that share a user.
        changed = np.zeros(binary.shape[1], dtype=np.float32)
        changed[(before != base).indices] = 1.0
        touched = changed > 0
        for interactions in (before, base):
            touched |= interactions.T @ (interactions @ changed) > 0
        items = np.flatnonzero(touched)
        indptr, indices, data = (self._arrays[f"neighbors.{array}"] for array in ("indptr", "indices", "data"))
        neighbors = sp.csr_matrix((data, indices, indptr), shape=(self.n_items, self.n_items)).T.tocsr()
        neighbors.resize(binary.shape[1], binary.shape[1])
        selection = sp.csr_matrix(
            (np.ones(len(items), dtype=np.float32), (items, np.arange(len(items)))), shape=(binary.shape[1], len(items))
        )
        neighbors = sp.diags((~touched).astype(np.float32)) @ neighbors + selection @ nearest_neighbors(
            base, self.n_neighbors, items
        )
        neighbors.eliminate_zeros()
        vectors = np.pad(self._arrays["vectors"], ((0, grown[1]), (0, 0)))
        regression = self._regression.with_changed_users(changed_users)
        arrays = {**self._arrays, **_prefixed(regression), "sample": sample, "vectors": vectors}
        arrays |= _matrix_arrays(binary, neighbors.tocsr())
        return self.from_arrays(arrays, self.device)

    def to(self, device: str | torch.device) -> GraphScorers:
        """The same scorers on another device."""
        return self.from_arrays(self._arrays, device)


def _thin(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """A matrix whose users relate a bounded number of pairs of items."""
    return thinned(matrix, most_items(np.diff(matrix.indptr), _MOST_ITEMS, _MOST_PATHS))


def _prefixed(regression: Regression) -> dict[str, np.ndarray]:
    """The arrays of a regression by their names among those of the scorers."""
    return {_REGRESSION + name: array for name, array in regression.arrays().items()}


def _matrix_arrays(matrix: sp.csr_matrix, neighbors: sp.csr_matrix) -> dict[str, np.ndarray]:
    """The arrays of the interactions and of the neighbours, whose rows are target items."""
    # With rows of source items, a user's scores are the sum of few rows.
    by_source = neighbors.T.tocsr()
    arrays = {"n_items": np.array(matrix.shape[1]), "neighbors.data": by_source.data}
    for name, csr in (("matrix", matrix), ("neighbors", by_source)):
        arrays |= {f"{name}.indptr": csr.indptr, f"{name}.indices": csr.indices}
    return arrays
