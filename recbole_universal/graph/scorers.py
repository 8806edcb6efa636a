"""Training-free graph scorers: how much a user's interactions say about every item.

Each scorer is a known method that needs no gradient: powers of the normalised adjacency matrix (item-item and user-user
similarity, random walks, their second hop), a nearest-neighbour graph, low-pass spectral filters and a ridge
regression. All are products of sparse and small dense matrices with the columns of a batch of users, so one code
serves CPU and GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.graph.interaction_graph import binary_matrix
from recbole_universal.graph.item_models import (
    inverse_power,
    nearest_neighbors,
    paths_from_items,
    ridge_weights,
    row_blocks,
    sampled_users,
    singular_vectors,
    strongest,
    thinned,
)
from recbole_universal.graph.popularity import popularity_order
from recbole_universal.graph.threads import in_torch_threads

#: Scorers in the order of the first axis of :meth:`GraphScorers.scores`, with the method and source of each.
SCORERS: dict[str, str] = {
    "cosine": "item-item cosine",
    "popular_cosine": "item-item similarity that favours popular targets (exponents .7/.3)",
    "p3": "three-step random walk, P3alpha with alpha 1 (Cooper et al., WWW 2014 companion)",
    "rp3": "P3 re-weighted by the popularity of the target, RP3beta with beta .5 (Paudel et al., TiiS 2017)",
    "linear_filter": "linear low-pass filter of GF-CF (Shen et al., CIKM 2021)",
    "user_cosine": "user-user cosine",
    "user_squared": "squared user-user similarity, which favours the nearest users",
    "second_hop": "the linear filter applied twice",
    "neighbors": "item-item cosine among each item's nearest neighbours (ItemKNN)",
    "low_pass": "ideal low-pass filter, a quarter of the rank",
    "mid_pass": "ideal low-pass filter, half of the rank",
    "full_pass": "ideal low-pass filter of GF-CF, the whole rank",
    "regression": "EASE (Steck, WWW 2019) with a penalty of the mean item degree",
    "middle_regression": "EASE with three times that penalty",
    "strong_regression": "EASE with ten times that penalty",
    "popularity": "number of interactions of the item (MostPop), for items within three steps of the user",
}
#: Scorers that add up rows of an item-item matrix, one row for each of the user's items.
LINEAR = tuple(name for name in SCORERS if name not in ("user_squared", "second_hop", "popularity"))
_FILTERS = ("low_pass", "mid_pass", "full_pass")
_REGRESSIONS = ("regression", "middle_regression", "strong_regression")
_INDEX = {name: index for index, name in enumerate(SCORERS)}
_PENALTIES = (1.0, 3.0, 10.0)
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


class GraphScorers:
    """The scorers of one interaction matrix.

    A matrix of more than 2**22 (four million) interactions or 2**19 users is sampled: items and users are related
    through a sample of the users, drawn with a fixed seed. Degrees and the items of each scored user come from the
    whole matrix. Nearest neighbours and :meth:`item_item` use only 10**8 // n items of a user with n > 10,000 items.

    Args:
        matrix: interactions, sparse [n_users, n_items]; any value but 0 counts as one interaction.
        n_neighbors: number of neighbours of an item in the nearest-neighbour graph.
        max_rank: largest number of singular vectors of the filters. Otherwise it is an eighth of the smaller side.
        max_regression_items: number of most popular items that the regressions relate; their cost is cubic in it.
        device: device of the computation. Experimental: not tested on CUDA.
        show_progress: whether to draw progress bars.

    Attributes:
        n_users: number of users.
        n_items: number of items.
        user_degree: number of interactions of each user, float32 [n_users].
        item_degree: number of interactions of each item, float32 [n_items].
        n_neighbors: the argument.
    """

    def __init__(
        self,
        matrix: sp.spmatrix | sp.sparray,
        *,
        n_neighbors: int = 100,
        max_rank: int = 256,
        max_regression_items: int = 6000,
        device: str | torch.device = "cpu",
        show_progress: bool = False,
    ) -> None:
        binary = binary_matrix(matrix)
        for name, value in (
            ("n_neighbors", n_neighbors),
            ("max_rank", max_rank),
            ("max_regression_items", max_regression_items),
        ):
            arguments.integer("graph scorers", name, value, 1)
        target = arguments.device(device)
        steps = ("neighbors", "filters", "regression")
        bar = tqdm(total=len(steps), desc="graph scorers", unit="step", disable=not show_progress)
        sample = sampled_users(binary, _MOST_INTERACTIONS, _MOST_USERS)
        base = binary if len(sample) == binary.shape[0] else binary[sample]
        neighbors = nearest_neighbors(thinned(base, _MOST_ITEMS), n_neighbors)
        bar.update()
        vectors = singular_vectors(base, max_rank)
        bar.update()
        degree = np.bincount(binary.indices, minlength=binary.shape[1])
        popular = popularity_order(degree)[:max_regression_items]
        # Row = source item, as in the neighbour matrix.
        regressions = {
            f"regression.{k}": np.ascontiguousarray(weights.T)
            for k, weights in enumerate(ridge_weights(base[:, popular], _PENALTIES))
        }
        bar.update()
        bar.close()
        arrays = {"sample": sample, "vectors": vectors, "popular": popular, **regressions}
        arrays["n_neighbors"] = np.array(n_neighbors)
        self._load({**arrays, **_matrix_arrays(binary, neighbors)}, target)

    def _load(self, arrays: Mapping[str, np.ndarray], device: torch.device) -> None:
        def tensor(name: str) -> torch.Tensor:
            return torch.from_numpy(arrays[name]).to(device)

        self._arrays, self.device = dict(arrays), device
        self.n_neighbors = int(arrays["n_neighbors"])
        indices, indptr, self.n_items = arrays["matrix.indices"], arrays["matrix.indptr"], int(arrays["n_items"])
        self.n_users = len(indptr) - 1
        ones = np.ones(len(indices), dtype=np.float32)
        self.matrix = sp.csr_matrix((ones, indices, indptr), shape=(self.n_users, self.n_items))
        self.user_degree = np.diff(indptr).astype(np.float32)
        self.item_degree = np.bincount(indices, minlength=self.n_items).astype(np.float32)
        # All arrays from here on describe the sampled users.
        sample = arrays["sample"]
        base = self._sampled_matrix()
        degree = np.bincount(base.indices, minlength=self.n_items).astype(np.float32)
        self._item_power = {p: inverse_power(degree, p).to(device) for p in (0.3, 0.5, 0.7, 1.0)}
        half = self._item_power[0.5]
        self._item_root = torch.where(half > 0, 1 / half, half)
        self._user_power = {p: inverse_power(self.user_degree[sample], p).to(device) for p in (0.5, 1.0)}
        self._mean_paths = float(self.item_degree @ degree) / max(1, self.n_users)
        self._sample_index = torch.full((self.n_users,), -1, device=device)
        self._sample_index[tensor("sample")] = torch.arange(len(sample), device=device)
        self._user_item = _sparse_tensor(base, device)
        self._item_user = _sparse_tensor(base.T.tocsr(), device)
        self._neighbors = tuple(tensor(f"neighbors.{array}") for array in ("indptr", "indices", "data"))
        self._vectors, self._popular = tensor("vectors"), tensor("popular")
        self._popular_index = torch.full((self.n_items,), -1, device=device)
        self._popular_index[self._popular] = torch.arange(len(self._popular), device=device)
        self._regressions = [tensor(f"regression.{k}") for k in range(len(_PENALTIES))]
        self._degree = torch.from_numpy(self.item_degree).to(device)

    def _sampled_matrix(self) -> sp.csr_matrix:
        sample = self._arrays["sample"]
        return self.matrix if len(sample) == self.n_users else self.matrix[sample]

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

    def scores(self, users: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Scores of every item for some users.

        Args:
            users: user indices, int64 [n].
            out: array for the result, float32 [n_scorers, n, n_items] on the scorers' device; None: a new one.

        Returns:
            float32 [n_scorers, n, n_items] in the order of :data:`SCORERS`, on the scorers' device; higher is better,
            0 for an item that no path joins to the user. The items that the user has are scored too.
        """
        users = users.to(self.device)
        n = len(users)
        user_items = self._items_of(users)
        if out is None:
            out = torch.empty(len(SCORERS), n, self.n_items, device=self.device)
        item_half, item_rest = self._item_power[0.5][:, None], self._item_power[0.3][:, None]
        user_half, user_one = self._user_power[0.5][:, None], self._user_power[1.0][:, None]

        def put(name: str, score: torch.Tensor) -> None:
            out[_INDEX[name]].copy_(score.T)

        # A user has few items, so a sum over the entries of their rows is faster than a product of matrices.
        entry, source = user_items.entries(self._item_user.crow_indices())
        position = self._item_user.col_indices()[entry].long() * n + user_items.rows[source]

        def to_users(power: float | None) -> torch.Tensor:
            weights = torch.ones_like(self._degree) if power is None else self._item_power[power]
            flat = torch.zeros(self._user_item.shape[0] * n, device=self.device)
            return flat.index_add_(0, position, weights[user_items.items][source]).view(-1, n)

        by_half = to_users(0.5)
        put("cosine", (self._item_user @ by_half).mul_(item_half))
        filtered = (self._item_user @ by_half.mul_(user_one)).mul_(item_half)
        put("linear_filter", filtered)
        second = self._user_item @ filtered.mul_(item_half)
        put("second_hop", (self._item_user @ second.mul_(user_one)).mul_(item_half))
        by_more = to_users(0.7)
        put("popular_cosine", (self._item_user @ by_more).mul_(item_rest))
        similar = by_more.mul_(user_half)
        sampled = (self._sample_index[users] >= 0).nonzero()[:, 0]
        similar[self._sample_index[users[sampled]], sampled] = 0.0  # a user's similarity to itself
        put("user_squared", self._item_user @ similar.square_())
        put("user_cosine", self._item_user @ to_users(None).mul_(user_half))
        walk = self._item_user @ to_users(1.0).mul_(user_one)
        put("p3", walk)
        put("rp3", walk * item_half)
        put("popularity", self._degree[:, None] * (walk > 0))
        self._put_neighbors(out[_INDEX["neighbors"]], user_items)
        self._put_filters(out, user_items)
        self._put_regressions(out, user_items)
        return out

    def _items_of(self, users: torch.Tensor) -> _UserItems:
        matrix = self.matrix[users.cpu().numpy()]
        row_of_each = np.repeat(np.arange(len(users)), np.diff(matrix.indptr))
        items, rows = (torch.from_numpy(array).long().to(self.device) for array in (matrix.indices, row_of_each))
        return _UserItems(items, rows, len(users))

    def _put_neighbors(self, out: torch.Tensor, user_items: _UserItems) -> None:
        indptr, targets, cosines = self._neighbors
        entry, source = user_items.entries(indptr)
        out.zero_().view(-1).index_add_(0, user_items.rows[source] * self.n_items + targets[entry], cosines[entry])

    def _put_filters(self, out: torch.Tensor, user_items: _UserItems) -> None:
        spectrum = user_items.sums(self._vectors, self._item_power[0.5])
        cuts = _cuts(spectrum.shape[1])
        total = None
        for name, start, stop in zip(_FILTERS, [0, *cuts], cuts, strict=False):
            band = spectrum[:, start:stop] @ self._vectors[:, start:stop].T
            total = band if total is None else total.add_(band)
            torch.mul(total, self._item_root, out=out[_INDEX[name]])

    def _put_regressions(self, out: torch.Tensor, user_items: _UserItems) -> None:
        popular = user_items.among(self._popular_index)
        for name, weights in zip(_REGRESSIONS, self._regressions, strict=True):
            related = out[_INDEX[name]].zero_()
            related[:, self._popular] = popular.sums(weights)

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
        item = {power: values.cpu().numpy() for power, values in self._item_power.items()}

        def counting(power: float) -> sp.csr_matrix:
            """The sampled interactions, weighted by that power of the user's degree."""
            data = np.repeat(self._user_power[power].cpu().numpy(), np.diff(base.indptr))
            return sp.csr_matrix((data, base.indices, base.indptr), shape=base.shape)

        by_half, by_one = counting(0.5), counting(1.0)
        vectors = torch.from_numpy(self._arrays["vectors"])
        shares = torch.zeros(vectors.shape[1])
        for name, cut in zip(_FILTERS, _cuts(len(shares)), strict=True):
            shares[:cut] += weight[name]
        sources = vectors * torch.from_numpy(item[0.5])[:, None] * shares
        targets = vectors * self._item_root.cpu()[:, None]
        popular_index = self._popular_index.cpu().numpy()
        regression = np.zeros_like(self._arrays["regression.0"])
        for k, name in enumerate(_REGRESSIONS):
            regression += weight[name] * self._arrays[f"regression.{k}"]
        indptr, indices, data = (self._arrays[f"neighbors.{array}"] for array in ("indptr", "indices", "data"))
        neighbors = sp.csr_matrix((data * weight["neighbors"], indices, indptr), shape=(self.n_items, self.n_items))

        def relations(block: np.ndarray) -> sp.csr_matrix:
            # The three products sum over the same paths, so their entries are in the same order.
            counts, halves, ones = (by_item[block] @ weighted for weighted in (base, by_half, by_one))
            row = np.repeat(np.arange(len(block)), np.diff(counts.indptr))
            source, target = block[row], counts.indices
            symmetric = item[0.5][source] * item[0.5][target]
            values = counts.data * (
                weight["cosine"] * symmetric + weight["popular_cosine"] * item[0.7][source] * item[0.3][target]
            )
            values += halves.data * weight["user_cosine"]
            values += ones.data * (
                weight["linear_filter"] * symmetric
                + item[1.0][source] * (weight["p3"] + weight["rp3"] * item[0.5][target])
            )
            # A dense matrix of the block's items and all items that share a user with one of them.
            column = np.zeros(self.n_items, dtype=np.int64)
            column[target] = 1
            others = np.flatnonzero(column)
            column[others] = np.arange(len(others))
            dense = (sources[block] @ targets[others].T).numpy()
            source_index, target_index = popular_index[block], popular_index[others]
            popular_rows, popular_columns = np.flatnonzero(source_index >= 0), np.flatnonzero(target_index >= 0)
            dense[np.ix_(popular_rows, popular_columns)] += regression[
                np.ix_(source_index[popular_rows], target_index[popular_columns])
            ]
            near = neighbors[block].tocoo()
            dense[near.row, column[near.col]] += near.data
            values += dense[row, column[target]]
            values[source == target] = 0.0
            bar.update(len(block))
            return strongest(sp.csr_matrix((values, target, counts.indptr), shape=counts.shape), n_relations)

        with tqdm(total=self.n_items, desc="item-item", unit="item", disable=not show_progress) as bar:
            blocks = row_blocks(paths_from_items(base), self.n_items, n_arrays=4)
            matrix = sp.vstack(in_torch_threads(relations, blocks), format="csr")
        matrix.eliminate_zeros()
        return matrix

    def with_interactions(self, matrix: sp.spmatrix | sp.sparray) -> GraphScorers:
        """Scorers of a matrix with further interactions, without the slow steps of a rebuild.

        The path-based scorers, popularity and the nearest neighbours equal those of a rebuild with the same sample.
        New users join the sample. Only items whose neighbours may have changed get new neighbours. Filters and
        regressions stay those of the last build, where a new item scores 0.

        Args:
            matrix: all interactions, [n_users, n_items]; new users and items are additional rows and columns.

        Raises:
            ValueError: if the matrix has fewer users or items than before.
        """
        binary = binary_matrix(matrix)
        grown = binary.shape[0] - self.n_users, binary.shape[1] - self.n_items
        if min(grown) < 0:
            raise ValueError(
                f"matrix: must have the previous users and items, at least [{self.n_users}, {self.n_items}], "
                f"got [{binary.shape[0]}, {binary.shape[1]}]"
            )
        before = self.matrix.copy()
        before.resize(binary.shape)
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
        arrays = {**self._arrays, "sample": sample, "vectors": vectors, **_matrix_arrays(binary, neighbors.tocsr())}
        return self.from_arrays(arrays, self.device)

    def to(self, device: str | torch.device) -> GraphScorers:
        """The same scorers on another device."""
        return self.from_arrays(self._arrays, device)


