"""The command ``refresh``."""

from __future__ import annotations

import argparse

from recbole_universal.app.commands import fitted

SUMMARY = "fit folders again with the interactions that serve has appended"
DESCRIPTION = """Fit recommenders again with the interactions that serve has appended, and save them. A
service that runs loads the new folders by itself. A refresh that is stopped changes nothing
or is complete. --erase removes users from the folders and from the appended interactions."""
EXAMPLES = """examples:
  {program} shop
  {program} shop other
  {program} shop --erase alice bob
"""
TAKES_KEYS = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("folders", nargs="+", metavar="FOLDER", help="the folders that serve gets, in the same order")
    add("--erase", nargs="+", metavar="USER", help="ids of users to remove instead")
    add("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Refresh the folders; returns the exit status."""
    return fitted.explained(options, _refresh)


def _refresh(options: argparse.Namespace) -> None:
    import warnings

    from recbole_universal.app.refresh import erase, refresh

    if options.erase:
        n_users, n_rows = erase(options.folders, options.erase, warnings.warn)
        users, folders = _counted(n_users, "user"), _counted(len(options.folders), "folder")
        print(f"Erased {users} of {folders}, and {_counted(n_rows, 'appended interaction')}.")
        return
    for folder, n_rows in refresh(options.folders, warnings.warn, not options.quiet):
        print(f"{folder}: {n_rows} new interactions." if n_rows else f"{folder}: no new interactions.")


def _counted(number: int, what: str) -> str:
    """A number with a word in the singular or plural."""
    return f"{number} {what}{'' if number == 1 else 's'}"
