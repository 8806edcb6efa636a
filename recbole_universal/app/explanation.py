"""An explanation of a recommendation in words."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from recbole_universal.graph.scorers import SCORERS
from recbole_universal.graph.sequence_scorers import SEQUENCE_SCORERS
from recbole_universal.ranking.ranker import UniversalRanker

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
}


def explanation(ranker: UniversalRanker, row: int, column: int, users: pd.Index, items: pd.Index) -> str:
    """Why an item has its place in the list of a user, without filters.

    Args:
        ranker: the ranker.
        row: row of the user, who has interactions.
        column: column of the item.
        users: id of each row.
        items: id of each column.

    Raises:
        ValueError: if the model ranks no candidates.
    """
    user, item = users[row], items[column]
    if reason := ranker.fallback_reason():
        return f"All users get the same popular items: {reason}."
    candidates, shares = ranker.explain(row, len(items))
    found = np.flatnonzero(candidates == column)
    if not len(found):
        if ranker.matrix[row, column]:
            return f"[{user}] has had [{item}], so it is no candidate."
        return f"No scorer proposes [{item}] to [{user}]. It follows the candidates in the order of popularity."
    place = int(found[0])
    share = {name: float(values[place]) for name, values in shares.items()}
    sentences = [f"[{item}] is number {place + 1} of {len(candidates)} candidates of [{user}]."]
    for sign, verb in ((1, "raise"), (-1, "lower")):
        strongest = _strongest({_words(name): sign * value for name, value in share.items()})
        if strongest:
            sentences.append(f"These {verb} its score most: {strongest}.")
    own = _strongest({f"[{items[index]}]": value for index, value in _item_shares(ranker, row, column, share).items()})
    if own:
        sentences.append(f"Among the items of [{user}], these speak for it most: {own}.")
    return " ".join(sentences)


def _item_shares(ranker: UniversalRanker, row: int, column: int, share: Mapping[str, float]) -> dict[int, float]:
    """Share of each of the user's items in what the linear scorers add to the score, in [0, 1], by column."""
    own, parts = ranker.network.candidate_pairs.linear_parts(row, column)
    total = np.zeros(len(own))
    for name, part in parts.items():
        positive = np.maximum(part, 0.0)
        if positive.any() and share[name] > 0:
            total += share[name] * positive / positive.sum()
    return dict(zip(own.tolist(), (total / max(total.sum(), 1e-12)).tolist(), strict=True))


def _strongest(shares: Mapping[str, float]) -> str:
    """The largest shares with their names, in per cent."""
    ordered = sorted(shares.items(), key=lambda entry: -entry[1])[:_MOST_NAMED]
    return "; ".join(f"{name} ({100 * value:.0f} %)" for name, value in ordered if value >= _LEAST_SHARE)


def _words(name: str) -> str:
    """A scorer in words."""
    return _WORDS.get(name, name.replace("_", " "))
