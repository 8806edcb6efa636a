"""Which columns of somebody's table hold the users and the items."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from difflib import get_close_matches

# Names for users and for items, in the order of preference; within a tier two different columns are ambiguous.
_STEMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "user": (
        ("user", "usr", "userpseudo"),
        (
            *("customerunique", "customer", "cust", "client", "member", "account", "visitor", "viewer", "reader"),
            *("reviewer", "listener", "person", "shopper", "buyer", "subscriber", "consumer", "player", "learner"),
            *("student", "author", "household", "profile", "steam"),
        ),
        ("username", "useremail", "customeremail", "clientemail", "memberemail", "customername", "clientname"),
        ("session", "device"),
    ),
    "item": (
        ("item",),
        (
            *("product", "prod", "sku", "asin", "ean", "gtin", "upc", "isbn", "stock", "article", "goods"),
            *("movie", "film", "show", "anime", "video", "track", "song", "artist", "album", "playlist", "game", "app"),
            *("book", "paper", "document", "doc", "news", "post", "page", "content", "course", "recipe", "ad"),
            *("business", "restaurant", "venue", "poi", "place", "location", "hotel", "listing", "job", "offer"),
            *("merchant",),
        ),
        ("parentasin",),
    ),
}
# "movieId" is preferred to "movie", which may be its title.
_ENDINGS = (("id",), ("uuid", "code", "key", "no", "nr", "number", "num", "idx", "index"), ("",))
# Names of one letter count with an ending (uid), and alone where users and items both have such a name. By tier.
_LETTERS: dict[str, tuple[str, ...]] = {"user": ("u",), "item": ("i", "p")}
# Names that often mean something else: taken where nothing else fits, and reported.
_WEAK_STEMS = {"show", "post", "page", "content", "ad", "place", "location", "news", "app", "game", "job", "offer"}
_WEAK = {
    "user": {"uuid", "name", "email"},
    "item": {
        *_WEAK_STEMS,
        *("title", "aid"),
        *(stem + end for tier in _STEMS["item"] for stem in tier for end in ("name", "title") if stem != "parentasin"),
    },
}
MOST_COLUMNS = 10_000

#: Names that the caller gives to the user and the item column; ``None``: recognised by its name.
Named = tuple[Hashable | None, Hashable | None]

_ATOMIC = re.compile(r":(token|token_seq|float|float_seq)$")


def plain_name(name: Hashable) -> str:
    """A column's name without the type that RecBole's atomic files append: ``user_id:token`` is ``user_id``."""
    return _ATOMIC.sub("", str(name).strip())


def is_atomic(name: Hashable) -> bool:
    """Whether a name has the type that RecBole's atomic files append."""
    return bool(_ATOMIC.search(str(name).strip()))


def recognised(names: Sequence[Hashable], kind: str) -> list[int]:
    """Indices of the columns whose name is usual for a kind; more than one: it cannot be told which.

    Args:
        names: names of the columns.
        kind: ``user`` or ``item``.
    """
    bare = [_bare(name) for name in names[:MOST_COLUMNS]]
    for number, tier in enumerate(_STEMS[kind]):
        for endings in _ENDINGS:
            usual = [stem + ending for stem in tier for ending in endings]
            usual += [letter + ending for letter in _LETTERS[kind][number : number + 1] for ending in endings if ending]
            found = [place for place, name in enumerate(bare) if name in usual and name not in _WEAK[kind]]
            if found and number == 0:  # user_id before uid
                best = min(usual.index(bare[place]) for place in found)
                found = [place for place in found if bare[place] == usual[best]]
            if found:
                return found
    letters = {each: [place for place, name in enumerate(bare) if name in _LETTERS[each]] for each in _LETTERS}
    if letters["user"] and letters["item"]:
        return letters[kind]
    return [place for place, name in enumerate(bare) if name in _WEAK[kind]]


def find_columns(names: Sequence[Hashable], named: Named, where: str) -> tuple[int, int]:
    """Indices of the user and the item column, named or recognised.

    Args:
        names: names of the columns.
        named: names that the caller gives to the user and the item column.
        where: the table, for messages.

    Raises:
        ValueError: if a column is missing or it cannot be told which one is meant.
    """
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"{where}: there are {len(names)} columns; at most {MOST_COLUMNS} are read.")
    found: dict[str, int] = {}
    taken: set[int] = set()  # a column that is named for one kind is no candidate for the other
    for kind, given in sorted(zip(("user", "item"), named, strict=True), key=lambda pair: pair[1] is None):
        if given is not None:
            places = [place for place, name in enumerate(names) if name == given]
            places = places or [place for place, name in enumerate(names) if plain_name(name) == str(given).strip()]
            problem = f"there is no column [{given}]{_hint(names, given)}"
        else:
            places = [place for place in recognised(names, kind) if place not in taken]
            places = places or recognised(["" if place in taken else name for place, name in enumerate(names)], kind)
            problem = f"no column has a usual name of {kind}s, such as {kind}_id"
        if len(places) != 1:
            if places:
                listed = ", ".join(f"[{names[place]}]" for place in places)
                problem = f"more than one column may hold the {kind}s: {listed}{'.' * (given is not None)}"
            argument = f"{kind}_column (--{kind}-column)"
            if given is not None:
                raise ValueError(f"{where}: {argument}: {problem} Columns: {listed_names(names)}.")
            raise ValueError(f"{where}: {problem}; name it with {argument}. Columns: {listed_names(names)}.")
        found[kind] = places[0]
        taken |= {places[0]} if given is not None else set()
    if found["user"] == found["item"]:
        raise ValueError(
            f"{where}: user and item column are both [{names[found['user']]}]. Columns: {listed_names(names)}."
        )
    return found["user"], found["item"]


def _hint(names: Sequence[Hashable], given: Hashable) -> str:
    """The end of the sentence on a name that no column has: what may have been meant."""
    if re.fullmatch(r"[0-9]+", str(given)):
        return "; positions are for text files only."
    close = get_close_matches(str(given), [str(name) for name in names], 1)
    return f"; did you mean [{close[0]}]?" if close else "."


def weak_guess(names: Sequence[Hashable], places: tuple[int, int], named: Named) -> str:
    """What was guessed from names that often mean something else."""
    weak = [
        f"[{names[place]}] is taken for the {kind}s"
        for kind, place, column in zip(("user", "item"), places, named, strict=True)
        if column is None and _bare(names[place]) in _WEAK[kind]
    ]
    return f"{' and '.join(weak)}; name the columns to say otherwise (--user-column, --item-column)" if weak else ""


def listed_names(names: Sequence[Hashable], most: int = 30) -> str:
    """Names of columns for a message."""
    shown = ", ".join(f"[{str(name)[:60]}]" for name in names[:most])
    return f"{shown}, ..." if len(names) > most else shown


def _bare(name: Hashable) -> str:
    return re.sub(r"[\W_]", "", plain_name(name)).lower()
