"""Tables and plots out of results.

A page of the docs holds its own text. A script writes only the tables, each between two markers of the page:

    <!-- table: NAME -->

    | dataset | NDCG@10 |
    ...

    <!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from recbole_universal.files import write_text

_BLOCK = re.compile(r"<!-- table: (?P<name>[^>]+?) -->\n((?!<!-- ).)*<!-- end -->", re.DOTALL)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; ``head`` names the columns, and each row has one cell a column."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def table_of(rows: Iterable[Mapping], columns: Mapping[str, tuple[str, str]]) -> str:
    """A Markdown table of results: by heading, the key and the format of the values; "" without a row."""
    lines = [[cell(row.get(key), form) for key, form in columns.values()] for row in rows]
    return markdown(list(columns), lines) if lines else ""


def markdown_lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table after a blank one."""
    return ["", *markdown(head, rows).splitlines()]


def cell(value: float | None, form: str = ".4f") -> str:
    """A number as a cell, "-" for a missing one."""
    return "-" if value is None or pd.isna(value) else format(value, form)


def fill(page: Path, tables: Mapping[str, str]) -> None:
    """Write tables between their markers in a page; everything else in the page stays.

    Args:
        page: a Markdown page with a pair of markers for each table; a page of the tables alone if it is missing.
        tables: Markdown by name of the table, "" if it has no results. Other tables of the page stay as they are.

    Raises:
        ValueError: the page has no markers for a table, or the markers stand there twice.
    """
    empty = "\n\n".join(f"<!-- table: {name} -->\n<!-- end -->" for name in tables) + "\n"
    text = page.read_text(encoding="utf-8") if page.is_file() else empty
    names = [match["name"] for match in _BLOCK.finditer(text)]
    for name in tables:
        if names.count(name) != 1:
            raise ValueError(f"{page}: {names.count(name)} pairs of markers for the table [{name}]; it has {names}")

    def replaced(match: re.Match) -> str:
        name = match["name"]
        if name not in tables:
            return match[0]
        return f"<!-- table: {name} -->\n\n{tables[name] or 'Not measured.'}\n\n<!-- end -->"

    write_text(page, _BLOCK.sub(replaced, text))


def write_csv(file: Path, rows: list[dict]) -> None:
    """All results, one line each."""
    write_text(file, pd.DataFrame(rows).to_csv(index=False))


def write_plot(file: Path, figure) -> None:
    """A figure of plotly as an HTML page."""
    write_text(file, figure.to_html(include_plotlyjs="cdn"))
