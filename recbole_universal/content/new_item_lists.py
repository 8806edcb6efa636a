"""The best new items of many users: everything that does not depend on a user is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_universal.content.item_content import ItemContent
from recbole_universal.content.new_items import NewItemCheck, NewItems, check_new_items
from recbole_universal.content.relations import ContentRelations, NearItems
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.sparse_sums import arrays_under, csr_arrays, csr_of

#: Version of the numbers of relations and self-check. A folder with new items of another one is refused.
NEW_ITEMS_VERSION = 2
_CHECK_ARRAYS = ("weights", "ndcg_of_columns", "next_rate")
_CHECK_NUMBERS = ("ndcg", "chance", "trust", "n_items", "n_users")


class NewItemLists:
    """Ranks the new items of a catalogue.

    Args:
        matrix: interactions with the known items, csr [n_users, n_known].
        content: what the items are: the known ones in the order of the matrix, then the new ones.
        seed: seed of the self-check.
        show_progress: whether to draw a progress bar on stderr.

    Attributes:
        content: the argument.
        model: the model that ranks.
        targets: index in the content of each new item that has content, int64 [n_targets].
        n_known: number of known items.
    """

    def __init__(self, matrix: sp.csr_matrix, content: ItemContent, seed: int = 0, show_progress: bool = False) -> None:
        self._set(matrix.shape[1], content)
        wide = self._wide(matrix)
        with tqdm(total=3, desc="new items", unit="step", disable=not show_progress) as bar:
            check = check_new_items(wide, content.spaces, seed)
            bar.update()
            relations = ContentRelations(wide, content.spaces)
            bar.update()
            self.model = NewItems.of_parts(check, relations)
            self._near: Sequence[NearItems] = relations.near(self.targets) if len(self.targets) else []
            bar.update()

    def _set(self, n_known: int, content: ItemContent) -> None:
        self.n_known, self.content = n_known, content
        self.targets = n_known + np.flatnonzero(content.has_content[n_known:])

    def _wide(self, user_items: sp.csr_matrix) -> sp.csr_matrix:
        """Interactions with a column for each item of the content. Each counts the same."""
        ones = np.ones(user_items.nnz, dtype=np.float32)
        shape = (user_items.shape[0], self.content.n_items)
        return sp.csr_matrix((ones, user_items.indices, user_items.indptr), shape=shape)

    @property
    def check(self) -> NewItemCheck:
        """The result of the self-check on held-out items."""
        return self.model.check

    @property
    def n_new(self) -> int:
        """Number of new items, with content or without."""
        return self.content.n_items - self.n_known

    def best(
        self, user_items: sp.csr_matrix, k: int, allowed: AllowedItems | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best new items of some users.

        Args:
            user_items: the known items of these users, csr [n_users, n_known].
            k: number of items.
            allowed: the new items that may be listed, of [n_users or 1, n_new]; ``None``: all may.

        Returns:
            Index of each item in the content, int64 [n_users, k], best first, -1 where no item with content is left,
            and their scores, float32 [n_users, k], comparable within a user.
        """
        n_users = user_items.shape[0]
        items, scores = np.full((n_users, k), -1), np.zeros((n_users, k), dtype=np.float32)
        if not len(self.targets):
            return items, scores
        wide, width = self._wide(user_items), min(k, len(self.targets))
        for block, values in self.model.score_blocks(wide, self.targets, self._near):
            if allowed is not None:
                may = allowed[block].dense()[:, self.targets - self.n_known]
                values[~np.broadcast_to(may, values.shape)] = -np.inf
            first = np.argpartition(-values, width - 1, axis=1)[:, :width]
            first.sort(axis=1)  # equal scores in the order of the items
            found = np.take_along_axis(values, first, axis=1)
            order = np.argsort(-found, axis=1, kind="stable")
            found = np.take_along_axis(found, order, axis=1)
            is_item = np.isfinite(found)
            items[block, :width] = np.where(is_item, self.targets[np.take_along_axis(first, order, axis=1)], -1)
            scores[block, :width] = np.where(is_item, found, 0)
        return items, scores

    def nearest_items(
        self, new: int, k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The known items that are nearest to a new one by content.

        Args:
            new: index among the new items.
            k: number of items.
            allowed: whether each known item may be among them, bool [n_known]; ``None``: all may.

        Returns:
            Their indices, nearest first, int64 [at most k], and cosines.
        """
        space = self.model.relations.spaces[-1]
        known = np.arange(self.n_known) if allowed is None else np.flatnonzero(allowed)
        near = space.neighbors(np.array([self.n_known + new]), known, k)
        order = np.argsort(-near.data, kind="stable")
        return near.indices[order].astype(np.int64), near.data[order]

    def arrays(self) -> dict[str, NDArray]:
        """Everything as numeric arrays by name; :meth:`from_arrays` takes them."""
        check = self.check
        arrays = {f"content.{name}": array for name, array in self.content.arrays().items()}
        arrays |= {f"relations.{name}": array for name, array in self.model.relations.arrays().items()}
        arrays |= {f"check.{name}": getattr(check, name) for name in _CHECK_ARRAYS}
        arrays |= {f"check.{name}": np.array(getattr(check, name)) for name in _CHECK_NUMBERS}
        arrays["check.choice"] = np.frombuffer(check.choice.encode(), dtype=np.uint8)
        for index, near in enumerate(self._near):
            arrays |= csr_arrays(f"near.{index}", near.cosines)
        return arrays | {"n_known": np.array(self.n_known)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> NewItemLists:
        """The lists of :meth:`arrays`. Nothing is fitted.

        Raises:
            KeyError, ValueError: if an array is missing, has another shape or an index out of range.
        """
        made = cls.__new__(cls)
        made._set(int(arrays["n_known"]), ItemContent.from_arrays(arrays_under("content.", arrays)))
        relations = ContentRelations.from_arrays(arrays_under("relations.", arrays), made.content.spaces)
        stored = arrays_under("check.", arrays)  # a folder of an earlier version holds arrays that nothing reads
        values: dict[str, Any] = {name: stored[name] for name in _CHECK_ARRAYS}
        values |= {name: stored[name].item() for name in _CHECK_NUMBERS}
        values["choice"] = stored["choice"].tobytes().decode()
        check = NewItemCheck(names=relations.names, **values)
        of_columns = check.weights.shape, check.ndcg_of_columns.shape
        if of_columns != ((len(relations.names),),) * 2 or check.next_rate.ndim != 1:
            raise ValueError("the arrays check.weights, check.ndcg_of_columns and check.next_rate have other shapes")
        made.model = NewItems.of_parts(check, relations)
        shape = (len(made.targets), made.content.n_items)
        spaces = range(len(relations.spaces)) if len(made.targets) else ()
        made._near = relations.near_of([csr_of(f"near.{index}", arrays, shape) for index in spaces])
        return made
