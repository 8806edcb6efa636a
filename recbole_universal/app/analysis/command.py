"""The command line ``python -m recbole_universal analyze``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import scipy.sparse as sp

from recbole_universal.files import would_replace
from recbole_universal.io.interactions import read_interactions

_DEFAULT_OUTPUT = "analysis.html"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recbole_universal analyze",
        description="Do universal statistics hold on a data set, and what does the universal model make of them? "
        "Writes one HTML report that needs no network, and a CSV of every figure in it.",
    )
    parser.add_argument(
        "datasets",
        nargs="+",
        metavar="DATASET",
        help="a CSV, TSV, Parquet or RecBole atomic file, or the name of a RecBole data set",
    )
    parser.add_argument("--output", metavar="HTML", help=f"report (default: {_DEFAULT_OUTPUT})")
    parser.add_argument("--data-path", default="dataset/", metavar="DIR", help="folder of named data sets")
    parser.add_argument("--users", type=int, default=1000, metavar="N", help="users evaluated (default: 1000)")
    parser.add_argument(
        "--in-domain", action="store_true", help="also train models of each family on each data set (minutes)"
    )
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--user-column", metavar="NAME", help="name of the user column; without header: 1, 2, ...")
    parser.add_argument("--item-column", metavar="NAME", help="name of the item column; without header: 1, 2, ...")
    parser.add_argument("--pretrained", default="universal-base", metavar="NAME", help="shipped model, or a folder")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    start = time.perf_counter()
    options = _parser().parse_args(arguments)

    from recbole_universal.app.analysis.report import analyze, is_report

    def report(message: str) -> None:
        print(f"analyze: {message}", file=sys.stderr)

    output = Path(os.path.expanduser(options.output or _DEFAULT_OUTPUT))
    try:
        if options.output is None and output.exists() and not is_report(output):
            raise ValueError(f"[{output}] is there and is no report of analyze: name another file with --output.")
        matrices: dict[str, sp.csr_matrix] = {}
        for given in options.datasets:
            file = _file_of(given, options.data_path)
            name = file.name.split(".")[0]
            if name in matrices:
                raise ValueError(f"Two data sets have the name [{name}]; rename one of the files.")
            for written in (output, output.with_suffix(".csv")):
                if would_replace(written, file):
                    raise ValueError(f"--output: [{written}] is an input file, or in an input folder; name another.")
            table = read_interactions(file, options.user_column, options.item_column, report, not options.quiet)
            matrices[name] = table.matrix()[0]
        analyze(
            matrices,
            output,
            pretrained=options.pretrained,
            n_users=options.users,
            in_domain=options.in_domain,
            seed=options.seed,
            show_progress=not options.quiet,
        )
    except (ValueError, OSError, ImportError) as error:
        report(str(error))
        return 1
    print(f"Wrote {output} and {output.with_suffix('.csv')} in {time.perf_counter() - start:.0f} s.")
    return 0


def _file_of(given: str, data_path: str) -> Path:
    """The file that is meant: itself, or a RecBole data set's ``.inter``."""
    if Path(given).is_file():
        return Path(given)
    import recbole

    places = [Path(data_path), Path(recbole.__file__).parent / "dataset_example"]
    for place in places:
        file = place / given / f"{given}.inter"
        if file.is_file():
            return file
    searched = " nor ".join(f"[{place / given / (given + '.inter')}]" for place in places)
    raise ValueError(f"DATASET: there is no file [{given}], {searched}.")
