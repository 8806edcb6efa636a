"""The options that say how the columns of a table are read, and which rows stay, which several commands share."""

from __future__ import annotations

import argparse

_ORDER = "rows: the rows are in the order of time, and no time column is read"
#: The options of :func:`add_core_options`, as attributes of the parsed options.
CORE_OPTIONS = ("user_inter_num_interval", "item_inter_num_interval")


def add_options(parser: argparse.ArgumentParser, order: str = _ORDER) -> None:
    """Add the options.

    Args:
        parser: the parser of the command.
        order: help of the option ``--order``.
    """
    for name in ("user", "item", "time"):
        parser.add_argument(
            f"--{name}-column", metavar="NAME", help=f"name of the {name} column; without header: 1, 2, ..."
        )
    parser.add_argument("--order", choices=["rows"], help=order)


def add_core_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that leave out users and items by their number of interactions."""
    for kind, of in (("user", "items of a user"), ("item", "users of an item")):
        parser.add_argument(
            f"--{kind}-inter-num-interval", metavar="INTERVAL", help=f"number of {of}, such as 5 or [5,100]; others go"
        )
