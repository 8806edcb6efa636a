"""Training-free baselines. Each has a grid of hyperparameters that are chosen on validation.

Every class has a ``grid`` of keyword arguments, ``fit(train)`` on a binary csr [n_users, n_items] and
``scores(users)``, float32 [n, n_items].
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack
from sklearn.utils.extmath import randomized_svd

if TYPE_CHECKING:
    from harness import Split


def inverse_power(degree: np.ndarray, exponent: float) -> np.ndarray:
    """``degree ** -exponent``; 0 where the degree is 0."""
    return np.where(degree > 0, np.maximum(degree, 1) ** -exponent, 0).astype(np.float32)


def keep_largest(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest values of each row."""
    rows = []
    for row in range(matrix.shape[0]):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        values, columns = matrix.data[span], matrix.indices[span]
        top = np.argpartition(values, -k)[-k:] if len(values) > k else np.arange(len(values))
        rows.append((values[top], columns[top]))
    indptr = np.concatenate([[0], np.cumsum([len(values) for values, _ in rows])])
    data, indices = (np.concatenate(arrays) for arrays in zip(*rows, strict=True))
    return sp.csr_matrix((data, indices, indptr), shape=matrix.shape)


class Baseline:
    """Base of all baselines, which holds the training matrix."""

    grid: ClassVar[list[dict]] = [{}]

    @staticmethod
    def affordable(shape: tuple[int, int]) -> bool:
        """Whether the method can be run on data of this shape here."""
        return True

    def fit(self, train: sp.csr_matrix) -> Baseline:
        """Learn from a binary csr [n_users, n_items]."""
        self.train = train
        self.user_degree = np.diff(train.indptr)
        self.item_degree = np.bincount(train.indices, minlength=train.shape[1])
        return self

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Float32 [n, n_items], higher is better."""
        return self.scores_of(self.train[users], users)

    def scores_of(self, history: sp.csr_matrix, users: np.ndarray) -> np.ndarray:
        """The same for other items of some users, csr [n, n_items]."""
        raise NotImplementedError

    def _or_popularity(self, values: np.ndarray) -> np.ndarray:
        """Scores in which items of score 0 come after all others, in the order of popularity."""
        return np.where(values == 0, self.item_degree / self.train.nnz - 1, values).astype(np.float32)


class MostPop(Baseline):
    """Number of interactions."""

    def scores_of(self, history: sp.csr_matrix, users: np.ndarray) -> np.ndarray:
        """See Baseline."""
        return np.tile(self.item_degree.astype(np.float32), (len(users), 1))


class _ItemToItem(Baseline):
    weights: sp.csr_matrix

    def scores_of(self, history: sp.csr_matrix, users: np.ndarray) -> np.ndarray:
        """See Baseline."""
        return self._or_popularity((history @ self.weights).toarray())


class ItemKNN(_ItemToItem):
    """Cosine with shrinkage, the k nearest items of each."""

    grid: ClassVar = [{"k": k, "shrink": s} for k in (50, 200, 500) for s in (0.0, 20.0, 100.0)]

    def __init__(self, k: int, shrink: float):
        self.k, self.shrink = k, shrink

    def fit(self, train: sp.csr_matrix) -> ItemKNN:
        """See Baseline."""
        super().fit(train)
        norm = np.sqrt(self.item_degree)
        similar = (train.T @ train).tocsr()
        similar.setdiag(0)
        similar.eliminate_zeros()
        row = np.repeat(np.arange(similar.shape[0]), np.diff(similar.indptr))
        similar.data = (similar.data / (norm[row] * norm[similar.indices] + self.shrink)).astype(np.float32)
        self.weights = keep_largest(similar, self.k).T.tocsr()
        return self


class UserKNN(Baseline):
    """Cosine, the k nearest users."""

    grid: ClassVar = [{"k": 50}, {"k": 200}, {"k": 500}]

    def __init__(self, k: int):
        self.k = k

    def scores_of(self, history: sp.csr_matrix, users: np.ndarray) -> np.ndarray:
        """See Baseline."""
        scale = inverse_power(self.user_degree, 0.5)
        own = inverse_power(np.diff(history.indptr), 0.5)
        similar = (sp.diags(own) @ history @ self.train.T @ sp.diags(scale)).tocsr()
        similar[np.arange(len(users)), users] = 0
        return self._or_popularity((keep_largest(similar, self.k) @ self.train).toarray())


class RP3beta(_ItemToItem):
    """Random walk of three steps, re-weighted by popularity^-beta (Paudel et al., TiiS 2017)."""

    grid: ClassVar = [{"beta": b, "k": k} for b in (0.0, 0.15, 0.3, 0.6) for k in (100, 500)]

    def __init__(self, beta: float, k: int):
        self.beta, self.k = beta, k

    def fit(self, train: sp.csr_matrix) -> RP3beta:
        """See Baseline."""
        super().fit(train)
        step = sp.diags(inverse_power(self.item_degree, 1.0)) @ train.T
        walk = step @ sp.diags(inverse_power(self.user_degree, 1.0)) @ train
        walk = (walk @ sp.diags(inverse_power(self.item_degree, self.beta))).tocsr()
        walk.setdiag(0)
        walk.eliminate_zeros()
        self.weights = keep_largest(walk, self.k)
        return self


def inverted(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric, positive definite float32 matrix in Fortran order, computed in place."""
    factor, failed = lapack.spotrf(matrix, lower=1, overwrite_a=1)
    inverse, failed_too = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise ArithmeticError("The matrix is not positive definite.")
    for row in range(len(inverse)):  # LAPACK writes the lower triangle
        inverse[row, row + 1 :] = inverse[row + 1 :, row]
    return inverse.T  # the same matrix in C order, in which products with sparse matrices are fast


