"""The options that weigh interactions, which several commands share."""

from __future__ import annotations

import argparse
from typing import Any

#: Names of the options, as attributes of the parsed options.
OPTIONS = ("weight_column", "event_column", "event_weights", "half_life")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--weight-column", metavar="NAME", help="name of a column of numbers, such as ratings, play counts, quantities")
    add("--event-column", metavar="NAME", help="name of the column of events (default: event, event_type, action, ...)")
    add("--event-weights", metavar="LIST", help="weight of each kind of event, such as view=1,cart=3,purchase=10")
    add("--half-life", type=float, metavar="DAYS", help="age at which an interaction weighs half; needs times")


def given(options: argparse.Namespace) -> dict[str, Any]:
    """The given options as arguments of ``Recommender.fit``; those that are left out are missing.

    Raises:
        ValueError: if the weights of the events have another form.
    """
    values = {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}
    if "event_weights" in values:
        values["event_weights"] = _kinds(values["event_weights"])
    return values


def _kinds(text: str) -> dict[str, float]:
    """Weights by kind of event of a text such as ``view=1,purchase=10``."""
    kinds = {}
    for part in text.split(","):
        kind, equals, weight = part.rpartition("=")
        try:
            if not equals or not kind.strip() or kind.strip() in kinds:
                raise ValueError
            kinds[kind.strip()] = float(weight)
        except ValueError:
            raise ValueError(
                f"--event-weights: must name each kind once, such as view=1,purchase=10, got [{part}] in [{text}]."
            ) from None
    return kinds
