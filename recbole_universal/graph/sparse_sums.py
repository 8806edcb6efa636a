"""Sums over the items of users, and sparse matrices in PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch

_CSR_PARTS = ("data", "indices", "indptr")
# Smallest weight, and the largest is its inverse. Compiled loops take a sum of 0 for one that has no term yet.
_LEAST_WEIGHT = 2.0**-40


class UserItems:
    """The items of some users: user ``rows[k]`` of ``n_users`` has ``items[k]``, both int64, sorted by user.

    ``weights``, float32 [n], says how much each counts; ``None``: each counts 1.
    """

    def __init__(
        self, items: torch.Tensor, rows: torch.Tensor, n_users: int, weights: torch.Tensor | None = None
    ) -> None:
        self.items, self.rows, self.n_users, self.weights = items, rows, n_users, weights

    @classmethod
    def of(cls, matrix: sp.csr_matrix, device: torch.device, weighted: bool = False) -> UserItems:
        """The items in the rows of a matrix, with its values as weights or without weights."""
        row_of_each = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        items, rows = (torch.from_numpy(array).long().to(device) for array in (matrix.indices, row_of_each))
        return cls(items, rows, matrix.shape[0], torch.from_numpy(matrix.data).to(device) if weighted else None)

    def where(self, kept: torch.Tensor) -> UserItems:
        """Some of the items, ``kept`` bool [n]."""
        weights = None if self.weights is None else self.weights[kept]
        return UserItems(self.items[kept], self.rows[kept], self.n_users, weights)

    def among(self, index: torch.Tensor) -> UserItems:
        """The same items with other indices, ``index`` int64 [n_items]; items with index -1 are left out."""
        items = index[self.items]
        return UserItems(items, self.rows, self.n_users, self.weights).where(items >= 0)

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
        if self.weights is not None:
            weights = self.weights if weights is None else weights * self.weights
        starts = count.cumsum(0) - count
        return torch.nn.functional.embedding_bag(self.items, table, starts, mode="sum", per_sample_weights=weights)


def arrays_under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose name begins with a prefix, by the rest of the name."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def csr_arrays(name: str, matrix: sp.csr_matrix) -> dict[str, np.ndarray]:
    """The arrays of a csr matrix by ``<name>.<part>``."""
    return {f"{name}.{part}": getattr(matrix, part) for part in _CSR_PARTS}


def csr_of(name: str, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> sp.csr_matrix:
    """The csr matrix of that name from arrays of :func:`csr_arrays`.

    Raises:
        KeyError, ValueError: if an array is missing, or an index is out of range.
    """
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in _CSR_PARTS)
    return checked_csr(data, indices, indptr, shape)


def checked_csr(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """A csr matrix of stored arrays. SciPy reads and writes outside of the memory of arrays that do not fit.

    Raises:
        ValueError: if an index is out of range.
    """
    if indptr.ndim != 1 or not len(indptr) or indptr[-1] != len(indices):  # which SciPy lets pass
        raise ValueError("its array indptr must end with the number of indices")
    matrix = sp.csr_matrix((data, indices, indptr), shape=shape)
    matrix.check_format(full_check=True)
    return matrix


def check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """Check stored numbers before lists are made of them.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"its array {name} holds NaN or infinity")


def check_indices(name: str, values: np.ndarray, below: int, least: int = 0, size: int | None = None) -> None:
    """Check stored indices before they reach compiled code.

    Args:
        name: the array, for the message.
        values: the indices, int [n].
        below: smallest value that is too large.
        least: smallest valid value; -1 where that stands for none.
        size: number of indices; ``None``: any.

    Raises:
        ValueError: if an index is out of range, or the array is no list of integers of this size.
    """
    if size is not None and len(values) != size:
        raise ValueError(f"its array {name} must have {size} values and has {len(values)}")
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(f"its array {name} must be integers, [n], and is {values.dtype} {list(values.shape)}")
    if len(values) and not least <= int(values.min()) <= int(values.max()) < below:
        raise ValueError(f"its array {name} must hold indices from {least} to {below - 1}")


def check_weights(name: str, weights: np.ndarray) -> None:
    """Check positive weights before they reach compiled code, so that none of their products is 0.

    Args:
        name: what they are, for the message.
        weights: the weights, [n].

    Raises:
        ValueError: if one is NaN, or too small or too large.
    """
    if not len(weights):
        return
    least, most = float(weights.min()), float(weights.max())
    if not _LEAST_WEIGHT <= least <= most <= 1 / _LEAST_WEIGHT:
        raise ValueError(f"{name}: weights must be from 2**-40 to 2**40, and are from {least:g} to {most:g}.")


def sparse_tensor(matrix: sp.csr_matrix, device: torch.device) -> torch.Tensor:
    """A csr matrix as a sparse tensor of float32, which may share its memory."""
    matrix = sp.csr_matrix(matrix, dtype=np.float32)
    if not matrix.has_sorted_indices:
        matrix = matrix.sorted_indices()  # a copy, since other matrices may share the indices
    # Indices of 32 bits take half the memory, and MKL computes with them.
    index = np.int32 if matrix.nnz < 2**31 else np.int64
    arrays = (matrix.indptr.astype(index, copy=False), matrix.indices.astype(index, copy=False), matrix.data)
    indptr, indices, data = (torch.from_numpy(array) for array in arrays)
    return torch.sparse_csr_tensor(indptr, indices, data, size=matrix.shape, device=device, check_invariants=False)


# PyTorch warns once that sparse tensors are in beta state. A warning filter applies to all threads, so it is set here,
# at import.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
    sparse_tensor(sp.csr_matrix((1, 1)), torch.device("cpu"))
