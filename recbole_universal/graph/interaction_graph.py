"""The bipartite user-item graph on which every universal feature is computed."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recbole_universal.graph.canonical_order import canonical_order
from recbole_universal.graph.content_relation import ContentRelation
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.popularity import item_degrees
from recbole_universal.graph.threads import lazy_property

# Indices of users and items have 32 bits.
_MOST_NODES = 2**31 - 1


class InteractionGraph:
    """Weighted bipartite graph of users and items, stored as CSR matrices in both directions.

    Users and items share the node indices: user ``u`` is node ``u``, item ``i`` is node ``n_users + i``. A user or an
    item without interactions, such as RecBole's padding id 0, is a node of degree 0.

    Args:
        matrix: SciPy sparse matrix ``[n_users, n_items]``; its values are the weights of the interactions,
            which are positive. An explicit zero is no interaction; duplicates are summed to one edge. The
            matrix is not changed.
        histories: the same interactions in the order of time, of the users of the rows; ``None``: the order is unknown.
        weighted: whether the weights count in the family ``proximity`` too, which otherwise reads the pairs alone.
        copy: whether to copy a matrix that has the form of ``user_item`` already. Without a copy the graph shares its
            arrays, which must not change any more.
        content: the contents of the items (:func:`~recbole_universal.content.spaces.content_relation`); ``None``: the
            content is not known.

    Attributes:
        user_item (csr_matrix): ``[n_users, n_items]`` float32, sorted indices, no zeros, no duplicates.
        n_users (int): rows of the matrix.
        n_items (int): columns of the matrix.
        n_nodes (int): ``n_users + n_items``.
        n_edges (int): number of distinct user-item pairs.
        histories (Histories | None): the argument.
        weighted (bool): the argument.
        content (ContentRelation | None): the argument.

    Raises:
        ValueError: if the histories are not those of the matrix, the content is of another number of items, or the
            matrix is not sparse, numeric and two-dimensional, has no user, no item or no interaction, or holds a weight
            that is negative, NaN, infinite or too small (as float32).
    """

    def __init__(
        self,
        matrix: sp.spmatrix | sp.sparray,
        histories: Histories | None = None,
        weighted: bool = False,
        copy: bool = True,
        content: ContentRelation | None = None,
    ) -> None:
        self.user_item = _checked_csr(matrix, copy)
        self.n_users, self.n_items = map(int, self.user_item.shape)
        self.n_nodes = self.n_users + self.n_items
        self.n_edges = int(self.user_item.nnz)
        self.histories, self.weighted, self.content = histories, weighted, content
        if content is not None and len(content.vectors) != self.n_items:
            raise ValueError(f"content: must relate the {self.n_items} items, got {len(content.vectors)}.")
        if histories is not None and not self._holds(histories):
            raise ValueError("histories: must hold the interactions of the matrix, one history a row.")

    def __repr__(self) -> str:
        return f"InteractionGraph(n_users={self.n_users}, n_items={self.n_items}, n_edges={self.n_edges})"

    def _holds(self, histories: Histories) -> bool:
        """Whether histories have the interactions of the matrix."""
        items = histories.items
        if len(histories) != self.n_users or (len(items) and (items.min() < 0 or items.max() >= self.n_items)):
            return False
        return (histories.matrix(self.n_items) != (self.user_item != 0)).nnz == 0

    @lazy_property
    def item_user(self) -> sp.csr_matrix:
        """The transposed matrix, ``[n_items, n_users]`` float32 with sorted indices."""
        return self.user_item.T.tocsr()

    @lazy_property
    def user_degree(self) -> np.ndarray:
        """Number of distinct items of each user, int64 ``[n_users]``."""
        return np.diff(self.user_item.indptr).astype(np.int64)

    @lazy_property
    def item_degree(self) -> np.ndarray:
        """Number of distinct users of each item, int64 ``[n_items]``."""
        return item_degrees(self.user_item)

    @lazy_property
    def degree(self) -> np.ndarray:
        """Number of distinct neighbours of each node, int64 ``[n_nodes]``."""
        return np.concatenate([self.user_degree, self.item_degree])

    @lazy_property
    def user_marginal(self) -> np.ndarray:
        """Sum of each user's weights, float64 ``[n_users]``; its degree where the weights are 1."""
        users, _ = self.edges()
        return np.bincount(users, weights=self.user_item.data, minlength=self.n_users)

    @lazy_property
    def item_marginal(self) -> np.ndarray:
        """Sum of each item's weights, float64 ``[n_items]``; its degree where the weights are 1."""
        return np.bincount(self.user_item.indices, weights=self.user_item.data, minlength=self.n_items)

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """The interactions, sorted by user, then by item.

        Returns:
            users and items, int64 ``[n_edges]`` each.
        """
        users = np.repeat(np.arange(self.n_users, dtype=np.int64), np.diff(self.user_item.indptr))
        return users, self.user_item.indices.astype(np.int64)

    def adjacency(self) -> tuple[np.ndarray, np.ndarray]:
        """The symmetric adjacency lists over all nodes: a user's items (shifted by ``n_users``), an item's users.

        Returns:
            ``indptr`` int64 ``[n_nodes + 1]`` and ``indices`` int64 ``[2 * n_edges]``, ascending for each
            node.
        """
        indptr = np.concatenate([[0], np.cumsum(self.degree)])
        indices = np.concatenate([self.user_item.indices.astype(np.int64) + self.n_users, self.item_user.indices])
        return indptr, indices

    def canonical_order(self) -> tuple[np.ndarray, np.ndarray]:
        """Orders of users and items that depend on the graph alone, not on the ids given.

        Walks, initial values and k-means depend on the order of the nodes. Features that are computed on the graph
        in this order and mapped back do not: relabelling users and items permutes them exactly.
        `recbole_universal.graph.canonical_order.canonical_order` describes the method and its limit.

        Returns:
            ``user_perm`` int64 ``[n_users]`` and ``item_perm`` int64 ``[n_items]``: position k of the order
            is taken by user ``user_perm[k]``. Users and items without interactions come last.
        """
        return canonical_order(self.user_item)


