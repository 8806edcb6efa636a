"""The tables of docs/systems_users.md."""


def tables(rows):
    return {}
