"""The command ``explain``."""

from __future__ import annotations

import argparse

from recbole_universal.app.commands import fitted

SUMMARY = "say why an item has its place in the list of a user"
DESCRIPTION = """Say why an item has its place in the list of a user: what raises and lowers its score
most, and which items of the user speak for it."""
EXAMPLES = """examples:
  {program} orders.csv --user alice --item tea
  {program} shop --user alice --item tea
"""
TAKES_KEYS = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    fitted.add_options(parser, takes_folder=True)
    parser.add_argument("--user", required=True, metavar="USER", help="id of a user")
    parser.add_argument("--item", required=True, metavar="ITEM", help="id of an item")


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Print the explanation; returns the exit status."""
    return fitted.explained(options, lambda _: print(fitted.recommender(options).explain(options.user, options.item)))
