"""Recognises the user, the item and the time column of a table by their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
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
# Names of one letter count with an ending (uid), or alone if users and items both have such a name. By tier.
_LETTERS: dict[str, tuple[str, ...]] = {"user": ("u",), "item": ("i", "p")}
# Names that often mean something else. They are used if nothing else fits, and reported.
_WEAK_STEMS = {"show", "post", "page", "content", "ad", "place", "location", "news", "app", "game", "job", "offer"}
_WEAK = {
    "user": {"uuid", "name", "email"},
    "item": {
        *_WEAK_STEMS,
        *("title", "aid"),
        *(stem + end for tier in _STEMS["item"] for stem in tier for end in ("name", "title") if stem != "parentasin"),
    },
}
# Names for times, the most specific tier first; within a tier two columns are ambiguous. A "watch time" is a duration.
_EVENTS = (
    "event",
    "interaction",
    "action",
    "transaction",
    "purchase",
    "order",
    "invoice",
    "rating",
    "click",
    "session",
)
_WATCHED = ("view", "watch", "play", "listen", "visit", "review")
_TIMES: tuple[set[str], ...] = (
    {
        *("timestamp", "timestamps", "datetime", "dateandtime", "ts", "unixtimestamp", "unixtime", "unixreviewtime"),
        *("timestampms", "timems", "epoch", "createdat", "createdtime", "creationtime", "occurredat", "purchasedat"),
        *(stem + end for stem in (*_EVENTS, *_WATCHED) for end in ("timestamp", "datetime", "ts")),
        *(stem + "time" for stem in _EVENTS),
    },
    {"time"},
    {"date", "day", "reviewtime", "createddate", "tdat"} | {stem + "date" for stem in (*_EVENTS, *_WATCHED)},
)
# Names for kinds of events, such as "view" or "purchase".
_KINDS = {
    stem + ending
    for stem in ("event", "action", "activity", "behavior", "behaviour", "interaction")
    for ending in ("", "type", "name", "kind")
}
MOST_COLUMNS = 10_000

#: Names that the caller gives to the user and the item column; ``None``: recognised by its name.
Named = tuple[Hashable | None, Hashable | None]

_ATOMIC = re.compile(r":(token|token_seq|float|float_seq)$")
# Names for ratings, the most usual first.
_RATINGS = ("rating", "ratings", "overall", "stars", "star", "score", "overallrating", "ratingvalue")


class OneColumn(tuple[None, None]):
    """In the place of :data:`Named`: a table with ids of one kind, such as items and their titles.

    Args:
        kind: ``user`` or ``item``.
        names: names of the column that are looked for first.
    """

    kind: str
    names: tuple[str, ...]

    def __new__(cls, kind: str, *names: str) -> OneColumn:
        """A pair of ``None``, since the caller gives no column of a user and an item."""
        made = super().__new__(cls, (None, None))
        made.kind, made.names = kind, names
        return made

    def find(self, names: Sequence[Hashable], where: str) -> int:
        """Index of the column with the ids.

        Raises:
            ValueError: if there is none, or more than one may be meant.
        """
        for looked_for in self.names:
            if len(indices := _named(names, looked_for)) == 1:
                return indices[0]
        indices = recognised(names, self.kind)
        if len(indices) != 1:
            raise ValueError(
                f"{where}: no single column holds the {self.kind}s; call it {self.names[-1]}. "
                f"Columns: {listed_names(names)}."
            )
        return indices[0]


def plain_name(name: Hashable) -> str:
    """A column's name without the type that RecBole's atomic files append: ``user_id:token`` is ``user_id``."""
    return _ATOMIC.sub("", str(name).strip())


def is_atomic(name: Hashable) -> bool:
    """Whether a name has the type that RecBole's atomic files append."""
    return bool(_ATOMIC.search(str(name).strip()))


