"""The command ``recommend``."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings

from recbole_universal.app.commands import columns, content, engine, weights

SUMMARY = "recommend items to the users of a CSV, TSV, JSON or Parquet file, or of a RecBole checkpoint"
DESCRIPTION = """Recommend items to the users of a file of interactions with a pre-trained model. Nothing
is trained. Rows that are left out, and guesses about columns, are reported on stderr.

With --checkpoint, a model that RecBole trained ranks instead, for the users of its own
dataset. The ids are those of the dataset. A user's items of training, validation and test
are left out, and a sequential model continues the latest of them. --new-users adds users
who were not in the training; the pre-trained model ranks for them.

A RecBole checkpoint is a pickle. It runs code when it is opened, so give only files that
you trust."""
EXAMPLES = """examples:
  {program} ratings.csv --output recs.csv
  {program} orders.parquet --output recs.parquet --top-k 20 --fast
  {program} log.tsv --user-column customer --item-column sku --users 17,42 --output recs.csv
  {program} orders.csv --items items.csv --where "category == 'shoes' and price < 50" --output recs.csv
  {program} orders.csv --items items.csv --new-items --output recs.csv
  {program} shop --engine ray --workers 8 --output recs
  {program} --checkpoint saved/LightGCN-Nov-27-2026_10-00-00.pth --output recs.csv
  {program} --checkpoint saved/EASE-Nov-27-2026_10-00-00.pth --new-users today.csv --output recs.csv
