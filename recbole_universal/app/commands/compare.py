"""The command ``compare``."""

from __future__ import annotations

import argparse
import sys

SUMMARY = "compare two runs of RecBole by a paired test over the users"
DESCRIPTION = """Compare the chosen models of two runs user by user: the mean difference of each metric, its
standard error, 95 % confidence interval and the p-value of the paired t-test. Both runs need
the same dataset, split, seeds, users and metrics."""
EXAMPLES = """examples:
  recbole-universal run --model=EASE --output ease.json
  recbole-universal run --model=BPR --output bpr.json
  {program} ease.json bpr.json
"""
TAKES_KEYS = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("first", metavar="RUN.json", help="file that run --output wrote")
    parser.add_argument("second", metavar="OTHER.json", help="file of the run to compare with")


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Print the comparison; returns the exit status."""
    from recbole_universal.app.comparison import compare

    try:
        print(compare(options.first, options.second))
    except (ValueError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    return 0
