"""Candidate lists: few scorers score every item, and all scorers score the best of them, which a model ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch.nn.functional import pad

from recbole_universal.features.binning import percentile
from recbole_universal.graph.content_scorers import ContentScorers
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.threads import lazy_property


class HistoryScores(Protocol):
    """Scores of some histories, each multiplied by the item's preference."""

    def draw(self, k: int, excluded: sp.csr_matrix, allowed: np.ndarray | None) -> np.ndarray:
        """Items with high scores, of which the candidates are made.

        Args:
            k: number of items that a source of candidates draws.
            excluded: items that each history leaves out, csr [n, n_items].
            allowed: items that may be drawn, bool [n or 1, n_items]; ``None``: all may.

        Returns:
            int64 [n, n_drawn], -1 where nothing is left; an item can be drawn twice.
        """

    def of(self, items: np.ndarray, lengths: np.ndarray) -> torch.Tensor:
        """Scores of some items by every scorer, float32 [n_scorers, n, width].

        Args:
            items: items of each history, int64 [n, width].
            lengths: number of items of each history; those after them score 0, int64 [n].
        """


class Scorers(Protocol):
    """Scorers of one dataset: :class:`~recbole_universal.graph.scorers.GraphScorers` or those of histories in order.

    Attributes:
        names: names of the scorers.
        linear: names of the scorers that are linear in the items of a history.
        decays: weight of an item of age a in a history is ``decay ** a``, by scorer.
        repeats: whether the histories repeat items.
        n_users: number of users.
        n_items: number of items.
        device: device of the scores.
        user_degree: number of interactions of each user, float32 [n_users].
        item_degree: number of interactions of each item, float32 [n_items].
    """

    names: tuple[str, ...]
    linear: tuple[str, ...]
    decays: Mapping[str, float]
    n_users: int
    n_items: int
    device: torch.device
    user_degree: np.ndarray
    item_degree: np.ndarray

    @property
    def repeats(self) -> bool:
        """Whether the histories repeat items."""

    @property
    def matrix(self) -> sp.csr_matrix:
        """The interactions, binary csr [n_users, n_items]."""

    @property
    def histories(self) -> Histories:
        """The histories of the users, by index."""

    @property
    def block_users(self) -> int:
        """Number of histories to score at once."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The state of the scorers."""

    def asked(self, histories: Histories, preference: torch.Tensor) -> HistoryScores:
        """The scores of some histories, with a preference of each item, float32 [n_items]."""

    def scores_of(self, histories: Histories) -> torch.Tensor:
        """Scores of every item, float32 [n_scorers, n, n_items]."""


@dataclass(frozen=True)
class Candidates:
    """Candidate lists of some users, with the features of each pair.

    Attributes:
        items: item ids, int64 [n_users, n_candidates]; -1 where a list is shorter.
        features: float32 [n_users, n_candidates, dim]; all-zero rows where ``items`` is -1.
    """

    items: torch.Tensor
    features: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        """Whether a position holds an item, bool [n_users, n_candidates]."""
        return self.items >= 0


@dataclass(frozen=True)
class ScoredCandidates:
    """Candidate lists of a block of users, by index in the scorers, with their scores.

    Attributes:
        histories: the histories of these users.
        items: item indices, int64 [n_users, n_candidates]; 0 where a list is shorter.
        mask: whether a position holds a candidate, bool [n_users, n_candidates].
        values: scores, at least 0, float32 [n_scorers, n_users, n_candidates].
        order: positions of the list by descending score, equal ones by position, int64 as ``values``.
        unseen: ``values``, 0 for the items of the history.
        n_top: length of a scorer's list of unseen items.
        content: the same lists with scores by content; ``None`` without content.
    """

    histories: Histories
    items: torch.Tensor
    mask: torch.Tensor
    values: torch.Tensor
    order: torch.Tensor
    unseen: torch.Tensor
    n_top: int
    content: ScoredCandidates | None = None

    @lazy_property
    def _top(self) -> torch.Tensor:
        """Positions of the unseen items with the highest scores, int64 [n_scorers, n_users, at most n_top]."""
        order = self.order if self.unseen is self.values else _by_descending(self.unseen)
        return order[:, :, : self.n_top]

    def score_of_rank(self, rank: int) -> torch.Tensor:
        """The score of the unseen item of this rank, 1 is the best; 0 without one; float32 [n_scorers, n_users, 1]."""
        index = min(rank, self.n_top) - 1
        if index >= self._top.shape[2]:
            return self.values.new_zeros(*self.values.shape[:2], 1)
        return self.unseen.gather(2, self._top[:, :, index : index + 1])

    @property
    def top_values(self) -> torch.Tensor:
        """The highest scores of unseen items, best first, float32 [n_scorers, n_users, n_top], 0 at the end."""
        values = self.unseen.gather(2, self._top)
        return pad(values, (0, self.n_top - values.shape[2]))  # the width says nothing about the block's other lists

    @property
    def top_items(self) -> torch.Tensor:
        """The items of :attr:`top_values`, int64 of the same shape; -1 where the score is 0."""
        items = self.items.expand(len(self.values), -1, -1).gather(2, self._top)
        return pad(items, (0, self.n_top - items.shape[2]), value=-1).masked_fill_(self.top_values <= 0, -1)


