"""The columns of a history and a candidate: scores made free of scale within the candidate list, and activity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal.features.binning import percentile_among
from recbole_universal.features.candidates import ScoredCandidates, Scorers
from recbole_universal.graph.scorers import SCORERS

# Columns of a pair: three for each scorer, three for each average over the scorers, and the activity of both sides.
_CONTEXT = (
    "item percentile",
    "log item degree minus the list's largest",
    "user percentile",
    "mean item percentile of the user's items",
    "item percentile minus that mean",
    "log user degree",
)
_N_AVERAGES = 2
_SHARPNESS = 20.0
_REFERENCE_RANK = 20


def n_columns(scorers: Sequence[str] = tuple(SCORERS)) -> int:
    """Number of columns of a pair, with scorers of these names."""
    return 3 * (len(scorers) + _N_AVERAGES) + len(_CONTEXT)


def column_groups(scorers: Sequence[str] = tuple(SCORERS)) -> dict[str, list[int]]:
    """Indices of the columns of each scorer, of the averages over the scorers, and of the activity columns."""
    n = len(scorers)
    groups = {name: [index, n + index, 2 * n + index] for index, name in enumerate(scorers)}
    groups["scorer averages"] = list(range(3 * n, 3 * (n + _N_AVERAGES)))
    return groups | {"activity": list(range(3 * (n + _N_AVERAGES), n_columns(scorers)))}


class CandidateColumns:
    """Computes the columns of candidates on one dataset.

    Args:
        scorers: the scorers of the dataset.
        scorer_weights: held-out NDCG@10 of each scorer relative to the best scorer's, in [0, 1], float32 [n_scorers].
        item_percentile: percentile of each item's degree, float32 [n_items], on the scorers' device.

    Attributes:
        averages: weights of the two averages over the scorers, each of sum 1, float32 [2, n_scorers]: a softmax of the
            scorer weights, and the best scorer alone.
    """

    def __init__(self, scorers: Scorers, scorer_weights: NDArray[np.float32], item_percentile: torch.Tensor) -> None:
        device = scorers.device
        self._scorers = scorers
        best = (scorer_weights == scorer_weights.max()).astype(np.float32)
        soft = np.exp(_SHARPNESS * (scorer_weights - scorer_weights.max()))

        def tensor(values: NDArray) -> torch.Tensor:
            return torch.from_numpy(values.astype(np.float32)).to(device)

        self.averages = tensor(np.stack([soft / soft.sum(), best / best.sum()]))
        self._item_percentile = item_percentile
        self._log_item = tensor(np.log1p(scorers.item_degree))
        self._user_degrees = np.sort(scorers.user_degree)
        # Indices of the linear scorers. Their first columns are what `linear_scores` sums.
        self._linear = [index for index, name in enumerate(scorers.names) if name in scorers.linear]

    def __call__(self, block: ScoredCandidates) -> torch.Tensor:
        """Columns of a block of candidate lists, float32 [n_users, n_candidates, dim]; zeros where there is no item."""
        scored = self._scored(block)
        averages = torch.einsum("ws,fsuc->wfuc", self.averages, scored)
        columns = torch.cat([scored.flatten(0, 1), averages.flatten(0, 1), self._context(block)])
        return (columns * block.mask).permute(1, 2, 0).contiguous()

    def linear_scores(self, features: torch.Tensor) -> torch.Tensor:
        """The average score of the linear scorers.

        Args:
            features: columns of pairs, float32 [..., dim].

        Returns:
            float32 [...].
        """
        return features[..., self._linear] @ self.averages[0][self._linear]

    def _scored(self, block: ScoredCandidates) -> torch.Tensor:
        """Each score by the best, by the 20th best, and by rank, float32 [3, n_scorers, n_users, n_candidates]."""
        values, top_values = block.values, block.top_values
        tiny = torch.finfo(torch.float32).tiny
        best = top_values[:, :, :1].clamp(min=tiny)
        reference = top_values[:, :, min(_REFERENCE_RANK, top_values.shape[2]) - 1 :][:, :, :1]
        reference = torch.where(reference > 1e-6 * best, reference, best)
        share = (values / best).clamp(max=4.0)
        excess = torch.log1p((values / reference).clamp(max=100.0))
        order = torch.where(block.mask, -values, torch.inf).argsort(dim=2, stable=True)
        places = torch.arange(values.shape[2], device=values.device).expand_as(order)
        rank = torch.empty_like(order).scatter_(2, order, places)
        rank = torch.where(values > 0, rank.float(), torch.full_like(values, 400.0))
        nearness = 1 - torch.log1p(rank.clamp(max=400.0)) / math.log(401.0)
        return torch.stack([share, excess, nearness])

    def _context(self, block: ScoredCandidates) -> torch.Tensor:
        """The columns of activity, float32 [n_context, n_users, n_candidates]."""
        percentiles = self._item_percentile[block.items]
        log_item = self._log_item[block.items]
        history = block.histories.matrix(self._scorers.n_items)
        degree = np.diff(history.indptr)
        mean = history @ self._item_percentile.cpu().numpy() / np.maximum(degree, 1)
        of_history = [percentile_among(self._user_degrees, degree), mean, np.log1p(degree)]
        user_percentile, history_mean, log_user = (
            torch.from_numpy(values.astype(np.float32)).to(percentiles.device)[:, None].expand_as(percentiles)
            for values in of_history
        )
        return torch.stack(
            [
                percentiles,
                log_item - (log_item * block.mask).amax(dim=1, keepdim=True),
                user_percentile,
                history_mean,
                percentiles - history_mean,
                log_user / 5,
            ]
        )
