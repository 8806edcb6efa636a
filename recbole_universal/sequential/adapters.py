"""Fine-tuning of few weights: bottlenecks and low-rank updates in frozen transformer layers.

Sources: Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, ICML 2019 (bottlenecks after attention and
after feed-forward); Hu et al., *LoRA*, ICLR 2022 (low-rank updates of query and value).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

#: Weights that fine-tuning changes: all; new bottlenecks; new low-rank updates; the last layer of the item encoder.
FINETUNE_PARAMETERS = ("all", "adapters", "lora", "head")


class Bottleneck(nn.Module):
    """A linear layer and, behind it, ``x + up(GELU(down(x)))``. ``up`` is zero at first, so nothing changes.

    Args:
        base: the layer, whose weights stay.
        size: width of the bottleneck.
    """

    def __init__(self, base: nn.Linear, size: int) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.out_features, size), nn.Linear(size, base.out_features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """float32 [..., in_features] to [..., out_features]."""
        values = self.base(values)
        return values + self.up(functional.gelu(self.down(values)))


class LowRank(nn.Module):
    """A linear layer plus ``up(down(x))`` of low rank. ``up`` is zero at first, so nothing changes.

    Args:
        base: the layer, whose weights stay.
        rank: the rank.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """float32 [..., in_features] to [..., out_features]."""
        return self.base(values) + self.up(self.down(values))


def train_only(model: Any, layers: Iterable[Any], kind: str, size: int) -> None:
    """Freeze the weights of a model but for those of ``kind``, which are added where they are new.

    Args:
        model: a model with ``item_embedding.content.output``, the last layer of its item encoder.
        layers: its transformer layers, each with ``multi_head_attention`` (``query``, ``value``, ``dense``) and
            ``feed_forward`` (``dense_2``), as in RecBole.
        kind: one of :data:`FINETUNE_PARAMETERS`.
        size: width of a bottleneck, or rank of a low-rank update.
    """
    if kind == "all":
        return
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    encoder = model.item_embedding.content
    if kind == "head":
        encoder.output.requires_grad_(True)
    elif kind == "adapters":
        _wrap(encoder, "output", lambda base: Bottleneck(base, size))
        for layer in layers:
            _wrap(layer.multi_head_attention, "dense", lambda base: Bottleneck(base, size))
            _wrap(layer.feed_forward, "dense_2", lambda base: Bottleneck(base, size))
            for norm in (layer.multi_head_attention.LayerNorm, layer.feed_forward.LayerNorm):
                norm.requires_grad_(True)  # Houlsby et al. train these, too
    else:
        _wrap(encoder, "output", lambda base: LowRank(base, size))
        for layer in layers:
            for name in ("query", "value"):
                _wrap(layer.multi_head_attention, name, lambda base: LowRank(base, size))


def _wrap(module: Any, name: str, wrapper: Callable[[nn.Linear], nn.Module]) -> None:
    setattr(module, name, wrapper(getattr(module, name)))


def trained_weights(model: nn.Module) -> tuple[int, int]:
    """Numbers of weights that are trained and of all weights of a model."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)
