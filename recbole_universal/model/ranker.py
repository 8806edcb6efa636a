"""Ranking with a pre-trained model, from a matrix of interactions to lists of items; imports no RecBole."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import cast

import numpy as np
import scipy.sparse as sp
import torch
from tqdm import tqdm

from recbole_universal.features import FeaturePipeline, UniversalFeatures
from recbole_universal.features.pipeline import pipeline_of
from recbole_universal.features.proximity import ProximityPairs, next_popular
from recbole_universal.graph import binary_matrix
from recbole_universal.graph.item_models import best_of_sums
from recbole_universal.model.scorer import UniversalScorer
from recbole_universal.pretrained import Pretrained, load_pretrained

# Floats of the scores of one block of users (64 MB).
_BLOCK_FLOATS = 2**24
# Relations of an item in the item-item matrix.
_N_KEPT = 200


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
        device: where features and scores are computed.
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
                "a data frame there is recbole_universal.recommend."
            )
        if not isinstance(pretrained, Pretrained):
            pretrained = load_pretrained(pretrained)
        settings = {"seed": seed, "device": device, "cache_dir": cache_dir, "show_progress": show_progress}
        pipeline = pipeline_of(pretrained.schema["features"], **settings)
        self.matrix = binary_matrix(matrix)
        self.device = torch.device(device)
        self.show_progress = show_progress
        self._pipeline = pipeline
        self.scorer = scorer_of(pretrained, pipeline).to(self.device)
        self.tell = _warn
        self._attach(pipeline(self.matrix))

    def _attach(self, features: UniversalFeatures) -> None:
        self.features = features
        self.scorer.attach(features)
        self._item_item: sp.csr_matrix | None = None
        self._summed: sp.csr_matrix | None = None
        degree = np.bincount(self.matrix.indices, minlength=self.matrix.shape[1])
        self._popularity = torch.from_numpy(degree / max(1, degree.max())).float().to(self.device)

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
        users, items = np.asarray(users), np.asarray(items)
        for name, numbers in (("users", users), ("items", items)):
            if numbers.ndim != 1:
                raise ValueError(f"{name}: must be a list of integers from 0 on, [n], got {numbers!r}.")
        if len(users) != len(items):
            raise ValueError(f"users, items: must be equally many, got {len(users)} and {len(items)}.")
        if not len(users):
            return
        for name, numbers, size in (("users", users, self.matrix.shape[0]), ("items", items, self.matrix.shape[1])):
            if numbers.dtype.kind not in "iu" or numbers.min() < 0:
                raise ValueError(f"{name}: must be integers from 0 on, [n], got {numbers!r}.")
            # Room is made for all numbers up to the highest.
            if numbers.max() >= size + len(numbers):
                raise ValueError(
                    f"{name}: are row or column numbers, no ids; new ones must be numbered on from {size}, and "
                    f"{numbers.max()} is too high for the {len(numbers)} that are given."
                )
        users, items = users.astype(np.int64), items.astype(np.int64)
        rows, columns = self.matrix.nonzero()
        rows, columns = np.concatenate([rows, users]), np.concatenate([columns, items])
        shape = max(self.matrix.shape[0], users.max() + 1), max(self.matrix.shape[1], items.max() + 1)
        merged = binary_matrix(sp.coo_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape))
        features = self._pipeline.updated(self.features, merged)
        self.matrix = merged
        self._attach(features)

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
        if self._item_item is None:
            if not self.scorer.ranks_candidates:
                raise ValueError("Only a model with the family [proximity] has an item-item matrix.")
            self._item_item = self._proximity.item_item(_N_KEPT, self.show_progress)
            self._item_item.data.flags.writeable = False
        return self._item_item

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
        if not fast:
            return self.scorer.why_popularity()
        return self._proximity.why_not_linear if self.scorer.ranks_candidates else ""

    def prepare_fast(self) -> None:
        """Compute now what the first :meth:`top_k` with ``fast`` would wait for.

        Raises:
            ValueError: if the model has no family ``proximity``.
        """
        self._fast_relations()

    def _fast_relations(self) -> sp.csr_matrix:
        """What ``fast`` lists are sums of: :meth:`item_item`, or no relation where popularity finds more."""
        if self._summed is None:
            reason = self.why_popularity(fast=True)
            if reason:
                slower = "" if self.why_popularity() else " Lists that are not fast are personal."
                self.tell(f"All users get the same popular items: {reason}.{slower}")
                n_items = self.matrix.shape[1]
                self._summed = sp.csr_matrix((n_items, n_items), dtype=np.float32)
            else:
                self._summed = self.item_item()
        return self._summed

    @torch.no_grad()
    def top_k(
        self, users: np.ndarray, k: int, exclude_seen: bool = True, *, fast: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best items of some users.

        Args:
            users: row numbers of the matrix, [n].
            k: items of a list, at least 1.
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
        users = np.asarray(users)
        self._check(users, k)
        users = users.astype(np.int64)
        if fast:
            return self._fast_top_k(users, k, exclude_seen)
        n_items = self.matrix.shape[1]
        k_found = min(k, n_items)
        block = max(1, _BLOCK_FLOATS // n_items)
        items = np.full((len(users), k), -1, dtype=np.int64)
        values = np.full((len(users), k), -np.inf, dtype=np.float32)
        with tqdm(total=len(users), desc="ranking", unit="user", disable=not self.show_progress) as bar:
            for start in range(0, len(users), block):
                part = users[start : start + block]
                scores = self.scorer.score_all(torch.from_numpy(part).to(self.device), exclude_seen)
                unknown = torch.from_numpy(np.diff(self.matrix.indptr)[part] == 0).to(self.device)
                if unknown.any() and not self.scorer.ranks_candidates:
                    scores[unknown] = self._popularity
                if exclude_seen:
                    rows, columns = (torch.from_numpy(i.astype(np.int64)) for i in self.matrix[part].nonzero())
                    scores[rows.to(self.device), columns.to(self.device)] = -torch.inf
                best, index = scores.topk(k_found, dim=1)
                index = torch.where(best > -torch.inf, index, -1)
                items[start : start + block, :k_found] = index.cpu().numpy()
                values[start : start + block, :k_found] = best.cpu().numpy()
                bar.update(len(part))
        return items, values

    @property
    def _proximity(self) -> ProximityPairs:
        return cast(ProximityPairs, self.scorer.pairs("proximity"))

    def _fast_top_k(self, users: np.ndarray, k: int, exclude_seen: bool) -> tuple[np.ndarray, np.ndarray]:
        items, values = best_of_sums(self.matrix[users], self._fast_relations(), k, exclude_seen)
        short = np.flatnonzero((items < 0).any(axis=1))
        if not len(short):
            return items, values
        order = self._proximity.item_order.cpu().numpy()
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

    def _check(self, users: np.ndarray, k: int) -> None:
        n_users = self.matrix.shape[0]
        if users.ndim != 1 or (
            len(users) and (users.dtype.kind not in "iu" or users.min() < 0 or users.max() >= n_users)
        ):
            raise ValueError(f"users: must be row numbers from 0 to {n_users - 1}, [n], got {users!r}.")
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise ValueError(f"k: must be a positive integer, got {k!r}.")

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
        self._check(np.asarray([user]), k)
        if self.matrix.indptr[user] == self.matrix.indptr[user + 1]:
            raise ValueError(
                f"user: {user} has no interaction in this matrix; nothing about this user explains a list."
            )
        if self.scorer.outdone_by_popularity():
            popular = self.top_k(np.asarray([user]), k)[0][0]
            popular = popular[popular >= 0]
            return popular, {"popularity": np.ones(len(popular), dtype=np.float32)}
        items, scores, found = self.scorer.contributions(torch.tensor([user], device=self.device))
        order = torch.where(items[0] >= 0, scores[0], -torch.inf).argsort(descending=True, stable=True)
        order = order[items[0][order] >= 0][:k]
        parts = torch.stack([values[0, order] for values in found.values()])
        shares = (parts / parts.abs().sum(dim=0).clamp(min=1e-12)).cpu().numpy()
        return items[0, order].cpu().numpy(), dict(zip(found, shares, strict=True))
