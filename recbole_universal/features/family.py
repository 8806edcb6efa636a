"""The interface of a feature family: a name, checked arguments, and features computed from a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal import arguments

if TYPE_CHECKING:
    from recbole_universal.graph.interaction_graph import InteractionGraph

Family = TypeVar("Family", bound="FeatureFamily")


class PairFeatures(ABC):
    """Features of a user and an item together, looked up for any candidate pair.

    Attributes:
        dim: number of values of a pair.
        n_users: number of users.
        n_items: number of items.
    """

    dim: int
    n_users: int
    n_items: int

    @abstractmethod
    def __call__(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Features of the pairs (users[k], items[k]).

        Args:
            users: user indices, int64 [n].
            items: item indices, int64 [n].

        Returns:
            float32 [n, dim], on the device of the tables; all-zero rows where a user or an item has no interaction.
        """

    @abstractmethod
    def full(self, users: torch.Tensor) -> torch.Tensor:
        """Features of each given user with every item; equal to calling pair by pair.

        Args:
            users: user indices, int64 [n_batch].

        Returns:
            float32 [n_batch, n_items, dim], on the device of the tables.
        """

    def full_rows(self, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The features of :meth:`full` as distinct rows and an index of each pair into them.

        A model may run its network on the distinct rows alone and look up the result of each pair.

        Args:
            users: user indices, int64 [n_batch].

        Returns:
            rows float32 [n_rows, dim] and index int64 [n_batch, n_items], such that ``full(users) == rows[index]``.
        """
        rows = self.full(users)
        index = torch.arange(rows.shape[0] * rows.shape[1], device=rows.device)
        return rows.flatten(0, 1), index.view(rows.shape[:2])

    @abstractmethod
    def arrays(self) -> dict[str, NDArray]:
        """All tables as numeric arrays by name, for :meth:`from_arrays` and the cache."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> PairFeatures:
        """Build from the result of :meth:`arrays`."""

    @abstractmethod
    def to(self, device: str | torch.device) -> PairFeatures:
        """The same features with the tables on another device."""

    @abstractmethod
    def reindexed(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> PairFeatures:
        """The same features under other indices.

        Args:
            users: for each new user index the present index, or -1 for a user without interactions, [n_new_users].
            items: the same for items, [n_new_items].
        """


@dataclass
class FamilyFeatures:
    """The features of one family on one dataset.

    Attributes:
        user: float32 [n_users, user_dim]; all-zero rows for users without training interactions.
        item: float32 [n_items, item_dim]; all-zero rows for items without training interactions.
        pair: features of pairs, or ``None`` for a family without pair features.
    """

    user: NDArray[np.float32]
    item: NDArray[np.float32]
    pair: PairFeatures | None = None

    def reindexed(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> FamilyFeatures:
        """The same features under other indices; -1 in ``users`` or ``items`` gives an all-zero row."""
        pair = None if self.pair is None else self.pair.reindexed(users, items)
        return FamilyFeatures(take_rows(self.user, users), take_rows(self.item, items), pair)


def take_rows(table: NDArray, rows: NDArray[np.int64]) -> NDArray:
    """Rows of a table; all-zero rows for the index -1."""
    taken = np.zeros((len(rows), *table.shape[1:]), dtype=table.dtype)
    present = rows >= 0
    taken[present] = table[rows[present]]
    return taken


class FeatureFamily(ABC):
    """A family of universal features.

    A subclass checks its arguments and sets the dimensions in ``__init__``, before any data are read.

    Attributes:
        name: name in the registry, in configurations and in the schema.
        needs_embedding: whether :meth:`compute` uses the node2vec embedding.
        pair_class: class of the pair features, or None.
        needs_histories: whether :meth:`compute` uses ``graph.histories``, the order of the interactions.
        reads_content: whether :meth:`compute` uses ``graph.content``.
        seeded: whether :meth:`compute` draws random numbers.
        version: version of the numbers that :meth:`compute` gives; raise it when they change. The cache stores the
            features under it. None: the features are computed in each run and never stored.
        large: whether the stored features may be larger than the data. The cache then stores them for whole training
            splits and not for support sets.
        user_dim: number of values of a user.
        item_dim: number of values of an item.
        pair_dim: number of values of a pair; 0 for a family without pair features.
        args: all arguments with defaults, as JSON.
    """

    name: ClassVar[str]
    needs_embedding: ClassVar[bool] = False
    needs_histories: ClassVar[bool] = False
    reads_content: ClassVar[bool] = False
    pair_class: ClassVar[type[PairFeatures] | None] = None
    seeded: ClassVar[bool] = False
    version: ClassVar[int | None] = None
    large: ClassVar[bool] = False
    user_dim: int
    item_dim: int
    pair_dim: int = 0
    args: dict[str, Any]

    @classmethod
    def owner(cls) -> str:
        """Name of this family in error messages."""
        return f"feature family {cls.name!r}"

    @classmethod
    def from_args(cls: type[Family], args: Mapping[str, Any] | None = None) -> Family:
        """Build from the arguments of a config.

        Raises:
            ValueError: if an argument is unknown or its value is not valid.
        """
        given = arguments.mapping(cls.owner(), args)
        arguments.known(cls.owner(), given, list(arguments.defaults(cls.__init__)))
        return cls(**given)

    @property
    def dims(self) -> dict[str, int]:
        """Number of values by side, for example ``{"user": 10, "item": 10, "pair": 0}``."""
        return {"user": self.user_dim, "item": self.item_dim, "pair": self.pair_dim}

    @abstractmethod
    def compute(
        self,
        graph: InteractionGraph,
        embedding: NDArray[np.float32] | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        show_progress: bool = False,
    ) -> FamilyFeatures:
        """Compute the features of the users and items of a graph.

        Args:
            graph: the training interactions.
            embedding: node2vec embedding of all nodes, float32 [n_nodes, embedding_dim]; used if ``needs_embedding``.
            seed: seed of all random numbers.
            device: device of long computations.
            show_progress: whether to draw progress bars.

        Raises:
            ValueError: if the arguments do not fit the data, for example more clusters than nodes.
        """

    def with_interactions(self, features: FamilyFeatures, graph: InteractionGraph) -> FamilyFeatures | None:
        """Features after new interactions, without a computation of all features.

        Args:
            features: features of the interactions before.
            graph: all interactions, old and new; new users and items have the last indices.

        Returns:
            The features; ``None`` if a computation of all features is due.

        Raises:
            ValueError: if this family cannot be updated.
        """
        raise ValueError(
            f"{self.owner()}: cannot be updated, since one interaction may move every cluster; compute it again"
        )

    def _checked_embedding(self, graph: InteractionGraph, embedding: NDArray[np.float32] | None) -> NDArray[np.float32]:
        if embedding is None or embedding.ndim != 2 or len(embedding) != graph.n_nodes:
            shape = None if embedding is None else embedding.shape
            raise ValueError(
                f"{self.owner()}: embedding must have one row per node, [{graph.n_nodes}, embedding_dim], not {shape}"
            )
        return embedding

    def _check_n_clusters(self, n_clusters: int | None, n_points: int, points: str) -> None:
        if n_clusters is not None and n_clusters > n_points:
            raise ValueError(
                f"{self.owner()}: argument n_clusters is {n_clusters}, more than the {n_points} {points} of the "
                f"training interactions; valid: 2 to {n_points}, or None (chosen from the size of the data)"
            )
