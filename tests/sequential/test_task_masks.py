"""Task masks: what a task keeps never changes, and what it reads is what it was trained with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recbole_universal.sequential.task_masks import TaskMasks


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 4))


def train(model: nn.Module, seed: int, steps: int = 20) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.randn(32, 6, generator=generator), torch.randn(32, 4, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()


def learned(model: nn.Module, masks: TaskMasks, seed: int, share: float) -> dict[str, torch.Tensor]:
    """Learn a task; returns the weights as they are at its end."""
    masks.begin()
    train(model, seed)
    masks.prune(share)
    train(model, seed)
    masks.end()
    return {name: weights.detach().clone() for name, weights in model.named_parameters()}


def test_a_task_reads_to_the_bit_what_it_was_trained_with_after_all_others():
    model = network()
    masks = TaskMasks(model, ["3.weight"])
    ends = [learned(model, masks, seed, share) for seed, share in ((1, 0.5), (2, 0.5), (3, 1.0))]
    for task, end in enumerate(ends, start=1):
        state = masks.state(task)
        assert state.keys() == end.keys()
        for name, weights in state.items():
            assert torch.equal(weights, end[name]), (task, name)
    assert not torch.equal(ends[0]["0.weight"], ends[2]["0.weight"])
    assert not torch.equal(ends[0]["3.weight"], ends[2]["3.weight"])  # a head of its own
    assert not torch.equal(ends[0]["1.weight"], ends[2]["1.weight"])  # norms, too


def test_each_weight_has_one_owner_and_shares_are_those_asked_for():
    model = network()
    masks = TaskMasks(model)
    learned(model, masks, 1, 0.25)
    assert set(masks.owners) == {"0.weight", "3.weight"}
    assert [(owner == 1).sum().item() for owner in masks.owners.values()] == [12, 8]
    assert masks.free_share() == 0.75
    owned = {name: owner == 1 for name, owner in masks.owners.items()}
    learned(model, masks, 2, 0.5)
    assert [(owner == 2).sum().item() for owner in masks.owners.values()] == [18, 12]
    for name, owner in masks.owners.items():
        assert (owner[owned[name]] == 1).all()
    assert masks.free_share() == pytest.approx(0.375)


def test_the_largest_free_weights_are_kept_and_the_others_are_zero():
    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.1, -0.9, 0.5, -0.2]]))
    masks = TaskMasks(model)
    masks.begin()
    masks.prune(0.5)
    assert masks.owners["weight"].tolist() == [[0, 1, 1, 0]]
    assert model.weight.tolist() == [[0.0, pytest.approx(-0.9), 0.5, 0.0]]
    masks.end()
    with torch.no_grad():
        model.weight += torch.tensor([[0.3, 0.0, 0.0, 0.2]])
    masks.begin()
    masks.prune(0.5)
    assert masks.owners["weight"].tolist() == [[2, 1, 1, 0]]  # a large weight of task 1 is no rival


def test_a_later_task_reads_what_earlier_ones_keep():
    model = network()
    masks = TaskMasks(model)
    first = learned(model, masks, 1, 0.5)
    learned(model, masks, 2, 1.0)
    owner, read = masks.owners["0.weight"], masks.state(2)["0.weight"]
    assert torch.equal(read[owner == 1], first["0.weight"][owner == 1])
    assert (masks.state(1)["0.weight"][owner == 2] == 0).all() and read[owner == 2].any()


def test_without_masks_the_same_training_forgets():
    model = network()
    train(model, 1)
    before = model[0].weight.detach().clone()
    train(model, 2)
    assert not torch.equal(model[0].weight, before)


def test_wrong_names_and_tasks_are_refused():
    with pytest.raises(ValueError, match=r"heads: the model has no parameters \['nowhere'\]"):
        TaskMasks(network(), ["nowhere"])
    masks = TaskMasks(network())
    masks.begin()
    with pytest.raises(ValueError, match="task: must be from 1 to 0"):
        masks.state(1)
