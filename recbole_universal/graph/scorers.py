"""Training-free graph scorers: how much a user's interactions say about every item.

Each scorer is a known method that needs no gradient: powers of the normalised adjacency matrix (item-item and user-user
similarity, random walks, their second hop), a nearest-neighbour graph, low-pass spectral filters and a ridge
regression. All are products of sparse and small dense matrices with the columns of a batch of users, so one code
serves CPU and GPU.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch
from sklearn.utils.extmath import randomized_svd
from tqdm import tqdm

#: Scorers in the order of the first axis of :meth:`GraphScorers.scores`, and where each comes from.
SCORERS: dict[str, str] = {
    "cosine": "item-item cosine",
    "popular_cosine": "item-item similarity that favours popular targets (exponents .7/.3)",
    "p3": "three-step random walk, P3alpha with alpha 1 (Cooper et al., WWW 2014 companion)",
    "rp3": "P3 re-weighted by the popularity of the target, RP3beta with beta .5 (Paudel et al., TiiS 2017)",
    "linear_filter": "linear low-pass filter of GF-CF (Shen et al., CIKM 2021)",
    "user_cosine": "user-user cosine",
    "user_squared": "squared user-user similarity, which listens to the nearest users",
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
_NUMBER = {name: number for number, name in enumerate(SCORERS)}
_PENALTIES = (1.0, 3.0, 10.0)
# A list of neighbours may be so many times as long as asked for.
_MOST_TIED = 4
# Below this size the whole spectrum is computed: exact, and as fast as a random projection.
_EXACT_SPECTRUM = 1024


class GraphScorers:
    """The scorers of one interaction matrix.

    Args:
        matrix: interactions, sparse [n_users, n_items]; any value but 0 counts as one interaction.
        n_neighbors: neighbours of an item in the nearest-neighbour graph.
        max_rank: most singular vectors of the filters; the rank follows the data, an eighth of the smaller side.
        max_regression_items: the regression is among that many most popular items, since its cost is cubic.
        device: where the scores are computed.
        show_progress: whether to draw progress bars.

    Attributes:
        n_users: number of users.
        n_items: number of items.
        user_degree: float32 [n_users], interactions of each user.
        item_degree: float32 [n_items], interactions of each item.
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
        binary = sp.csr_matrix(matrix, dtype=np.float32, copy=True)
        binary.eliminate_zeros()
        binary.data[:] = 1.0
        steps = ("neighbors", "filters", "regression")
        bar = tqdm(total=len(steps), desc="graph scorers", unit="part", disable=not show_progress)
        neighbors = nearest_neighbors(binary, n_neighbors)
        bar.update()
        vectors = singular_vectors(binary, max_rank)
        bar.update()
        degree = np.bincount(binary.indices, minlength=binary.shape[1])
        popular = np.argsort(-degree, kind="stable")[:max_regression_items]
        # Row = source item: a user's scores are the sum of few rows.
        regressions = [np.ascontiguousarray(weights.T) for weights in ridge_weights(binary[:, popular], _PENALTIES)]
        bar.update()
        bar.close()
        self._take(binary, neighbors, vectors, popular, regressions, torch.device(device))

    def _take(self, matrix, neighbors, vectors, popular, regressions, device: torch.device) -> None:
        self.matrix = matrix
        self.n_users, self.n_items = matrix.shape
        self.user_degree = np.diff(matrix.indptr).astype(np.float32)
        self.item_degree = np.bincount(matrix.indices, minlength=self.n_items).astype(np.float32)
        self.device = device
        self._user_item = _sparse_tensor(matrix, device)
        self._item_user = _sparse_tensor(matrix.T.tocsr(), device)
        self._neighbors = neighbors
        self._vectors_array = vectors
        self._vectors = torch.from_numpy(vectors).to(device)
        self._degree = torch.from_numpy(self.item_degree).to(device)
        self._popular_array = popular
        self._popular = torch.from_numpy(popular).to(device)
        self._regressions = regressions

    def arrays(self) -> dict[str, np.ndarray]:
        """All that cannot be computed in an instant, for :meth:`from_arrays`."""
        arrays = {f"regression.{k}": weights for k, weights in enumerate(self._regressions)}
        for name, matrix in (("matrix", self.matrix), ("neighbors", self._neighbors)):
            arrays |= {f"{name}.indptr": matrix.indptr, f"{name}.indices": matrix.indices}
        arrays |= {"neighbors.data": self._neighbors.data, "n_items": np.array(self.n_items)}
        return arrays | {"vectors": self._vectors_array, "popular": self._popular_array}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> GraphScorers:
        """The scorers that :meth:`arrays` came from, on the CPU.

        Raises:
            KeyError, ValueError: if the arrays are of another form.
        """
        n_items = int(arrays["n_items"])
        parts = arrays["matrix.indices"], arrays["matrix.indptr"]
        matrix = sp.csr_matrix((np.ones(len(parts[0]), dtype=np.float32), *parts), shape=(len(parts[1]) - 1, n_items))
        parts = arrays["neighbors.data"], arrays["neighbors.indices"], arrays["neighbors.indptr"]
        neighbors = sp.csr_matrix(parts, shape=(n_items, n_items))
        regressions = [arrays[f"regression.{k}"] for k in range(len(_PENALTIES))]
        scorers = cls.__new__(cls)
        scorers._take(matrix, neighbors, arrays["vectors"], arrays["popular"], regressions, torch.device("cpu"))
        return scorers

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        """Scores of every item for some users.

        Args:
            users: user numbers, int64 [n].

        Returns:
            float32 [n_scorers, n, n_items] in the order of :data:`SCORERS`, on the scorers' device; higher is better,
            0 for an item that no path joins to the user. A user's own items are scored too.
        """
        index = users.cpu().numpy()
        own = self.matrix[index]  # a user has few items: what starts from them is cheap as a sparse product
        n = len(index)
        item = {power: _inverse_power(self.item_degree, power).numpy() for power in (0.3, 0.5, 0.7, 1.0)}
        item_half, item_rest = (self._on_device(item[power])[:, None] for power in (0.5, 0.3))
        user_half, user_one = (_inverse_power(self.user_degree, power).to(self.device)[:, None] for power in (0.5, 1.0))
        out = torch.empty(len(SCORERS), n, self.n_items, device=self.device)

        def put(name: str, score: torch.Tensor) -> None:
            out[_NUMBER[name]].copy_(score.T)

        def to_users(power: float | None) -> torch.Tensor:
            weighted = own if power is None else own @ sp.diags(item[power])
            return self._on_device((self.matrix @ weighted.T.tocsc()).toarray())

        by_half = to_users(0.5)
        put("cosine", (self._item_user @ by_half) * item_half)
        filtered = (self._item_user @ (by_half * user_one)) * item_half
        put("linear_filter", filtered)
        second = self._user_item @ (filtered * item_half)
        put("second_hop", (self._item_user @ (second * user_one)) * item_half)
        by_more = to_users(0.7)
        put("popular_cosine", (self._item_user @ by_more) * item_rest)
        similar = by_more * user_half
        similar[torch.as_tensor(index, device=self.device), torch.arange(n, device=self.device)] = 0.0  # with oneself
        put("user_squared", self._item_user @ similar.square_())
        put("user_cosine", self._item_user @ (to_users(None) * user_half))
        walk = self._item_user @ (to_users(1.0) * user_one)
        put("p3", walk)
        put("rp3", walk * item_half)
        put("popularity", self._degree[:, None] * (walk > 0))
        put("neighbors", self._on_device((self._neighbors @ own.T.tocsc()).toarray()))
        self._put_passes(out, own @ sp.diags(item[0.5]))
        self._put_regressions(out, own)
        return out

    def _put_passes(self, out: torch.Tensor, own: sp.csr_matrix) -> None:
        half = _inverse_power(self.item_degree, 0.5).to(self.device)
        back = torch.where(half > 0, 1 / half, half)
        spectrum = self._on_device(own @ self._vectors_array)
        rank = spectrum.shape[1]
        cuts = [0, max(1, rank // 4), max(1, rank // 2), rank]
        total = None
        for name, start, stop in zip(("low_pass", "mid_pass", "full_pass"), cuts, cuts[1:], strict=False):
            part = spectrum[:, start:stop] @ self._vectors[:, start:stop].T
            total = part if total is None else total + part
            torch.mul(total, back, out=out[_NUMBER[name]])

    def _put_regressions(self, out: torch.Tensor, own: sp.csr_matrix) -> None:
        popular = own[:, self._popular_array]
        names = ("regression", "middle_regression", "strong_regression")
        for name, weights in zip(names, self._regressions, strict=True):
            related = out[_NUMBER[name]].zero_()
            related[:, self._popular] = self._on_device(popular @ weights)

    def _on_device(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device)

    def to(self, device: str | torch.device) -> GraphScorers:
        """The same scorers on another device."""
        moved = copy.copy(self)
        moved.device = torch.device(device)
        for name in ("_user_item", "_item_user", "_vectors", "_popular", "_degree"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved


def nearest_neighbors(matrix: sp.csr_matrix, n_neighbors: int) -> sp.csr_matrix:
    """Item-item cosines, each item keeping those to its nearest neighbours.

    Args:
        matrix: binary csr [n_users, n_items].
        n_neighbors: neighbours kept; as many more as tie with the last, or none of these where they are too many (an
            item of one user is equally near to all that user has).

    Returns:
        csr [n_items, n_items], row = target item; no diagonal.
    """
    n_items = matrix.shape[1]
    scale = _inverse_power(np.bincount(matrix.indices, minlength=n_items).astype(np.float32), 0.5).numpy()
    by_item = matrix.T.tocsr()
    data, indices, lengths = [], [], []
    # Blocks of rows: the whole co-occurrence matrix of a large catalogue does not fit into memory.
    block = max(1, 2**23 // max(1, n_items))
    for start in range(0, n_items, block):
        counts = (by_item[start : start + block] @ matrix).tocsr()
        for row in range(counts.shape[0]):
            part = slice(counts.indptr[row], counts.indptr[row + 1])
            others = counts.indices[part]
            values = counts.data[part] * scale[others] * scale[start + row]
            values[others == start + row] = 0.0
            least = np.partition(values, -n_neighbors)[-n_neighbors] if len(values) > n_neighbors else 0.0
            kept = (values >= least) & (values > 0)
            if kept.sum() > _MOST_TIED * n_neighbors:
                kept &= values > least
            data.append(values[kept])
            indices.append(others[kept])
            lengths.append(int(kept.sum()))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return sp.csr_matrix((np.concatenate(data), np.concatenate(indices), indptr), shape=(n_items, n_items))


def singular_vectors(matrix: sp.csr_matrix, max_rank: int) -> np.ndarray:
    """Right singular vectors of the normalised adjacency matrix D_u^-1/2 R D_i^-1/2, largest singular value first.

    Args:
        matrix: binary csr [n_users, n_items].
        max_rank: most vectors; otherwise an eighth of the smaller side, at least 8 where there are as many.

    Returns:
        float32 [n_items, rank].
    """
    n_users, n_items = matrix.shape
    user = _inverse_power(np.diff(matrix.indptr).astype(np.float32), 0.5).numpy()
    item = _inverse_power(np.bincount(matrix.indices, minlength=n_items).astype(np.float32), 0.5).numpy()
    normalised = (sp.diags(user) @ matrix @ sp.diags(item)).tocsr()
    smaller = min(n_users, n_items)
    rank = min(max_rank, max(8, smaller // 8), smaller)
    if smaller <= _EXACT_SPECTRUM:
        tall = n_users >= n_items
        gram = (normalised.T @ normalised if tall else normalised @ normalised.T).toarray()
        values, vectors = scipy.linalg.eigh(gram.astype(np.float64))
        values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
        if not tall:
            vectors = normalised.T @ vectors / np.sqrt(np.maximum(values, 1e-12))
        return np.ascontiguousarray(vectors * (values > 1e-9), dtype=np.float32)
    _, _, vectors = randomized_svd(normalised, rank, n_iter=4, random_state=0)
    return np.ascontiguousarray(vectors.T, dtype=np.float32)


def ridge_weights(matrix: sp.csr_matrix, penalties: tuple[float, ...]) -> list[np.ndarray]:
    """EASE's item-item weights in closed form (Steck, WWW 2019, Eq. 8).

    Args:
        matrix: binary csr [n_users, n_items].
        penalties: L2 penalties as multiples of the mean item degree.

    Returns:
        For each penalty float32 [n_items, n_items], row = target item, zero diagonal.
    """
    gram = (matrix.T @ matrix).toarray()
    degree = gram.diagonal().copy()
    mean = float(degree[degree > 0].mean()) if (degree > 0).any() else 1.0
    weights = []
    for penalty in penalties:
        system = torch.from_numpy(gram + np.diag(np.full(len(gram), penalty * mean, dtype=np.float32)))
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
        solution = (inverse / -inverse.diagonal()[None, :]).fill_diagonal_(0.0)
        weights.append(solution.T.contiguous().numpy())
    return weights


def _inverse_power(degree: np.ndarray, exponent: float) -> torch.Tensor:
    """degree^-exponent, 0 where the degree is 0."""
    powers = np.where(degree > 0, np.maximum(degree, 1.0) ** -exponent, 0.0)
    return torch.from_numpy(powers.astype(np.float32))


def _sparse_tensor(matrix: sp.csr_matrix, device: torch.device) -> torch.Tensor:
    matrix = sp.csr_matrix(matrix, dtype=np.float32)
    matrix.sort_indices()
    parts = (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")
        indptr, indices, data = (torch.from_numpy(part) for part in parts)
        return torch.sparse_csr_tensor(indptr, indices, data, size=matrix.shape, device=device)
