"""New items in the lists of one call: at which ranks, and what people are told."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.app.new_catalogue import NewCatalogue
from recbole_universal.content.places import even_places, merged, next_places, rates_of_fewer
from recbole_universal.graph.allowed_items import AllowedItems

# Held-out items of both draws that say nothing on an order: a list of ten holds most of those of one draw.
_FEW_HELD_OUT = 20


class ShownNewItems:
    """New items in the lists of one call.

    Args:
        catalogue: the new items.
        wanted: true for the earned ranks, or a number of places.
        k: length of a list.
        fast: whether the known items of the lists are those of ``fast``.
    """

    def __init__(self, catalogue: NewCatalogue, wanted: bool | int, k: int, fast: bool = False) -> None:
        self.catalogue, self._wanted = catalogue, wanted
        lists = catalogue.lists
        self._known_rate = catalogue.rates.get("fast" if fast else "", catalogue.rates[""])
        self._new_rate = rates_of_fewer(lists.check.next_rate, len(lists.targets))
        is_number = not isinstance(wanted, bool)
        #: Whether new items are shown at all.
        self.shows = len(lists.targets) > 0 and (is_number or lists.check.trust > 0)
        self.is_new = np.zeros(k, dtype=bool)
        if self.shows:
            self.is_new = even_places(wanted, k) if is_number else next_places(self._known_rate, self._new_rate, k)
        self._n_lists = self._n_with = 0

    def merged(
        self,
        items: NDArray[np.int64],
        scores: NDArray[np.float32],
        user_items: sp.csr_matrix,
        allowed: NDArray[np.bool_] | sp.csr_matrix | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Lists of known and new items.

        A list that lacks known items continues with new ones. A new item has the score of the known item above it, or,
        at the top, of the one below. In a list of new items alone the scores are those of content.

        Args:
            items: lists of known items by column, int64 [n, k], best first, -1 where no item is left.
            scores: their scores, float32 [n, k].
            user_items: the items of the people, csr [n, n_known]. Whoever has none gets no new item.
            allowed: the new items that may be listed, bool [n_new], or [n, n_new], which may be sparse; ``None``: all.

        Returns:
            The lists, in which a new item has the index n_known + its index among the new ones, and their scores.
        """
        self._n_lists += len(items)
        has_items = np.diff(user_items.indptr) > 0
        asked = np.flatnonzero(has_items & (self.is_new.any() | (items < 0).any(axis=1)))
        if not self.shows or not len(asked):
            return items, scores
        lists, k = self.catalogue.lists, items.shape[1]
        may = AllowedItems.checked(allowed, len(items), lists.n_new)
        short = bool((items[asked] < 0).any())
        best, values = lists.best(
            user_items[asked], k if short else int(self.is_new.sum()), None if may is None else may[asked]
        )
        items, scores = items.copy(), scores.copy()
        together = merged(items[asked], best, self.is_new[:k])
        is_new = together >= lists.n_known
        above = np.maximum(np.cumsum(~is_new, axis=1) - 1, 0)
        taken = np.take_along_axis(scores[asked], above, axis=1)
        alone = items[asked, 0] < 0
        place = np.maximum(np.cumsum(is_new, axis=1) - 1, 0)[alone]
        taken[alone] = np.take_along_axis(values[alone], np.minimum(place, values.shape[1] - 1), axis=1)
        items[asked], scores[asked] = together, taken
        self._n_with += int(is_new.any(axis=1).sum())
        return items, scores

    def about_ranking(self) -> str:
        """Sentences on the new items and their ranks."""
        lists = self.catalogue.lists
        check, n_new, n_content = lists.check, lists.n_new, len(lists.targets)
        if not n_new:
            return "There are no new items: all listed items have interactions."
        text = f"{n_new} items are new: nobody has had them. {n_content} of them have content."
        if n_new == 1:
            text = f"1 item is new: nobody has had it. It has {'' if n_content else 'no '}content."
        if not n_content:
            return f"{text} Items without content are not shown. Give them texts or vectors."
        advice = ""
        measured = (
            f"NDCG@10 is {check.ndcg:.3f} by content and {check.chance:.3f} by chance, on {check.n_items} held-out "
            f"items and {check.n_users} users"
        )
        if check.n_users < 2:
            measured = "too few users have two items with content, so nothing can be held out"
        elif check.trust == 0 and check.n_items <= _FEW_HELD_OUT:
            measured += ", too few items to tell"
        else:
            advice = " Give other texts, encoders or vectors."
        if not self.shows:
            return (
                f"{text} No new item is shown, since the content is not trusted: {measured}.{advice} new_items=1 "
                "(--new-items 1) shows one in each list all the same."
            )
        if check.trust == 0:
            return f"{text} Their order may be no better than chance: {measured}. {self._about_places()}"
        named = {"fitted": "Fitted weights rank", "equal": "Equal weights rank"}
        ranking = named.get(check.choice, f"The relation {check.choice} ranks")
        return f"{text} {ranking} them, trust {check.trust:.2f}: {measured}. {self._about_places()}"

    def _about_places(self) -> str:
        places = (np.flatnonzero(self.is_new) + 1).tolist()
        if places:
            shown = ", ".join(map(str, places[:10])) + ", ..." * (len(places) > 10)
            reason = "" if not isinstance(self._wanted, bool) else ", which they earn in the self-check"
            return f"New items have the rank{'s' * (len(places) > 1)} {shown} of a list{reason}."
        k = len(self.is_new)
        last = self._known_rate[k - 1] if k <= len(self._known_rate) else 0.0
        first = self._new_rate[0] if len(self._new_rate) else 0.0
        return (
            f"They earn none of the first {k} ranks: {first:.2%} of the next interactions of a user are with the first "
            f"new item, and {last:.2%} with the known item at rank {k}. new_items=1 (--new-items 1) shows one in each "
            "list all the same."
        )

    def about_lists(self) -> str:
        """A sentence on the lists, after all were merged; empty if new items have no rank and are in no list."""
        if not self._n_lists or (not self.is_new.any() and not self._n_with):
            return ""
        return f"{self._n_with} of {self._n_lists} lists of people with interactions show a new item."
