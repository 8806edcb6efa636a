"""The command ``similar``."""

from __future__ import annotations

import argparse
import sys

from recbole_universal.app.commands import fitted

SUMMARY = "name the items that are related most to some items"
DESCRIPTION = """Name the items that are related most to each given item, with columns similar_to, item,
score and rank. A shop shows them beside a product. Unknown items are named on stderr."""
EXAMPLES = """examples:
  {program} orders.csv --items tea cups --top-k 5
  {program} shop --items tea --output similar.csv
"""
TAKES_KEYS = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    fitted.add_options(parser, takes_folder=True)
    add = parser.add_argument
    add("--items", required=True, nargs="+", metavar="ITEM", help="ids of items, separated by blanks")
    add("--top-k", type=int, default=10, metavar="K", help="similar items per item (default: 10)")
    add("--output", metavar="FILE", help="file: .csv, .tsv, .csv.gz, .tsv.gz or .parquet (default: CSV on stdout)")


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Print or write the similar items; returns the exit status."""
    return fitted.explained(options, _similar)


def _similar(options: argparse.Namespace) -> None:
    import pandas as pd

    from recbole_universal.app.recommendation_blocks import checked_top_k
    from recbole_universal.app.recommendation_files import open_recommendations
    from recbole_universal.files import would_replace

    checked_top_k(options.top_k)
    if not options.output:
        found = fitted.recommender(options).similar_items(options.items, options.top_k)
        found.to_csv(sys.stdout, index=False, float_format="%.7g")
        return
    if would_replace(options.output, options.interactions):
        raise ValueError(
            f"--output: [{options.output}] is an input file, or in an input folder or pattern; name another."
        )
    # The file is opened first, so that a path that cannot be written is reported before the work.
    with open_recommendations(options.output) as writer:
        found = fitted.recommender(options).similar_items(options.items, options.top_k)
        writer.columns = list(map(str, found))
        given, items, scores, ranks = (found[name] for name in found)
        writer.write(pd.Index(given), pd.Index(items), scores.to_numpy(), ranks.to_numpy())
    print(f"Wrote {len(found)} similar items to {options.output}.")
