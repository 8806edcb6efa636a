"""Prefixes: what followed the parts of histories that look like the end of a history.

A prefix is a history up to some event that has a successor. Its items are weighted by their age. The regression
predicts the next item from the weighted items of the prefix. The neighbours of a history are the prefixes most similar
to it, and each votes for the items that followed it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.graph import sums
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.sparse_sums import check_weights, csr_arrays, csr_of
from recbole_universal.graph.transitions import WINDOW, Transitions

# Penalty of the regression, as a multiple of the mean diagonal of the prefixes' Gram matrix.
_PENALTY = 0.5
# Votes of a prefix for the items that followed it, by the number of steps.
_VOTES = (1.0, 0.4, 0.2)
# The weight of a vote is the similarity to this power, divided by the target's degree to the second power.
_SHARPNESS, _VOTE_POWER = 4, 0.25
# Number of similarities of prefixes that are in memory at once, in one thread.
_MOST_PATHS = 2**24
# Items of a prefix with a smaller weight are left out.
_LEAST_WEIGHT = 0.02


def prefix_regression(
    transitions: Transitions, degree: NDArray, items: NDArray[np.int64], decay: float
) -> NDArray[np.float32]:
    """Ridge regression of the next item on the weighted items of a prefix.

    This is the sequential term of SLIST (Choi et al., WWW 2021) with weights by age: an item of age a weighs
    ``decay ** a``. So the products of prefixes and next items are transitions with the kernel ``decay ** (gap - 1)``,
    W. The Gram matrix of the prefixes is (decay (W + W^T) + diag(degree)) / (1 - decay^2), up to the ends of the
    histories and to gaps above the window. Without these gaps the matrix may have negative eigenvalues, if a history
    repeats few items for long. Then the least share of the degrees that makes up for them is added to its diagonal.

    Args:
        transitions: transitions of the histories.
        degree: number of events of each item, [n_items].
        items: items that the regression relates, int64 [n].
        decay: in (0, 1).

    Returns:
        float32 [n, n], row = item of the prefix.
    """
    weighted = transitions.matrix(lambda gap: decay ** (gap - 1))
    target = torch.from_numpy(weighted[items][:, items].toarray())
    gram = (target + target.T).mul_(decay)
    own = torch.from_numpy(degree[items].astype(np.float32))
    gram.diagonal().add_(own + _PENALTY * own.mean())
    gram /= 1 - decay**2
    factor, failed = torch.linalg.cholesky_ex(gram)
    if failed:
        gram, target = gram.double(), target.double()
        gram.diagonal().add_(own * (_negative_share(decay) / (1 - decay**2)))
        factor = torch.linalg.cholesky(gram)
    return torch.cholesky_solve(target, factor).float().contiguous().numpy()


def _negative_share(decay: float) -> float:
    """How far below 0 the spectrum of the weights ``decay ** |gap|`` within the window goes, at least 0."""
    gap, frequency = np.arange(1, WINDOW + 1), np.linspace(0, np.pi, 1000)
    spectrum = 1 + 2 * np.cos(np.outer(frequency, gap)) @ decay ** gap.astype(np.float64)
    return max(0.0, -float(spectrum.min()))


class PrefixNeighbors:
    """The prefixes of some histories, by item.

    Args:
        arrays: its state, of :meth:`arrays`.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)
        self._decay = float(arrays["decay"])
        self._rarity, self._user = arrays["rarity"], arrays["user"]
        n_items, n_prefixes = len(self._rarity), len(self._user)
        self._by_item = csr_of("by_item", arrays, (n_items, n_prefixes))
        self._votes = csr_of("votes", arrays, (n_prefixes, n_items))
        stored = {"rarity": self._rarity, "by_item.data": self._by_item.data, "votes.data": self._votes.data}
        for name, weights in stored.items():
            check_weights(f"its array {name}", weights)

    @classmethod
    def of(cls, histories: Histories, n_items: int, decay: float) -> PrefixNeighbors:
        """The prefixes of histories.

        Args:
            histories: the histories; ``users`` are the rows whose own prefixes :meth:`scores` leaves out.
            n_items: number of items.
            decay: weight of an item of age a is ``decay ** a``.
        """
        items, row = histories.items, histories.rows
        degree = np.bincount(items, minlength=n_items)
        rarity = np.sqrt(np.log1p(len(histories) / np.maximum(degree, 1))).astype(np.float32)
        ends = np.flatnonzero(row[:-1] == row[1:])
        index = np.full(len(items), -1)
        index[ends] = np.arange(len(ends))
        parts: dict[str, list[NDArray]] = {"prefix": [], "item": [], "weight": []}
        for age in range(WINDOW):
            if decay**age < _LEAST_WEIGHT:
                break
            event = ends[ends >= age]
            event = event[row[event - age] == row[event]]
            parts["prefix"].append(index[event])
            parts["item"].append(items[event - age])
            parts["weight"].append(np.full(len(event), decay**age, dtype=np.float32))
        prefix, item, weight = (np.concatenate([*part, np.zeros(0, part[0].dtype)]) for part in parts.values())
        weight *= rarity[item]
        norm = np.sqrt(np.bincount(prefix, weight**2, minlength=len(ends)))
        by_item = sp.csr_matrix(((weight / norm[prefix]).astype(np.float32), (item, prefix)), (n_items, len(ends)))
        followed = []
        for step, vote in enumerate(_VOTES, 1):
            event = ends[ends + step < len(items)]
            event = event[row[event + step] == row[event]]
            votes = vote * np.maximum(degree[items[event + step]], 1.0) ** -_VOTE_POWER
            followed.append((index[event], items[event + step], votes.astype(np.float32)))
        source, target, votes = (np.concatenate(part) for part in zip(*followed, strict=True))
        by_prefix = sp.csr_matrix((votes, (source, target)), (len(ends), n_items))
        arrays = {"decay": np.array(decay), "rarity": rarity, "user": histories.users[row[ends]]}
        return cls(arrays | csr_arrays("by_item", by_item) | csr_arrays("votes", by_prefix))

    def arrays(self) -> dict[str, np.ndarray]:
        """The state."""
        return self._arrays

    def scores(self, histories: Histories) -> sp.csr_matrix:
        """Votes for each item, csr float32 [n, n_items]."""
        query = histories.latest(WINDOW).weighted(len(self._rarity), self._decay)
        query.data *= self._rarity[query.indices]
        if sums.compiled() is not None:
            from recbole_universal.graph.compiled_sequence_sums import prefix_votes

            parts = [array for m in (query, self._by_item, self._votes) for array in (m.indptr, m.indices, m.data)]
            votes = prefix_votes(*parts, self._user, histories.users, query.shape[1])
            return sp.csr_matrix(votes, shape=query.shape)
        n_paths = query.astype(bool) @ np.diff(self._by_item.indptr).astype(np.float64)
        blocks = np.cumsum(n_paths) // _MOST_PATHS
        starts = np.flatnonzero(np.diff(blocks, prepend=-1))
        ranges = zip(starts, [*starts[1:], len(histories)], strict=False)  # without histories there is no start
        parts = [self._votes_of(query[start:stop], histories.users[start:stop]) for start, stop in ranges]
        return sp.vstack(parts, format="csr") if parts else sp.csr_matrix(query.shape, dtype=np.float32)

    def _votes_of(self, query: sp.csr_matrix, users: NDArray[np.int64]) -> sp.csr_matrix:
        """Votes of the prefixes for each item, by the weighted histories of some users."""
        similar = (query @ self._by_item).tocsr()
        user = np.repeat(users, np.diff(similar.indptr))
        own = (self._user[similar.indices] == user) & (user >= 0)
        similar.data[own] = 0.0
        similar.data **= _SHARPNESS
        return similar @ self._votes