class _UserItems:
    """The items of some users: user ``rows[k]`` of ``n_users`` has ``items[k]``, both int64, sorted by user."""

    def __init__(self, items: torch.Tensor, rows: torch.Tensor, n_users: int) -> None:
        self.items, self.rows, self.n_users = items, rows, n_users

    def among(self, index: torch.Tensor) -> _UserItems:
        """The same items with other indices, ``index`` int64 [n_items]; items with index -1 are left out."""
        items = index[self.items]
        present = items >= 0
        return _UserItems(items[present], self.rows[present], self.n_users)

    def entries(self, indptr: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions of the entries in the items' rows of a csr matrix, and for each the k of its item."""
        first = indptr[self.items].long()
        length = indptr[self.items + 1].long() - first
        source = torch.repeat_interleave(length)
        before = length.cumsum(0) - length
        return torch.arange(len(source), device=source.device) + (first - before)[source], source

    def sums(self, table: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Sums of the items' rows of a table [n_items, dim], weighted by item, float32 [n_users, dim]."""
        count = torch.bincount(self.rows, minlength=self.n_users)
        weights = None if weights is None else weights[self.items]
        starts = count.cumsum(0) - count
        return torch.nn.functional.embedding_bag(self.items, table, starts, mode="sum", per_sample_weights=weights)


def _cuts(rank: int) -> list[int]:
    """Ranks of the three ideal low-pass filters."""
    return [max(1, rank // 4), max(1, rank // 2), rank]


def _matrix_arrays(matrix: sp.csr_matrix, neighbors: sp.csr_matrix) -> dict[str, np.ndarray]:
    """The arrays of the interactions and of the neighbours, whose rows are target items."""
    # With rows of source items, a user's scores are the sum of few rows.
    by_source = neighbors.T.tocsr()
    arrays = {"n_items": np.array(matrix.shape[1]), "neighbors.data": by_source.data}
    for name, csr in (("matrix", matrix), ("neighbors", by_source)):
        arrays |= {f"{name}.indptr": csr.indptr, f"{name}.indices": csr.indices}
    return arrays


def _sparse_tensor(matrix: sp.csr_matrix, device: torch.device) -> torch.Tensor:
    matrix = sp.csr_matrix(matrix, dtype=np.float32)
    matrix.sort_indices()
    # Indices of 32 bits take half the memory, and MKL computes with them.
    index = np.int32 if matrix.nnz < 2**31 else np.int64
    arrays = (matrix.indptr.astype(index), matrix.indices.astype(index), matrix.data)
    indptr, indices, data = (torch.from_numpy(array) for array in arrays)
    return torch.sparse_csr_tensor(indptr, indices, data, size=matrix.shape, device=device, check_invariants=False)


# PyTorch warns once that sparse tensors are in beta state. A warning filter applies to all threads, so it is set here,
# at import.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
    _sparse_tensor(sp.csr_matrix((1, 1)), torch.device("cpu"))
