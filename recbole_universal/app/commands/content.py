"""The options that say what the content of items is."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_universal.content.defaults import DEFAULT_ENCODERS, LEAST_JOIN_Z

#: Names of the options.
OPTIONS = ("content_fields", "content_encoders", "item_vectors", "content_join_z")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--content-fields", nargs="+", metavar="NAME", help="text columns of --items, or auto")
    add(
        "--content-encoders",
        nargs="+",
        metavar="NAME",
        help=f"encoders of the texts (default: {' '.join(DEFAULT_ENCODERS)})",
    )
    add("--item-vectors", nargs="+", metavar="FILE", help="vectors of items by id: .npz, .npy, .csv, .tsv or .parquet")
    add(
        "--content-join-z",
        type=_z_score,
        default=LEAST_JOIN_Z,
        metavar="Z",
        help=f"smallest z-score of the join test, or none for any content (default: {LEAST_JOIN_Z:g})",
    )


def given(options: argparse.Namespace) -> dict[str, Any]:
    """The options by name."""
    return {name: getattr(options, name) for name in OPTIONS}


def _z_score(text: str) -> float | None:
    try:
        return None if text.lower() in ("", "none") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, or none, got {text!r}") from None