def recognised(names: Sequence[Hashable], kind: str) -> list[int]:
    """Indices of the columns whose name is usual for a kind. More than one index means that the name is ambiguous.

    Args:
        names: names of the columns.
        kind: ``user`` or ``item``.
    """
    bare = [_bare(name) for name in names[:MOST_COLUMNS]]
    for rank, tier in enumerate(_STEMS[kind]):
        for endings in _ENDINGS:
            usual = [stem + ending for stem in tier for ending in endings]
            usual += [letter + ending for letter in _LETTERS[kind][rank : rank + 1] for ending in endings if ending]
            matches = [index for index, name in enumerate(bare) if name in usual and name not in _WEAK[kind]]
            if matches and rank == 0:  # user_id before uid
                best = min(usual.index(bare[index]) for index in matches)
                matches = [index for index in matches if bare[index] == usual[best]]
            if matches:
                return matches
    letters = {each: [index for index, name in enumerate(bare) if name in _LETTERS[each]] for each in _LETTERS}
    if letters["user"] and letters["item"]:
        return letters[kind]
    return [index for index, name in enumerate(bare) if name in _WEAK[kind]]


def rating_column(names: Sequence[Hashable]) -> int | None:
    """Index of the column whose name is the most usual one of ratings; ``None``: there is no such name."""
    bare = [_bare(name) for name in names]
    return next((bare.index(name) for name in _RATINGS if name in bare), None)


def find_columns(names: Sequence[Hashable], named: Named, where: str) -> tuple[int, int]:
    """Indices of the user and the item column, which the caller names or which are recognised.

    Args:
        names: names of the columns.
        named: names that the caller gives to the user and the item column.
        where: the table, for messages.

    Raises:
        ValueError: if a column is missing, or more than one column may be meant.
    """
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"{where}: there are {len(names)} columns; at most {MOST_COLUMNS} are read.")
    if isinstance(named, OneColumn):
        return (named.find(names, where),) * 2
    chosen: dict[str, int] = {}
    taken: set[int] = set()  # a column that is named for one kind is no candidate for the other
    for kind, given in sorted(zip(("user", "item"), named, strict=True), key=lambda pair: pair[1] is None):
        if given is not None:
            indices = _named(names, given)
            problem = f"there is no column [{given}]{_hint(names, given)}"
        else:
            indices = [index for index in recognised(names, kind) if index not in taken]
            indices = indices or recognised(["" if index in taken else name for index, name in enumerate(names)], kind)
            problem = f"no column has a usual name of {kind}s, such as {kind}_id"
        if len(indices) != 1:
            if indices:
                listed = ", ".join(f"[{names[index]}]" for index in indices)
                problem = f"more than one column may hold the {kind}s: {listed}{'.' * (given is not None)}"
            argument = f"{kind}_column (--{kind}-column)"
            if given is not None:
                raise ValueError(f"{where}: {argument}: {problem} Columns: {listed_names(names)}.")
            raise ValueError(f"{where}: {problem}; name it with {argument}. Columns: {listed_names(names)}.")
        chosen[kind] = indices[0]
        taken |= {indices[0]} if given is not None else set()
    if chosen["user"] == chosen["item"]:
        raise ValueError(
            f"{where}: user and item column are both [{names[chosen['user']]}]. Columns: {listed_names(names)}."
        )
    return chosen["user"], chosen["item"]


@dataclass(frozen=True)
class TimeColumn:
    """What the caller says about the time column.

    Attributes:
        name: its name, or its position in a text file; ``None``: recognised by its name.
        wanted: whether times are read.
    """

    name: Hashable | None = None
    wanted: bool = True

    def find(self, names: Sequence[Hashable], taken: Collection[int], where: str) -> tuple[int | None, str]:
        """Index of the time column, or ``None``, and a sentence on columns between which nothing decides.

        Args:
            names: names of the columns.
            taken: indices of the columns that hold users and items.
            where: the table, for messages.

        Raises:
            ValueError: if the caller names a column that is missing, or that holds users or items.
        """
        if not self.wanted:
            return None, ""
        if self.name is None:
            return _recognised_time(names, taken)
        return _given_index("time", self.name, names, taken, where), ""