"""
TAKES_KEYS = False
_NOT_WITH_RAY = (
    *("checkpoint", "data_path", "new_users", "item_column", "time_column", "order", "later", "pretrained", "device"),
    "new_items",
    *content.OPTIONS,
    *weights.OPTIONS,
    *columns.CORE_OPTIONS,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "interactions",
        metavar="INTERACTIONS",
        nargs="?",
        help="text (CSV, ...), JSON or Parquet file, a folder of such parts, or a folder that fit wrote; none with "
        "--checkpoint",
    )
    add("--checkpoint", metavar="PTH", help="a model that RecBole trained and saved; a file that you trust")
    add("--data-path", metavar="DIR", help="folder of the checkpoint's dataset folder (default: where it was trained)")
    add("--new-users", metavar="FILE", help="with --checkpoint: interactions of users who were not in its training")
    add(
        "--output",
        required=True,
        metavar="RECS",
        help="file to write: .csv, .tsv, .csv.gz, .tsv.gz or .parquet; with --engine ray, a folder for Parquet parts",
    )
    add("--top-k", type=int, default=10, metavar="K", help="recommendations per user (default: 10)")
    add("--users", metavar="FILE_OR_LIST", help="file of user ids, one per line, or ids separated by commas")
    columns.add_options(parser)
    weights.add_options(parser)
    columns.add_core_options(parser)
    add("--include-seen", action="store_true", help="also recommend items that the user has interacted with")
    add("--items", metavar="FILE", help="item table for --where and --new-items: CSV, ..., one row an item")
    add("--where", metavar="RULE", help="only items that fit, such as \"category == 'shoes' and price < 50\"")
    add(
        "--new-items",
        nargs="?",
        type=int,
        const=True,
        default=False,
        metavar="N",
        help="also items of --items that nobody has had, by their content, at the ranks that they earn, or in N places",
    )
    content.add_options(parser)
    add("--later", action="store_true", help="the users get the lists some time after the last interaction of all")
    add("--fast", action="store_true", help="rank by one item-item matrix: faster, less accurate")
    add(
        *("--model", "--pretrained"),
        dest="pretrained",
        default="auto",
        metavar="NAME",
        help="shipped model, or folder of a model (default: auto, by whether the order of the rows helps)",
    )
    add("--device", default="cpu", metavar="DEVICE", help="cpu, cuda, ... (default: cpu, the only one that is tested)")
    engine.add_options(parser, "workers of Ray, for a folder that fit wrote")
    add("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Write the recommendations; returns the exit status."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"recbole\.")  # RecBole's own code: nothing a user can act on
            engine.check(options)
            n_rows, n_users = (_write_parts if options.engine == "ray" else _write)(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"recommend: {error}", file=sys.stderr)
        return 1
    seconds = time.perf_counter() - start
    what = f"{n_rows} recommendation{'s' * (n_rows != 1)} for {n_users} user{'s' * (n_users != 1)}"
    print(f"Wrote {what} to {options.output} in {seconds:.1f} s.", flush=True)
    return 0


def _write(options: argparse.Namespace) -> tuple[int, int]:
    """Write the recommendations; returns the number of rows and of users."""
    from recbole_universal.app.content_settings import ContentSettings
    from recbole_universal.app.core import checked_core
    from recbole_universal.app.output_columns import output_columns
    from recbole_universal.app.recommend import open_job
    from recbole_universal.app.recommendation_files import open_recommendations
    from recbole_universal.app.weighting import Weighting

    _check_output(options, options.output)
    # The file is opened first, so that a path that cannot be written is reported before the work.
    with open_recommendations(options.output) as writer:
        job = open_job(
            _report,
            options.interactions,
            checkpoint=options.checkpoint,
            data_path=options.data_path,
            new_users=options.new_users,
            top_k=options.top_k,
            users=options.users,
            user_column=options.user_column,
            item_column=options.item_column,
            time_column=options.time_column,
            order=options.order,
            later=options.later,
            weighting=Weighting.checked(**weights.given(options)),
            core=checked_core(options.user_inter_num_interval, options.item_inter_num_interval),
            include_seen=options.include_seen,
            items=options.items,
            where=options.where,
            new_items=options.new_items,
            content=ContentSettings.checked(*content.given(options).values()),
            fast=options.fast,
            pretrained=options.pretrained,
            device=options.device,
            show_progress=not options.quiet,
        )
        _report(job.summary())
        writer.columns = output_columns(job.users, job.items, with_new=job.with_new)
        n_rows = 0
        for block in job.blocks():
            ids = job.users.take(block.users), job.items.take(block.items)
            writer.write(*ids, block.scores, block.ranks, block.new)
            n_rows += len(block.users)
    return n_rows, len(job.users)


def _write_parts(options: argparse.Namespace) -> tuple[int, int]:
    """Write the recommendations as parts, by workers of Ray; returns the number of rows and of users."""
    from recbole_universal.app.recommend_on_ray import PART_USERS, RayRun
    from recbole_universal.app.recommendation_parts import MANIFEST

    others = [name for name in _NOT_WITH_RAY if getattr(options, name) != options.parser.get_default(name)]
    if others:
        listed = " and ".join(f"--{name.replace('_', '-')}" for name in others)
        raise ValueError(f"--engine ray ranks the known items of a folder that fit wrote, so leave out {listed}.")
    _check_output(options, os.path.join(options.output, MANIFEST))
    run = RayRun(
        _report,
        options.interactions,
        options.output,
        top_k=options.top_k,
        users=options.users,
        user_column=options.user_column,
        include_seen=options.include_seen,
        items=options.items,
        where=options.where,
        fast=options.fast,
        part_users=PART_USERS,
        show_progress=not options.quiet,
    )
    _report(run.job.summary())
    return run.write(options.workers, options.address), len(run.job.users)


def _check_output(options: argparse.Namespace, output: str) -> None:
    """Refuse an output that would replace an input.

    Raises:
        ValueError: if it would.
    """
    from recbole_universal.files import would_replace

    inputs = (options.interactions, options.checkpoint, options.users, options.new_users, options.items)
    for given in (*inputs, *(options.item_vectors or [])):
        if given and would_replace(output, given):
            raise ValueError(
                f"--output: [{options.output}] is an input file, or in an input folder or pattern; name another."
            )


def _report(message: str) -> None:
    print(f"recommend: {message}", file=sys.stderr)
