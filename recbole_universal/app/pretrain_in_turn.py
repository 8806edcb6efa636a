"""Pre-training on one source after another: plainly, which forgets, or with task masks, which does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from recbole_universal.plugin.universal_sasrec import UniversalSASRec
from recbole_universal.sequential.task_masks import TaskMasks

#: Folder in ``pretrain_dir`` with one model a source.
TASKS = "tasks"
#: What a validation gave, by source.
Values = dict[str, float]
# The matrix that plays the part of the softmax layer that each task of Conure has for itself.
_HEADS = ("item_embedding.content.output.weight",)


@dataclass(frozen=True)
class Task:
    """What the model is for one source.

    Attributes:
        sources: the sources that it has learned so far; the last is its own.
        state: weights by name.
        values: what the validation of its source gave.
    """

    sources: list[str]
    state: dict[str, torch.Tensor]
    values: Values


def check_order(config: Any) -> None:
    """Check the keys that go with ``pretrain_order``.

    Raises:
        ValueError: if one contradicts it, with the key.
    """
    order = config["pretrain_order"]
    if order == "mixed":
        return
    if config["pretrain_held_out"]:
        raise ValueError(
            f"pretrain_held_out: must be empty with pretrain_order: {order}, since each source chooses its best epoch "
            "by itself."
        )
    if order == "task_masks" and config["weight_decay"]:
        raise ValueError(
            f"weight_decay: must be 0 with pretrain_order: task_masks, got {config['weight_decay']!r}; it would change "
            "weights that earlier sources keep."
        )


def fit_in_turn(
    model: UniversalSASRec, names: Sequence[str], fit: Callable[[Sequence[str]], Values], config: Any
) -> list[Task]:
    """Train on one source after another.

    Args:
        model: the model, with new weights.
        names: the sources in their order.
        fit: trains the model on sources and leaves it with the weights of its best epoch.
        config: the keys ``pretrain_order`` and ``task_share``.

    Returns:
        One task a source. With ``in_turn`` it is the model as it was after this source; with ``task_masks``, the model
        as this source reads it after the last one.
    """
    masks = TaskMasks(model, _HEADS) if config["pretrain_order"] == "task_masks" else None
    results, states = [], []
    for number, name in enumerate(names, start=1):
        if masks is None:
            results.append(fit([name]))
            states.append({key: weights.clone() for key, weights in model.transferable().items()})
            continue
        masks.begin()
        values = fit([name])
        if number < len(names):
            masks.prune(config["task_share"])
            values = fit([name])
        else:
            masks.prune(1.0)
        masks.end()
        results.append(values)
    if masks is not None:
        states = [masks.state(number) for number in range(1, len(names) + 1)]
    return [
        Task(list(names[: number + 1]), state, values)
        for number, (state, values) in enumerate(zip(states, results, strict=True))
    ]