class EASE(Baseline):
    """Steck, WWW 2019. Exact; solved in the space of the users if they are fewer (Woodbury identity)."""

    grid: ClassVar = [{"reg": reg} for reg in (10.0, 50.0, 250.0, 1000.0)]
    largest = 32000  # 4 GB per matrix
    few_items = 6000  # with at most this many items the dual of the users is not faster

    def __init__(self, reg: float):
        self.reg = reg

    @staticmethod
    def affordable(shape: tuple[int, int]) -> bool:
        """See Baseline."""
        return min(shape) <= EASE.largest

    def fit(self, train: sp.csr_matrix) -> EASE:
        """See Baseline."""
        super().fit(train)
        n_users, n_items = train.shape
        self.by_item = n_items <= max(n_users, EASE.few_items)
        gram = (train.T @ train if self.by_item else train @ train.T).astype(np.float32).toarray(order="F")
        gram[np.diag_indices_from(gram)] += self.reg
        inverse = inverted(gram)
        if self.by_item:
            self.precision, self.diagonal = inverse, inverse.diagonal().copy()
        else:
            self.inverse = inverse
            self.diagonal = np.empty(n_items, dtype=np.float32)
            for start in range(0, n_items, 1000):
                items = train[:, start : start + 1000].T.tocsr()  # a dense product would take longer than the inverse
                self.diagonal[start : start + 1000] = (1 - items.multiply(items @ inverse).sum(axis=1).A1) / self.reg
        return self

    def scores_of(self, history: sp.csr_matrix, users: np.ndarray) -> np.ndarray:
        """See Baseline."""
        dense = history.toarray()
        if self.by_item:
            projected = history @ self.precision
        else:
            inside = (history @ self.train.T).toarray() @ self.inverse
            projected = (dense - (self.train.T @ inside.T).T) / self.reg
        return (dense - projected / self.diagonal).astype(np.float32)


class GFCF(Baseline):
    """Linear filter and ideal low-pass filter (Shen et al., CIKM 2021)."""

    grid: ClassVar = [{"alpha": a, "rank": r} for a in (0.0, 0.3, 1.0, 3.0) for r in (64, 256, 512)]

    def __init__(self, alpha: float, rank: int):
        self.alpha, self.rank = alpha, rank

    def fit(self, train: sp.csr_matrix) -> GFCF:
        """See Baseline."""
        super().fit(train)
        self.item = inverse_power(self.item_degree, 0.5)
        self.normal = (sp.diags(inverse_power(self.user_degree, 0.5)) @ train @ sp.diags(self.item)).tocsr()
        rank = max(1, min(self.rank, min(train.shape) - 1))
        self.vectors = randomized_svd(self.normal, rank, n_iter=4, random_state=0)[2].astype(np.float32)
        return self

    def scores_of(self, history: sp.csr_matrix, users: np.ndarray) -> np.ndarray:
        """See Baseline."""
        linear = np.asarray((history @ self.normal.T @ self.normal).todense(), dtype=np.float32)
        back = np.where(self.item > 0, 1 / np.maximum(self.item, 1e-9), 0)
        ideal = ((history @ sp.diags(self.item)) @ self.vectors.T) @ self.vectors * back
        return self._or_popularity(linear + self.alpha * np.asarray(ideal, dtype=np.float32))


BASELINES: dict[str, type[Baseline]] = {
    "MostPop": MostPop,
    "ItemKNN": ItemKNN,
    "UserKNN": UserKNN,
    "RP3beta": RP3beta,
    "EASE": EASE,
    "GF-CF": GFCF,
}


def baseline_result(split: Split, name: str) -> dict:
    """Test metrics of a baseline whose hyperparameters are chosen by NDCG@10 on the validation part."""
    baseline = BASELINES[name]
    if not baseline.affordable(split.train.shape):
        return {"note": "not affordable"}
    best_score, seconds_search = -1.0, 0.0
    for hyperparameters in baseline.grid:
        start = time.perf_counter()
        fitted = baseline(**hyperparameters).fit(split.tuning_train)
        score = split.evaluate(fitted.scores, "valid")["ndcg@10"] if len(baseline.grid) > 1 else 0.0
        seconds = time.perf_counter() - start
        seconds_search += seconds
        if score >= best_score:
            best_score, best, chosen, seconds_best = score, fitted, hyperparameters, seconds
    start = time.perf_counter()
    if split.tuning_train is not split.train:
        best = baseline(**chosen).fit(split.train)
    metrics = split.evaluate(best.scores, "test")
    seconds = time.perf_counter() - start + seconds_best
    return {**metrics, "hyperparameters": chosen, "seconds": seconds, "seconds_search": seconds_search}