class CandidateGenerator:
    """Generates the candidates of users: what the scorers draw, with the scores of all scorers.

    An item is a candidate only if a scorer gives it a positive score.

    Args:
        scorers: the scorers of the dataset.
        top_k: number of candidates from each source of the scorers, and from content.
        repeats: whether the items of a history that are candidates compete with others for the places of a list.
            Otherwise all of them are added to the list.
        content: scores by content, one more source of candidates; ``None``: there is none.
        decay: weight of an item of age a in the content of a history is ``decay ** a``.

    Attributes:
        item_percentile: percentile of each item's degree, float32 [n_items].
    """

    def __init__(
        self,
        scorers: Scorers,
        top_k: int,
        repeats: bool = False,
        content: ContentScorers | None = None,
        decay: float = 1.0,
    ) -> None:
        self.scorers, self.top_k, self.repeats, self.content, self._decay = scorers, top_k, repeats, content, decay
        percentiles = percentile(scorers.item_degree).astype(np.float32)
        self.item_percentile = torch.from_numpy(percentiles).to(scorers.device)
        self._preference = _preference(self.item_percentile)

    def __call__(
        self, histories: Histories, exclude_seen: bool = True, allowed: torch.Tensor | None = None
    ) -> ScoredCandidates:
        """Candidates of a block of users.

        Args:
            histories: their histories; the list of an empty one is empty.
            exclude_seen: whether to leave out the items of the history; otherwise all of them are candidates too.
            allowed: whether an item may be a candidate, bool [n or 1, n_items]; ``None``: all may.
        """
        asked, device = self.scorers.asked(histories, self._preference), self.scorers.device
        seen = histories.matrix(self.scorers.n_items)
        adds_seen = not exclude_seen and not self.repeats
        excluded = seen if exclude_seen or adds_seen else sp.csr_matrix(seen.shape, dtype=np.float32)
        some = None if allowed is None else allowed.cpu().numpy()
        drawn = asked.draw(self.top_k, excluded, some)
        if self.content is not None:
            history, preference = self._weighted(histories, seen), self._preference.cpu().numpy()
            alike = self.content.draw(history, self.top_k, excluded, some, preference)
            drawn = np.concatenate([drawn, alike], axis=1)
        if adds_seen:
            own = _as_lists(seen)
            if some is not None:
                row = np.arange(len(own))[:, None] if len(some) > 1 else 0
                own = np.where(some[row, np.maximum(own, 0)], own, -1)
            drawn = np.concatenate([drawn, own], axis=1)
        drawn[histories.lengths == 0] = -1
        index, lengths = _distinct(drawn)
        values = asked.of(index, lengths).clamp_(min=0.0)
        n_scorers = len(values)
        if self.content is not None:
            by_content = torch.from_numpy(self.content.of(history, index, lengths, preference)).to(device)
            values = torch.cat([values, by_content])
        items, mask = torch.from_numpy(index).to(device), (values > 0).any(dim=0)
        if int(mask.sum()) < lengths.sum():
            items, mask, values = _compact(items, mask, values)
        unseen = values
        if adds_seen:
            had = torch.from_numpy(seen.toarray() > 0).to(device)
            unseen = values.masked_fill(had.gather(1, items), 0.0)

        def scored(part: slice, content: ScoredCandidates | None) -> ScoredCandidates:
            n_top, own = min(self.top_k, self.scorers.n_items), values[part]
            order, rest = _by_descending(own), own if unseen is values else unseen[part]
            return ScoredCandidates(histories, items, mask, own, order, rest, n_top, content)

        content = None if self.content is None else scored(slice(n_scorers, None), None)
        return scored(slice(n_scorers), content)

    def _weighted(self, histories: Histories, items: sp.csr_matrix) -> sp.csr_matrix:
        """Weights of the items of histories in the scores by content, csr float32 [n, n_items]."""
        if self._decay == 1 and histories.weights is None:
            return items
        return histories.weighted(self.scorers.n_items, self._decay)


