"""A recommender of the command line, which ``fit``, ``similar`` and ``explain`` share."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recbole_universal.app.commands import columns, weights

if TYPE_CHECKING:
    from recbole_universal import Recommender

_FOLDER = ", or a folder that fit wrote"
_OPTIONS = ("user_column", "item_column", "time_column", "order", "later", "model", *columns.CORE_OPTIONS)


def add_options(parser: argparse.ArgumentParser, takes_folder: bool) -> None:
    """Add the options of a fit.

    Args:
        parser: the parser of the command.
        takes_folder: whether the command also loads a recommender.
    """
    add = parser.add_argument
    add(
        "interactions",
        metavar="INTERACTIONS",
        help=f"text (CSV, ...), JSON or Parquet file, or a folder of such parts{_FOLDER * takes_folder}",
    )
    columns.add_options(parser)
    add("--later", action="store_true", help="the users get the lists some time after the last interaction of all")
    weights.add_options(parser)
    columns.add_core_options(parser)
    add("--model", metavar="NAME", help="shipped model, or folder of a model (default: auto, by whether order helps)")
    add("--device", default="cpu", metavar="DEVICE", help="cpu, cuda, ... (default: cpu, the only one that is tested)")
    add("--quiet", action="store_true", help="no progress bars")


def explained(options: argparse.Namespace, command: Callable[[argparse.Namespace], None]) -> int:
    """Run a command; warnings become lines on stderr, and so does an error.

    Returns:
        The exit status.
    """

    def report(message: Any, *_: Any, **__: Any) -> None:
        print(f"{options.command}: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = report
        try:
            command(options)
        except (ValueError, OSError, ImportError) as error:
            report(error)
            return 1
    return 0


def recommender(options: argparse.Namespace, **further: Any) -> Recommender:
    """The recommender of a folder, or a new one of a file.

    Args:
        options: the options of the command.
        **further: further arguments of the fit, such as an item table.

    Raises:
        ValueError: if the folder comes with options of a fit.
    """
    from recbole_universal import Recommender
    from recbole_universal.app.recommender_files import is_recommender

    given = {name: value for name in _OPTIONS if (value := getattr(options, name))} | weights.given(options)
    if options.command != "fit" and is_recommender(options.interactions):
        if given:
            listed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ValueError(f"[{options.interactions}] is a fitted recommender, so leave out {listed}.")
        return Recommender.load(options.interactions, device=options.device)
    settings = {**given, **further, "device": options.device, "show_progress": not options.quiet}
    return Recommender.fit(options.interactions, **settings)
