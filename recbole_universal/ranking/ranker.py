"""Ranking with a pre-trained model, from a matrix of interactions to lists of items; imports no RecBole."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from numbers import Integral
from typing import cast

import numpy as np
import scipy.sparse as sp
import torch
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.checkpoint import Pretrained, load_pretrained
from recbole_universal.features import FeaturePipeline, UniversalFeatures
from recbole_universal.features.pipeline import pipeline_of
from recbole_universal.features.proximity import ProximityPairs, next_popular
from recbole_universal.graph import binary_matrix
from recbole_universal.graph.item_models import best_of_sums
from recbole_universal.graph.threads import one_thread
from recbole_universal.ranking.scorer import UniversalScorer

# Floats of the scores of one block of users (64 MB).
_BLOCK_FLOATS = 2**24
# Relations of an item in the item-item matrix.
_N_KEPT = 200
# Scores of a model without candidates that one thread computes.
_FEW_SCORES = 2**19
# Items of a list at most, where there are fewer items.
_MOST_K = 10**6
# Held for the moment in which an update takes effect.
_SWAP = threading.Lock()


def _new_lock() -> None:
    """A forked process has none of the threads that could give the lock back."""
    global _SWAP
    _SWAP = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)


def scorer_of(pretrained: Pretrained, pipeline: FeaturePipeline) -> UniversalScorer:
    """The network of a checkpoint with its weights, in evaluation mode."""
    scorer = UniversalScorer(pipeline.dims, **pretrained.schema["network"])
    try:
        scorer.load_state_dict(pretrained.state_dict)
    except RuntimeError as error:
        raise ValueError(f"The weights do not fit the network that their schema describes: {error}") from error
    return scorer.eval()


class UniversalRanker:
    """Ranks items for the users of an interaction matrix with a pre-trained model.

    Args:
        matrix: interactions, any SciPy sparse matrix [n_users, n_items]; any value but 0 counts as one.
        pretrained: name of a shipped model, folder of one, or a loaded one.
        device: where features and scores are computed. Experimental: not tried on CUDA.
        seed: seed of the features that are random.
        cache_dir: folder for computed features; ``None``: no cache.
        show_progress: whether to draw progress bars.

    Raises:
        ValueError: if the model cannot be loaded or the matrix has no interaction.
    """

    def __init__(
        self,
        matrix: sp.csr_matrix,
        pretrained: str | os.PathLike[str] | Pretrained = "universal-base",
        *,
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
        binary = binary_matrix(matrix)
        if not isinstance(pretrained, Pretrained):
            pretrained = load_pretrained(pretrained)
        settings = {"seed": seed, "device": device, "cache_dir": cache_dir, "show_progress": show_progress}
        self._pipeline = pipeline_of(pretrained.schema["features"], **settings)
        self.device = self._pipeline.device
        self.show_progress = show_progress
        scorer = scorer_of(pretrained, self._pipeline).to(self.device)
        scorer.tell = _warn
        features = self._pipeline(binary)
        self._state = _State(binary, features, scorer.attach(features))

    @property
    def matrix(self) -> sp.csr_matrix:
        """The interactions, csr float32 [n_users, n_items], each 1."""
        return self._state.matrix

    @property
    def features(self) -> UniversalFeatures:
        """The universal features of :attr:`matrix`."""
        return self._state.features

    @property
    def scorer(self) -> UniversalScorer:
        """The network, with :attr:`features` attached."""
        return self._state.scorer

    def update(self, users: np.ndarray, items: np.ndarray) -> None:
        """Take in interactions that arrived later, in much less time than a new ranker takes.

        A user's own items, what is seen, popularity and all counts, paths and neighbours are then those of a new
        ranker on all interactions (on a large matrix: with the same sample of users, and those who came since). What
        takes it longest, the spectral filters, the regressions and the self-check of trust, stays that of the
        interactions it was made of: make a new one when a few per cent are new (docs/scale.md has figures). Small data
        of few users with two interactions are computed anew when twice as many of these can be checked.

        Args:
            users: row numbers, int [n]; new users are numbered on from ``matrix.shape[0]``.
            items: column numbers, int [n], likewise.

        Raises:
            ValueError: if they are no numbers, negative, too high or not equally many, or the model uses a family whose
                features can only be computed anew.
        """
        users, items = arguments.array("users", users), arguments.array("items", items)
        for name, numbers in (("users", users), ("items", items)):
            if numbers.ndim != 1:
                raise ValueError(f"{name}: must be a list of integers from 0 on, [n], got {arguments.shown(numbers)}.")
        if len(users) != len(items):
            raise ValueError(f"users, items: must be equally many, got {len(users)} and {len(items)}.")
        if not len(users):
            return
        while True:  # another thread may be quicker with its own
            before = self._state
            after = self._updated(before, users, items)
            with _SWAP:
                if self._state is before:
                    self._state = after
                    return

    def _updated(self, state: _State, users: np.ndarray, items: np.ndarray) -> _State:
        matrix = state.matrix
        for name, numbers, size in (("users", users, matrix.shape[0]), ("items", items, matrix.shape[1])):
            if numbers.dtype.kind not in "iu" or numbers.min() < 0:
                raise ValueError(f"{name}: must be integers from 0 on, [n], got {arguments.shown(numbers)}.")
            # Room is made for all numbers up to the highest.
            if numbers.max() >= size + len(numbers):
                raise ValueError(
                    f"{name}: {numbers.max()} is too high. These are row or column numbers, not ids; the next new one "
                    f"is {size}."
                )
        users, items = users.astype(np.int64), items.astype(np.int64)
        rows, columns = matrix.nonzero()
        rows, columns = np.concatenate([rows, users]), np.concatenate([columns, items])
        shape = max(matrix.shape[0], users.max() + 1), max(matrix.shape[1], items.max() + 1)
        merged = binary_matrix(sp.coo_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape))
        features = self._pipeline.updated(state.features, merged)
        return _State(merged, features, state.scorer.with_features(features))

    def item_item(self) -> sp.csr_matrix:
        """What relates items to items here, as one sparse matrix: the sum of a user's items' rows ranks all items.

        The trust-weighted sum of the graph scorers that are linear in a user's items, the strongest 200 relations of
        an item; the network has no part in it. For :meth:`top_k` with ``fast``, and for any engine that serves
        item-item models. Computed once, and again after :meth:`update`; its values cannot be changed, a copy's can.
        Whether popularity finds more, by which ``fast`` lists are popularity's then, is no part of it.

        Returns:
            csr float32 [n_items, n_items], row = item of the user, zero diagonal; relations may be negative.

        Raises:
            ValueError: if the model has no family ``proximity``.
        """
        return self._state.item_item(self.show_progress)

    @property
    def tell(self) -> Callable[[str], object]:
        """What takes the message that popularity ranks; a ``UserWarning`` by default."""
        return self.scorer.tell

    @tell.setter
    def tell(self, tell: Callable[[str], object]) -> None:
        self.scorer.tell = tell

    def why_popularity(self, fast: bool = False) -> str:
        """Why all users get the same popular items, for people; empty if lists are personal.

        Where a self-check on hidden interactions speaks against the model, or against ``fast`` lists, popularity ranks,
        and the first list warns (``UserWarning``) with this reason.

        Args:
            fast: whether fast lists are meant.
        """
        return self._state.why_popularity(arguments.flag("why_popularity", "fast", fast))

    def prepare_fast(self) -> None:
        """Compute now what the first :meth:`top_k` with ``fast`` would wait for.

        Raises:
            ValueError: if the model has no family ``proximity``.
        """
        self._state.fast_relations(self.show_progress)

    @torch.no_grad()
    def top_k(
        self, users: np.ndarray, k: int, exclude_seen: bool = True, *, fast: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best items of some users.

        Args:
            users: row numbers of the matrix, [n].
            k: items of a list, at least 1; at most a million, or the number of items if these are more.
            exclude_seen: whether a user's own interactions are left out.
            fast: whether to rank by :meth:`item_item` instead of the network: a good deal less time a user, for lists
                somewhat less good (docs/zero_shot.md, docs/scale_results.md), after the matrix is made.

        Returns:
            Column numbers int64 [n, k], best first, -1 where there are no more items, and their scores float32 [n, k].
            A user without interactions gets the most popular items.

        Raises:
            ValueError: if a user is no row of the matrix, ``k`` is not positive, or ``fast`` is asked of a model
                without the family ``proximity``.
        """
        state = self._state  # an update in another thread makes another
        users = state.checked_users(users)
        k = state.checked_k(k)
        exclude_seen, fast = (
            arguments.flag("top_k", name, value) for name, value in (("exclude_seen", exclude_seen), ("fast", fast))
        )
        if fast:
            return state.fast_top_k(users, k, exclude_seen, self.show_progress)
        # Threads that wait for each other several times a list cost more than they bring, most where others are busy.
        with one_thread() if len(users) <= state.few_users else nullcontext():
            return state.top_k(users, k, exclude_seen, self.show_progress)

    @property
    def _proximity(self) -> ProximityPairs:
        return self._state.proximity

    def explain(self, user: int, k: int = 10) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Why the best items of a user are there.

        Args:
            user: row number of the matrix.
            k: items of the list.

        Returns:
            Column numbers int64 [n <= k], best first, and by scorer or family the share in [-1, 1] that it has in each
            item's score: its contribution (:meth:`UniversalScorer.contributions`) by the sum of all contributions'
            sizes. Negative where it speaks against the item. ``{"popularity": ones}`` where popularity ranks.

        Raises:
            ValueError: if the model has no family ``proximity`` or the user no interaction.
        """
        state = self._state
        if not isinstance(user, Integral) or isinstance(user, bool):
            raise ValueError(f"user: must be a row number of the matrix, got {arguments.shown(user)}.")
        (user,) = state.checked_users([user], "user")
        k = state.checked_k(k)
        if state.matrix.indptr[user] == state.matrix.indptr[user + 1]:
            raise ValueError(
                f"user: {user} has no interaction in this matrix; nothing about this user explains a list."
            )
        with one_thread():
            return self._explained(state, user, k)

    @torch.no_grad()
    def _explained(self, state: _State, user: int, k: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        if state.scorer.outdone_by_popularity():
            popular = state.top_k(np.asarray([user]), k, True, False)[0][0]
            popular = popular[popular >= 0]
            return popular, {"popularity": np.ones(len(popular), dtype=np.float32)}
        items, scores, found = state.scorer.contributions(torch.tensor([user], device=self.device))
        order = torch.where(items[0] >= 0, scores[0], -torch.inf).argsort(descending=True, stable=True)
        order = order[items[0][order] >= 0][:k]
        parts = torch.stack([values[0, order] for values in found.values()])
        shares = (parts / parts.abs().sum(dim=0).clamp(min=1e-12)).cpu().numpy()
        return items[0, order].cpu().numpy(), dict(zip(found, shares, strict=True))


class _State:
    """What a ranker ranks from; an update makes another, so that a call uses one alone from beginning to end."""

    def __init__(self, matrix: sp.csr_matrix, features: UniversalFeatures, scorer: UniversalScorer) -> None:
        self.matrix, self.features, self.scorer = matrix, features, scorer
        self._item_item: sp.csr_matrix | None = None
        self._summed: sp.csr_matrix | None = None
        degree = np.bincount(matrix.indices, minlength=matrix.shape[1])
        self._popularity = torch.from_numpy(degree / max(1, degree.max())).float().to(scorer.device)

    @property
    def proximity(self) -> ProximityPairs:
        return cast(ProximityPairs, self.scorer.pairs("proximity"))

    @property
    def few_users(self) -> int:
        """Users whose scores are too few to be worth a second thread."""
        if self.scorer.ranks_candidates:
            return self.proximity.scorers.block_users
        return max(1, _FEW_SCORES // self.matrix.shape[1])

    def checked_users(self, users, name: str = "users") -> np.ndarray:
        """Row numbers as int64 [n]."""
        n_users = self.matrix.shape[0]
        numbers = arguments.array(name, users)
        if numbers.ndim != 1 or (
            len(numbers) and (numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= n_users)
        ):
            valid = "row numbers" if name == "users" else "a row number"
            raise ValueError(f"{name}: must be {valid} from 0 to {n_users - 1}, [n], got {arguments.shown(users)}.")
        return numbers.astype(np.int64)

    def checked_k(self, k) -> int:
        """The length of a list."""
        most = max(_MOST_K, self.matrix.shape[1])
        if isinstance(k, bool) or not isinstance(k, Integral) or not 1 <= int(k) <= most:
            raise ValueError(f"k: must be a positive integer, at most {most}, got {arguments.shown(k)}.")
        return int(k)

    def top_k(
        self, users: np.ndarray, k: int, exclude_seen: bool, show_progress: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`UniversalRanker.top_k`."""
        n_items = self.matrix.shape[1]
        k_found = min(k, n_items)
        block = max(1, _BLOCK_FLOATS // n_items)
        device = self.scorer.device
        items = np.full((len(users), k), -1, dtype=np.int64)
        values = np.full((len(users), k), -np.inf, dtype=np.float32)
        with tqdm(total=len(users), desc="ranking", unit="user", disable=not show_progress) as bar:
            for start in range(0, len(users), block):
                part = users[start : start + block]
                scores = self.scorer.score_all(torch.from_numpy(part).to(device), exclude_seen)
                unknown = torch.from_numpy(np.diff(self.matrix.indptr)[part] == 0).to(device)
                if unknown.any() and not self.scorer.ranks_candidates:
                    scores[unknown] = self._popularity
                if exclude_seen:
                    rows, columns = (torch.from_numpy(i.astype(np.int64)) for i in self.matrix[part].nonzero())
                    scores[rows.to(device), columns.to(device)] = -torch.inf
                best, index = scores.topk(k_found, dim=1)
                index = torch.where(best > -torch.inf, index, -1)
                items[start : start + block, :k_found] = index.cpu().numpy()
                values[start : start + block, :k_found] = best.cpu().numpy()
                bar.update(len(part))
        return items, values

    def item_item(self, show_progress: bool) -> sp.csr_matrix:
        """See :meth:`UniversalRanker.item_item`."""
        if self._item_item is None:
            if not self.scorer.ranks_candidates:
                raise ValueError("Only a model with the family [proximity] has an item-item matrix.")
            relations = self.proximity.item_item(_N_KEPT, show_progress)
            relations.data.flags.writeable = False
            self._item_item = relations
        return self._item_item

    def why_popularity(self, fast: bool) -> str:
        """See :meth:`UniversalRanker.why_popularity`."""
        if not fast:
            return self.scorer.why_popularity()
        return self.proximity.why_not_linear if self.scorer.ranks_candidates else ""

    def fast_relations(self, show_progress: bool) -> sp.csr_matrix:
        """What ``fast`` lists are sums of: :meth:`item_item`, or no relation where popularity finds more."""
        if self._summed is None:
            reason = self.why_popularity(fast=True)
            if reason:
                slower = "" if self.why_popularity(fast=False) else " Lists that are not fast are personal."
                self.scorer.tell(f"All users get the same popular items: {reason}.{slower}")
                n_items = self.matrix.shape[1]
                self._summed = sp.csr_matrix((n_items, n_items), dtype=np.float32)
            else:
                self._summed = self.item_item(show_progress)
        return self._summed

    def fast_top_k(
        self, users: np.ndarray, k: int, exclude_seen: bool, show_progress: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`UniversalRanker.top_k`."""
        items, values = best_of_sums(self.matrix[users], self.fast_relations(show_progress), k, exclude_seen)
        short = np.flatnonzero((items < 0).any(axis=1))
        if not len(short):
            return items, values
        order = self.proximity.item_order.cpu().numpy()
        popular = np.argsort(order, kind="stable")
        # As below the candidates of the network: what is left follows by popularity.
        for row in short:
            n_found = int((items[row] >= 0).sum())
            taken = items[row, :n_found]
            if exclude_seen:
                taken = np.concatenate([taken, self.matrix[users[row]].indices])
            rest = next_popular(popular, taken, k - n_found)
            items[row, n_found : n_found + len(rest)] = rest
            values[row, n_found:] = -np.inf
            values[row, n_found : n_found + len(rest)] = 0.0 - order[rest]
        return items, values
