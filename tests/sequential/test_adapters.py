"""Bottlenecks and low-rank updates: they change nothing at first, and nothing else is trained."""

from __future__ import annotations

import pytest
import torch
from recbole.model.layers import TransformerEncoder
from torch import nn

from recbole_universal.sequential.adapters import Bottleneck, LowRank, train_only, trained_weights
from recbole_universal.sequential.item_encoder import ItemEncoder, VectorAdaptor
from recbole_universal.sequential.item_inputs import ItemInputs

HIDDEN, INNER, N_LAYERS, SIZE = 8, 16, 2, 3


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.item_embedding = ItemEncoder(VectorAdaptor({"text": 4}, HIDDEN), None)
        self.item_embedding.attach(ItemInputs({"text": torch.randn(6, 4)}))
        self.trm_encoder = TransformerEncoder(N_LAYERS, 2, HIDDEN, INNER, 0.0, 0.0)

    def forward(self, ids):
        mask = torch.zeros(len(ids), 1, 1, ids.shape[1])
        return self.trm_encoder(self.item_embedding(ids), mask)[-1]


IDS = torch.tensor([[1, 2, 3], [4, 5, 1]])


@pytest.mark.parametrize("kind", ["adapters", "lora", "head", "all"])
def test_only_the_chosen_weights_are_trained(kind):
    plain, model = Small(), Small()
    expected = plain(IDS)
    train_only(model, model.trm_encoder.layer, kind, SIZE)
    assert torch.equal(model(IDS), expected)  # to the bit
    before = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    optimizer = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], 0.1, weight_decay=0.1)
    for _ in range(2):  # the lower half of a new module has a gradient after the upper one left zero
        optimizer.zero_grad()
        model(IDS)[..., 0].sum().backward()
        optimizer.step()
    changed = {name for name, weights in model.named_parameters() if not torch.equal(weights, before[name])}
    trained = {name for name, weights in model.named_parameters() if weights.requires_grad}
    assert changed == trained and changed
    new = [name for name in trained if ".down." in name or ".up." in name]
    counts = {
        # item encoder, and two a layer; weights and biases of both halves; two norms a layer
        "adapters": (1 + 2 * N_LAYERS) * (2 * HIDDEN * SIZE + SIZE + HIDDEN) + N_LAYERS * 4 * HIDDEN,
        "lora": (1 + 2 * N_LAYERS) * 2 * HIDDEN * SIZE,
        "head": HIDDEN * HIDDEN + HIDDEN,
        "all": sum(weights.numel() for weights in plain.parameters()),
    }
    total = sum(weights.numel() for weights in model.parameters())
    assert trained_weights(model) == (counts[kind], total)
    assert bool(new) == (kind in ("adapters", "lora"))


def test_a_bottleneck_is_a_residual_behind_the_layer():
    base = nn.Linear(2, 2)
    module = Bottleneck(base, 1)
    nn.init.ones_(module.up.weight)
    nn.init.zeros_(module.down.bias)
    values = torch.tensor([[1.0, -2.0]])
    narrow = nn.functional.gelu(base(values) @ module.down.weight.T)
    torch.testing.assert_close(module(values), base(values) + narrow)


def test_a_low_rank_update_is_a_matrix_of_that_rank():
    base = nn.Linear(6, 5)
    module = LowRank(base, 2)
    nn.init.normal_(module.up.weight)
    change = module(torch.eye(6)) - base(torch.eye(6))
    assert torch.linalg.matrix_rank(change) == 2
