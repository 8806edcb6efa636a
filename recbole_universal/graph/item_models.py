"""Item similarities: nearest neighbours and spectra, and recommendations from one item-item matrix."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.canonical_order import hashed
from recbole_universal.graph.popularity import item_degrees
from recbole_universal.graph.shards import balanced_shards, current_spread
from recbole_universal.graph.spectrum import largest_singular
from recbole_universal.graph.sums import best_of_sums, compiled
from recbole_universal.graph.threads import in_threads

# Largest number of co-occurrence counts that one thread holds at once.
BLOCK_COUNTS = 2**22
# Number of items whose neighbours a compiled loop finds at once.
_BLOCK_ITEMS = 1024
# With ties, an item has at most this many times `n_neighbors` neighbours.
_MOST_TIED = 4
# Up to this size the whole spectrum is computed. It is exact, and as fast as a random projection.
_EXACT_SPECTRUM = 1024
# The spectrum of a larger matrix begins with this number of interactions of a sample of the users.
_FIRST_PASSES = 2**22


def sampled_users(matrix: sp.csr_matrix, max_interactions: int, max_users: int) -> np.ndarray:
    """A random sample of the users of a matrix that is too large, drawn with a fixed seed; otherwise all users.

    Args:
        matrix: csr [n_users, n_items].
        max_interactions: largest number of interactions of the sample, which has at least one user.
        max_users: largest number of users.

    Returns:
        User indices, sorted, int64 [n].
    """
    if matrix.nnz <= max_interactions and matrix.shape[0] <= max_users:
        return np.arange(matrix.shape[0])
    order = np.random.default_rng(0).permutation(matrix.shape[0])[:max_users]
    total = np.cumsum(np.diff(matrix.indptr)[order].astype(np.int64))
    return np.sort(order[: max(1, int(np.searchsorted(total, max_interactions, side="right")))])


def thinned(matrix: sp.csr_matrix, max_items: int) -> sp.csr_matrix:
    """A matrix with fewer items of each user who has more than ``max_items``; the same matrix if no user has.

    A user with n items relates n^2 pairs of items, and each pair is weaker evidence the larger n is. Such a user keeps
    ``max_items**2 // n`` items, so a user with more items relates fewer pairs. The hash of the item's index selects the
    items, so one additional item changes the selection of at most two others.

    Args:
        matrix: csr [n_users, n_items].
        max_items: number of items up to which a user keeps all.
    """
    stays = np.ones(matrix.nnz, dtype=bool)
    degree = np.diff(matrix.indptr).astype(np.int64)
    for user in np.flatnonzero(degree > max_items):
        start, stop = matrix.indptr[user : user + 2]
        n_items = max(1, max_items**2 // degree[user])
        order = np.argpartition(hashed(matrix.indices[start:stop].astype(np.uint64)), n_items)
        stays[start + order[n_items:]] = False
    if stays.all():
        return matrix
    before = np.zeros(matrix.nnz + 1, dtype=matrix.indptr.dtype)
    np.cumsum(stays, out=before[1:])
    return sp.csr_matrix((matrix.data[stays], matrix.indices[stays], before[matrix.indptr]), shape=matrix.shape)


def most_items(degree: np.ndarray, max_items: int, max_paths: int) -> int:
    """Number of items above which users are :func:`thinned`, so that they relate a bounded number of pairs of items.

    Args:
        degree: number of items of each user, [n_users].
        max_items: upper bound of the result, >= 1.
        max_paths: largest sum of the squared numbers of items that the users keep. Users of one item may exceed it.

    Returns:
        A number from 1 to ``max_items``.
    """
    values, counts = np.unique(degree[degree > 0].astype(np.int64), return_counts=True)

    def paths(limit: int) -> float:
        kept = np.where(values > limit, np.maximum(1, limit**2 // values), values).astype(np.float64)
        return float((kept**2 * counts).sum())

    low, high = 1, max_items
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if paths(middle) <= max_paths else (low, middle - 1)
    return low


def nearest_neighbors(matrix: sp.csr_matrix, n_neighbors: int, items: np.ndarray | None = None) -> sp.csr_matrix:
    """Cosines of items and their nearest neighbours.

    Items that tie with the last neighbour are neighbours too. If that makes more than ``4 * n_neighbors``, all tied
    items are dropped: an item with a single user ties with all items of that user.

    Args:
        matrix: csr [n_users, n_items]; 1, or the weight of each interaction.
        n_neighbors: number of neighbours of each item.
        items: items whose neighbours to find, int64 [n]; None: all.

    Returns:
        csr [n, n_items], row = target item; an item is no neighbour of itself.
    """
    spread = current_spread()
    if spread is not None and items is None:
        # Shards of items, not of users: each needs no merge, and returns 100 neighbours an item instead of all counts.
        rows = spread(nearest_neighbors, (matrix, n_neighbors), balanced_shards(paths_from_items(matrix)))
        return sp.vstack(rows, format="csr")
    n_items = matrix.shape[1]
    squares = weight_squares(matrix).astype(np.float32)
    scale = inverse_power(squares, 0.5).numpy()
    by_item = matrix.T.tocsr()
    targets = np.arange(n_items) if items is None else items
    if compiled() is None:
        # The whole co-occurrence matrix of a large catalogue does not fit into memory.
        blocks = row_blocks(paths_from_items(matrix)[targets], n_items)
        results = in_threads(
            lambda block: _nearest(by_item[targets[block]] @ matrix, targets[block], scale, n_neighbors), blocks
        )
    else:
        starts = range(0, max(1, len(targets)), _BLOCK_ITEMS)
        results = in_threads(
            lambda start: _compiled_nearest(by_item, matrix, targets[start : start + _BLOCK_ITEMS], scale, n_neighbors),
            starts,
        )
    data, indices, lengths = zip(*results, strict=True)
    lengths = np.concatenate(lengths)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    data = np.concatenate(data) * np.repeat(scale[targets], lengths)
    return sp.csr_matrix((data, np.concatenate(indices), indptr), shape=(len(targets), n_items))


def _compiled_nearest(
    by_item: sp.csr_matrix, matrix: sp.csr_matrix, targets: np.ndarray, scale: np.ndarray, n_neighbors: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`_nearest` by compiled loops, which hold the common users of one item at a time."""
    from recbole_universal.graph import compiled_neighbors

    most = min(_MOST_TIED * n_neighbors + 1, matrix.shape[1])
    items, values = (np.empty((len(targets), most), dtype=dtype) for dtype in (np.int32, np.float32))
    lengths = np.empty(len(targets), dtype=np.int64)
    parts = (array for part in (by_item, matrix) for array in (part.indptr, part.indices, part.data))
    compiled_neighbors.nearest(*parts, targets, scale, n_neighbors, _MOST_TIED * n_neighbors, items, values, lengths)
    filled = np.arange(most) < lengths[:, None]
    return values[filled], items[filled], lengths


