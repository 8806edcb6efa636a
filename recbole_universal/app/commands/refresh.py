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
        print(f"Erased {n_users} users of {len(options.folders)} folders, and {n_rows} appended interactions.")
        return
    for folder, n_rows in refresh(options.folders, warnings.warn, not options.quiet):
        print(f"{folder}: {n_rows} new interactions." if n_rows else f"{folder}: no new interactions.")
