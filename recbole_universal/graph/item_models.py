"""What relates items to items: neighbours, spectra and regressions, and lists from one item-item matrix."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch
from sklearn.utils.extmath import randomized_svd

from recbole_universal.graph.canonical_order import hashed
from recbole_universal.graph.threads import in_threads

# Counts of items' users in common that one thread holds at once, at most.
BLOCK_COUNTS = 2**22
# A list of neighbours may be so many times as long as asked for.
_MOST_TIED = 4
# Below this size the whole spectrum is computed: exact, and as fast as a random projection.
_EXACT_SPECTRUM = 1024


def sampled_users(matrix: sp.csr_matrix, max_interactions: int, max_users: int) -> np.ndarray:
    """Users drawn by a fixed seed until they have so many interactions or are so many; all where there are no more.

    Args:
        matrix: csr [n_users, n_items].
        max_interactions: interactions of the drawn users at most (of one user, if that one has more).
        max_users: drawn users at most.

    Returns:
        User numbers, sorted, int64 [n].
    """
    if matrix.nnz <= max_interactions and matrix.shape[0] <= max_users:
        return np.arange(matrix.shape[0])
    order = np.random.default_rng(0).permutation(matrix.shape[0])[:max_users]
    total = np.cumsum(np.diff(matrix.indptr)[order].astype(np.int64))
    return np.sort(order[: max(1, int(np.searchsorted(total, max_interactions, side="right")))])


def thinned(matrix: sp.csr_matrix, max_items: int) -> sp.csr_matrix:
    """A matrix without some of the items of users with more than so many; unchanged where there is no such user.

    A user of n items relates n^2 pairs of items, and says less about each the more they are. Such a user keeps
    ``max_items**2 // n`` items: the more items, the fewer pairs. The hash of an item's number decides whether it stays,
    so that one more item changes two others at most.

    Args:
        matrix: csr [n_users, n_items].
        max_items: items of a user that all stay.
    """
    kept = np.ones(matrix.nnz, dtype=bool)
    degree = np.diff(matrix.indptr).astype(np.int64)
    for user in np.flatnonzero(degree > max_items):
        start, stop = matrix.indptr[user : user + 2]
        n_kept = max(1, max_items**2 // degree[user])
        order = np.argpartition(hashed(matrix.indices[start:stop].astype(np.uint64)), n_kept)
        kept[start + order[n_kept:]] = False
    if kept.all():
        return matrix
    indptr = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return sp.csr_matrix((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def nearest_neighbors(matrix: sp.csr_matrix, n_neighbors: int, items: np.ndarray | None = None) -> sp.csr_matrix:
    """Item-item cosines, each item keeping those to its nearest neighbours.

    Args:
        matrix: binary csr [n_users, n_items].
        n_neighbors: neighbours kept; as many more as tie with the last, or none of these where they are too many (an
            item of one user is equally near to all that user has).
        items: the items to give neighbours to, int64 [n]; None: all.

    Returns:
        csr [n, n_items], row = target item; not itself.
    """
    n_items = matrix.shape[1]
    scale = inverse_power(np.bincount(matrix.indices, minlength=n_items).astype(np.float32), 0.5).numpy()
    by_item = matrix.T.tocsr()
    targets = np.arange(n_items) if items is None else items
    # The whole co-occurrence matrix of a large catalogue does not fit into memory.
    blocks = row_blocks(paths_from_items(matrix)[targets], n_items)
    parts = in_threads(
        lambda part: _nearest(by_item[targets[part]] @ matrix, targets[part], scale, n_neighbors), blocks
    )
    data, indices, lengths = zip(*parts, strict=True)
    lengths = np.concatenate(lengths)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    data = np.concatenate(data) * np.repeat(scale[targets], lengths)
    return sp.csr_matrix((data, np.concatenate(indices), indptr), shape=(len(targets), n_items))


def row_blocks(widths: np.ndarray, n_columns: int, n_arrays: int = 1) -> list[np.ndarray]:
    """Row numbers in parts, at least one; the columns that a part touches, for each of its rows, fit a thread's memory.

    Args:
        widths: entries of each row at most, [n_rows].
        n_columns: number of columns.
        n_arrays: arrays of a part's size that are in memory at once.
    """
    starts, touched, most = [0], 0, BLOCK_COUNTS // n_arrays
    for row, width in enumerate(widths.tolist()):
        touched = min(n_columns, touched + width)
        if row > starts[-1] and (row + 1 - starts[-1]) * touched > most:
            starts.append(row)
            touched = min(n_columns, width)
    return [np.arange(start, stop) for start, stop in zip(starts, [*starts[1:], len(widths)], strict=True)]


def paths_from_items(matrix: sp.csr_matrix) -> np.ndarray:
    """Interactions of each item's users, [n_items]: with so many items it has a user in common at most."""
    return matrix.T @ np.diff(matrix.indptr).astype(np.int64)


