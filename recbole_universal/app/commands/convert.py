"""The command ``convert``."""

from __future__ import annotations

import argparse
import sys

from recbole_universal.app.commands import columns

SUMMARY = "write a table as a dataset of RecBole (atomic files), or a dataset as tables"
DESCRIPTION = """Write a table of interactions as a dataset of RecBole: a folder with the atomic files
NAME.inter, NAME.item and NAME.user, and NAME.yaml with the config keys that they need. Or
write a dataset of RecBole as CSV, TSV or Parquet. All columns are kept. What is left out,
guessed or replaced is reported on stderr."""
EXAMPLES = """examples:
  {program} ratings.csv --output dataset/shop
  {program} log.parquet --items items.csv --users users.csv --output dataset/shop --overwrite
  {program} movies.csv --sequence-columns genres --sequence-separator "|" --output dataset/movies
  {program} dataset/shop --output ratings.parquet
"""
TAKES_KEYS = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="file of interactions as for recommend; or a dataset folder or .inter file")
    add("--output", required=True, metavar="PATH", help="folder of the dataset; or a .csv, .tsv, .gz or .parquet file")
    add("--items", metavar="FILE", help="table of items, for NAME.item")
    add("--users", metavar="FILE", help="table of users, for NAME.user")
    columns.add_options(parser, order="rows: no column is read as times")
    add("--token-columns", nargs="+", default=[], metavar="NAME", help="columns whose numbers are names: token")
    add("--sequence-columns", nargs="+", default=[], metavar="NAME", help="columns whose texts are lists: token_seq")
    add("--sequence-separator", default=" ", metavar="TEXT", help="separates the elements of a list (default: blank)")
    add("--overwrite", action="store_true", help="replace the dataset that is there")
    add("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Write the files; returns the exit status."""
    from recbole_universal.app.conversion.convert import convert

    def report(message: str) -> None:
        print(f"convert: {message}", file=sys.stderr)

    try:
        written = convert(
            options.source,
            options.output,
            items=options.items,
            users=options.users,
            user_column=options.user_column,
            item_column=options.item_column,
            time_column=options.time_column,
            order=options.order,
            token_columns=options.token_columns,
            sequence_columns=options.sequence_columns,
            sequence_separator=options.sequence_separator,
            overwrite=options.overwrite,
            show_progress=not options.quiet,
            report=report,
        )
    except (ValueError, OSError, ImportError) as error:
        report(str(error))
        return 1
    for file in written:
        print(f"Wrote {file}.", flush=True)
    return 0
