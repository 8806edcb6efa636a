"""Halves of histories, and the loss that brings them together."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_universal.sequential.user_contrast import halves, user_contrast


@given(st.lists(st.integers(2, 9), min_size=1, max_size=6), st.integers(0, 100))
def test_halves_are_disjoint_in_order_and_hold_all_items(lengths, seed):
    items = torch.zeros((len(lengths), 9), dtype=torch.int64)
    for row, length in enumerate(lengths):
        items[row, :length] = torch.arange(1, length + 1) + 10 * row
    first, n_first, second, n_second = halves(items, torch.tensor(lengths), torch.Generator().manual_seed(seed))
    for row, length in enumerate(lengths):
        one, other = first[row, : n_first[row]].tolist(), second[row, : n_second[row]].tolist()
        assert sorted(one + other) == items[row, :length].tolist()
        assert one == sorted(one) and other == sorted(other)
        assert len(one) == (length + 1) // 2
        assert first.shape[1] == second.shape[1] == 5
        assert not first[row, n_first[row] :].any() and not second[row, n_second[row] :].any()


def test_halves_differ_by_draw_and_are_the_same_for_one_seed():
    items, lengths = torch.arange(1, 21).view(1, 20), torch.tensor([20])
    drawn = [halves(items, lengths, torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_loss_of_known_vectors():
    same = torch.eye(3)
    users = torch.arange(3)
    right = math.log(math.exp(1 / 0.5) + 2) - 1 / 0.5
    assert user_contrast(same, 7 * same, users, 0.5).item() == pytest.approx(right)  # lengths do not count
    wrong = math.log(math.exp(1 / 0.5) + 2)
    assert user_contrast(same, same.roll(1, dims=0), users, 0.5).item() == pytest.approx(wrong)


def test_loss_is_symmetric_and_needs_both_directions():
    first, second = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    users = torch.arange(5)
    loss = user_contrast(first, second, users)
    assert loss.item() == pytest.approx(user_contrast(second, first, users).item())
    logits = torch.nn.functional.normalize(first, dim=1) @ torch.nn.functional.normalize(second, dim=1).T / 0.1
    one_way = torch.nn.functional.cross_entropy(logits, users)
    assert loss.item() != pytest.approx(one_way.item())


def test_other_rows_of_one_user_do_not_count():
    first, second = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    first[1], second[1] = first[0], second[0]
    twice = user_contrast(first, second, torch.tensor([7, 7, 8, 9]))
    # A row of user 7 sees itself and users 8 and 9. The others see user 7 twice.
    one = user_contrast(first[[0, 2, 3]], second[[0, 2, 3]], torch.tensor([7, 8, 9]))
    assert twice.item() != pytest.approx(one.item())
    alone = user_contrast(first[:2], second[:2], torch.tensor([7, 7]))
    assert alone.item() == pytest.approx(0.0, abs=1e-6)
    assert user_contrast(first[:2], second[:2], torch.tensor([7, 8])).item() == pytest.approx(math.log(2))
