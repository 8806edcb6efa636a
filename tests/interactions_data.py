"""Small tables and files of interactions for tests."""

from __future__ import annotations

from recbole_universal.io.interactions import read_interactions

ROWS = [("u1", "a"), ("u1", "b"), ("u2", "a"), ("u2", "c"), ("u3", "a"), ("u3", "b"), ("u3", "d")]


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def lines(rows=ROWS, separator=",", header="user,item"):
    return "\n".join([*([header] if header else []), *(separator.join(map(str, row)) for row in rows)]) + "\n"


def read(source, user_column=None, item_column=None):
    """Pairs of ids, and the messages."""
    said: list[str] = []
    table = read_interactions(source, user_column, item_column, said.append)
    pairs = zip(table.users.take(table.user_codes), table.items.take(table.item_codes), strict=True)
    return sorted(pairs, key=str), said