def row_blocks(widths: np.ndarray, n_columns: int, n_arrays: int = 1) -> list[np.ndarray]:
    """Consecutive row indices in blocks, at least one block.

    A dense array of a block's rows and of the columns in which they have entries fits the memory of one thread.

    Args:
        widths: upper bound on the number of entries of each row, [n_rows].
        n_columns: number of columns.
        n_arrays: number of arrays of a block's size that are in memory at once.
    """
    starts, touched, most = [0], 0, BLOCK_COUNTS // n_arrays
    for row, width in enumerate(widths.tolist()):
        touched = min(n_columns, touched + width)
        if row > starts[-1] and (row + 1 - starts[-1]) * touched > most:
            starts.append(row)
            touched = min(n_columns, width)
    return [np.arange(start, stop) for start, stop in zip(starts, [*starts[1:], len(widths)], strict=True)]


def paths_from_items(matrix: sp.csr_matrix) -> np.ndarray:
    """Sum of the degrees of each item's users, [n_items]; the item shares a user with at most as many items."""
    return matrix.T @ np.diff(matrix.indptr).astype(np.int64)


def _nearest(
    products: sp.csr_matrix, targets: np.ndarray, scale: np.ndarray, n_neighbors: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest neighbours of some items, row after row.

    Args:
        products: number of common users of these items and all items, csr [n, n_items]; changed in place. Counts are
            exact in float32, unlike sums of scaled counts. With weights, sums of their products.
        targets: indices of these items, [n].
        scale: inverse square root of each item's degree, or of the sum of its squared weights, [n_items].
        n_neighbors: see :func:`nearest_neighbors`.

    Returns:
        Cosines of the neighbours times the root of the target's degree, their indices, and the number of neighbours of
        each item.
    """
    products.data *= scale[products.indices]
    by_row = []
    for start, stop in zip(products.indptr, products.indptr[1:], strict=False):
        values = products.data[start:stop]
        # The item itself is the nearest; it is removed later.
        if len(values) > n_neighbors + 1:
            least = np.partition(values, -n_neighbors - 1)[-n_neighbors - 1]
            near = np.flatnonzero(values >= least)
            if len(near) > _MOST_TIED * n_neighbors + 1:
                near = np.flatnonzero(values > least)
            by_row.append(start + near)
        else:
            by_row.append(np.arange(start, stop))
    rows = np.repeat(np.arange(len(by_row)), [len(row) for row in by_row])
    entries = np.concatenate([*by_row, np.zeros(0, dtype=np.int64)])
    others = products.indices[entries] != targets[rows]
    entries, rows = entries[others], rows[others]
    return products.data[entries], products.indices[entries], np.bincount(rows, minlength=products.shape[0])


def singular_vectors(
    matrix: sp.csr_matrix, max_rank: int, parts: tuple[int, ...]
) -> tuple[np.ndarray, NDArray[np.int64]]:
    """Right singular vectors of the normalised adjacency matrix D_u^-1/2 R D_i^-1/2, largest singular value first.

    The numbers of vectors do not separate equal singular values, where any rotation of their vectors is as good. Only
    the last number may, if both sides are larger than 1,024, since the next value is unknown there, or if all of its
    values are equal.

    Args:
        matrix: csr [n_users, n_items]; 1, or the weight of each interaction.
        max_rank: largest number of vectors. Otherwise it is an eighth of the smaller side, and at least 8 if possible.
        parts: the rank is divided by each.

    Returns:
        The vectors, float32 [n_items, rank], and the number of the largest of them for each part, int64 [n_parts].
    """
    n_users, n_items = matrix.shape
    user, item = (inverse_power(sums, 0.5).numpy() for sums in weight_sums(matrix))
    data = matrix.data * np.repeat(user, np.diff(matrix.indptr))
    data *= item[matrix.indices]
    normalised = sp.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    smaller = min(n_users, n_items)
    rank = min(max_rank, max(8, smaller // 8), smaller)
    if smaller <= _EXACT_SPECTRUM:
        tall = n_users >= n_items
        gram = (normalised.T @ normalised if tall else normalised @ normalised.T).toarray()
        # One more than the rank shows whether it separates equal values.
        largest = max(0, smaller - rank - 1), smaller - 1
        values, vectors = scipy.linalg.eigh(gram.astype(np.float64), subset_by_index=largest)
        values, vectors = values[::-1], vectors[:, ::-1][:, :rank]
        if not tall:
            vectors = normalised.T @ vectors / np.sqrt(np.maximum(values[:rank], 1e-12))
        vectors = vectors * (values[:rank] > 1e-9)
    else:
        few = sampled_users(normalised, _FIRST_PASSES, n_users)
        # Fewer users than vectors would leave vectors of 0.
        begins_with_few = 4 * rank < len(few) < n_users
        values, vectors = largest_singular(normalised, rank, normalised[few] if begins_with_few else None)
    cuts = np.minimum([_cut(values, max(1, rank // part)) for part in parts], rank)
    return np.ascontiguousarray(vectors[:, : cuts.max()], dtype=np.float32), cuts


def _cut(values: NDArray, rank: int) -> int:
    """The largest number of values up to ``rank`` such that the next is smaller; otherwise the least number above."""
    falls = np.append(values[:-1] - values[1:] > 1e-6 * values[0], True)
    cuts = np.flatnonzero(falls) + 1
    return int(cuts[cuts <= rank].max(initial=0) or cuts[0])


def weight_squares(matrix: sp.csr_matrix) -> np.ndarray:
    """Sum of the squared weights of each item, [n_items]; degrees without weights."""
    if (matrix.data == 1).all():
        return item_degrees(matrix)
    return np.bincount(matrix.indices, matrix.data.astype(np.float64) ** 2, minlength=matrix.shape[1])


def weight_sums(matrix: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the weights of each user, float32 [n_users], and of each item, float32 [n_items]; degrees without weights.

    Args:
        matrix: csr [n_users, n_items]; 1, or the weight of each interaction.
    """
    if (matrix.data == 1).all():  # the sums of weights take 24 bytes an interaction
        return np.diff(matrix.indptr).astype(np.float32), item_degrees(matrix).astype(np.float32)
    users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    of_users = np.bincount(users, matrix.data, minlength=matrix.shape[0])
    of_items = np.bincount(matrix.indices, matrix.data, minlength=matrix.shape[1])
    return of_users.astype(np.float32), of_items.astype(np.float32)


def inverse_power(degree: np.ndarray, exponent: float) -> torch.Tensor:
    """``degree ** -exponent``; 0 where the degree is 0."""
    powers = np.where(degree > 0, np.maximum(degree, 1.0) ** -exponent, 0.0)
    return torch.from_numpy(powers.astype(np.float32))


def strongest(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k entries of largest absolute value in each row; csr of the same shape."""
    by_row = []
    sizes = np.abs(matrix.data)
    for start, stop in zip(matrix.indptr, matrix.indptr[1:], strict=False):
        row = np.arange(start, stop)
        by_row.append(row if stop - start <= k else start + np.argpartition(sizes[start:stop], -k)[-k:])
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in by_row])]).astype(matrix.indptr.dtype)
    entries = np.concatenate([*by_row, np.zeros(0, dtype=np.int64)])
    return sp.csr_matrix((matrix.data[entries], matrix.indices[entries], indptr), shape=matrix.shape)


def best_by_relations(
    user_items: sp.csr_matrix,
    relations: sp.csr_matrix,
    k: int,
    exclude_seen: bool,
    allowed: AllowedItems | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Best items of some users by the sum of their items' rows of an item-item matrix.

    Args:
        user_items: items of each user, csr [n_users, n]; 1, or the weight of each.
        relations: csr [n, n_items], row = item of the user.
        k: number of recommendations.
        exclude_seen: whether to leave out the user's items.
        allowed: the items that may be recommended; ``None``: all may.

    Returns:
        Item indices int64 [n_users, k], best first, and their sums float32 [n_users, k]. If fewer than k items have a
        positive sum, the last entries are -1 and 0.
    """

    def best(users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows = user_items[users]
        some = None if allowed is None else allowed[users].dense()
        return best_of_sums(rows, relations, k, rows if exclude_seen else None, some)

    longest, n_items = int(np.diff(relations.indptr).max(initial=0)), relations.shape[1]
    reached = np.diff(user_items.indptr).astype(np.int64) * longest
    if allowed is not None:
        reached[:] = n_items  # a row of the allowed items is dense
    items, values = zip(*in_threads(best, row_blocks(reached, n_items)), strict=True)
    return np.concatenate(items), np.concatenate(values)
