"""EASE, a ridge regression in closed form (Steck, WWW 2019), by the smaller side of the interaction matrix.

Each item is predicted from the user's other items. With interactions X and penalty lambda, Eq. 8 is
B = I - P diag(1 / diag P), P = (X^T X + lambda I)^-1, and the scores are X B. The inverse of the items' matrix costs
the cube of their number. The inverse of the users' matrix, K = (X X^T + lambda I)^-1, gives the same scores, since
P = (I - X^T K X) / lambda: an item j that the user u lacks scores (X^T K X x_u)_j / q_j with q_j = 1 - x_j^T K x_j.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.graph.column_products import column_products
from recbole_universal.graph.item_models import row_blocks, weight_squares
from recbole_universal.graph.popularity import item_degrees, popularity_order
from recbole_universal.graph.regression_scores import (
    DenseRegressionScores,
    ItemRegressionScores,
    RegressionScores,
    strong_weights,
)
from recbole_universal.graph.sequence_sums import products_at
from recbole_universal.graph.sparse_sums import UserItems, check_indices, checked_csr, sparse_tensor
from recbole_universal.graph.sums import sums_at
from recbole_universal.graph.threads import lazy_property


class Regression:
    """One regression. All of its arrays describe the matrix that it was fitted to.

    Args:
        arrays: its state, of :meth:`arrays`.
        device: device of the computation.
        n_items: number of items.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], device: torch.device, n_items: int) -> None:
        self._arrays, self._device, self._n_items = dict(arrays), device, n_items

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray], device: torch.device, n_items: int) -> Regression:
        """The regression with a state from :meth:`arrays`.

        Raises:
            KeyError, ValueError: if an array is missing, has another shape or an index out of range.
        """
        return (_ItemRegression if "weights" in arrays else _UserRegression)(arrays, device, n_items)

    def arrays(self) -> dict[str, np.ndarray]:
        """The state of the regression."""
        return self._arrays

    @property
    def items(self) -> torch.Tensor:
        """The items with scores, by index, int64 [n_scored]; all others score 0."""
        raise NotImplementedError

    def scores(self, users: torch.Tensor, user_items: UserItems) -> torch.Tensor:
        """Scores of :attr:`items` for some users, float32 [n_users, n_scored].

        Args:
            users: index of the user whose items these are, -1 if they are others, int64 [n_users].
            user_items: the items of these users.
        """
        raise NotImplementedError

    def asked(self, users: NDArray[np.int64], matrix: sp.csr_matrix) -> RegressionScores:
        """The scores of some histories.

        Args:
            users: index of the user whose items these are, -1 if they are others, int64 [n].
            matrix: the items of each history, csr float32 [n, n_items]; 1, or the weight of each.
        """
        raise NotImplementedError

    def at(self, matrix: sp.csr_matrix, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of some items for histories of any weights, float32 [n, width].

        Args:
            matrix: weight of each item in each history, csr float32 [n, n_items].
            items: items of each history, int64 [n, width].
            lengths: number of items of each history; those after them score 0, int64 [n].
        """
        return self.asked(np.full(matrix.shape[0], -1), matrix).at(items, lengths)

    def put_scores(self, out: torch.Tensor, users: torch.Tensor, user_items: UserItems) -> None:
        """Put the scores of every item into ``out``, float32 [n_users, n_items]; see :meth:`scores`."""
        out.zero_()[:, self.items] = self.scores(users, user_items)

    def relations(self, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Entries of B, apart from its diagonal, float32 [n_sources, n_targets].

        Args:
            sources: items of the user, by index, int64 [n_sources].
            targets: items that are scored, by index, int64 [n_targets].
        """
        raise NotImplementedError

    def with_changed_users(self, changed: np.ndarray) -> Regression:
        """The same regression after some users got other items.

        Args:
            changed: whether a user is new or has other items, bool [n_users].
        """
        return self


class _ItemRegression(Regression):
    """The matrix B of the most popular items: ``weights`` [n, n], row = item of the user, and their indices."""

    def __init__(self, arrays: Mapping[str, np.ndarray], device: torch.device, n_items: int) -> None:
        super().__init__(arrays, device, n_items)
        self._weights, self._popular = (torch.from_numpy(arrays[name]).to(device) for name in ("weights", "popular"))
        popular = arrays["popular"]
        check_indices("regression.popular", popular, n_items)
        if arrays["weights"].shape != (len(popular), len(popular)):
            raise ValueError("its array regression.weights has another shape than regression.popular")
        # Row of each item in the weights, -1 without one. The last entry stands for all items after it.
        self._row = np.full(popular.max(initial=-1) + 2, -1)
        self._row[popular] = np.arange(len(popular))
        self._row_tensor = torch.from_numpy(self._row).to(device)

    @property
    def items(self) -> torch.Tensor:
        return self._popular

    @lazy_property
    def _strong(self) -> sp.csr_matrix:
        return strong_weights(self._arrays["weights"], self._arrays["popular"], self._n_items)

    @lazy_property
    def _columns(self) -> NDArray[np.int64]:
        """Row of each item in the weights, -1 without one, int64 [n_items]."""
        return self._row[np.minimum(np.arange(self._n_items), len(self._row) - 1)]

    def asked(self, users: NDArray[np.int64], matrix: sp.csr_matrix) -> RegressionScores:
        rows = self._columns[matrix.indices]
        kept = rows >= 0
        indptr = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
        shape = (matrix.shape[0], len(self._arrays["popular"]))
        weighted = sp.csr_matrix((matrix.data[kept], rows[kept], indptr), shape=shape)
        return ItemRegressionScores(weighted, self._arrays["weights"], self._strong, self._columns)

    def scores(self, users: torch.Tensor, user_items: UserItems) -> torch.Tensor:
        items = user_items.items.clamp(max=len(self._row) - 1)
        clamped = UserItems(items, user_items.rows, user_items.n_users, user_items.weights)
        return clamped.among(self._row_tensor).sums(self._weights)

    def relations(self, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        rows, columns = (self._row[np.minimum(items, len(self._row) - 1)] for items in (sources, targets))
        weights = self._arrays["weights"][np.ix_(rows, columns)]
        weights[rows < 0] = 0.0
        weights[:, columns < 0] = 0.0
        return weights


class _UserRegression(Regression):
    """The matrix K of the users: ``inverse`` [n_rows, n_rows].

    Further arrays: the fitted matrix X (``indptr``, ``indices``, and ``data`` unless all values are 1), q of each item
    (``residual``), lambda (``ridge``), and the row of X with exactly the items of a user (``row`` [n_users], -1 without
    one).
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], device: torch.device, n_items: int) -> None:
        super().__init__(arrays, device, n_items)
        self._ridge = float(arrays["ridge"])
        self._inverse, self._residual, self._row = (
            torch.from_numpy(arrays[name]).to(device) for name in ("inverse", "residual", "row")
        )
        indices, indptr = arrays["indices"], arrays["indptr"]
        self._is_weighted = "data" in arrays
        values, n_rows = arrays.get("data", np.ones(len(indices), dtype=np.float32)), len(indptr) - 1
        check_indices("regression.row", arrays["row"], n_rows, least=-1)
        if arrays["inverse"].shape != (n_rows, n_rows) or len(self._residual) > n_items:
            raise ValueError("its array regression.inverse or regression.residual has another shape")
        self._by_item = checked_csr(values, indices, indptr, (n_rows, len(self._residual))).T.tocsr()
        self._item_user = sparse_tensor(self._by_item, device)

    @property
    def items(self) -> torch.Tensor:
        return torch.arange(len(self._residual), device=self._device)

    def asked(self, users: NDArray[np.int64], matrix: sp.csr_matrix) -> RegressionScores:
        weighted = not bool((matrix.data == 1).all())
        items = UserItems.of(matrix, self._device, weighted)
        scores = np.zeros(matrix.shape, dtype=np.float32)
        scores[:, : len(self._residual)] = self.scores(torch.from_numpy(users).to(self._device), items).cpu().numpy()
        return DenseRegressionScores(scores)

    def scores(self, users: torch.Tensor, user_items: UserItems) -> torch.Tensor:
        row = torch.full_like(users, -1)
        if user_items.weights is None and not self._is_weighted:  # a row of X has its users' items without weights
            row[users >= 0] = self._row[users[users >= 0]]
        # K X x_u is the column u of K X X^T = I - lambda K, if x_u is a row of X.
        weights = self._inverse[row.clamp(min=0)].mul_(-self._ridge)
        fitted = (row >= 0).nonzero()[:, 0]
        weights[fitted, row[fitted]] += 1.0
        user_items = user_items.where(user_items.items < len(self._residual))
        others = (row < 0).nonzero()[:, 0]
        if len(others):
            weights[others] = self._common_items(user_items)[others] @ self._inverse
        scores = (self._item_user @ weights.T).T
        items = user_items.items
        own = self._residual[items] - 1  # the diagonal of B is 0
        scores[user_items.rows, items] += own if user_items.weights is None else own * user_items.weights
        return scores / self._residual

    def at(self, matrix: sp.csr_matrix, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        residual = self._arrays["residual"]
        n_items = len(residual)
        known = matrix[:, :n_items]
        weights = torch.from_numpy((known @ self._by_item).toarray()) @ self._inverse.cpu()
        inside = items < n_items  # later items are unknown to the regression
        asked = np.where(inside, items, 0)
        scores = products_at(weights.numpy(), self._by_item, asked, lengths)
        own = sums_at(known, sp.eye(n_items, format="csr", dtype=np.float32), asked, lengths)
        scores += own * (residual[asked] - 1)  # the diagonal of B is 0
        return scores / residual[asked] * inside

    def _common_items(self, user_items: UserItems) -> torch.Tensor:
        """X x_u: without weights, the number of items shared with each row of X, float32 [n_users, n_rows]."""
        entry, source = user_items.entries(self._item_user.crow_indices())
        n_rows = len(self._inverse)
        position = user_items.rows[source] * n_rows + self._item_user.col_indices()[entry].long()
        weights = self._item_user.values()[entry] if self._is_weighted else None
        if user_items.weights is not None:
            weights = user_items.weights[source] if weights is None else weights * user_items.weights[source]
        return torch.bincount(position, weights, minlength=user_items.n_users * n_rows).float().view(-1, n_rows)

    def relations(self, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        weights = np.zeros((len(sources), len(targets)), dtype=np.float32)
        residual = self._arrays["residual"]
        rows, columns = (np.flatnonzero(items < len(residual)) for items in (sources, targets))
        related = self._by_item[targets[columns]] @ (self._by_item[sources[rows]] @ self._arrays["inverse"]).T
        weights[np.ix_(rows, columns)] = related.T / residual[targets[columns]]
        return weights

    def with_changed_users(self, changed: np.ndarray) -> Regression:
        row = np.full(len(changed), -1)
        row[: len(self._row)] = self._arrays["row"]
        row[changed] = -1
        return _UserRegression({**self._arrays, "row": row}, self._device, self._n_items)


def ridge_regressions(
    matrix: sp.csr_matrix, ridges: Sequence[float], max_size: int, device: torch.device, users: np.ndarray | None = None
) -> Iterator[Regression]:
    """The regression of each lambda. The products of the matrix are computed once.

    Args:
        matrix: csr float32 [n, n_items]; 1, or the weight of each interaction.
        ridges: values of lambda, see :func:`mean_degree`.
        max_size: if both sides are larger, the regression relates only this number of most popular items.
        device: device of the regressions.
        users: row of the matrix of each user, -1 without one, int64 [n_users]; None: all users have a row.
    """
    if _by_users(matrix, max_size):
        gram = column_products(matrix.T.tocsr())
        row = np.arange(matrix.shape[0]) if users is None else users
        for ridge in ridges:
            inverse = _inverse(gram, ridge)
            arrays = {"inverse": inverse, "residual": _residual(matrix, inverse), "ridge": np.array(ridge)}
            arrays |= {"row": row, "indptr": matrix.indptr, "indices": matrix.indices}
            arrays |= {} if (matrix.data == 1).all() else {"data": matrix.data}
            yield Regression.from_arrays(arrays, device, matrix.shape[1])
        return
    popular = popularity_order(item_degrees(matrix))[:max_size]
    gram = column_products(matrix[:, popular])
    for ridge in ridges:
        weights = _inverse(gram, ridge)
        weights /= -weights.diagonal()[None, :].copy()
        np.fill_diagonal(weights, 0.0)
        yield Regression.from_arrays({"weights": weights, "popular": popular}, device, matrix.shape[1])


def mean_degree(matrix: sp.csr_matrix, max_size: int) -> float:
    """Mean diagonal of the products: without weights, the mean number of interactions of the related items."""
    squares = weight_squares(matrix)
    if not _by_users(matrix, max_size):
        squares = squares[popularity_order(item_degrees(matrix))[:max_size]]
    return float(squares[squares > 0].mean()) if squares.any() else 1.0


def _by_users(matrix: sp.csr_matrix, max_size: int) -> bool:
    return matrix.shape[0] < matrix.shape[1] and matrix.shape[0] <= max_size


def _inverse(gram: np.ndarray, ridge: float) -> np.ndarray:
    """Inverse of ``gram + ridge * I``, float32 [n, n]."""
    system = torch.from_numpy(gram).clone()
    system.diagonal().add_(ridge)
    return torch.cholesky_inverse(torch.linalg.cholesky(system)).contiguous().numpy()


def _residual(matrix: sp.csr_matrix, inverse: np.ndarray) -> np.ndarray:
    """1 - x_j^T K x_j of each item j, float32 [n_items]."""
    n_users, n_items = matrix.shape
    by_item = matrix.T.tocsr()
    residual = np.ones(n_items, dtype=np.float32)
    for items in row_blocks(np.full(n_items, n_users), n_users):
        block = by_item[items]
        rows = np.repeat(np.arange(len(items)), np.diff(block.indptr))
        products = block.data * (block @ inverse)[rows, block.indices]
        residual[items] -= np.bincount(rows, weights=products, minlength=len(items))
    return residual
