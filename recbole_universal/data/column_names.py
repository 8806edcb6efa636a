"""Which columns of somebody's table hold the users and the items; imports no RecBole."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

# Names for users and for items, in the order of preference; within a tier two different columns are ambiguous.
_STEMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "user": (
        ("user", "u", "usr"),
        (
            *("customer", "cust", "client", "member", "account", "visitor", "viewer", "reader", "reviewer", "listener"),
            *("person", "shopper", "buyer", "subscriber", "consumer", "player", "learner", "student", "author"),
        ),
        ("session", "device"),
    ),
    "item": (
        ("item", "i"),
        (
            *("product", "prod", "p", "sku", "asin", "ean", "gtin", "upc", "isbn", "stock", "article", "goods"),
            *("movie", "film", "show", "anime", "video", "track", "song", "artist", "album", "playlist", "game", "app"),
            *("book", "paper", "document", "doc", "news", "post", "page", "content", "course", "recipe", "ad"),
            *("business", "restaurant", "venue", "poi", "place", "location", "hotel", "listing", "job", "offer"),
        ),
    ),
}
# "movieId" is preferred to "movie", which may be its title.
_ENDINGS = (("id",), ("uuid", "code", "key", "no", "nr", "number", "num", "idx", "index"), ("",))
_ATOMIC = re.compile(r":(token|token_seq|float|float_seq)$")


def plain_name(name: Hashable) -> str:
    """A column's name without the type that RecBole's atomic files append: ``user_id:token`` is ``user_id``."""
    return _ATOMIC.sub("", str(name).strip())


def recognised(names: Sequence[Hashable], kind: str) -> list[int]:
    """Places of the columns whose name is usual for a kind; more than one: it cannot be told which.

    Args:
        names: names of the columns.
        kind: ``user`` or ``item``.
    """
    plain = [re.sub(r"[\W_]", "", plain_name(name)).lower() for name in names]
    for number, tier in enumerate(_STEMS[kind]):
        for endings in _ENDINGS:
            usual = [stem + ending for stem in tier for ending in endings]
            found = [place for place, name in enumerate(plain) if name in usual]
            if found and number == 0:  # user_id before uid
                best = min(usual.index(plain[place]) for place in found)
                found = [place for place in found if plain[place] == usual[best]]
            if found:
                return found
    return []


def find_columns(
    names: Sequence[Hashable], user_column: Hashable | None, item_column: Hashable | None, where: str
) -> tuple[int, int]:
    """Places of the user and the item column, named or recognised.

    Args:
        names: names of the columns.
        user_column: name of the user column; ``None``: recognised.
        item_column: name of the item column; ``None``: recognised.
        where: the table, for messages.

    Raises:
        ValueError: if a column is missing or it cannot be told which one is meant.
    """
    found: dict[str, int] = {}
    for kind, given in (("user", user_column), ("item", item_column)):
        other = "--item-column" if kind == "item" else "--user-column"
        if given is not None:
            places = [place for place, name in enumerate(names) if name == given]
            places = places or [place for place, name in enumerate(names) if plain_name(name) == str(given).strip()]
            problem = f"there is no column [{given}]"
        else:
            places = recognised(names, kind)
            problem = f"no column has a usual name of {kind}s, such as {kind}_id"
        if len(places) != 1:
            if places:
                listed = ", ".join(f"[{names[place]}]" for place in places)
                problem = f"more than one column may hold the {kind}s: {listed}"
            raise ValueError(f"{where}: {problem}; name it with {kind}_column ({other}). Columns: {_listed(names)}.")
        found[kind] = places[0]
    if found["user"] == found["item"]:
        raise ValueError(f"{where}: user and item column are both [{names[found['user']]}]. Columns: {_listed(names)}.")
    return found["user"], found["item"]


def _listed(names: Sequence[Hashable], most: int = 30) -> str:
    shown = ", ".join(f"[{str(name)[:60]}]" for name in names[:most])
    return f"{shown}, ..." if len(names) > most else shown
