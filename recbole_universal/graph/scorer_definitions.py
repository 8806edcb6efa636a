"""The scorers of an interaction matrix without order: their names, methods and groups."""

from __future__ import annotations

#: Scorers in the order of the first axis of the scores of :class:`~recbole_universal.graph.scorers.GraphScorers`, with
#: the method and source of each.
SCORERS: dict[str, str] = {
    "user_cosine": "user-user cosine",
    "user_squared": "squared user-user similarity, which favours the nearest users and rare common items",
    "rp3": "three-step random walk, re-weighted by the popularity of the target (RP3beta with beta .5, Paudel et al., "
    "TiiS 2017)",
    "linear_filter": "linear low-pass filter of GF-CF (Shen et al., CIKM 2021)",
    "neighbors": "item-item cosine among each item's nearest neighbours (ItemKNN)",
    "low_pass": "ideal low-pass filter, the first quarter of the computed singular vectors",
    "mid_pass": "ideal low-pass filter, the first half of them",
    "full_pass": "ideal low-pass filter of GF-CF, all of them (Shen et al., CIKM 2021)",
    "regression": "EASE (Steck, WWW 2019)",
    "popularity": "number of interactions of the item (MostPop), for items within three steps of the user",
}
#: Scorers that are linear in the user's items: sums of rows of an item-item matrix, up to a factor of the user.
LINEAR = tuple(name for name in SCORERS if name not in ("user_squared", "popularity"))
#: The filters, from few to all singular vectors.
FILTERS = ("low_pass", "mid_pass", "full_pass")
#: Scorers that sum over the users of an item, and the power of the degree that divides each common item.
BY_USERS = ("user_cosine", "user_squared", "rp3", "linear_filter")
POWERS = (0.0, 0.7, 1.0, 0.5)
