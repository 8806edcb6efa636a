"""Mixing two score matrices: laws and known answers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_universal import interpolate
from recbole_universal.ranking.mixing import SCORE_SPACES, to_space

BASE = torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
UNIVERSAL = torch.tensor([[-10.0, 0.0, -20.0], [1.0, 3.0, 2.0]])


def matrices(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 9, generator=generator), 30 * torch.randn(4, 9, generator=generator)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("raw", [-3.5, 0.5, -9.0]),
        ("min-max", [0.75, 0.5, 0.25]),
        ("rank", [0.75, 0.5, 0.25]),
        ("z-score", [1.5**0.5 / 2, 0.0, -(1.5**0.5) / 2]),
    ],
)
def test_known_answers(space, expected):
    torch.testing.assert_close(interpolate(BASE, UNIVERSAL, 0.5, space)[0], torch.tensor(expected))


@pytest.mark.parametrize("space", SCORE_SPACES)
def test_weight_zero_is_the_base_and_one_the_universal_model(space):
    base, universal = matrices(0)
    assert torch.equal(interpolate(base, universal, 0, space), base)
    assert torch.equal(interpolate(base, universal, 1.0, space), universal)
    each = interpolate(base, universal, torch.tensor([0.0, 1.0, 0.5, 0.0]), space)
    assert torch.equal(each[[0, 3]], base[[0, 3]]) and torch.equal(each[1], universal[1])


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), weight=st.floats(0.01, 0.99), space=st.sampled_from(SCORE_SPACES[1:]))
def test_the_scale_of_a_model_does_not_matter(seed, weight, space):
    base, universal = matrices(seed)
    expected = interpolate(base, universal, weight, space)
    torch.testing.assert_close(interpolate(7 * base - 3, universal / 5, weight, space), expected, rtol=1e-3, atol=1e-4)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), weight=st.floats(0, 1), space=st.sampled_from(SCORE_SPACES))
def test_an_order_that_both_models_share_stays(seed, weight, space):
    base, _ = matrices(seed)
    mixed = interpolate(base, 3 * base + 1, weight, space)
    assert torch.equal(mixed.argsort(dim=1), base.argsort(dim=1))


@pytest.mark.parametrize("space", SCORE_SPACES)
def test_a_space_keeps_order_and_equals(space):
    scores = torch.tensor([[1.0, 2.0, 2.0, 0.5], [4.0, 4.0, 4.0, 4.0]])
    values = to_space(scores, space)
    assert values[0, 1] == values[0, 2] > values[0, 0] > values[0, 3]
    assert len(values[1].unique()) == 1 and values.isfinite().all()


def test_a_user_whose_scores_are_equal_follows_the_other_model():
    for space in SCORE_SPACES:
        assert interpolate(BASE, UNIVERSAL, 0.3, space)[1].argmax() == 1


def test_users_do_not_influence_each_other():
    base, universal = matrices(3)
    for space in SCORE_SPACES:
        together = interpolate(base, universal, 0.4, space)
        single = torch.cat([interpolate(base[k : k + 1], universal[k : k + 1], 0.4, space) for k in range(len(base))])
        torch.testing.assert_close(together, single)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_infinite_and_missing_scores_are_refused(bad):
    base, universal = matrices(0)
    universal[2, 3] = bad
    with pytest.raises(ValueError, match="universal scores of row 2 are NaN or infinite"):
        interpolate(base, universal, 0.5)
    with pytest.raises(ValueError, match="base scores of row 2 are NaN or infinite"):
        interpolate(universal, base, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((BASE, UNIVERSAL[:, :2], 0.5), "one shape"),
        ((BASE[0], UNIVERSAL[0], 0.5), "n_users, n_items"),
        ((BASE, UNIVERSAL, 1.5), r"\[0, 1\]"),
        ((BASE, UNIVERSAL, float("nan")), r"\[0, 1\]"),
        ((BASE, UNIVERSAL, torch.tensor([0.5, 0.5, 0.5])), "one per user"),
        ((BASE, UNIVERSAL, 0.5, "zscore"), "interpolation_space: must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        interpolate(*arguments)