@dataclass(frozen=True)
class FurtherColumns:
    """What the caller says about the columns beside users and items.

    Attributes:
        time: the time column.
        weight: name of the weight column, or its position in a text file; ``None``: no weights are read.
        event: as ``weight``, of the column of events; ``None``: recognised by its name.
        reads_events: whether events are read.
    """

    time: TimeColumn = TimeColumn()
    weight: Hashable | None = None
    event: Hashable | None = None
    reads_events: bool = False

    @property
    def names(self) -> list[Hashable]:
        """The names that the caller gives."""
        return [name for name in (self.time.name, self.weight, self.event) if name is not None]

    @property
    def are_needed(self) -> bool:
        """Whether the caller needs one of them."""
        return bool(self.names) or self.reads_events

    def find(self, names: Sequence[Hashable], taken: Collection[int], where: str) -> tuple[dict[str, int], str]:
        """Indices by attribute of a :class:`~recbole_universal.io.source.Chunk`, and the sentence of the times.

        Args:
            names: names of the columns.
            taken: indices of the columns that hold users and items.
            where: the table, for messages.

        Raises:
            ValueError: if a column is missing, holds users or items, or more than one may be meant.
        """
        found = {}
        if self.weight is not None:
            found["weights"] = _given_index("weight", self.weight, names, taken, where)
        if self.reads_events:
            found["events"] = self._event_index(names, taken, where)
        time, note = self.time.find(names, {*taken, *found.values()}, where)
        return found if time is None else {"times": time, **found}, note

    def _event_index(self, names: Sequence[Hashable], taken: Collection[int], where: str) -> int:
        if self.event is not None:
            return _given_index("event", self.event, names, taken, where)
        bare = [_bare(name) for name in names[:MOST_COLUMNS]]
        indices = [index for index, name in enumerate(bare) if name in _KINDS and index not in taken]
        if len(indices) == 1:
            return indices[0]
        problem = "no column has a usual name of kinds of events, such as event_type"
        if indices:
            problem = f"more than one column may hold the events: {listed_names([names[index] for index in indices])}"
        raise ValueError(
            f"{where}: {problem}; name it with event_column (--event-column). Columns: {listed_names(names)}."
        )


def _given_index(kind: str, given: Hashable, names: Sequence[Hashable], taken: Collection[int], where: str) -> int:
    """Index of a column that the caller names.

    Raises:
        ValueError: if it is missing, or holds users or items.
    """
    argument, indices = f"{where}: {kind}_column (--{kind}-column)", _named(names, given)
    columns = f"Columns: {listed_names(names)}."
    if not indices:
        raise ValueError(f"{argument}: there is no column [{given}]{_hint(names, given)} {columns}")
    if len(indices) > 1:
        listed = ", ".join(f"[{names[index]}]" for index in indices)
        raise ValueError(f"{argument}: more than one column may hold the {kind}s: {listed}. {columns}")
    if indices[0] in taken:
        raise ValueError(f"{argument}: [{names[indices[0]]}] holds the users or the items. {columns}")
    return indices[0]


def _recognised_time(names: Sequence[Hashable], taken: Collection[int]) -> tuple[int | None, str]:
    bare = [_bare(name) for name in names[:MOST_COLUMNS]]
    for tier in _TIMES:
        indices = [index for index, name in enumerate(bare) if name in tier and index not in taken]
        if len(indices) == 1:
            return indices[0], ""
        if indices:
            listed = ", ".join(f"[{names[index]}]" for index in indices)
            return None, f"more than one column may hold the times: {listed}; time_column (--time-column) chooses one."
    return None, ""


def _named(names: Sequence[Hashable], given: Hashable) -> list[int]:
    """Indices of the columns that a given name may mean."""
    indices = [index for index, name in enumerate(names) if name == given]
    return indices or [index for index, name in enumerate(names) if plain_name(name) == str(given).strip()]


def _hint(names: Sequence[Hashable], given: Hashable) -> str:
    """Suggests the column that the caller may have meant by an unknown name."""
    if re.fullmatch(r"[0-9]+", str(given)):
        return "; positions are for text files only."
    close = get_close_matches(str(given), [str(name) for name in names], 1)
    return f"; did you mean [{close[0]}]?" if close else "."


def weak_guess(names: Sequence[Hashable], indices: tuple[int, int], named: Named) -> str:
    """A sentence on columns that were recognised by an ambiguous name; "" if there is none."""
    weak = [
        f"[{names[index]}] is taken for the {kind}s"
        for kind, index, column in zip(("user", "item"), indices, named, strict=True)
        if column is None and not isinstance(named, OneColumn) and _bare(names[index]) in _WEAK[kind]
    ]
    return f"{' and '.join(weak)}; name the columns to say otherwise (--user-column, --item-column)" if weak else ""


def listed_names(names: Sequence[Hashable], most: int = 30) -> str:
    """Names of columns for a message."""
    shown = ", ".join(f"[{str(name)[:60]}]" for name in names[:most])
    return f"{shown}, ..." if len(names) > most else shown


def _bare(name: Hashable) -> str:
    return re.sub(r"[\W_]", "", plain_name(name)).lower()
