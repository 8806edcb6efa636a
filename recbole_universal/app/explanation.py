"""An explanation of a recommendation in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from recbole_universal.app.new_catalogue import NewCatalogue
from recbole_universal.app.recommender_state import RecommenderState, as_ids
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.scorer_definitions import SCORERS
from recbole_universal.graph.sequence_scorers import SEQUENCE_SCORERS
from recbole_universal.ranking.ranker import UniversalRanker

_Key = TypeVar("_Key")
# Number of scorers, and of the user's items, that a sentence names, and the least share of one that it names.
_MOST_NAMED, _LEAST_SHARE = 3, 0.01
# The start of a scorer's description, and other words where that says too little.
_WORDS = {
    **{name: scorer.words for name, scorer in SEQUENCE_SCORERS.items()},
    **{name: re.split(r",| \(", text)[0] for name, text in SCORERS.items()},
    "low_pass": "narrow low-pass filter",
    "mid_pass": "medium low-pass filter",
    "full_pass": "wide low-pass filter",
    "popularity": "popularity",
    "scorer averages": "average of all scorers",
    "activity": "activity of the user and popularity of the item",
    "content": "content of the item",
}


@dataclass(frozen=True)
class Explanation:
    """Why an item has its place in a list.

    Attributes:
        text: some sentences.
        items: columns of the person's items that speak for it, and the share of each in (0, 1], largest first.
        scorers: scorers in words, and the share of each in its score, in [-1, 1], largest first.
    """

    text: str
    items: list[tuple[int, float]] = field(default_factory=list)
    scorers: list[tuple[str, float]] = field(default_factory=list)


def explained(state: RecommenderState, item: Any, *, user: Any = None, history: Sequence | None = None) -> Explanation:
    """Why an item has its place in the list of a user or of a history, without filters.

    Args:
        state: a recommender.
        item: id of the item.
        user: id of the user.
        history: item ids, oldest first, if there is no user.

    Returns:
        An explanation, also for unknown ids.

    Raises:
        ValueError: if a value is no id, the model ranks no candidates, or it cannot rank histories.
    """
    column = int(state.find_item.indices(as_ids("item", [item]))[0])
    if history is None:
        asked: Any = int(state.find_user.indices(as_ids("user", [user]))[0])
        unknown = asked < 0
        who = f"[{state.users[max(asked, 0)]}]"
        stranger = f"[{user}] has no interactions, so the most popular items are recommended."
    else:
        asked = Histories.of_lists([state.known_items("history", history, {})])
        who, unknown = "this history", not len(asked.items)
        stranger = "This history has no known item, so the most popular items are recommended."
    if unknown:
        return Explanation(stranger)
    if column < 0 and state.catalogue is not None:
        new = int(state.catalogue.find.indices([item])[0])
        if new >= 0:
            own = state.ranker.evidence[[asked]].indices if isinstance(asked, int) else np.unique(asked.items)
            return _explained_by_content(state.catalogue, new, own, state.items, who)
    if column < 0:
        return Explanation(f"[{item}] is no item of the interactions, so it is never recommended.")
    if state.not_excluded is not None and not state.not_excluded[column]:
        return Explanation(f"[{state.items[column]}] is left out of all lists (set_excluded).")
    return explanation(state.ranker, asked, column, state.items, who)


def _explained_by_content(catalogue: NewCatalogue, new: int, own: np.ndarray, items: pd.Index, who: str) -> Explanation:
    """Which items of a person are nearest to a new item by content.

    Args:
        catalogue: the new items.
        new: index of the item among them.
        own: columns of the person's items.
        items: id of each column.
        who: the person in words.
    """
    text = f"[{catalogue.ids[new]}] is new: nobody has had it."
    if not catalogue.lists.content.has_content[len(items) + new]:
        return Explanation(f"{text} It has no content, so it is never recommended.")
    mine = np.isin(np.arange(len(items)), own)
    near, cosines = catalogue.lists.nearest_items(new, _MOST_NAMED, mine)
    if not len(near):
        return Explanation(f"{text} No item of {who} is like it by content.")
    named = "; ".join(f"[{items[index]}] (cosine {value:.2f})" for index, value in zip(near, cosines, strict=True))
    shares = (cosines / cosines.sum()).tolist()
    text = f"{text} By content, these items of {who} are most like it: {named}."
    return Explanation(text, list(zip(near.tolist(), shares, strict=True)))


def explanation(ranker: UniversalRanker, asked: int | Histories, column: int, items: pd.Index, who: str) -> Explanation:
    """Why an item has its place in the list of a user or of a history, without filters.

    Args:
        ranker: the ranker.
        asked: row of a user with interactions, or one history with an item.
        column: column of the item.
        items: id of each column.
        who: the user in words, such as ``[alice]``.

    Raises:
        ValueError: if the model ranks no candidates, or cannot rank histories.
    """
    item = items[column]
    if reason := ranker.fallback_reason():
        return Explanation(f"All users get the same popular items: {reason}.")
    own: Sequence[int]
    if isinstance(asked, int):
        own = ranker.matrix[[asked]].indices.tolist()
        candidates, shares = ranker.explain(asked, len(items))
    else:
        own = asked.items.tolist()
        candidates, shares = ranker.explain_history(asked, len(items))
    found = np.flatnonzero(candidates == column)
    if not len(found):
        if column in own:
            return Explanation(f"{who[0].upper()}{who[1:]} has had [{item}], so it is no candidate.")
        return Explanation(
            f"No scorer proposes [{item}] to {who}. It follows the candidates in the order of popularity."
        )
    place = int(found[0])
    share = {name: float(values[place]) for name, values in shares.items()}
    by_item = _item_shares(ranker, asked, column, share)
    sentences = [f"[{item}] is number {place + 1} of {len(candidates)} candidates of {who}."]
    for sign, verb in ((1, "raise"), (-1, "lower")):
        strongest = _strongest({_words(name): sign * value for name, value in share.items()})
        if strongest:
            sentences.append(f"These {verb} its score most: {strongest}.")
    if strongest := _strongest({f"[{items[index]}]": value for index, value in by_item.items()}):
        sentences.append(f"Among the items of {who}, these speak for it most: {strongest}.")
    own_items = [(index, value) for index, value in _ordered(by_item) if value > 0]
    scorers = [(_words(name), value) for name, value in _ordered(share)]
    return Explanation(" ".join(sentences), own_items, scorers)


def strongest_items(ranker: UniversalRanker, row: int, columns: Sequence[int], most: int) -> list[list[int]]:
    """The items of a user that speak most for each of some items.

    Args:
        ranker: the ranker.
        row: row of a user with interactions.
        columns: columns of the items that are explained.
        most: number of the user's items at most.

    Returns:
        For each item, columns of the user's items with a share of at least 1 %, largest first. None speaks for an item
        that is no candidate, and none where popularity ranks or the model ranks no candidates.
    """
    if not ranker.network.ranks_candidates or ranker.fallback_reason():
        return [[] for _ in columns]
    candidates, shares = ranker.explain(row, ranker.matrix.shape[1])
    places = {int(candidate): place for place, candidate in enumerate(candidates)}
    found = []
    for column in columns:
        by_item: dict[int, float] = {}
        if column in places:
            share = {name: float(values[places[column]]) for name, values in shares.items()}
            by_item = _item_shares(ranker, row, column, share)
        found.append([item for item, value in _ordered(by_item)[:most] if value >= _LEAST_SHARE])
    return found


def _item_shares(
    ranker: UniversalRanker, asked: int | Histories, column: int, share: Mapping[str, float]
) -> dict[int, float]:
    """Share of each of the person's items in what the linear scorers add to the score, in [0, 1], by column."""
    history = asked if isinstance(asked, int) else asked.of_positive_weight()
    own, parts = ranker.network.candidate_pairs.linear_parts(history, column)
    total = np.zeros(len(own))
    for name, part in parts.items():
        positive = np.maximum(part, 0.0)
        if positive.any() and share[name] > 0:
            total += share[name] * positive / positive.sum()
    return dict(zip(own.tolist(), (total / max(total.sum(), 1e-12)).tolist(), strict=True))


def _ordered(shares: Mapping[_Key, float]) -> list[tuple[_Key, float]]:
    """The shares, largest first."""
    return sorted(shares.items(), key=lambda entry: -entry[1])


def _strongest(shares: Mapping[str, float]) -> str:
    """The largest shares with their names, in per cent."""
    ordered = _ordered(shares)[:_MOST_NAMED]
    return "; ".join(f"{name} ({100 * value:.0f} %)" for name, value in ordered if value >= _LEAST_SHARE)


def _words(name: str) -> str:
    """A scorer in words."""
    return _WORDS.get(name, name.replace("_", " "))
