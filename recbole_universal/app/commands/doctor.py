"""The command ``doctor``."""

from __future__ import annotations

import argparse
import sys

from recbole_universal.app.commands import columns

SUMMARY = "print versions, devices and patches of RecBole, and run a self-test"
DESCRIPTION = """Print the versions of all libraries, the devices, the patches of RecBole and the shipped
models, and rank a small dataset as a self-test. It takes about ten seconds. The exit
status is 1 if the self-test fails.

With --data and --items it tests instead whether a table of items belongs to the interactions:
two items of one user must be more alike than any two. The exit status is 1 if they are not."""
EXAMPLES = """examples:
  {program}
  {program} --data shop.csv --items items.csv
"""
TAKES_KEYS = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--data", metavar="FILE", help="interactions whose items --items describes")
    parser.add_argument("--items", metavar="FILE", help="table of items with texts, or a .npz or .npy file of vectors")
    parser.add_argument(
        "--content-fields", nargs="+", metavar="NAME", help="columns of text (default: those with text)"
    )
    columns.add_options(parser)


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Print the report; returns the exit status."""
    if options.data is None and options.items is None:
        from recbole_universal.app.doctor import report

        return report()
    if options.data is None or options.items is None:
        print("doctor: --data and --items go together.", file=sys.stderr)
        return 1
    try:
        return _test_join(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"doctor: {error}", file=sys.stderr)
        return 1


def _test_join(options: argparse.Namespace) -> int:
    """Print the join test of a table of items; returns the exit status."""
    from recbole_universal.app.content_check import join_tests
    from recbole_universal.content.join_test import wrong_joins
    from recbole_universal.io.interactions import read_interactions

    def note(message: str) -> None:
        print(f"doctor: {message}", file=sys.stderr)

    table = read_interactions(
        options.data,
        options.user_column,
        options.item_column,
        note,
        False,
        time_column=options.time_column,
        order=options.order,
    )
    tests = join_tests(table, options.items, note, options.content_fields)
    for test in tests:
        print(test)
    wrong = bool(wrong_joins(tests))
    print(f"The content {'seems to belong to other items: REFUSED' if wrong else 'is accepted'}.")
    return int(wrong)
