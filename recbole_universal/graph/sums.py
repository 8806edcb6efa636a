"""Sums over the items of histories: the best of them, and those of given items.

A whole-catalogue product reads every interaction for every history. These sums read the rows of the history's items,
and the rows of the items that are asked for. With Numba (the extra ``fast``) they are compiled loops; the results are
the same without, but for rounding.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

# Scores are multiples of 2**-DIGITS times a power of two near the user's highest score. So nearly all scores that are
# equal but for rounding errors are equal. Otherwise their order, and with it the lists, would depend on the processor.
# The highest score may be that of an item of the user.
DIGITS = 16
# Bound on the entries of a product of SciPy, some histories and all items or users.
_MOST_ENTRIES = 2**23
# Size in bytes from which NumPy uses large pages.
_LARGE = 2**22


@functools.cache
def compiled() -> ModuleType | None:
    """The compiled loops; ``None`` without Numba."""
    try:
        from recbole_universal.graph import compiled_sums
    except ImportError:
        return None
    return compiled_sums


def compiled_file(name: str) -> ModuleType | None:
    """Another file of compiled loops in this folder; ``None`` without Numba."""
    return None if compiled() is None else importlib.import_module(f"recbole_universal.graph.{name}")


def in_large_pages(array: NDArray) -> NDArray:
    """The array itself, or a copy in memory of NumPy if it is large and in memory of PyTorch.

    NumPy asks the system for large pages. Rows that are read at random then cost a fraction of the time, most of which
    the processor spends on the addresses of small pages.
    """
    is_ours = array.flags.owndata or not array.flags.writeable or isinstance(array, np.memmap)
    return array if is_ours or array.nbytes < _LARGE else array.copy()


def best_of_sums(
    weights: sp.csr_matrix,
    relations: sp.csr_matrix,
    k: int,
    excluded: sp.csr_matrix | None = None,
    allowed: NDArray[np.bool_] | None = None,
    factor: NDArray[np.float32] | None = None,
    digits: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best columns of each row of the product of two matrices.

    Args:
        weights: csr [n, n_sources].
        relations: csr [n_sources, n_columns].
        k: number of columns.
        excluded: columns that each row leaves out, csr [n, n_columns]; ``None``: no column.
        allowed: columns that may be among the best, bool [n or 1, n_columns]; ``None``: all may.
        factor: factor of the sums of each column, float32 [n_columns]; ``None``: 1.
        digits: binary digits of the sums before the factor, relative to the row's highest sum; 0: all.

    Returns:
        Columns int64 [n, k], best first and equal ones by index, and their sums times the factor, float32 [n, k]. If
        fewer than k are positive, the last entries are -1 and 0.
    """
    n, n_columns = weights.shape[0], relations.shape[1]
    columns, values = np.full((n, k), -1, dtype=np.int64), np.zeros((n, k), dtype=np.float32)
    factor = np.ones(n_columns, dtype=np.float32) if factor is None else factor
    excluded = sp.csr_matrix((n, n_columns), dtype=np.float32) if excluded is None else excluded
    loops = compiled()
    if loops is not None:
        some = np.zeros((0, 0), dtype=bool) if allowed is None else allowed
        out = excluded.indptr, excluded.indices
        loops.best_of_sums(*_parts(weights), *_parts(relations), factor, *out, some, digits, columns, values)
        return columns, values
    is_excluded, step = np.zeros(n_columns, dtype=bool), max(1, _MOST_ENTRIES // max(1, n_columns))
    for row in range(n):
        if row % step == 0:
            sums = weights[row : row + step] @ relations
        entries = slice(sums.indptr[row % step], sums.indptr[row % step + 1])
        column, value = sums.indices[entries], sums.data[entries]
        if digits and len(value):
            large = np.float32(np.ldexp(1.5, np.frexp(value.max())[1] + 23 - digits))
            value = (value + large) - large
        value = value * factor[column]
        left_out = excluded.indices[excluded.indptr[row] : excluded.indptr[row + 1]]
        is_excluded[left_out] = True
        value[is_excluded[column]] = 0.0
        is_excluded[left_out] = False
        if allowed is not None:
            value[~allowed[min(row, len(allowed) - 1)][column]] = 0.0
        best = _best_of_row(column, value, k)
        columns[row, : len(best)], values[row, : len(best)] = column[best], value[best]
    return columns, values


def _best_of_row(columns: NDArray[np.integer], values: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Positions of the highest positive values of one row, best first and equal ones by column, int64 [at most k].

    Args:
        columns: the columns that have a value, [n].
        values: their values, [n].
        k: number of positions.
    """
    # All that tie with the k-th take part, so that a longer list starts with the shorter one.
    least = np.partition(values, -k)[-k] if len(values) > k else 0.0
    best = np.flatnonzero((values >= least) & (values > 0))
    return best[np.lexsort((columns[best], -values[best]))][:k]


def best_of_scores(
    scores: NDArray[np.float32],
    items: NDArray[np.int64],
    columns: NDArray[np.int64],
    k: int,
    excluded: sp.csr_matrix,
    allowed: NDArray[np.bool_] | None,
    factor: NDArray[np.float32],
) -> NDArray[np.int64]:
    """The best items of each row by scores of all of them, in no particular order. Of equal ones, the first columns.

    Args:
        scores: float32 [n, n_columns]; changed in place.
        items: item of each column, int64 [n_columns].
        columns: column of each item, -1 without one, int64 [n_items].
        k: number of items.
        excluded: items that each row leaves out, csr [n, n_items].
        allowed: items that may be among the best, bool [n or 1, n_items]; ``None``: all may.
        factor: factor of the scores of each item, float32 [n_items].

    Returns:
        int64 [n, at most k], -1 where no score is positive.
    """
    rounded(scores)
    scores *= factor[items]
    left_out = columns[excluded.indices]
    rows = np.repeat(np.arange(len(scores)), np.diff(excluded.indptr))
    scores[rows[left_out >= 0], left_out[left_out >= 0]] = 0.0
    if allowed is not None:
        scores *= allowed[:, items]
    best = best_columns(scores, k)
    return np.where(np.take_along_axis(scores, best, 1) > 0, items[best], -1)


def best_columns(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The columns of the highest scores of each row, in no particular order. Of equal ones, the first columns.

    Args:
        scores: non-negative, float32 [n, n_columns].
        k: number of columns.

    Returns:
        int64 [n, at most k]; any columns where fewer than k scores are positive.
    """
    k = min(k, scores.shape[1])
    best = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
    # Which of the columns that tie with the k-th a partition takes depends on the processor.
    least = np.take_along_axis(scores, best, 1).min(axis=1, keepdims=True)
    tied = (least[:, 0] > 0) & (np.count_nonzero(scores >= least, axis=1) > k)
    for row in np.flatnonzero(tied).tolist():
        ties = np.flatnonzero(scores[row] >= least[row])
        best[row] = ties[np.argsort(-scores[row, ties], kind="stable")[:k]]
    return best


def sums_at(
    weights: sp.csr_matrix, relations: sp.csr_matrix, columns: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Entries of the product of two sparse matrices.

    Args:
        weights: csr [n, n_sources].
        relations: csr [n_sources, n_columns].
        columns: columns of each row, int64 [n, width].
        lengths: number of columns of each row; those after them do not count, int64 [n].

    Returns:
        float32 [n, width], 0 after the columns of a row.
    """
    out = np.zeros(columns.shape, dtype=np.float32)
    loops = compiled()
    if loops is not None:
        loops.sums_at(*_parts(weights), *_parts(relations), relations.shape[1], columns, lengths, out)
        return out
    sums, row_sums = weights @ relations, np.zeros(relations.shape[1], dtype=np.float32)
    for row, length in enumerate(lengths.tolist()):
        entries = slice(sums.indptr[row], sums.indptr[row + 1])
        row_sums[sums.indices[entries]] = sums.data[entries]
        out[row, :length] = row_sums[columns[row, :length]]
        row_sums[sums.indices[entries]] = 0.0
    return out


def entries_at(
    weights: sp.csr_matrix, table: NDArray[np.float32], columns: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Entries of the product of a sparse matrix and a dense one.

    Args:
        weights: csr [n, n_sources].
        table: float32 [n_sources, n_columns].
        columns: columns of each row, -1 for none, int64 [n, width].
        lengths: as of :func:`sums_at`.

    Returns:
        float32 [n, width], 0 where no column is.
    """
    out = np.zeros(columns.shape, dtype=np.float32)
    loops = compiled()
    if loops is not None:
        loops.entries_at(*_parts(weights), table, columns, lengths, out)
        return out
    for row, length in enumerate(lengths.tolist()):
        entries = slice(weights.indptr[row], weights.indptr[row + 1])
        known = np.flatnonzero(columns[row, :length] >= 0)
        out[row, known] = weights.data[entries] @ table[np.ix_(weights.indices[entries], columns[row, known])]
    return out


def band_products(
    spectrum: NDArray[np.float32],
    vectors: NDArray[np.float32],
    cuts: NDArray[np.int64],
    items: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Products of the first entries of two vectors, for several numbers of entries.

    Args:
        spectrum: a vector of each row, float32 [n, rank].
        vectors: a vector of each item, float32 [n_items, rank].
        cuts: numbers of entries, ascending, int64 [n_cuts].
        items: items of each row, int64 [n, width].
        lengths: number of items of each row; those after them do not count, int64 [n].

    Returns:
        float32 [n_cuts, n, width], 0 after the items of a row.
    """
    out = np.zeros((len(cuts), *items.shape), dtype=np.float32)
    loops = compiled()
    if loops is not None:
        loops.band_products(spectrum, vectors, cuts, items, lengths, out)
        return out
    for row, length in enumerate(lengths.tolist()):
        bands = np.zeros((len(cuts), spectrum.shape[1]), dtype=np.float32)
        for band, cut in zip(bands, cuts, strict=True):
            band[:cut] = spectrum[row, :cut]
        out[:, row, :length] = bands @ vectors[items[row, :length]].T
    return out


def rounded(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores [..., n_items], rounded in place to :data:`DIGITS` binary digits of the highest one of a row."""
    best = scores.max(axis=-1, keepdims=True)
    # A sum with this number keeps no more digits. With the factor 1.5 that also holds for negative scores.
    large = np.ldexp(np.float32(1.5), np.frexp(best)[1] + 23 - DIGITS).astype(np.float32)
    scores += large
    scores -= large
    return scores


def _parts(matrix: sp.csr_matrix) -> tuple[NDArray, NDArray, NDArray[np.float32]]:
    return matrix.indptr, matrix.indices, matrix.data
