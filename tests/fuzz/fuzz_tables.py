"""The expected and the actual result of reading a table of known ids."""

from __future__ import annotations

import re

from recbole_universal.io.interactions import read_interactions


def one_form(values):
    """Ids of several types that look alike are the first of them."""
    first = {}
    return [None if value is None else first.setdefault(str(value), value) for value in values]


def expected_table(users, items):
    """Pairs and rows left out; ``None``: the table is invalid."""
    if users is None or items is None:
        return None
    pairs = [(u, i) for u, i in zip(one_form(users), one_form(items), strict=True) if u is not None and i is not None]
    bad = len(users) - len(pairs)
    return (set(map(repr, pairs)), bad) if pairs and 2 * bad <= len(users) else None


def read_table(source, columns=(None, None)):
    """Pairs and rows left out, or the error."""
    said: list[str] = []
    try:
        table = read_interactions(source, *columns, said.append)
    except (ValueError, OSError, ImportError) as error:
        return None, str(error)
    users, items = table.users.tolist(), table.items.tolist()
    pairs = {repr((users[u], items[i])) for u, i in zip(table.user_codes, table.item_codes, strict=True)}
    bad = [int(found[1]) for each in said if (found := re.search(r"(\d+) of \d+ rows? (?:is|are) unreadable", each))]
    return pairs, bad[0] if bad else 0
