"""Training-free graph scorers: how much a user's interactions say about every item.

No scorer needs a gradient: user-user similarity, random walks, a nearest-neighbour graph, spectral filters, a ridge
regression and popularity. All are products of sparse and small dense matrices with the columns of a batch of users, so
the same code is meant for CPU and GPU; only the CPU is tested. docs/ablation.md compares them with more scorers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_graph import InteractionGraph, binary_matrix
from recbole_universal.graph.item_models import (
    inverse_power,
    nearest_neighbors,
    paths_from_items,
    row_blocks,
    sampled_users,
    singular_vectors,
    strongest,
    thinned,
    weight_sums,
)
from recbole_universal.graph.regression import Regression, mean_degree, ridge_regressions
from recbole_universal.graph.sparse_sums import UserItems, check_indices, checked_csr, csr_of, sparse_tensor
from recbole_universal.graph.threads import in_torch_threads, lazy_property

#: Scorers in the order of the first axis of :meth:`GraphScorers.scores`, with the method and source of each.
SCORERS: dict[str, str] = {
    "user_cosine": "user-user cosine",
    "user_squared": "squared user-user similarity, which favours the nearest users and rare common items",
    "rp3": "three-step random walk, re-weighted by the popularity of the target (RP3beta with beta .5, Paudel et al., "
    "TiiS 2017)",
    "linear_filter": "linear low-pass filter of GF-CF (Shen et al., CIKM 2021)",
    "neighbors": "item-item cosine among each item's nearest neighbours (ItemKNN)",
    "low_pass": "ideal low-pass filter, the first quarter of the computed singular vectors",
    "mid_pass": "ideal low-pass filter, the first half of them",
    "full_pass": "ideal low-pass filter of GF-CF, all of them (Shen et al., CIKM 2021)",
    "regression": "EASE (Steck, WWW 2019)",
    "popularity": "number of interactions of the item (MostPop), for items within three steps of the user",
}
#: Scorers that are linear in the user's items: sums of rows of an item-item matrix, up to a factor of the user.
LINEAR = tuple(name for name in SCORERS if name not in ("user_squared", "popularity"))
#: Penalty of the regression, as a multiple of the mean item degree.
PENALTY = 3.0
_FILTERS = ("low_pass", "mid_pass", "full_pass")
_INDEX = {name: index for index, name in enumerate(SCORERS)}
# Larger matrices are sampled by user. The cost of ranking one user grows with the number of interactions, and the
# memory of filters and scores grows with the number of users.
_MOST_INTERACTIONS = 2**22
_MOST_USERS = 2**19
# A user with more items is thinned before items are related to items, since the cost is quadratic in the user's items
# (see `thinned`).
_MOST_ITEMS = 10_000
# Floats of one block of scores, [n_scorers, n_users, n_items], by device. On a CPU a block has 32 MB per thread, so
# that the columns of a few users stay in the processor's cache.
_BLOCK_FLOATS = {"cpu": 2**23, "cuda": 2**27}
# Number of matrices [n_sampled_users, n_users] that are in memory at once while scores are computed.
_USER_MATRICES = 5
# Number of arrays with one value per path (from a user by an item to a user) that are in memory at once, in floats.
_PATH_ARRAYS = 12
# Scores are multiples of 2**-_DIGITS times a power of two near the user's highest score. So nearly all scores that are
# equal but for rounding errors are equal. Otherwise their order, and with it the lists, would depend on the processor.
# The highest score may be that of an item of the user.
_DIGITS = 16
# Prefix of the names of the arrays of the regression.
_REGRESSION = "regression."


class GraphScorers:
    """The scorers of one interaction matrix.

    A matrix of more than 2**22 (four million) interactions or 2**19 users is sampled: items and users are related
    through a sample of the users, drawn with a fixed seed. Degrees and the items of each scored user come from the
    whole matrix. Nearest neighbours and :meth:`item_item` use only 10**8 // n items of a user with n > 10,000 items.

    Args:
        matrix: interactions, sparse [n_users, n_items]; any value but 0 counts as one interaction.
        weighted: whether the values weigh the interactions, in the items of a user and in the relations of items. The
            degrees stay counts. The values should have a mean near 1
            (:func:`~recbole_universal.graph.interaction_weights.relative_weights`).
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
        neighbors = nearest_neighbors(thinned(base, _MOST_ITEMS), n_neighbors)
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
        def tensor(name: str) -> torch.Tensor:
            return torch.from_numpy(arrays[name]).to(device)

        self._arrays, self.device = dict(arrays), device
        self.n_neighbors = int(arrays["n_neighbors"])
        indices, indptr, self.n_items = arrays["matrix.indices"], arrays["matrix.indptr"], int(arrays["n_items"])
        self.n_users = len(indptr) - 1
        ones = np.ones(len(indices), dtype=np.float32)
        self.matrix = checked_csr(ones, indices, indptr, (self.n_users, self.n_items))
        self._weights = arrays.get("matrix.data")  # None: all are 1
        self.user_degree = np.diff(indptr).astype(np.float32)
        self.item_degree = np.bincount(indices, minlength=self.n_items).astype(np.float32)
        # All arrays from here on describe the sampled users.
        sample = arrays["sample"]
        check_indices("sample", sample, self.n_users)
        check_indices("cuts", arrays["cuts"], arrays["vectors"].shape[1] + 1, size=len(_FILTERS))
        csr_of("neighbors", arrays, (self.n_items, self.n_items))
        base = self._sampled_matrix()
        user_sums, degree = weight_sums(base)
        self._item_inverse_power = {p: inverse_power(degree, p).to(device) for p in (0.5, 0.7, 1.0)}
        half = self._item_inverse_power[0.5]
        self._item_root = torch.where(half > 0, 1 / half, half)
        self._user_inverse_power = {p: inverse_power(user_sums, p).to(device) for p in (0.5, 1.0)}
        self._mean_paths = float(self.item_degree @ degree) / max(1, self.n_users)
        self._sample_index = torch.full((self.n_users,), -1, device=device)
        self._sample_index[tensor("sample")] = torch.arange(len(sample), device=device)
        self._user_item = sparse_tensor(base, device)
        self._item_user = sparse_tensor(base.T.tocsr(), device)
        self._neighbors = tuple(tensor(f"neighbors.{array}") for array in ("indptr", "indices", "data"))
        self._vectors = tensor("vectors")
        fitted = {n.removeprefix(_REGRESSION): array for n, array in arrays.items() if n.startswith(_REGRESSION)}
        if "row" in fitted:
            check_indices("regression.row", fitted["row"], self.n_users, least=-1, size=self.n_users)
        self._regression = Regression.from_arrays(fitted, device, self.n_items)
        self._degree = torch.from_numpy(self.item_degree).to(device)

    def _sampled_matrix(self) -> sp.csr_matrix:
        whole, sample = self.matrix, self._arrays["sample"]
        if self._weights is not None:
            whole = sp.csr_matrix((self._weights, whole.indices, whole.indptr), shape=whole.shape)
        return whole if len(sample) == self.n_users else whole[sample]

    @property
    def block_users(self) -> int:
        """Number of users to score at once, which bounds the memory for any number of users and items."""
        floats = _BLOCK_FLOATS.get(self.device.type, _BLOCK_FLOATS["cuda"])
        matrices = max(len(SCORERS) * self.n_items, _USER_MATRICES * self._user_item.shape[0])
        return max(1, int(floats // max(matrices, _PATH_ARRAYS * self._mean_paths)))

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

    def scores_of(self, histories: Histories, out: torch.Tensor | None = None) -> torch.Tensor:
        """Scores of every item for some histories, whose order and repetitions do not count.

        Args:
            histories: the histories.
            out: array for the result, float32 [n_scorers, n, n_items] on the scorers' device; None: a new one.

        Returns:
            float32 [n_scorers, n, n_items] in the order of :data:`SCORERS`, on the scorers' device; higher is better,
            0 for an item that no path joins to the history. The items of the history are scored too.
        """
        n = len(histories)
        users = torch.from_numpy(histories.users).to(self.device)
        matrix = histories.matrix(self.n_items)
        if histories.weights is None:
            user_items = UserItems.of(matrix, self.device)
        else:
            user_items = UserItems.of(histories.weighted(self.n_items, 1.0), self.device, weighted=True)
        if out is None:
            out = torch.empty(len(SCORERS), n, self.n_items, device=self.device)
        # The items of these users have few entries in `_item_user`, so their sum is faster than a product of matrices.
        entry, source = user_items.entries(self._item_user.crow_indices())
        position = self._item_user.col_indices()[entry].long() * n + user_items.rows[source]
        paths = None if self._weights is None else self._item_user.values()[entry]
        if user_items.weights is not None:
            paths = user_items.weights[source] if paths is None else paths * user_items.weights[source]

        def to_users(power: float | None) -> torch.Tensor:
            """Sum over common items of degree ** -power, [n_sampled_users, n]; None: number of common items."""
            weights = torch.ones_like(self._degree) if power is None else self._item_inverse_power[power]
            of_paths = weights[user_items.items][source]
            of_paths = of_paths if paths is None else of_paths * paths
            flat = torch.zeros(self._user_item.shape[0] * n, device=self.device)
            return flat.index_add_(0, position, of_paths).view(self._user_item.shape[0], n)

        user_half, user_one = self._user_inverse_power[0.5][:, None], self._user_inverse_power[1.0][:, None]
        similar = to_users(0.7).mul_(user_half)
        sampled = ((users >= 0) & (self._sample_index[users] >= 0)).nonzero()[:, 0]
        similar[self._sample_index[users[sampled]], sampled] = 0.0  # a user's similarity to itself
        out[_INDEX["user_squared"]].copy_((self._item_user @ similar.square_()).T)
        out[_INDEX["user_cosine"]].copy_((self._item_user @ to_users(None).mul_(user_half)).T)
        walk = (self._item_user @ to_users(1.0).mul_(user_one)).T
        torch.mul(walk, self._item_inverse_power[0.5], out=out[_INDEX["rp3"]])
        torch.mul(walk > 0, self._degree, out=out[_INDEX["popularity"]])
        filtered = (self._item_user @ to_users(0.5).mul_(user_one)).T
        torch.mul(filtered, self._item_inverse_power[0.5], out=out[_INDEX["linear_filter"]])
        self._put_neighbors(out[_INDEX["neighbors"]], user_items)
        self._put_filters(out, user_items)
        with_own_items = torch.where(self._has_own_items(histories, matrix).to(self.device), users, -1)
        self._regression.put_scores(out[_INDEX["regression"]], with_own_items, user_items)
        return _rounded(out)

    def _has_own_items(self, histories: Histories, matrix: sp.csr_matrix) -> torch.Tensor:
        """Whether each history holds the items that its user has in the matrix, bool [n]."""
        own = self.matrix[np.maximum(histories.users, 0)]
        same = (histories.users >= 0) & (np.diff(own.indptr) == np.diff(matrix.indptr))
        same[same] = np.diff((own[same] != matrix[same]).indptr) == 0
        return torch.from_numpy(same)

    def _put_neighbors(self, out: torch.Tensor, user_items: UserItems) -> None:
        indptr, targets, cosines = self._neighbors
        entry, source = user_items.entries(indptr)
        values = cosines[entry] if user_items.weights is None else cosines[entry] * user_items.weights[source]
        out.zero_().view(-1).index_add_(0, user_items.rows[source] * self.n_items + targets[entry], values)

    def _put_filters(self, out: torch.Tensor, user_items: UserItems) -> None:
        spectrum = user_items.sums(self._vectors, self._item_inverse_power[0.5])
        cuts = self._arrays["cuts"].tolist()
        total = None
        for name, start, stop in zip(_FILTERS, [0, *cuts], cuts, strict=False):
            band = spectrum[:, start:stop] @ self._vectors[:, start:stop].T
            total = band if total is None else total.add_(band)
            torch.mul(total, self._item_root, out=out[_INDEX[name]])

    def item_item(self, weights: Mapping[str, float], n_relations: int, show_progress: bool = False) -> sp.csr_matrix:
        """The weighted sum of the linear scorers as one item-item matrix.

        The sum of the rows of a user's items approximates the user's scores. The matrix omits relations of items
        without a common user, and keeps only the strongest relations of each item.

        Args:
            weights: weight of each scorer of :data:`LINEAR`; 0 for a missing one.
            n_relations: number of relations to keep for each item, those of the largest absolute value.
            show_progress: whether to draw a progress bar.

        Returns:
            csr float32 [n_items, n_items], row = item of the user, zero diagonal.
        """
        weight = {name: float(weights.get(name, 0.0)) for name in LINEAR}
        base = thinned(self._sampled_matrix(), _MOST_ITEMS)
        by_item = base.T.tocsr()
        item_half, item_one = (self._item_inverse_power[power].cpu().numpy() for power in (0.5, 1.0))

        def counting(power: float) -> sp.csr_matrix:
            """The sampled interactions, each divided by that power of the user's degree."""
            data = np.repeat(self._user_inverse_power[power].cpu().numpy(), np.diff(base.indptr)) * base.data
            return sp.csr_matrix((data, base.indices, base.indptr), shape=base.shape)

        by_half, by_one = counting(0.5), counting(1.0)
        vectors = torch.from_numpy(self._arrays["vectors"])
        shares = torch.zeros(vectors.shape[1])
        for name, cut in zip(_FILTERS, self._arrays["cuts"], strict=True):
            shares[:cut] += weight[name]
        sources = vectors * self._item_inverse_power[0.5].cpu()[:, None] * shares
        targets = vectors * self._item_root.cpu()[:, None]
        indptr, indices, data = (self._arrays[f"neighbors.{array}"] for array in ("indptr", "indices", "data"))
        neighbors = sp.csr_matrix((data * weight["neighbors"], indices, indptr), shape=(self.n_items, self.n_items))

        def relations(block: np.ndarray) -> sp.csr_matrix:
            # Both products sum over the same paths, so their entries are in the same order.
            related, walked = (by_item[block] @ weighted for weighted in (by_half, by_one))
            row = np.repeat(np.arange(len(block)), np.diff(related.indptr))
            source, target = block[row], related.indices
            # A dense matrix of the block's items and all items that share a user with one of them.
            column = np.zeros(self.n_items, dtype=np.int64)
            column[target] = 1
            others = np.flatnonzero(column)
            column[others] = np.arange(len(others))
            dense = (sources[block] @ targets[others].T).numpy()
            if weight["regression"]:
                dense += weight["regression"] * self._regression.relations(block, others)
            near = neighbors[block].tocoo()
            dense[near.row, column[near.col]] += near.data
            values = related.data * weight["user_cosine"] + dense[row, column[target]]
            walks = weight["rp3"] * item_one[source] + weight["linear_filter"] * item_half[source]
            values += walked.data * walks * item_half[target]
            values[source == target] = 0.0
            bar.update(len(block))
            return strongest(sp.csr_matrix((values, target, related.indptr), shape=related.shape), n_relations)

        with tqdm(total=self.n_items, desc="item-item", unit="item", disable=not show_progress) as bar:
            # An item without sampled users has no path, but takes a row of a block.
            blocks = row_blocks(np.maximum(paths_from_items(base), 1), self.n_items, n_arrays=4)
            matrix = sp.vstack(in_torch_threads(relations, blocks), format="csr")
        matrix.eliminate_zeros()
        return matrix

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
        before, base = (thinned(interactions[sample], _MOST_ITEMS) for interactions in (before, binary))
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


def _prefixed(regression: Regression) -> dict[str, np.ndarray]:
    """The arrays of a regression by their names among those of the scorers."""
    return {_REGRESSION + name: array for name, array in regression.arrays().items()}


def _rounded(scores: torch.Tensor) -> torch.Tensor:
    """Scores [n_scorers, n_users, n_items], rounded in place."""
    best = scores.amax(dim=2, keepdim=True)
    # A sum with this number keeps no more digits. With the factor 1.5 that also holds for negative scores.
    large = torch.ldexp(torch.full_like(best, 1.5), torch.frexp(best).exponent + 23 - _DIGITS)
    return scores.add_(large).sub_(large)


def _matrix_arrays(matrix: sp.csr_matrix, neighbors: sp.csr_matrix) -> dict[str, np.ndarray]:
    """The arrays of the interactions and of the neighbours, whose rows are target items."""
    # With rows of source items, a user's scores are the sum of few rows.
    by_source = neighbors.T.tocsr()
    arrays = {"n_items": np.array(matrix.shape[1]), "neighbors.data": by_source.data}
    for name, csr in (("matrix", matrix), ("neighbors", by_source)):
        arrays |= {f"{name}.indptr": csr.indptr, f"{name}.indices": csr.indices}
    return arrays
