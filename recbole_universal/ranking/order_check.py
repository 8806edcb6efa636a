"""Whether the order of the interactions helps: a model that reads it and one that does not, on the same next items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from recbole_universal.checkpoint import Pretrained
from recbole_universal.content.spaces import Space
from recbole_universal.graph.held_out import held_out_hits, split_in_time, without_last_events
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_graph import binary_matrix
from recbole_universal.metrics import ndcg, paired_z_score
from recbole_universal.ranking.ranker import UniversalRanker

#: Names of the shipped models that read the order of interactions and that do not.
WITH_ORDER, WITHOUT_ORDER = "universal-sequential", "universal-base"
_CUTOFF = 10


class OrderCheck(NamedTuple):
    """Mean NDCG@10 of two models on held-out next items.

    Attributes:
        n_held_out: number of held-out items, one of each user.
        in_time: whether each model knew only what came before a point in time; otherwise the last items are held out.
        with_order: NDCG@10 of the model that reads the order.
        without_order: NDCG@10 of the other model.
        z_score: paired z-score of their difference.
    """

    n_held_out: int
    in_time: bool
    with_order: float
    without_order: float
    z_score: float

    @property
    def helps(self) -> bool:
        """Whether the model that reads the order has the higher NDCG@10, by more than one standard error."""
        return self.z_score > 1

    @property
    def held_out(self) -> str:
        """What was held out, a phrase for messages."""
        if self.in_time:
            return f"the next items of {self.n_held_out:,} users after a point in time"
        return f"the last items of {self.n_held_out:,} users"


def check_order(
    sequential: UniversalRanker,
    histories: Histories,
    without_order: str | Pretrained,
    weights: sp.csr_matrix | None = None,
    **settings,
) -> OrderCheck | None:
    """Compare a sequential model with one without order on the held-out items of its self-check.

    The statistics of both models lack these items, and in time all that came after.

    Args:
        sequential: a ranker of a model with the family ``sequence``.
        histories: the interactions that it was made of.
        without_order: the other model, see :class:`UniversalRanker`.
        weights: weight of each interaction for the other model, csr [n_users, n_items].
        **settings: arguments of :class:`UniversalRanker` for the other model.

    Returns:
        ``None`` if the self-check held out nothing.
    """
    network = sequential.network
    pairs = network.candidate_pairs
    result = network.check_result()
    if pairs.check is None or result is None or result.by_user is None:
        return None
    user_of = np.full(int(pairs.user_index.max()) + 1, -1)
    known = np.flatnonzero(pairs.user_index >= 0)
    user_of[pairs.user_index[known]] = known
    users = user_of[pairs.check.users.numpy()]
    gains = np.zeros(len(users))
    for rows, support, query in _supports(histories, users, pairs.check.cut, pairs.n_items):
        known = binary_matrix(support.matrix(pairs.n_items))
        of_known = None if weights is None else weights.multiply(known).tocsr()
        other = UniversalRanker(known, without_order, weights=of_known, **settings)
        other.on_fallback = None
        items = other.top_k(users[rows], _CUTOFF)[0]
        gains[rows] = ndcg(held_out_hits(items, query[users[rows]]), np.ones(len(rows), dtype=np.int64))
    difference = result.by_user.numpy() - gains
    in_time, z_score = pairs.check.cut is not None, paired_z_score(difference)
    return OrderCheck(len(users), in_time, result.ndcg, float(gains.mean()), z_score)


def _supports(
    histories: Histories, users: np.ndarray, cuts: torch.Tensor | None, n_items: int
) -> Iterator[tuple[np.ndarray, Histories, sp.csr_matrix]]:
    """Rows of a self-check that share a support set, the support set, and the held-out items of its users."""
    if cuts is None:
        yield np.arange(len(users)), *without_last_events(histories, n_items, users)
        return
    for cut in cuts.unique().numpy():
        support, query, _ = split_in_time(histories, n_items, cut)
        yield np.flatnonzero(cuts.numpy() == cut), support, query


def chosen_ranker(
    matrix: sp.csr_matrix,
    histories: Histories,
    weights: sp.csr_matrix | None = None,
    content: Sequence[Space] | None = None,
    **settings,
) -> tuple[UniversalRanker, str]:
    """The ranker of the shipped model that suits the interactions, and a sentence that says why.

    Args:
        matrix: the interactions, csr [n_users, n_items].
        histories: the same in the order of time.
        weights: weight of each interaction, csr [n_users, n_items]; ``None``: all count the same.
        content: spaces of the items for the ranker. The choice is that without content, so that content changes
            lists only by its own self-check, and its cosines are computed once.
        **settings: arguments of :class:`UniversalRanker`.
    """
    sequential = UniversalRanker(matrix, WITH_ORDER, histories=histories, weights=weights, **settings)
    evidence = histories if weights is None else histories.of_positive_weight().among(weights)
    result = check_order(sequential, evidence, WITHOUT_ORDER, weights, **settings)
    figures = "no next item could be held out to compare the models"
    if result is not None:
        figures = (
            f"on {result.held_out}, the lists of [{WITH_ORDER}] have NDCG@10 {result.with_order:.4f} and those of "
            f"[{WITHOUT_ORDER}] {result.without_order:.4f} ({result.z_score:+.1f} standard errors)"
        )
        if 0 < result.z_score <= 1:  # the other model ranks with the lower figure, which needs a reason
            figures += ", which may be chance"
        if result.helps and not sequential.fallback_reason():
            if content:
                sequential = UniversalRanker(
                    matrix, WITH_ORDER, histories=histories, weights=weights, content=content, **settings
                )
            return sequential, f"[{WITH_ORDER}], which reads order and repeats, ranks: {figures}."
    ranker = UniversalRanker(matrix, WITHOUT_ORDER, weights=weights, content=content, **settings)
    return ranker, f"[{WITHOUT_ORDER}], which reads no order, ranks: {figures}."
