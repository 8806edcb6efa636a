"""Which items may be recommended, in all lists or in each."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal import arguments


class AllowedItems:
    """The items that may be recommended.

    Args:
        rows: bool, one row for all lists, [1, n_items], or one row a list, [n, n_items]; an array or csr.
        excluded: items that are not allowed whatever ``rows`` say, csr with an entry for each, [n, n_items]; ``None``:
            no further items.
    """

    def __init__(self, rows: NDArray[np.bool_] | sp.csr_matrix, excluded: sp.csr_matrix | None = None) -> None:
        self._rows, self._excluded = rows, excluded

    @classmethod
    def checked(cls, allowed: Any, n_lists: int, n_items: int) -> AllowedItems | None:
        """The allowed items of an argument; ``None`` allows all.

        Args:
            allowed: bool [n_items], or one row a list, [n_lists, n_items], which may be a SciPy sparse matrix.
            n_lists: number of lists.
            n_items: number of items.

        Raises:
            ValueError: if it has another type or shape.
        """
        if allowed is None:
            return None
        rows = allowed if sp.issparse(allowed) else arguments.array("allowed", allowed)
        shapes = [(n_lists, n_items)] if sp.issparse(rows) else [(n_items,), (n_lists, n_items)]
        if rows.shape not in shapes or rows.dtype != bool:
            raise ValueError(
                f"allowed: must be bool [{n_items}], one value an item, or [{n_lists}, {n_items}], one row a list; got "
                f"{rows.dtype} {list(rows.shape)}."
            )
        if not isinstance(rows, np.ndarray):
            return cls(rows.tocsr())
        return cls(rows[None] if rows.ndim == 1 else rows)

    @classmethod
    def all_but(cls, allowed: AllowedItems | None, excluded: sp.csr_matrix) -> AllowedItems:
        """Allowed items without those of each list's row, csr [n, n_items]; ``None`` allows all."""
        every = np.ones((1, excluded.shape[1]), dtype=bool)
        return cls(every if allowed is None else allowed._rows, excluded)

    def __getitem__(self, lists: slice | NDArray[np.int64]) -> AllowedItems:
        """The allowed items of some lists."""
        rows = self._rows if self._rows.shape[0] == 1 else self._rows[lists]
        return AllowedItems(rows, None if self._excluded is None else self._excluded[lists])

    def dense(self) -> NDArray[np.bool_]:
        """Whether an item is allowed, bool [n, n_items]; [1, n_items] if it is the same for all lists."""
        rows = self._rows if isinstance(self._rows, np.ndarray) else self._rows.toarray()
        if self._excluded is None:
            return rows
        rows = np.repeat(rows, self._excluded.shape[0], axis=0) if rows.shape[0] == 1 else rows.copy()
        rows[self._excluded.nonzero()] = False
        return rows

    def row(self, index: int) -> NDArray[np.bool_]:
        """Whether an item is allowed in one list, bool [n_items]."""
        return self[index : index + 1].dense()[0]