def binary_matrix(matrix: sp.spmatrix | sp.sparray) -> sp.csr_matrix:
    """A new csr float32 [n_users, n_items] with 1 for each pair with a nonzero value of any type.

    Raises:
        ValueError: if the matrix is not sparse, numeric and two-dimensional, has no interaction, or holds a NaN.
    """
    plain = _plain_csr(matrix)
    if plain is not None and np.isfinite(plain.data).all() and plain.data.all():
        arrays = np.ones(plain.nnz, dtype=np.float32), plain.indices.copy(), plain.indptr.copy()
        return sp.csr_matrix(arrays, shape=plain.shape)
    coo = _entries(matrix)
    wrong = np.flatnonzero(~np.isfinite(coo.data)) if coo.dtype.kind == "f" else np.zeros(0, dtype=np.int64)
    if wrong.size:
        raise _weight_error(coo.row[wrong], coo.col[wrong], coo.data[wrong], "NaN and infinity are no interactions")
    stored = coo.data != 0
    ones = np.ones(np.count_nonzero(stored), dtype=np.float32)
    binary = sp.csr_matrix((ones, (coo.row[stored], coo.col[stored])), shape=coo.shape)
    binary.data[:] = 1.0  # duplicates were summed
    return _with_interactions(binary)


def _plain_csr(matrix: sp.spmatrix | sp.sparray) -> sp.csr_matrix | None:
    """A csr matrix with sorted indices of the usual type, no pair twice and at least one entry, which shares memory.

    Other matrices, and damaged ones, are ``None``. They go through coo, which takes 50 bytes an entry.
    """
    if not sp.issparse(matrix) or matrix.format != "csr" or matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        return None
    if (
        not matrix.nnz
        or max(matrix.shape) > _MOST_NODES
        or len(matrix.indices) != matrix.nnz
        or len(matrix.data) != matrix.nnz
    ):
        return None
    index = np.int32 if matrix.nnz < 2**31 else np.int64
    try:
        arrays = matrix.data, matrix.indices.astype(index, copy=False), matrix.indptr.astype(index, copy=False)
        plain = sp.csr_matrix(arrays, shape=matrix.shape)
        plain.check_format(full_check=True)
    except ValueError:
        return None
    return plain if plain.has_canonical_format else None


