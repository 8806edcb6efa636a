"""Ranking with a pre-trained model: from an interaction matrix to the best items of each user."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal import arguments
from recbole_universal.checkpoint import Pretrained, load_pretrained
from recbole_universal.content.spaces import Space, content_relation
from recbole_universal.features import UniversalFeatures
from recbole_universal.features.computation import features_from_arrays, features_to_arrays
from recbole_universal.features.pipeline import pipeline_of
from recbole_universal.graph import binary_matrix
from recbole_universal.graph.content_relation import ContentRelation
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.graph.interaction_weights import evidence_of
from recbole_universal.graph.sparse_sums import arrays_under, checked_csr, csr_arrays, csr_of
from recbole_universal.graph.threads import one_thread
from recbole_universal.ranking.network import CANDIDATE_FAMILIES
from recbole_universal.ranking.ranker_state import RankerState
from recbole_universal.ranking.ranking_network import RankingNetwork, load_network
from recbole_universal.ranking.state_swap import swapped


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)


class UniversalRanker:
    """Ranks items for the users of an interaction matrix with a pre-trained model.

    Args:
        matrix: interactions, any SciPy sparse matrix [n_users, n_items]; any value but 0 counts as one.
        pretrained: name of a shipped model, folder of one, or a loaded one.
        device: where features and scores are computed. Experimental: not tested on CUDA.
        histories: the same interactions in the order of time, for a model with the family ``sequence``. Events of
            weight 0 do not count, and all others count the same.
        weights: weight of each interaction, at least 0, sparse [n_users, n_items], such as play counts. An interaction
            without a positive weight is no evidence of taste, and a list leaves its item out like other seen items.
            ``None``: all interactions count the same.
        content: spaces of item vectors, one row a column of the matrix. Content draws candidates and takes part in the
            correction if the self-check finds that it helps (docs/content.md). Items without interactions stay out of
            the lists. ``None`` or none: the content is not known.
        seed: seed of the features that are random.
        cache_dir: folder for computed features; ``None``: no cache.
        show_progress: whether to draw progress bars.

    Attributes:
        pretrained: the model.

    Raises:
        ValueError: if the model cannot be loaded, the matrix has no interaction, or a weight is negative, not finite,
            or of no interaction.
    """

    def __init__(
        self,
        matrix: sp.csr_matrix,
        pretrained: str | os.PathLike[str] | Pretrained = "universal-base",
        *,
        histories: Histories | None = None,
        weights: sp.csr_matrix | None = None,
        content: Sequence[Space] | None = None,
        device: str | torch.device = "cpu",
        seed: int = 2020,
        cache_dir: str | None = None,
        show_progress: bool = False,
    ) -> None:
        if not sp.issparse(matrix):
            raise ValueError(
                f"matrix: must be a SciPy sparse matrix [n_users, n_items], got {type(matrix).__name__}; for a file or "
                "a data frame there is recbole_universal.app.recommend."
            )
        if histories is not None and not isinstance(histories, Histories):
            raise ValueError(
                "histories: must be Histories, such as Histories.of_events(users, items, n_users) makes; got "
                f"{arguments.shown(histories)}."
            )
        binary = binary_matrix(matrix)
        if not isinstance(pretrained, Pretrained):
            pretrained = load_pretrained(pretrained)
        settings = {"seed": seed, "device": device, "cache_dir": cache_dir, "show_progress": show_progress}
        network = self._network_of(pretrained, settings)
        evidence = binary if weights is None else evidence_of(binary, weights)
        histories = histories if self._pipeline.needs_histories else None
        if histories is not None:
            histories = histories.of_positive_weight().without_weights()
            histories = histories if weights is None else histories.among(evidence)
        # Scorers of the order read no weights.
        interactions = evidence if histories is None else evidence.sign()
        weighted = bool((interactions.data != 1).any())
        relation = self._content_relation(content, interactions)
        features = self._pipeline(InteractionGraph(interactions, histories, weighted, copy=False, content=relation))
        self._state = RankerState(binary, features, network.attach(features), evidence)

    def _content_relation(self, content: Sequence[Space] | None, matrix: sp.csr_matrix) -> ContentRelation | None:
        """The contents of the items with interactions; ``None`` without content."""
        if content is None:
            return None
        if isinstance(content, (str, Space)) or not isinstance(content, Sequence):
            raise ValueError(
                f"content: must be a list of spaces (text_space, array_space), got {arguments.shown(content)}."
            )
        if not len(content):
            return None
        if list(self._pipeline.families) not in ([family] for family in CANDIDATE_FAMILIES):
            raise ValueError(
                "content: can be used by a model of one family, proximity or sequence; this one reads "
                f"{list(self._pipeline.families)}."
            )
        return content_relation(content, np.bincount(matrix.indices, minlength=matrix.shape[1]))

    def _network_of(self, pretrained: Pretrained, settings: dict[str, Any]) -> RankingNetwork:
        """The network of a model; sets all attributes but the state."""
        self.pretrained = pretrained
        self._pipeline = pipeline_of(pretrained.schema["features"], **settings)
        self.device, self.show_progress = self._pipeline.device, self._pipeline.show_progress
        network = load_network(pretrained, self._pipeline).to(self.device)
        network.fallback.on_fallback = _warn
        return network

    def arrays(self) -> dict[str, NDArray]:
        """Matrix, features, correction, seed and a computed :meth:`item_item` as numeric arrays by name.

        :meth:`from_arrays` takes them.
        They are as large as the scorers (docs/scale_results.md) and share their memory; do not change them.
        """
        state = self._state
        arrays = {f"matrix.{name}": getattr(state.matrix, name) for name in ("indptr", "indices")}
        arrays |= {"matrix.shape": np.array(state.matrix.shape), "seed": np.array(self._pipeline.seed)}
        if state.is_weighted:
            arrays |= csr_arrays("evidence", state.evidence)
        for family, features in state.features.items():
            arrays |= {f"features.{family}.{name}": array for name, array in features_to_arrays(features).items()}
        arrays |= {f"item_item.{name}": array for name, array in state.item_item_arrays().items()}
        return arrays | {f"check.{name}": array for name, array in state.network.check_arrays().items()}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray], pretrained: Pretrained, *, device: str | torch.device = "cpu"
    ) -> UniversalRanker:
        """The ranker with a state from :meth:`arrays`. It computes no feature, and its lists are the same.

        Args:
            arrays: arrays by name.
            pretrained: the model of the ranker, :attr:`pretrained`.
            device: as of the constructor.

        Raises:
            ValueError, TypeError, LookupError, RuntimeError: if the arrays are not those of a ranker of this model.
        """
        ranker = cls.__new__(cls)
        network = ranker._network_of(pretrained, {"seed": int(arrays["seed"]), "device": device})
        indptr, indices = arrays["matrix.indptr"], arrays["matrix.indices"]
        n_users, n_items = map(int, arrays["matrix.shape"])
        ones = np.ones(len(indices), dtype=np.float32)
        matrix = checked_csr(ones, indices, indptr, (n_users, n_items))
        families = {
            name: features_from_arrays(family, arrays_under(f"features.{name}.", arrays), (n_users, n_items))
            for name, family in ranker._pipeline.families.items()
        }
        features = UniversalFeatures(families, ranker._pipeline.schema)
        network.attach(features)
        if checked := arrays_under("check.", arrays):
            network.restore_check(checked)
        evidence = csr_of("evidence", arrays, (n_users, n_items)) if "evidence.data" in arrays else matrix
        ranker._state = RankerState(matrix, features, network, evidence)
        ranker._state.restore_item_item(arrays_under("item_item.", arrays))
        return ranker

    @property
    def has_item_item(self) -> bool:
        """Whether :meth:`item_item` is computed."""
        return self._state.has_item_item

    @property
    def matrix(self) -> sp.csr_matrix:
        """The interactions, csr float32 [n_users, n_items], each 1."""
        return self._state.matrix

    @property
    def evidence(self) -> sp.csr_matrix:
        """The interactions that are evidence of taste, csr float32 [n_users, n_items].

        The values are relative weights (:func:`~recbole_universal.graph.interaction_weights.evidence_of`), or 1 without
        weights.
        """
        return self._state.evidence

    @property
    def features(self) -> UniversalFeatures:
        """The universal features of :attr:`matrix`."""
        return self._state.features

    @property
    def network(self) -> RankingNetwork:
        """The network, which holds :attr:`features`."""
        return self._state.network

    @property
    def on_fallback(self) -> Callable[[str], Any] | None:
        """Callback that takes the message when popularity ranks instead; it issues a ``UserWarning`` by default.

        ``None``: no message. Any other value that cannot be called raises ``ValueError``.
        """
        return self.network.fallback.on_fallback

    @on_fallback.setter
    def on_fallback(self, callback: Callable[[str], Any] | None) -> None:
        self.network.fallback.on_fallback = arguments.callback("UniversalRanker", "on_fallback", callback)

    def update(self, users: np.ndarray, items: np.ndarray) -> None:
        """Add new interactions. This takes much less time than a new ranker.

        The users' items, popularity, and all counts, user similarities and neighbours are then those of a new ranker
        on all interactions. On a large matrix the sample of users stays the same, and new users join it. Spectral
        filters, regression, scorer weights, neighbours by content and correction stay those of the interactions that
        they were built from, since they take longest. Make a new ranker when a few per cent of the interactions are new
        (docs/scale.md has figures). All features are computed anew if the self-check had few users and could now have
        twice as many.

        Args:
            users: row indices, int [n]; new users get the indices from ``matrix.shape[0]`` on.
            items: column indices, int [n], likewise.

        Raises:
            ValueError: if the indices are no integers, negative, too high or not equally many, if the model uses a
                family whose features cannot be updated, or if the interactions have weights.
        """
        if self._state.is_weighted:
            raise ValueError("A ranker of interactions with weights cannot be updated; make a new one.")
        users, items = arguments.array("users", users), arguments.array("items", items)
        for name, indices in (("users", users), ("items", items)):
            if indices.ndim != 1:
                raise ValueError(f"{name}: must be a list of integers from 0 on, [n], got {arguments.shown(indices)}.")
        if len(users) != len(items):
            raise ValueError(f"users, items: must be equally many, got {len(users)} and {len(items)}.")
        if not len(users):
            return
        before = self._state
        while not swapped(self, before, self._with_interactions(before, users, items)):
            before = self._state  # another thread's update has taken effect first

    def _with_interactions(self, state: RankerState, users: np.ndarray, items: np.ndarray) -> RankerState:
        matrix = state.matrix
        for name, indices, size in (("users", users, matrix.shape[0]), ("items", items, matrix.shape[1])):
            if indices.dtype.kind not in "iu" or indices.min() < 0:
                raise ValueError(f"{name}: must be integers from 0 on, [n], got {arguments.shown(indices)}.")
            # The matrix grows to the highest index.
            if indices.max() >= size + len(indices):
                raise ValueError(
                    f"{name}: {indices.max()} is too high. These are row or column indices, not ids; the next new one "
                    f"is {size}."
                )
        rows, columns = matrix.nonzero()
        rows = np.concatenate([rows, users.astype(np.int64)])
        columns = np.concatenate([columns, items.astype(np.int64)])
        shape = max(matrix.shape[0], rows.max() + 1), max(matrix.shape[1], columns.max() + 1)
        merged = binary_matrix(sp.coo_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape))
        content = state.content_by_id()
        content = None if content is None else content.grown(shape[1])
        features = self._pipeline.with_interactions(state.features, merged, content)
        return RankerState(merged, features, state.network.with_features(features), merged)

    def item_item(self) -> sp.csr_matrix:
        """The item-item matrix of this dataset: the sum of the rows of a user's items ranks all items.

        It is the weighted sum of the graph scorers that are linear in a user's items, with the strongest 200 relations
        of each item. The network has no part in it. :meth:`top_k` uses it with ``fast``, and any engine that serves
        item-item models can. It is computed once, and again after :meth:`update`. Its values are read-only; change a
        copy. The method knows no fallback: it returns this matrix even where :meth:`top_k` with ``fast`` ranks by
        popularity (:meth:`fallback_reason`).

        Returns:
            csr float32 [n_items, n_items], row = item of the user, zero diagonal; relations may be negative.

        Raises:
            ValueError: if the model has no family ``proximity``.
        """
        return self._state.item_item(self.show_progress)

    def fallback_reason(self, fast: bool = False) -> str:
        """Why all users get the same popular items, as a clause for people; empty if the lists are personal.

        Popularity ranks if it does better than the model, or than ``fast`` lists, on held-out interactions of the
        dataset. The first list then warns (``UserWarning``) with this reason.

        Args:
            fast: whether to explain fast lists.
        """
        return self._state.fallback_reason(arguments.flag("fallback_reason", "fast", fast))

    def prepare_fast(self) -> None:
        """Compute the item-item matrix of :meth:`top_k` with ``fast`` in advance.

        Raises:
            ValueError: if the model has no family ``proximity``.
        """
        self._state.fast_relations(self.show_progress)

    @torch.no_grad()
    def top_k(
        self,
        users: np.ndarray,
        k: int,
        exclude_seen: bool | None = None,
        *,
        fast: bool = False,
        allowed: np.ndarray | sp.csr_matrix | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best items of some users.

        Args:
            users: row indices of the matrix, [n].
            k: length of a list, at least 1; at most a million, or the number of items if that is larger.
            exclude_seen: whether to leave out the user's items; ``None``: unless the histories repeat items.
            fast: whether to rank by :meth:`item_item` instead of the network. Once the matrix is made, a list takes
                much less time and is less accurate (docs/zero_shot.md, docs/scale_results.md).
            allowed: the items that may be recommended, bool [n_items], or of each user, bool [n, n_items], which may be
                a SciPy sparse matrix. ``None``: all may. The candidates of a user are drawn from these items, so a list
                of few allowed items is personal too. Popular ones among them fill it up.

        Returns:
            Column indices int64 [n, k], best first, -1 where no items are left, and their scores float32 [n, k].
            A user without interactions gets the most popular items.

        Raises:
            ValueError: if a user is no row of the matrix, if ``k`` is out of range, if ``allowed`` has another type or
                shape, or if ``fast`` is asked of a model without the family ``proximity``.
        """
        state = self._state  # an update in another thread replaces it
        users = state.checked_users(users)
        k = state.checked_k(k)
        exclude_seen, fast = state.excludes_seen("top_k", exclude_seen), arguments.flag("top_k", "fast", fast)
        some = state.checked_allowed(allowed, len(users))
        if fast:
            return state.fast_top_k(users, k, exclude_seen, self.show_progress, some)
        # Threads that wait for each other several times per list cost more than they save, mainly on a busy machine.
        with one_thread() if len(users) <= state.max_one_thread_users else nullcontext():
            return state.top_k(users, k, exclude_seen, self.show_progress, some)

    @torch.no_grad()
    def top_k_of(
        self,
        histories: Histories | Sequence[Sequence[int]],
        k: int,
        exclude_seen: bool | None = None,
        *,
        fast: bool = False,
        allowed: np.ndarray | sp.csr_matrix | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best items of some histories: sessions, baskets, people without a row in the matrix.

        Args:
            histories: column indices of the items of each, oldest first. The order counts for a model with the family
                ``sequence``. Weights count for all others. An item of weight 0 was seen and is no evidence of taste.
            k: as of :meth:`top_k`.
            exclude_seen: as of :meth:`top_k`.
            fast: as of :meth:`top_k`.
            allowed: as of :meth:`top_k`.

        Returns:
            As :meth:`top_k`. An empty history gets the most popular items.

        Raises:
            ValueError: if an item is no column of the matrix, a user no row, ``k`` is out of range, ``allowed`` has
                another type or shape, the model reads families other than ``proximity`` or ``sequence``, or ``fast``
                is asked of a model without the family ``proximity``.
        """
        state = self._state
        k = state.checked_k(k)
        exclude_seen, fast = state.excludes_seen("top_k_of", exclude_seen), arguments.flag("top_k_of", "fast", fast)
        checked = state.checked_histories(histories)
        some = state.checked_allowed(allowed, len(checked))
        if fast:
            return state.fast_top_k(checked, k, exclude_seen, self.show_progress, some)
        with one_thread() if len(checked) <= state.max_one_thread_users else nullcontext():
            return state.top_k_of(checked, k, exclude_seen, some)

    def explain(self, user: int, k: int = 10) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Attribute the scores of a user's best items to scorers and families.

        Args:
            user: row index of the matrix.
            k: length of the list.

        Returns:
            Column indices int64 [n <= k], best first. By scorer or family the share in [-1, 1] of its contribution in
            each item's score (:func:`~recbole_universal.ranking.attribution.attribution`), negative where it lowers the
            score. ``{"popularity": ones}`` where popularity ranks.

        Raises:
            ValueError: if the model ranks no candidates or the user has no interaction.
        """
        state = self._state
        if not arguments.is_integer(user):
            raise ValueError(f"user: must be a row index of the matrix, got {arguments.shown(user)}.")
        (user,) = state.checked_users([user], "user")
        k = state.checked_k(k)
        if state.matrix.indptr[user] == state.matrix.indptr[user + 1]:
            raise ValueError(
                f"user: {user} has no interaction in this matrix; nothing about this user explains a list."
            )
        with one_thread():
            return state.explain(user, k)

    def explain_history(
        self, history: Histories | Sequence[int], k: int = 10
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Attribute the scores of the best items of a history, as :meth:`explain`.

        Args:
            history: column indices of its items, oldest first; at least one. Also one history.
            k: length of the list.

        Raises:
            ValueError: if an item is no column of the matrix, the history is empty, or the model cannot rank histories.
        """
        state = self._state
        one = history if isinstance(history, Histories) else [history]
        checked, k = state.checked_histories(one), state.checked_k(k)
        if not len(checked.items):
            raise ValueError("history: must have an item; nothing explains the list of an empty one.")
        with one_thread():
            return state.explain(checked, k)
