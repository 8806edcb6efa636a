"""Weights of the training parts of a split."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recbole_universal.app.evaluation.splits import Fold
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_weights import event_weights


def with_weights(
    fold: Fold, matrix: sp.csr_matrix, histories: Histories | None, weights: sp.csr_matrix, half_life: float | None
) -> Fold:
    """A fold of the interactions of positive weight, with their weights, and with the items that were seen besides.

    A training part in order has the weights of its own events. Unless users come back to items, an item that a user had
    with weight 0 is neither recommended nor held out.

    Args:
        fold: the fold.
        matrix: all interactions, binary csr [n_users, n_items].
        histories: the same in order; ``None``: the order is not known.
        weights: weight of each interaction, csr [n_users, n_items].
        half_life: age in days at which an interaction weighs half; ``None``: age does not count.

    Returns:
        The fold, perhaps with fewer users.
    """
    if fold.histories is None or histories is None:
        of_train, without = weights.multiply(fold.train), matrix - matrix.multiply(weights.sign())
    else:
        of_train = event_weights(fold.histories, matrix.shape[1], half_life)
        without = _without_weight(histories, fold.cut).matrix(matrix.shape[1])
    seen_only = sp.csr_matrix(without - without.multiply(fold.train))
    seen_only.eliminate_zeros()
    test = fold.test
    if not fold.repeats:
        test = sp.csr_matrix(test - test.multiply(seen_only))
        test.eliminate_zeros()
    users = fold.users[np.diff(test.indptr)[fold.users] > 0]
    return Fold(fold.train, test, users, fold.histories, fold.cut, fold.repeats, seen_only, sp.csr_matrix(of_train))


def _without_weight(histories: Histories, cut: float | None) -> Histories:
    """The events of weight 0 before a point in time; ``None``: all of them."""
    none = np.zeros(len(histories.items), dtype=bool) if histories.weights is None else histories.weights == 0
    if cut is not None and histories.times is not None:
        none &= histories.times < cut
    return histories.where(none)
