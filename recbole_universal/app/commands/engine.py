"""The options that say what computes, which several commands share."""

from __future__ import annotations

import argparse

ENGINES = ("process", "ray")
_OF_RAY = ("workers", "address")


def add_options(parser: argparse.ArgumentParser, does: str) -> None:
    """Add the options.

    Args:
        parser: the parser of the command.
        does: what the workers do, for the help.
    """
    add = parser.add_argument
    add("--engine", choices=ENGINES, default=ENGINES[0], help=f"process: this process alone (default); ray: {does}")
    add("--workers", type=int, metavar="N", help="with --engine ray: workers, each on one core (default: all cores)")
    add("--address", metavar="ADDRESS", help="with --engine ray: a running cluster (default: this machine)")


def check(options: argparse.Namespace) -> None:
    """Refuse options of Ray without it.

    Raises:
        ValueError: if one is given.
    """
    given = [f"--{name}" for name in _OF_RAY if getattr(options, name) is not None]
    if given and options.engine != "ray":
        raise ValueError(f"{' and '.join(given)}: belongs to --engine ray, which is not given.")
