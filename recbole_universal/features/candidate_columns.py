"""The columns of a history and a candidate: scores made free of scale within the candidate list, and activity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal.features.binning import percentile_among
from recbole_universal.features.candidates import ScoredCandidates, Scorers
from recbole_universal.graph.content_scorers import CONTENT_SCORERS
from recbole_universal.graph.scorer_definitions import SCORERS

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
#: Number of columns by content: three for each of its scorers, and the same times 1 minus the item's percentile, since
#: rare items gain most.
N_CONTENT_COLUMNS = 2 * 3 * len(CONTENT_SCORERS)
_SHARPNESS = 20.0
_REFERENCE_RANK = 20
# All ranks from here on count as this one.
_LAST_RANK = 400


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
        """Columns of a block of candidate lists, float32 [n_users, n_candidates, dim]; zeros where there is no item.

        In memory, each column is together. Columns by content follow where the lists have it.
        """
        names, shape = self._scorers.names, block.items.shape
        n_content = 0 if block.content is None else N_CONTENT_COLUMNS
        columns = torch.empty(n_columns(names) + n_content, *shape, device=block.values.device)
        parts = [3 * len(names), 3 * _N_AVERAGES, len(_CONTEXT), n_content]
        scored, averages, context, content = columns.split(parts)
        _put_scored(block, scored.view(3, len(names), *shape))
        if block.content is not None:
            alike, rare = content.view(2, 3, len(CONTENT_SCORERS), *shape)
            _put_scored(block.content, alike)
            torch.mul(alike, 1 - self._item_percentile[block.items], out=rare)
        by_form = self.averages @ scored.view(3, len(names), -1)
        averages.view(_N_AVERAGES, 3, -1).copy_(by_form.transpose(0, 1))
        self._put_context(block, context)
        return columns.permute(1, 2, 0)

    def linear_scores(self, features: torch.Tensor) -> torch.Tensor:
        """The average score of the linear scorers.

        Args:
            features: columns of pairs, float32 [..., dim].

        Returns:
            float32 [...].
        """
        return features[..., self._linear] @ self.averages[0][self._linear]

    def _put_context(self, block: ScoredCandidates, out: torch.Tensor) -> None:
        """Put the columns of activity into [n_context, n_users, n_candidates]."""
        items, mask = block.items, block.mask
        history = block.histories.matrix(self._scorers.n_items)
        degree = np.diff(history.indptr)
        mean = history @ self._item_percentile.cpu().numpy() / np.maximum(degree, 1)
        of_history = [percentile_among(self._user_degrees, degree), mean, np.log1p(degree)]
        user_percentile, history_mean, log_user = (
            torch.from_numpy(values.astype(np.float32)).to(items.device)[:, None] for values in of_history
        )
        log_item = self._log_item[items]
        torch.mul(self._item_percentile[items], mask, out=out[0])
        torch.mul(log_item - (log_item * mask).amax(dim=1, keepdim=True), mask, out=out[1])
        torch.mul(user_percentile, mask, out=out[2])
        torch.mul(history_mean, mask, out=out[3])
        torch.sub(out[0], out[3], out=out[4])
        torch.mul(log_user / 5, mask, out=out[5])


def _put_scored(block: ScoredCandidates, out: torch.Tensor) -> None:
    """Put each score by the best, by the 20th best, and by rank into [3, n_scorers, n_users, n_candidates]."""
    values, (share, excess, nearness) = block.values, out
    best = block.score_of_rank(1).clamp(min=torch.finfo(torch.float32).tiny)
    reference = block.score_of_rank(_REFERENCE_RANK)
    reference = torch.where(reference > 1e-6 * best, reference, best)
    torch.div(values, best, out=share).clamp_(max=4.0)
    torch.div(values, reference, out=excess).clamp_(max=100.0).log1p_()
    by_rank = torch.arange(values.shape[2], device=values.device).clamp(max=_LAST_RANK).float()
    by_rank = 1 - torch.log1p(by_rank) / math.log(_LAST_RANK + 1.0)
    nearness.scatter_(2, block.order, by_rank.expand_as(values)).mul_(values > 0)
