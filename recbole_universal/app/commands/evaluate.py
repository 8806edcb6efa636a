"""The command ``evaluate``."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext

from recbole_universal.app.commands import columns, weights

SUMMARY = "say whether the recommendations are any good on a file of interactions"
DESCRIPTION = """Hold out some interactions of a file, recommend from the others, and count how many of the
held-out items the recommendations find. The pre-trained model is compared with the most
popular items (MostPop), ItemKNN and EASE on the same users. The first line answers whether
to use it. The table has accuracy with 95 % confidence intervals, novelty, coverage and seconds."""
EXAMPLES = """examples:
  {program} orders.csv
  {program} orders.csv --output report.html
  {program} log.tsv --user-column customer --item-column sku --split last --output figures.csv

splits:
  time     everything from one point in time on is held out (default where the file has times
           and 100 users come back)
  folds    the same for several points in time
  last     the last item of each evaluated user is held out (default where the order is known otherwise)
  random   a fifth of the items of each evaluated user is held out (default without an order)
"""
TAKES_KEYS = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("interactions", metavar="INTERACTIONS", help="text (CSV, ...), JSON or Parquet file, or a folder of such parts")
    add("--output", metavar="FILE", help="file for the figures: .csv, .json or .tex, or .html for a page")
    add("--top-k", type=int, default=10, metavar="K", help="recommendations per user (default: 10)")
    add("--split", choices=["time", "folds", "last", "random"], help="what is held out (see below)")
    add("--folds", type=int, default=3, metavar="N", help="points in time of the split folds (default: 3)")
    add("--max-users", type=int, default=2000, metavar="N", help="users evaluated at most (default: 2000)")
    columns.add_options(parser)
    weights.add_options(parser)
    add(
        *("--model", "--pretrained"),
        dest="pretrained",
        default="auto",
        metavar="NAME",
        help="shipped model, or folder of a model (default: auto, the one that recommend chooses)",
    )
    add("--seed", type=int, default=2020, help="seed of everything random (default: 2020)")
    add("--device", default="cpu", metavar="DEVICE", help="cpu, cuda, ... (default: cpu, the only one that is tested)")
    add("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Print the figures and write them; returns the exit status."""
    try:
        print(_evaluated(options))
    except (ValueError, OSError, ImportError) as error:
        _report(str(error))
        return 1
    if options.output:
        print(f"Wrote {options.output}.", flush=True)
    return 0


def _report(message: str) -> None:
    print(f"evaluate: {message}", file=sys.stderr)


def _evaluated(options: argparse.Namespace) -> str:
    """Write the file, if one is asked for; returns the text for the terminal."""
    from recbole_universal.app.evaluation.evaluate import evaluate
    from recbole_universal.app.evaluation.output import open_output
    from recbole_universal.files import would_replace

    if options.output and would_replace(options.output, options.interactions):
        raise ValueError(
            f"--output: [{options.output}] is an input file, or in an input folder or pattern; name another."
        )
    # The file is opened first, so that a path that cannot be written is reported before the work.
    with open_output(options.output) if options.output else nullcontext() as write:
        evaluation = evaluate(
            options.interactions,
            top_k=options.top_k,
            split=options.split,
            n_folds=options.folds,
            max_users=options.max_users,
            user_column=options.user_column,
            item_column=options.item_column,
            time_column=options.time_column,
            order=options.order,
            **weights.given(options),
            pretrained=options.pretrained,
            seed=options.seed,
            device=options.device,
            show_progress=not options.quiet,
            report=_report,
        )
        if write:
            write(evaluation)
    return str(evaluation)
