"""Training of a sequence model on an attribute of its users: a new head, and as many weights of the model as asked for.

Source of the task: Yuan et al., *Parameter-Efficient Transfer from Sequential Behaviors for User Modeling and
Recommendation*, SIGIR 2020 (PeterRec).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional


class UserClassifier(nn.Module):
    """A sequence model and a linear head on its user vectors.

    Args:
        model: a model with ``forward(items, lengths)`` to vectors [n, hidden_size].
        hidden_size: size of a user vector.
        n_classes: number of classes.
        vectors: what makes the vectors, such as ``model.mean_vectors``; ``None``: ``forward``.
    """

    def __init__(
        self, model: nn.Module, hidden_size: int, n_classes: int, vectors: Callable[..., torch.Tensor] | None = None
    ) -> None:
        super().__init__()
        self.model, self.head = model, nn.Linear(hidden_size, n_classes)
        self.vectors = vectors

    def forward(self, items: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Scores of the classes, float32 [n, n_classes].

        Args:
            items: histories, int64 [n, longest]; zeros after the last item.
            lengths: their lengths, int64 [n].
        """
        return self.head((self.vectors or self.model)(items, lengths))


def fit_user_labels(
    classifier: UserClassifier,
    histories: tuple[torch.Tensor, torch.Tensor],
    labels: torch.Tensor,
    fitted: NDArray[np.int64],
    seed: int,
    learning_rate: float = 0.001,
    batch_size: int = 128,
    epochs: int = 50,
    stopping_step: int = 5,
    on_epoch: Callable[[int, float], Any] | None = None,
) -> None:
    """Train the weights that require a gradient, and keep those of the epoch that is best on a tenth of the users.

    Args:
        classifier: the model.
        histories: items and lengths of all users, as for :meth:`UserClassifier.forward`.
        labels: class of each user, int64 [n_users].
        fitted: users to train on. A tenth of them is held out for the choice of the epoch. No label of another user
            is read.
        seed: draws the tenth and the batches.
        learning_rate: step of Adam.
        batch_size: users a step.
        epochs: the most passes over the users.
        stopping_step: passes without a better one that end the training.
        on_epoch: is called with the epoch and the cross-entropy on the tenth.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(fitted)
    valid, train = order[: max(1, len(order) // 10)], order[max(1, len(order) // 10) :]
    trained = [one for one in classifier.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=learning_rate)
    best, waited, state = np.inf, 0, copy.deepcopy(classifier.state_dict())
    for epoch in range(epochs):
        classifier.train()
        order = generator.permutation(train)
        for start in range(0, len(order), batch_size):
            rows = torch.from_numpy(order[start : start + batch_size])
            optimizer.zero_grad()
            scores = classifier(histories[0][rows], histories[1][rows])
            functional.cross_entropy(scores, labels[rows]).backward()
            optimizer.step()
        loss = float(functional.cross_entropy(class_scores(classifier, histories, valid), labels[valid]))
        if on_epoch:
            on_epoch(epoch, loss)
        if loss < best:
            best, waited, state = loss, 0, copy.deepcopy(classifier.state_dict())
        elif (waited := waited + 1) >= stopping_step:
            break
    classifier.load_state_dict(state)
    classifier.eval()


@torch.no_grad()
def class_scores(
    classifier: UserClassifier, histories: tuple[torch.Tensor, torch.Tensor], users: NDArray[np.int64]
) -> torch.Tensor:
    """Scores of the classes of some users, float32 [n, n_classes]."""
    classifier.eval()
    rows = torch.from_numpy(np.asarray(users))
    return classifier(histories[0][rows], histories[1][rows])
