"""The command ``fit``."""

from __future__ import annotations

import argparse
import os
import time
from contextlib import AbstractContextManager, nullcontext

from recbole_universal.app.commands import content, engine, fitted

SUMMARY = "fit a recommender to a file of interactions, and save it in a folder"
DESCRIPTION = """Read a file of interactions, compute its statistics and save both in a folder. The
commands recommend, similar and explain read the folder in the place of the file, and so
does Recommender.load in Python. No network is trained."""
EXAMPLES = """examples:
  {program} ratings.csv --output shop
  {program} orders.csv --items items.csv --output shop
  {program} log.tsv --user-column customer --item-column sku --output shop
"""
TAKES_KEYS = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    fitted.add_options(parser, takes_folder=False)
    parser.add_argument("--items", metavar="FILE", help="item table, for rules and titles: CSV, ..., JSON or Parquet")
    parser.add_argument(
        "--new-items", action="store_true", help="also rank items of --items that nobody has had, by their content"
    )
    content.add_options(parser)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder; a recommender in it is replaced")
    engine.add_options(parser, "workers of Ray find the neighbours of items")
    parser.add_argument("--fast", action="store_true", help="also save the item-item matrix, for serve --fast")


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Save the recommender; returns the exit status."""
    return fitted.explained(options, _save)


def _save(options: argparse.Namespace) -> None:
    from recbole_universal.files import would_replace

    start = time.perf_counter()
    if os.path.isfile(os.path.expanduser(options.output)):
        raise ValueError(f"--output: [{options.output}] is a file; name a folder.")
    if would_replace(os.path.join(options.output, "recommender.json"), options.interactions):
        raise ValueError(f"--output: [{options.output}] is the folder of the interactions; name another.")
    engine.check(options)
    with _engine(options):
        rec = fitted.recommender(options, items=options.items, new_items=options.new_items, **content.given(options))
    if options.fast:
        rec.ranker.item_item()
    rec.save(options.output)
    seconds = time.perf_counter() - start
    print(f"Wrote {len(rec.users)} users and {len(rec.items)} items to {options.output} in {seconds:.1f} s.")


def _engine(options: argparse.Namespace) -> AbstractContextManager[None]:
    if options.engine != "ray":
        return nullcontext()
    from recbole_universal.app.ray_engine import shards_on_ray

    return shards_on_ray(options.workers, options.address)
