"""Result files whose ending says their form, and tables in LaTeX."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from recbole_universal.app.recommendation_files import output_file

Content = TypeVar("Content")

_LATEX = {
    **{character: f"\\{character}" for character in "&%_#${}"},
    **{"±": r"$\pm$", "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
}


@contextmanager
def open_form(
    path: str | os.PathLike[str], forms: Mapping[str, Callable[[Content], str]]
) -> Iterator[Callable[[Content], None]]:
    """Open a file for results, which takes its place when the ``with`` block ends without an error.

    Args:
        path: the file; its ending says its form.
        forms: by the ending of a file, what makes its text of the results.

    Yields:
        A function that writes the results.

    Raises:
        ValueError: if the ending is unknown.
        OSError: if the file cannot be written.
    """
    file = Path(os.path.expanduser(path))
    form = forms.get(file.suffix.lower())
    if form is None:
        raise ValueError(f"output (--output): the name of [{file}] must end in one of {', '.join(forms)}.")
    with output_file(file, "output (--output)") as opened:

        def write(content: Content) -> None:
            opened.write(form(content).encode())

        yield write


def latex_table(shown: pd.DataFrame) -> str:
    """A table of texts for the package booktabs."""
    rows = [[name, *values] for name, *values in shown.itertuples()]
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in [["", *shown.columns], *rows]]
    columns = "l" + "r" * len(shown.columns)
    body = "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:]])
    return body + "\n\\bottomrule\n\\end{tabular}\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def without_nan(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Values for JSON, which has no NaN and no infinity; ``None`` takes their place."""
    return {
        key: None if isinstance(value, float) and not abs(value) < float("inf") else value
        for key, value in values.items()
    }