def _nearest(
    products: sp.csr_matrix, targets: np.ndarray, scale: np.ndarray, n_neighbors: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest neighbours of some items, row after row.

    Args:
        products: users in common of these items with all items, csr [n, n_items]; changed. Counts are exact in float32,
            sums of scaled ones are not.
        targets: the numbers of these items, [n].
        scale: by item, inverse square root of the degree.
        n_neighbors: as in :func:`nearest_neighbors`.

    Returns:
        The neighbours' cosines times the root of the target's degree, their numbers, and how many each item has.
    """
    products.data *= scale[products.indices]
    by_row = []
    for start, stop in zip(products.indptr, products.indptr[1:], strict=False):
        values = products.data[start:stop]
        # One more than asked for: an item is nearest to itself, and left out below.
        if len(values) > n_neighbors + 1:
            least = np.partition(values, -n_neighbors - 1)[-n_neighbors - 1]
            near = np.flatnonzero(values >= least)
            if len(near) > _MOST_TIED * n_neighbors + 1:
                near = np.flatnonzero(values > least)
            by_row.append(start + near)
        else:
            by_row.append(np.arange(start, stop))
    rows = np.repeat(np.arange(len(by_row)), [len(row) for row in by_row])
    places = np.concatenate([*by_row, np.zeros(0, dtype=np.int64)])
    others = products.indices[places] != targets[rows]
    places, rows = places[others], rows[others]
    return products.data[places], products.indices[places], np.bincount(rows, minlength=products.shape[0])


def singular_vectors(matrix: sp.csr_matrix, max_rank: int) -> np.ndarray:
    """Right singular vectors of the normalised adjacency matrix D_u^-1/2 R D_i^-1/2, largest singular value first.

    Args:
        matrix: binary csr [n_users, n_items].
        max_rank: most vectors; otherwise an eighth of the smaller side, at least 8 where there are as many.

    Returns:
        float32 [n_items, rank].
    """
    n_users, n_items = matrix.shape
    user = inverse_power(np.diff(matrix.indptr).astype(np.float32), 0.5).numpy()
    item = inverse_power(np.bincount(matrix.indices, minlength=n_items).astype(np.float32), 0.5).numpy()
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


def inverse_power(degree: np.ndarray, exponent: float) -> torch.Tensor:
    """degree^-exponent, 0 where the degree is 0."""
    powers = np.where(degree > 0, np.maximum(degree, 1.0) ** -exponent, 0.0)
    return torch.from_numpy(powers.astype(np.float32))


def strongest(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k values of the greatest size in each row, of either sign; csr of the same shape."""
    parts = []
    sizes = np.abs(matrix.data)
    for start, stop in zip(matrix.indptr, matrix.indptr[1:], strict=False):
        kept = np.arange(start, stop)
        parts.append(kept if stop - start <= k else start + np.argpartition(sizes[start:stop], -k)[-k:])
    indptr = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(matrix.indptr.dtype)
    places = np.concatenate([*parts, np.zeros(0, dtype=np.int64)])
    return sp.csr_matrix((matrix.data[places], matrix.indices[places], indptr), shape=matrix.shape)


def best_of_sums(
    own: sp.csr_matrix, relations: sp.csr_matrix, k: int, exclude_own: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Best items of some users by the sum of their items' rows of an item-item matrix.

    Args:
        own: the users' items, binary csr [n_users, n_items].
        relations: csr [n_items, n_items], row = item of the user.
        k: items of a list.
        exclude_own: whether a user's own items are left out.

    Returns:
        Item numbers int64 [n_users, k], best first, and their sums float32 [n_users, k]; where fewer items have a sum
        above 0, -1 and 0.
    """
    n_users, n_items = own.shape
    items = np.full((n_users, k), -1, dtype=np.int64)
    values = np.zeros((n_users, k), dtype=np.float32)

    def put(users: np.ndarray) -> None:
        sums = own[users] @ relations
        is_own = np.zeros(n_items, dtype=bool)
        for row, user in enumerate(users):
            place = slice(sums.indptr[row], sums.indptr[row + 1])
            found, value = sums.indices[place], sums.data[place]
            if exclude_own:
                mine = own.indices[own.indptr[user] : own.indptr[user + 1]]
                is_own[mine] = True
                value[is_own[found]] = 0.0
                is_own[mine] = False
            # All that tie with the k-th, so that a longer list starts with the shorter one.
            least = np.partition(value, -k)[-k] if len(value) > k else 0.0
            best = np.flatnonzero((value >= least) & (value > 0))
            best = best[np.lexsort((found[best], -value[best]))][:k]
            items[user, : len(best)], values[user, : len(best)] = found[best], value[best]

    longest = int(np.diff(relations.indptr).max(initial=0))
    in_threads(put, row_blocks(np.diff(own.indptr) * longest, n_items))
    return items, values
