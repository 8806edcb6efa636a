"""Weights of the training parts of a split."""

from __future__ import annotations

from collections.abc import Sequence

import scipy.sparse as sp

from recbole_universal.app.evaluation.splits import Fold
from recbole_universal.app.weighting import Weighting
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_graph import binary_matrix
from recbole_universal.graph.interaction_weights import event_weights


def add_weights(
    folds: Sequence[Fold],
    matrix: sp.csr_matrix,
    histories: Histories | None,
    weights: sp.csr_matrix,
    weighting: Weighting,
) -> None:
    """Set the weights of folds, and the interactions of weight 0, which a recommender knows and has no evidence from.

    A fold whose training part is in order has weights of the events of this part alone.

    Args:
        folds: folds of the interactions of positive weight.
        matrix: all interactions, binary csr [n_users, n_items].
        histories: the same in order; ``None``: the order is not known.
        weights: weight of each interaction, csr [n_users, n_items].
        weighting: how much each interaction counts.
    """
    n_items = matrix.shape[1]
    for fold in folds:
        known = matrix
        if fold.cut is not None and histories is not None:
            known = (
                histories.where(histories.times < fold.cut).matrix(n_items) if histories.times is not None else matrix
            )
        without = known - known.multiply(weights.sign()) if known.nnz else known
        without = sp.csr_matrix(without - without.multiply(fold.train))
        without.eliminate_zeros()
        fold.seen_only = binary_matrix(without) if without.nnz else None
        of_train = weights.multiply(fold.train)
        if fold.histories is not None:
            of_train = event_weights(fold.histories, n_items, weighting.half_life)
        fold.weights = sp.csr_matrix(of_train)
