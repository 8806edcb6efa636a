"""Tasks that one model learns one after another, each with weights of its own that later tasks read and never change.

Source: Yuan et al., *One Person, One Model, One World: Learning Continual User Representation without Forgetting*,
SIGIR 2021 (Conure), which prunes by magnitude as Mallya and Lazebnik, *PackNet*, CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn


class TaskMasks:
    """Says which task owns each weight of a model.

    Matrices are shared. A weight of a matrix is free until a task keeps it, and from then on it never changes. A task
    reads its own weights and those of earlier tasks. Vectors (biases, norms) and the parameters in ``heads`` are each
    task's own as a whole.

    The order of calls for each task is :meth:`begin`, training, :meth:`prune`, training, :meth:`end`. Training may use
    any optimizer that leaves a weight with gradient zero unchanged, such as Adam without weight decay, and needs a new
    one after each call, since old moments would change weights.

    Args:
        model: the model. Its parameters are masked in place.
        heads: names of matrices that are each task's own.

    Attributes:
        tasks: number of tasks that have begun.
        owners: by name of a matrix, the task that owns each weight, uint8 of its shape; 0 is free.
    """

    def __init__(self, model: nn.Module, heads: Collection[str] = ()) -> None:
        self._parameters = dict(model.named_parameters())
        if unknown := [name for name in heads if name not in self._parameters]:
            raise ValueError(f"heads: the model has no parameters {unknown}.")
        self._shared = [name for name, one in self._parameters.items() if one.dim() > 1 and name not in heads]
        self.owners = {
            name: torch.zeros(self._parameters[name].shape, dtype=torch.uint8, device=self._parameters[name].device)
            for name in self._shared
        }
        self.tasks = 0
        self._own: list[dict[str, torch.Tensor]] = []
        self._trained: dict[str, torch.Tensor] = {}
        for name in self._shared:
            self._parameters[name].register_hook(lambda gradient, name=name: self._masked(name, gradient))

    def _masked(self, name: str, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * self._trained[name] if name in self._trained else gradient

    def begin(self) -> None:
        """Begin a task: all free weights are trained, from where they are, and its own ones."""
        self.tasks += 1
        self._trained = {name: self.owners[name] == 0 for name in self._shared}

    @torch.no_grad()
    def prune(self, share: float) -> None:
        """Keep a share of the free weights of each matrix, the largest, and train only those from now on.

        The others become zero. They stay free.

        Args:
            share: in (0, 1]; at least one weight is kept where one is free.
        """
        for name in self._shared:
            free = self.owners[name] == 0
            size = self._parameters[name].abs().masked_fill(~free, -1.0).flatten()
            n_free = int(free.sum())
            kept = size.topk(min(n_free, max(1, round(share * n_free)))).indices
            self.owners[name].view(-1)[kept] = self.tasks
            self._parameters[name][self.owners[name] == 0] = 0.0
            self._trained[name] = self.owners[name] == self.tasks

    def end(self) -> None:
        """End a task: the weights that it kept never change again, and its own ones are stored."""
        self._own.append({name: one.detach().clone() for name, one in self._own_parameters()})

    def state(self, task: int) -> dict[str, torch.Tensor]:
        """All weights as a task reads them, by name.

        Args:
            task: number of a task that has ended, from 1.
        """
        if not 1 <= task <= len(self._own):
            raise ValueError(f"task: must be from 1 to {len(self._own)}, the number of tasks that ended, got {task}.")
        shared = {}
        for name, owner in self.owners.items():
            known = (owner > 0) & (owner <= task)
            shared[name] = torch.where(known, self._parameters[name].detach(), 0.0)
        return shared | {name: one.clone() for name, one in self._own[task - 1].items()}

    def free_share(self) -> float:
        """Share of the weights of all matrices that no task owns."""
        free = sum(int((owner == 0).sum()) for owner in self.owners.values())
        return free / max(1, sum(owner.numel() for owner in self.owners.values()))

    def _own_parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, one) for name, one in self._parameters.items() if name not in self.owners]
