"""A RecBole sampler for runs that draw no negative items."""

from __future__ import annotations

from recbole.sampler import Sampler


class SeenItemsSampler(Sampler):
    """Records the items of each user, and accepts users who have interacted with all items.

    RecBole's ``Sampler`` refuses such users, since it could draw no negative item for them.
    """

    def get_used_ids(self) -> dict:
        """See RecBole; its check compares with the number of items."""
        self.item_num += 1
        try:
            return super().get_used_ids()
        finally:
            self.item_num -= 1
