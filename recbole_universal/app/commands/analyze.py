"""The command ``analyze``."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

from recbole_universal.app.commands import columns

SUMMARY = "write a report on datasets: do universal statistics hold there, and is the model good there?"
DESCRIPTION = """Do universal statistics hold on a dataset, and how well does the universal model rank
there? Writes one HTML report that needs no network, and a CSV of every figure in it.
Needs plotly: pip install "recbole-universal[analysis]"."""
EXAMPLES = """examples:
  {program} ml-100k
  {program} shop.csv --output shop.html
  {program} ml-1m lastfm-2k --data-path ../data --in-domain
"""
TAKES_KEYS = False
_DEFAULT_OUTPUT = "analysis.html"
_ENDING = re.compile(r"(\.(csv|tsv|txt|json|jsonl|ndjson|parquet|pq|inter|dat|data))?(\.(gz|zst))?$", re.IGNORECASE)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "datasets",
        nargs="+",
        metavar="DATASET",
        help="a CSV, TSV, JSON, Parquet or RecBole atomic file, or the name of a RecBole dataset",
    )
    add("--output", metavar="HTML", help=f"report (default: {_DEFAULT_OUTPUT})")
    add("--data-path", default="dataset/", metavar="DIR", help="folder of the named datasets (default: dataset/)")
    add("--users", type=int, default=1000, metavar="N", help="users evaluated (default: 1000)")
    add("--items", metavar="FILE", help="table of items of the one dataset: do its texts belong to the items?")
    add("--in-domain", action="store_true", help="also train models of each family on each dataset (minutes)")
    add("--seed", type=int, default=2020, help="seed of everything random (default: 2020)")
    columns.add_options(parser)
    add("--pretrained", default="universal-base", metavar="NAME", help="shipped model, or folder of a model")
    add("--quiet", action="store_true", help="no progress bars")


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Write the report; returns the exit status."""
    start = time.perf_counter()
    output = Path(os.path.expanduser(options.output or _DEFAULT_OUTPUT))
    try:
        _write(options, output)
    except (ValueError, OSError, ImportError) as error:
        _report(str(error))
        return 1
    print(f"Wrote {output} and {output.with_suffix('.csv')} in {time.perf_counter() - start:.0f} s.")
    return 0


def _report(message: str) -> None:
    print(f"analyze: {message}", file=sys.stderr)


def _write(options: argparse.Namespace, output: Path) -> None:
    from recbole_universal.app.analysis.report import analyze, is_report
    from recbole_universal.app.content_check import join_tests
    from recbole_universal.files import would_replace
    from recbole_universal.graph.histories import Histories
    from recbole_universal.io.interactions import read_interactions

    if options.items is not None and len(options.datasets) > 1:
        raise ValueError("--items: describes the items of one dataset; name one.")
    if options.output is None and output.exists() and not is_report(output):
        raise ValueError(f"[{output}] exists and is no report of analyze: name another file with --output.")
    matrices, histories, content = {}, {}, {}
    for given in options.datasets:
        file = _file_of(given, options.data_path)
        name = _name_of(file)
        if name in matrices:
            raise ValueError(f"Two datasets have the name [{name}]; rename one of the files.")
        for written in (output, output.with_suffix(".csv")):
            if would_replace(written, file) or (options.items is not None and would_replace(written, options.items)):
                raise ValueError(f"--output: [{written}] is an input file, or in an input folder; name another.")
        table = read_interactions(
            file,
            options.user_column,
            options.item_column,
            _report,
            not options.quiet,
            time_column=options.time_column,
            order=options.order,
        )
        matrices[name] = table.matrix()
        if options.items is not None:
            content[name] = join_tests(table, options.items, _report)
        in_order = Histories.of_table(table)
        if in_order is not None:
            histories[name] = in_order
    analyze(
        matrices,
        output,
        histories=histories,
        content=content,
        pretrained=options.pretrained,
        n_users=options.users,
        in_domain=options.in_domain,
        seed=options.seed,
        show_progress=not options.quiet,
    )


def _name_of(file: Path) -> str:
    """Name of the dataset in the report: that of the file without a known ending."""
    return _ENDING.sub("", file.name) or file.name


def _file_of(given: str, data_path: str) -> Path:
    """The input file: the given one, or the ``.inter`` file of a RecBole dataset.

    Raises:
        ValueError: if no such file exists, or it is a URL, a pipe or a folder of something else.
    """
    from recbole_universal.io.paths import existing_path

    path = Path(os.path.expanduser(given))
    if given and path.is_dir():
        file = path / f"{path.resolve().name}.inter"
        if file.is_file():
            return file
    elif not given or path.exists() or "://" in given:
        return existing_path(given, "DATASET")
    import recbole

    folders = [Path(data_path), Path(recbole.__file__).parent / "dataset_example"]
    for folder in folders:
        file = folder / given / f"{given}.inter"
        if file.is_file():
            return file
    if path.is_dir():
        raise ValueError(f"DATASET: [{given}] is a folder without [{path.resolve().name}.inter]; name a file.")
    searched = " nor ".join(f"[{folder / given / (given + '.inter')}]" for folder in folders)
    raise ValueError(f"DATASET: there is no file [{given}], {searched}.")
