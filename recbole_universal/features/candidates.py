"""Candidate lists: the union of every scorer's best unseen items of a user, which are the only items a model ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
import torch

from recbole_universal.features.binning import percentile
from recbole_universal.graph.histories import Histories


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

    def scores_of(self, histories: Histories, out: torch.Tensor | None = None) -> torch.Tensor:
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
        top_values: the highest scores of unseen items, best first, float32 [n_scorers, n_users, at most top_k].
        top_items: indices of these items, int64 of the same shape; -1 where the score is 0.
    """

    histories: Histories
    items: torch.Tensor
    mask: torch.Tensor
    values: torch.Tensor
    top_values: torch.Tensor
    top_items: torch.Tensor


class CandidateGenerator:
    """Generates the candidates of users: the union of every scorer's ``top_k`` best unseen items.

    Args:
        scorers: the scorers of the dataset.
        top_k: number of candidates from each scorer.
        repeats: whether the items of a history that are candidates compete with others for the places of a list.
            Otherwise all of them are added to the list.

    Attributes:
        item_percentile: percentile of each item's degree, float32 [n_items].
    """

    def __init__(self, scorers: Scorers, top_k: int, repeats: bool = False) -> None:
        self.scorers, self.top_k, self.repeats = scorers, top_k, repeats
        self._memory: list[torch.Tensor] = []  # buffers for scores, one for each thread that runs at the same time
        percentiles = percentile(scorers.item_degree).astype(np.float32)
        self.item_percentile = torch.from_numpy(percentiles).to(scorers.device)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_memory": []}

    @property
    def max_candidates(self) -> int:
        """Length of the longest possible list of unseen items."""
        return min(self.scorers.n_items, len(self.scorers.names) * self.top_k)

    @contextmanager
    def scores(self, histories: Histories) -> Iterator[torch.Tensor]:
        """Scores of all items in a buffer that is reused. Allocating it takes half as long as computing the scores.

        Args:
            histories: the histories of at most ``scorers.block_users`` users.

        Yields:
            float32 [n_scorers, n, n_items]; valid within the ``with`` block.
        """
        shape = (len(self.scorers.names), len(histories), self.scorers.n_items)
        try:
            memory = self._memory.pop()
        except IndexError:
            size = len(self.scorers.names) * self.scorers.block_users * self.scorers.n_items
            with torch.inference_mode(False):  # a later call outside of inference mode may reuse the buffer
                memory = torch.empty(size, device=self.scorers.device)
        yield self.scorers.scores_of(histories, memory[: math.prod(shape)].view(shape))
        self._memory.append(memory)

    def __call__(
        self, histories: Histories, exclude_seen: bool = True, allowed: torch.Tensor | None = None
    ) -> ScoredCandidates:
        """Candidates of a block of users.

        Args:
            histories: their histories; the list of an empty one is empty.
            exclude_seen: whether to leave out the items of the history; otherwise all of them are candidates too.
            allowed: whether an item may be a candidate, bool [n or 1, n_items]; ``None``: all may.
        """
        with self.scores(histories) as values:
            # Of items with equal scores the more popular comes first, whatever its index.
            values *= 1 + 1e-5 * self.item_percentile
            known = torch.from_numpy(histories.lengths > 0).to(values.device)
            values[:, ~known] = 0.0
            if allowed is not None:
                values.masked_fill_(~allowed, -torch.inf)
            seen = histories.matrix(self.scorers.n_items)
            adds_seen = not exclude_seen and not self.repeats
            if not exclude_seen and self.repeats:
                seen = sp.csr_matrix(seen.shape, dtype=np.float32)
            top_values, top_items = best_unseen(values.clone() if adds_seen else values, seen, self.top_k)
            top_values = top_values.clamp(min=0.0)
            is_candidate = torch.zeros(values.shape[1:], dtype=torch.bool, device=values.device)
            flat = top_items + torch.arange(len(histories), device=values.device)[:, None] * values.shape[2]
            is_candidate.view(-1)[flat[top_values > 0]] = True
            if adds_seen:
                is_candidate[_index(seen, values.device)] = True
                if allowed is not None:
                    is_candidate &= allowed
            items, mask = _as_lists(is_candidate)
            items = items.clamp(min=0)
            values = values.gather(2, items.expand(len(values), -1, -1)).clamp_(min=0.0).masked_fill_(~mask, 0.0)
        return ScoredCandidates(histories, items, mask, values, top_values, top_items.masked_fill_(top_values <= 0, -1))


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


def padded(values: torch.Tensor, width: int, fill: float) -> torch.Tensor:
    """Lists [n, n_candidates, ...] padded to ``width`` positions with a value."""
    shape = (values.shape[0], width - values.shape[1], *values.shape[2:])
    return torch.cat([values, values.new_full(shape, fill)], dim=1)


def _as_lists(member: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Column indices of the true entries of each row, padded with -1, int64 [n_rows, longest >= 1], and their mask."""
    rows, columns = member.nonzero(as_tuple=True)
    lengths = member.sum(dim=1)
    starts = lengths.cumsum(0) - lengths
    position = torch.arange(len(rows), device=member.device) - starts[rows]
    longest = max(1, int(lengths.max())) if len(member) else 1
    lists = torch.full((len(member), longest), -1, device=member.device)
    lists[rows, position] = columns
    return lists, lists >= 0
