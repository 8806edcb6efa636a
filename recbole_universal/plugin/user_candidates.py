"""The best candidates of users, from one evaluation to the next."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction

from recbole_universal.plugin.histories import check_ids

# Users that are ranked at once: many blocks for each thread. RecBole's batches hold few users of a large catalogue.
_USERS_AT_ONCE = 1024


class UserCandidates:
    """The best candidates of users, which are ranked once while the weights and the features stay the same.

    Validation and test mask different items of a user, but the candidates are the same.

    Args:
        model: the model, whose candidates depend on the user alone.
        k: number of candidates.
    """

    def __init__(self, model: Any, k: int) -> None:
        self._model, self._k = model, k
        self._made_with = model.network.weights(), model.network.candidate_pairs
        self._is_ranked = torch.zeros(model.n_users, dtype=torch.bool)
        # On the CPU, where memory that is never written costs nothing.
        self._items = torch.empty(model.n_users, k, dtype=torch.int32)
        self._scores = torch.empty(model.n_users, k)

    @property
    def is_valid(self) -> bool:
        """Whether the network has the weights and the features that it had at first."""
        weights, pairs = self._made_with
        return pairs is self._model.network.candidate_pairs and torch.equal(weights, self._model.network.weights())

    def of(self, users: torch.Tensor, upcoming: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The best candidates of some users, on the device of the network.

        Args:
            users: user ids, int64 [n].
            upcoming: user ids that are asked about in the following calls, in this order, int64 [n_upcoming].

        Returns:
            Item ids int64 [n, k], -1 where no candidates are left, and their scores float32 [n, k].

        Raises:
            ValueError: if an id is out of range.
        """
        users = users.cpu()
        check_ids(users, self._model.n_users, self._model.USER_ID)
        missing = users[~self._is_ranked[users]]
        if len(missing):
            waiting = upcoming[~self._is_ranked[upcoming] & ~torch.isin(upcoming, missing)]
            self._rank(torch.cat([missing, waiting[: max(0, _USERS_AT_ONCE - len(missing))]]))
        device = self._model.network.device
        return self._items[users].long().to(device), self._scores[users].to(device)

    def _rank(self, users: torch.Tensor) -> None:
        batch = Interaction({self._model.USER_ID: users.to(self._model.network.device)})
        items, scores = self._model.best_candidates(batch, self._k)
        self._items[users], self._scores[users] = items.cpu().int(), scores.cpu()
        self._is_ranked[users] = True