def best_of_scorers(scorers: Scorers, histories: Histories, excluded: sp.csr_matrix, k: int) -> torch.Tensor:
    """The best items by each scorer alone, of all items.

    Args:
        scorers: the scorers.
        histories: some histories.
        excluded: items that each history leaves out, csr [n, n_items].
        k: length of a list.

    Returns:
        Item indices int64 [n_scorers, n, at most k], best first and equal ones by index, -1 where a scorer gives no
        positive score.
    """
    # The items that are left, by index. The others do not take part, since scores are rounded against the highest one.
    left_out = excluded.toarray() > 0
    items = np.argsort(left_out, axis=1, kind="stable")
    preference = _preference(torch.from_numpy(percentile(scorers.item_degree).astype(np.float32)))
    scores = scorers.asked(histories, preference).of(items, (~left_out).sum(axis=1))
    best = _by_descending(scores.clamp_(min=0.0))[:, :, :k]
    best_items = torch.from_numpy(items).to(scores.device).expand(len(scores), -1, -1).gather(2, best)
    return torch.where(scores.gather(2, best) > 0, best_items, -1)


def _preference(item_percentile: torch.Tensor) -> torch.Tensor:
    """Factor of each item's scores: of items with equal scores the more popular comes first, whatever its index."""
    return 1 + 1e-5 * item_percentile


def _distinct(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different items of each row in their order, int64 [n, longest >= 1], 0 after the last; and their numbers.

    Args:
        drawn: items, int64 [n, n_drawn], -1 for none.
    """
    ordered = np.sort(drawn, axis=1)
    new = ordered >= 0
    new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    lengths = new.sum(axis=1)
    items = np.zeros((len(drawn), max(1, int(lengths.max(initial=0)))), dtype=np.int64)
    items[np.arange(items.shape[1]) < lengths[:, None]] = ordered[new]
    return items, lengths


def _by_descending(values: torch.Tensor) -> torch.Tensor:
    """Positions of non-negative values along the last axis, highest first and equal ones in order, int64."""
    if values.device.type != "cpu":
        return (-values).argsort(dim=-1, stable=True)
    # Non-negative floats are ordered as their bits are. Integers take a fraction of the time of an argsort.
    positive = values.numpy() + np.float32(0)  # there is a negative zero
    keys = (~positive.view(np.uint32)).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(values.shape[-1], dtype=np.uint64)
    keys.sort(axis=-1)
    keys &= np.uint64(0xFFFFFFFF)
    return torch.from_numpy(keys.view(np.int64))


def _compact(
    items: torch.Tensor, mask: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The lists without the positions outside of ``mask``, as :class:`ScoredCandidates` has them."""
    order = (~mask).byte().argsort(dim=1, stable=True)[:, : max(1, int(mask.sum(dim=1).max()))]
    mask = mask.gather(1, order)
    values = values.gather(2, order.expand(len(values), -1, -1)).masked_fill_(~mask, 0.0)
    return items.gather(1, order).masked_fill_(~mask, 0), mask, values


def best_unseen(scores: torch.Tensor, seen: sp.csr_matrix, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best unseen items by each scorer. Items with equal scores come in no particular order.

    Args:
        scores: float32 [n_scorers, n_users, n_items]; changed in place.
        seen: the users' interactions, csr [n_users, n_items].
        k: length of a list.

    Returns:
        Scores and item indices, [n_scorers, n_users, at most k]. A seen item has a score of minus infinity.
    """
    rows, columns = _index(seen, scores.device)
    scores[:, rows, columns] = -torch.inf
    best, items = scores.topk(min(k, scores.shape[2]), dim=2)
    return best, items


def _index(matrix: sp.csr_matrix, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Rows and columns of the entries of a matrix, int64 each."""
    return tuple(torch.from_numpy(index.astype(np.int64)).to(device) for index in matrix.nonzero())


def _as_lists(matrix: sp.csr_matrix) -> np.ndarray:
    """Column indices of the entries of each row, int64 [n_rows, longest], -1 at the end."""
    rows, lengths = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), np.diff(matrix.indptr)
    lists = np.full((matrix.shape[0], int(lengths.max(initial=0))), -1)
    lists[rows, np.arange(len(rows)) - np.repeat(matrix.indptr[:-1], lengths)] = matrix.indices
    return lists
