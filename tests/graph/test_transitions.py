"""Transitions and their kernels, against loops over all pairs of events."""

from __future__ import annotations

import numpy as np
import pytest
from histories_data import histories_of, lists_of, random_lists, ring

from recbole_universal.graph.transitions import WINDOW, Transitions

KERNELS = {
    "next": lambda gap: (gap == 1) * 1.0,
    "harmonic": lambda gap: (gap <= 10) / gap,
    "geometric": lambda gap: 0.7 ** (gap - 1),
    "second": lambda gap: (gap == 2) * 1.0,
    "all": np.ones_like,
    "none": np.zeros_like,
}


def counted(lists: list[list[int]], n_items: int, kernel) -> np.ndarray:
    counts = np.zeros((n_items, n_items))
    for items in lists:
        for later in range(len(items)):
            for earlier in range(later):
                gap = later - earlier
                if gap <= WINDOW:
                    counts[items[earlier], items[later]] += kernel(np.array([float(gap)]))[0]
    return counts


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_counts(kernel, repeats):
    lists = random_lists(repeats=repeats)
    matrix = Transitions(histories_of(lists), 16).matrix(kernel)
    assert matrix.shape == (16, 16) and matrix.dtype == np.float32 and (matrix.data > 0).all()
    np.testing.assert_allclose(matrix.toarray(), counted(lists, 16, kernel), rtol=1e-6)


def test_long_histories_have_a_window():
    lists = [np.random.default_rng(0).integers(0, 50, 90).tolist(), list(range(WINDOW + 3))]
    matrix = Transitions(histories_of(lists), 50).matrix(np.ones_like).toarray()
    np.testing.assert_array_equal(matrix, counted(lists, 50, np.ones_like))
    alone = Transitions(histories_of(lists[1:]), 50).matrix(np.ones_like)
    assert alone[0, WINDOW] == 1 and alone[0, WINDOW + 1] == 0 and alone[1, WINDOW + 1] == 1


def test_no_transition_goes_from_one_user_to_another():
    matrix = Transitions(histories_of([[0, 1], [], [2], [3, 4, 3]]), 5).matrix(np.ones_like)
    assert set(zip(*(index.tolist() for index in matrix.nonzero()), strict=True)) == {(0, 1), (3, 4), (4, 3), (3, 3)}


@pytest.mark.parametrize("lists", [[[0], [1], [2]], [[], []], [[2]]])
def test_histories_of_one_item_have_no_transition(lists):
    assert Transitions(histories_of(lists), 3).matrix(np.ones_like).nnz == 0


def test_reversed_histories_have_the_transposed_transitions():
    lists = random_lists()
    forward, back = (
        Transitions(histories_of(given), 16).matrix(KERNELS["harmonic"]).toarray()
        for given in (lists, [row[::-1] for row in lists])
    )
    np.testing.assert_allclose(forward, back.T, rtol=1e-6)


def test_a_step_on_a_ring_is_the_only_next_item():
    histories = ring()
    matrix = Transitions(histories, 24).matrix(KERNELS["next"])
    assert matrix.nnz == 24 and matrix.sum() == sum(len(row) - 1 for row in lists_of(histories))
    assert (matrix[np.arange(24), (np.arange(24) + 1) % 24] > 0).all()
