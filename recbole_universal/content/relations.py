"""Relations between new items, which nobody has had, and the items of users, by what the items are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.content.collaborative import CollaborativeScores
from recbole_universal.content.spaces import Space, combined
from recbole_universal.graph.item_models import strongest
from recbole_universal.graph.popularity import item_degrees
from recbole_universal.graph.sparse_sums import check_indices

#: Number of nearest items by content whose cosines are summed.
N_NEAREST = 20
#: Number of nearest items by content whose scores a new item takes over.
N_ADOPTED = 10
#: Number of nearest items by content whose popularity is averaged.
N_POPULARITY = 30
# Largest number of users times new items, and of users times all items, whose scores are in memory at once.
_BLOCK_PAIRS, _BLOCK_SCORES = 2**21, 2**22
#: The relations, in the order of their columns. The last one is the same for all users. A name of two words has a map
#: of content and the model of :class:`CollaborativeScores` whose scores it maps.
RELATIONS = ("nearest", "ridge", "adopted_regression", "adopted_neighbors", "ridge_factors", "popularity")


class NearItems:
    """The nearest items of some items in one space, and what the relations read of them.

    Args:
        cosines: cosines of the nearest items with interactions, csr [n_targets, n_items].
        degree: number of users of each item, int64 [n_items].

    Attributes:
        cosines: the argument.
        nearest: the cosines of the 20 nearest items, csr [n_targets, n_items].
        adopted: weights of the 10 nearest items, which sum to 1, csr [n_targets, n_items].
        popularity: mean log-popularity of the 30 nearest items, float32 [n_targets].
    """

    def __init__(self, cosines: sp.csr_matrix, degree: NDArray[np.int64]) -> None:
        self.cosines, self.nearest = cosines, strongest(cosines, N_NEAREST)
        self.adopted = _averaging(strongest(cosines, N_ADOPTED))
        self.popularity = (_averaging(cosines) @ np.log1p(degree)).astype(np.float32)


class ContentRelations:
    """Scores of new items for users, one column for each space and relation.

    ``nearest``: sum of the cosines of the user's items that are among the 20 nearest items of the new item.

    ``ridge``: the closed form of a map from content to the users who have an item. With vectors V of the items and
    interactions X, it is X V (V^T V + a I)^-1 v for a new item with vector v, where a is the mean eigenvalue of V^T V.

    ``adopted_regression`` and ``adopted_neighbors``: the new item takes the scores of its 10 nearest items, averaged by
    squared cosines. The scores are those of a regression (EASE) and of the collaborative neighbours of the user's
    items. So the new item gets the neighbours that it will have if users treat it like similar items.

    ``ridge_factors``: ``ridge`` with the users' scores of all items by collaborative factors in place of X, which are
    smoother.

    ``popularity``: the mean log-popularity of the 30 nearest items.

    Args:
        matrix: interactions, csr [n_users, n_items]; any value but 0 counts as one.
        spaces: spaces of item vectors, at least one. With several, a space that combines them follows.
        max_regression_size: items of the regression at most, the most popular ones.
    """

    def __init__(self, matrix: sp.csr_matrix, spaces: Sequence[Space], max_regression_size: int = 3000) -> None:
        self.spaces = with_combined(spaces)
        self._degree = item_degrees(matrix)
        self._collaborative = CollaborativeScores(matrix, max_regression_size)
        self._maps = [self._ridge_map(space) for space in self.spaces]

    def arrays(self) -> dict[str, NDArray]:
        """What was computed of the interactions, as numeric arrays by name; :meth:`from_arrays` takes them."""
        arrays = {"degree": self._degree} | self._collaborative.arrays()
        return arrays | {f"map.{index}": ridge for index, ridge in enumerate(self._maps)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], spaces: Sequence[Space]) -> ContentRelations:
        """The relations of :meth:`arrays`, of the same spaces.

        Raises:
            KeyError, ValueError: if an array is missing, has another shape or an index out of range.
        """
        made = cls.__new__(cls)
        made.spaces, made._degree = with_combined(spaces), arrays["degree"]
        n_items = len(made._degree)
        check_indices("degree", made._degree, 2**63)  # none is negative
        made._collaborative = CollaborativeScores.from_arrays(arrays, n_items)
        made._maps = [arrays[f"map.{index}"] for index in range(len(made.spaces))]
        for space, ridge in zip(made.spaces, made._maps, strict=True):
            dim = space.vectors.shape[1]
            if ridge.shape != (dim, dim) or len(space.vectors) != n_items:
                raise ValueError(f"the arrays of the space {space.name} have other shapes")
        return made

    @property
    def names(self) -> list[tuple[str, str]]:
        """Space and relation of each column."""
        return [(space.name, relation) for space in self.spaces for relation in RELATIONS]

    def _ridge_map(self, space: Space) -> NDArray[np.float32]:
        """(V^T V + a I)^-1 of the items with interactions, float32 [dim, dim]."""
        vectors = space.vectors[self._degree > 0].astype(np.float64)
        gram = vectors.T @ vectors
        mean = max(float(np.trace(gram)) / len(gram), 1e-6)
        return np.linalg.inv(gram + mean * np.eye(len(gram))).astype(np.float32)

    def near(self, targets: NDArray[np.int64]) -> list[NearItems]:
        """The nearest items with interactions of some items, for each space.

        Args:
            targets: the items, by index, int64 [n_targets].
        """
        sources = np.flatnonzero(self._degree > 0)
        most = max(N_NEAREST, N_ADOPTED, N_POPULARITY)
        return [NearItems(space.neighbors(targets, sources, most), self._degree) for space in self.spaces]

    def near_of(self, cosines: Sequence[sp.csr_matrix]) -> list[NearItems]:
        """What :meth:`near` returns, of the :attr:`NearItems.cosines` of each space."""
        return [NearItems(each, self._degree) for each in cosines]

    def columns(
        self, user_items: sp.csr_matrix, targets: NDArray[np.int64], near: Sequence[NearItems] | None = None
    ) -> NDArray[np.float32]:
        """Scores of new items for some users.

        Args:
            user_items: the items of these users, csr [n_users, n_items].
            targets: the new items, by index, int64 [n_targets].
            near: what :meth:`near` returns for them; ``None``: it is computed.

        Returns:
            float32 [n_users, n_targets, n_columns], see :attr:`names`; no NaN.
        """
        near = self.near(targets) if near is None else near
        columns = np.empty((user_items.shape[0], len(targets), len(self.names)), dtype=np.float32)
        for block in self.user_blocks(user_items.shape[0], len(targets)):
            for column, values in self.each_column(user_items[block], targets, near):
                columns[block, :, column] = values
        return columns

    def user_blocks(self, n_users: int, n_targets: int) -> Iterator[slice]:
        """Blocks of users whose scores of all items and of the new ones take little memory."""
        step = max(1, min(_BLOCK_PAIRS // max(1, n_targets), _BLOCK_SCORES // max(1, len(self._degree))))
        for start in range(0, n_users, step):
            yield slice(start, min(start + step, n_users))

    def each_column(
        self,
        user_items: sp.csr_matrix,
        targets: NDArray[np.int64],
        near: Sequence[NearItems],
        wanted: NDArray[np.bool_] | None = None,
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The columns of :meth:`columns`, one after the other.

        Args:
            user_items: as of :meth:`columns`.
            targets: as of :meth:`columns`.
            near: as of :meth:`columns`.
            wanted: whether each column is computed, bool [n_columns]; ``None``: all are.

        Yields:
            The index of the column and its scores, float32 [n_users, n_targets].
        """
        wanted = np.ones(len(self.names), dtype=bool) if wanted is None else wanted
        known: dict[str, NDArray[np.float32]] = {}
        for index, (space, relation) in enumerate(itertools.product(range(len(self.spaces)), RELATIONS)):
            if wanted[index]:
                source = relation.partition("_")[2]
                if source and source not in known:
                    known[source] = self._collaborative.scores(source, user_items)
                scores = known[source] if source else user_items
                yield index, self._column(relation, space, near[space], scores, targets)

    def _column(
        self, relation: str, space: int, near: NearItems, scores: Any, targets: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """One relation of one space, of the users' scores of all items, float32 [n_users, n_targets]."""
        if relation == "popularity":
            return np.broadcast_to(near.popularity, (scores.shape[0], len(targets)))
        if relation == "nearest":
            return (scores @ near.nearest.T).toarray()
        if relation.startswith("adopted"):
            return (near.adopted @ scores.T).T
        vectors = self.spaces[space].vectors
        return (scores @ vectors) @ self._maps[space] @ vectors[targets].T


def with_combined(spaces: Sequence[Space]) -> tuple[Space, ...]:
    """The spaces, and after several ones the space that combines them."""
    return tuple(spaces) if len(spaces) == 1 else (*spaces, combined(spaces))


def _averaging(neighbors: sp.csr_matrix) -> sp.csr_matrix:
    """Squared cosines that sum to 1 in each row; an empty row stays empty."""
    weights = neighbors.copy()
    weights.data = weights.data**2
    sums = np.asarray(weights.sum(axis=1)).ravel()
    return sp.diags(np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)) @ weights
