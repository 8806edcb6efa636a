"""The scorers of histories in order: which relation between items each sums, and how it weighs the history."""

from __future__ import annotations

from typing import NamedTuple


class SequenceScorer(NamedTuple):
    """A relation between items and a weighting of the history.

    Attributes:
        relation: name of the relation.
        decay: weight of an item of age a is ``decay ** a``; 0 is the last item alone, 1 no order.
        words: what it measures, for explanations.
    """

    relation: str
    decay: float
    words: str


#: Scorers in the order of the first axis of the scores of
#: :class:`~recbole_universal.graph.sequence_scorers.SequenceScorers`.
SEQUENCE_SCORERS: dict[str, SequenceScorer] = {
    "next_item": SequenceScorer("next", 0.0, "what follows the last item"),
    "transitions_short": SequenceScorer("transitions", 0.4, "what follows the last few items"),
    "transitions": SequenceScorer("transitions", 0.7, "what follows the latest items"),
    "transitions_long": SequenceScorer("transitions", 0.9, "what follows the items of the history"),
    "cosine_transitions": SequenceScorer(
        "cosine_transitions", 0.7, "what follows the latest items more than others do"
    ),
    "reversed_transitions": SequenceScorer("reversed_transitions", 0.7, "what comes before the latest items"),
    "low_rank_transitions": SequenceScorer("low_rank", 0.7, "what follows items like the latest ones"),
    "low_rank_transitions_long": SequenceScorer("low_rank", 0.9, "what follows items like those of the history"),
    "prefix_regression": SequenceScorer("prefix_regression_0.7", 0.7, "prediction from the order of the latest items"),
    "prefix_regression_long": SequenceScorer("prefix_regression_0.9", 0.9, "prediction from the order of the history"),
    "prefix_neighbors": SequenceScorer("prefix_neighbors", 0.85, "what followed in similar histories"),
    "neighbors": SequenceScorer("neighbors", 1.0, "similarity to the items of the history"),
    "recent_neighbors": SequenceScorer("neighbors", 0.8, "similarity to the latest items"),
    "full_pass": SequenceScorer("full_pass", 1.0, "wide low-pass filter"),
    "recent_mid_pass": SequenceScorer("mid_pass", 0.9, "medium low-pass filter of the latest items"),
    "regression": SequenceScorer("regression", 1.0, "regression on the items of the history"),
    "recent_regression": SequenceScorer("regression", 0.7, "regression on the latest items"),
    "user_squared": SequenceScorer("user_squared", 1.0, "users with the same rare items"),
    "recent_user_squared": SequenceScorer("user_squared", 0.8, "users with the same rare items of late"),
    "recent_user_cosine": SequenceScorer("user_cosine", 0.8, "users with the same items of late"),
    "popularity": SequenceScorer("popularity", 1.0, "popularity"),
    "recent_popularity": SequenceScorer("recent_popularity_0", 1.0, "popularity of the last while"),
    "recent_popularity_long": SequenceScorer("recent_popularity_1", 1.0, "popularity of late"),
    "repeats": SequenceScorer("identity", 1.0, "how often the item was had"),
    "recent_repeats": SequenceScorer("identity", 0.7, "how recently the item was had"),
}
# Relations that are not linear in the weighted history.
_NOT_LINEAR = ("user_squared", "popularity", "recent_popularity_0", "recent_popularity_1", "prefix_neighbors")
#: Scorers that are linear in the weighted history.
LINEAR_SEQUENCE = tuple(name for name, scorer in SEQUENCE_SCORERS.items() if scorer.relation not in _NOT_LINEAR)
#: Exponents of the degrees of the earlier and the later item, by relation; 0 for the others.
POWERS = {
    "next": (0.5, 0.3),
    "transitions": (0.8, 0.2),
    "cosine_transitions": (0.5, 0.5),
    "reversed_transitions": (0.6, 0.4),
    "low_rank": (0.5, -0.3),
    "mid_pass": (0.5, -0.5),
    "full_pass": (0.5, -0.5),
}