def _entries(matrix: sp.spmatrix | sp.sparray) -> sp.coo_matrix:
    """Stored values of an interaction matrix after a check of types and indices; duplicates are not summed."""
    if not sp.issparse(matrix):
        raise ValueError(f"matrix must be a SciPy sparse matrix [n_users, n_items], got {type(matrix).__name__}")
    if matrix.ndim != 2:
        raise ValueError(f"matrix must have two dimensions [n_users, n_items], got shape {matrix.shape}")
    if matrix.dtype.kind not in "biuf":
        raise ValueError(f"matrix must hold real numbers, got dtype {matrix.dtype}")
    n_users, n_items = matrix.shape
    if n_users == 0 or n_items == 0:
        raise ValueError(f"matrix must have at least one user and one item, got shape {matrix.shape}")
    if max(matrix.shape) > _MOST_NODES:
        raise ValueError(f"matrix must have at most 2**31 - 1 users and items, got shape {matrix.shape}")
    if matrix.format in ("csr", "csc", "bsr"):
        if (np.diff(matrix.indptr) < 0).any():
            raise ValueError("matrix is damaged: its indptr must not decrease")
        if len(matrix.indices) != matrix.indptr[-1]:  # allocated but unused
            matrix = matrix.copy()
            matrix.prune()
    try:
        return sp.coo_matrix(matrix)
    except ValueError as error:  # an index out of range
        raise ValueError(f"matrix is damaged: {error}") from error


def _with_interactions(csr: sp.csr_matrix) -> sp.csr_matrix:
    csr.sort_indices()
    if csr.nnz == 0:
        n_users, n_items = csr.shape
        raise ValueError(f"matrix [{n_users}, {n_items}] holds no interaction: every weight is zero or missing")
    return csr


def _checked_csr(matrix: sp.spmatrix | sp.sparray, copy: bool = True) -> sp.csr_matrix:
    plain = _plain_csr(matrix)
    if plain is not None and plain.dtype == np.float32 and plain.data.min() > 0 and np.isfinite(plain.data.max()):
        return plain.copy() if copy else plain
    coo = _entries(matrix)
    weights = coo.data.astype(np.float64)
    _check_weights(coo.row, coo.col, weights)
    # Duplicates are summed here.
    csr = sp.csr_matrix((weights, (coo.row, coo.col)), shape=coo.shape)
    _check_weights(np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr)), csr.indices, csr.data)
    csr = csr.astype(np.float32)
    csr.eliminate_zeros()
    return _with_interactions(csr)


def _check_weights(rows: np.ndarray, cols: np.ndarray, weights: np.ndarray) -> None:
    with np.errstate(over="ignore", under="ignore"):  # reported with its index
        stored = weights.astype(np.float32)
    wrong = np.flatnonzero(~(np.isfinite(stored) & (stored >= 0)) | ((stored == 0) & (weights != 0)))
    if wrong.size:
        valid = "weights must be finite in float32 and not negative, and not so small that float32 holds 0"
        raise _weight_error(rows[wrong], cols[wrong], weights[wrong], valid)


def _weight_error(rows: np.ndarray, cols: np.ndarray, weights: np.ndarray, valid: str) -> ValueError:
    first = np.lexsort((cols, rows))[0]
    return ValueError(
        f"matrix holds the weight {weights[first]} at row {rows[first]}, column {cols[first]} "
        f"({len(weights)} such weights); {valid}"
    )
