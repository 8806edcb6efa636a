"""The HTML page of a report, and its figures. The page needs no network."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

#: Style sheet of a report.
STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --paper: #ffffff; --quiet: #5c6470; --line: #d9dde3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --paper: #15181c; --quiet: #a0a7b1; --line: #333941; }
}
body { margin: 0 auto; padding: 1rem; max-width: 62rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 1.6rem; } h2 { margin-top: 3rem; font-size: 1.4rem; } h3 { margin-top: 2.5rem; font-size: 1.15rem; }
p { max-width: 44rem; } nav a { margin-right: 1rem; } a { color: inherit; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; margin: .5rem 0 1.5rem; }
caption { text-align: left; color: var(--quiet); }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
"""
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Universal statistics: """
_COLORS = ("#4c8dd6", "#e07b39", "#3fa66b", "#b265c9", "#c9a227", "#d65f7f", "#5fb3b3")
_GREY = "#808790"  # readable on white and on black, because figures do not follow the colours of the page


@dataclass
class Section:
    """One question, its answer as tables, and how to read them.

    Attributes:
        title: the question.
        text: how to read the answer.
        tables: by caption.
        figures: plotly figures.
        plotted: tables that the page shows only as figures.
    """

    title: str
    text: str
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: list = field(default_factory=list)
    plotted: dict[str, pd.DataFrame] = field(default_factory=dict)


def bars(table: pd.DataFrame, title: str) -> Any:
    """Horizontal bars of a table of :func:`recbole_universal.app.analysis.evaluation.accuracy`, the best on top."""
    ordered = table.sort_values("NDCG@10")
    figure = new_figure(title)
    error = {"type": "data", "array": 1.0 * ordered["standard error"], "color": _GREY}
    figure.add_bar(x=ordered["NDCG@10"], y=ordered["model"], error_x=error, orientation="h")
    figure.update_layout(height=max(420, 24 * len(ordered)))
    return figure


def check_plotly() -> None:
    """Check that the figures can be drawn.

    Raises:
        ImportError: if plotly is not installed.
    """
    try:
        import plotly.graph_objects  # noqa: F401
    except ImportError as error:
        raise ImportError("The report is drawn with plotly, which is not installed: pip install plotly.") from error


def new_figure(title: str) -> Any:
    """A plotly figure without data."""
    import plotly.graph_objects as go

    figure = go.Figure()
    grid = "rgba(128, 128, 128, 0.25)"
    figure.update_layout(
        title={"text": title, "font": {"size": 14}, "x": 0, "automargin": True},
        font={"color": _GREY},
        colorway=_COLORS,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 10, "r": 10, "t": 50, "b": 10},
        legend={"orientation": "h", "y": -0.2},
        height=420,
    )
    figure.update_xaxes(gridcolor=grid, zerolinecolor=grid, automargin=True)
    figure.update_yaxes(gridcolor=grid, zerolinecolor=grid, automargin=True)
    return figure


def render(sections: Mapping[str, list[Section]]) -> str:
    """The page, from the sections of each dataset."""
    from plotly.offline import get_plotlyjs

    names = list(sections)
    links = " ".join(f'<a href="#d{k}">{html.escape(name)}</a>' for k, name in enumerate(names))
    body = []
    for k, name in enumerate(names):
        body.append(f'<h2 id="d{k}">{html.escape(name)}</h2>')
        body += [_section_html(section) for section in sections[name]]
    return f"""{_HEAD}{html.escape(", ".join(names))}</title>
<style>{STYLE}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<h1>Universal statistics</h1>
<nav>{links}</nav>
{"".join(body)}
</body>
</html>
"""


def _section_html(section: Section) -> str:
    parts = [f"<h3>{html.escape(section.title)}</h3><p>{html.escape(section.text)}</p>"]
    config = {"responsive": True, "displayModeBar": False}
    parts += [figure.to_html(full_html=False, include_plotlyjs=False, config=config) for figure in section.figures]
    for caption, table in section.tables.items():
        body = table.to_html(index=False, border=0, float_format=lambda value: f"{value:.4g}", na_rep="-")
        body = body.replace("<thead>", f"<caption>{html.escape(caption)}</caption><thead>", 1)
        parts.append(f'<div class="wide">{body}</div>')
    return "\n".join(parts)


def begins(path: Path, text: str) -> bool:
    """Whether a file begins with a text."""
    with path.open("rb") as file:
        return file.read(len(text)) == text.encode()


def is_report(path: Path) -> bool:
    """Whether a file is a page of :func:`render`."""
    return begins(path, _HEAD)
