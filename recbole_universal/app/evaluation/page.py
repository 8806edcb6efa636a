"""The HTML page of an evaluation. It needs no network and no script."""

from __future__ import annotations

import html

from recbole_universal.app.analysis.page import STYLE
from recbole_universal.app.evaluation.recommenders import POPULAR, UNIVERSAL
from recbole_universal.app.evaluation.results import Evaluation, Example

_MORE_STYLE = """
.answer { font-size: 1.3rem; line-height: 1.4; font-weight: 600; }
.lists { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 0 2rem; }
.lists ol { padding-left: 1.6rem; margin-top: .3rem; } .hit { font-weight: 700; color: #3fa66b; }
svg text { fill: var(--ink); font-size: 13px; } svg line { stroke: var(--ink); }
"""
_BAR, _OTHER_BAR = "#4c8dd6", "#808790"
# Widths of the parts of a plot, and height of a bar, in pixels.
_NAMES, _BARS, _VALUES, _HEIGHT = 130, 420, 160, 28
_PLOTTED = ("hit rate", "NDCG")


def render(evaluation: Evaluation) -> str:
    """The page: the answer, lists of some users, figures and plots."""
    k = evaluation.top_k
    plots = [_bars(evaluation, f"{name}@{k}") for name in _PLOTTED]
    table = evaluation.shown().to_html(border=0).replace("±", "&plusmn;")
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in evaluation.notes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Are the recommendations any good?</title>
<style>{STYLE}{_MORE_STYLE}</style>
</head>
<body>
<h1>Should I use this?</h1>
<p class="answer">{html.escape(evaluation.answer)}</p>
<p>{html.escape(evaluation.comparison)}</p>
<h2>Recommendations of some customers</h2>
<p>{len(evaluation.examples)} customers, drawn at random. A recommended item with a check mark is a held-out item of the
customer: one that the recommender could not see.</p>
{"".join(map(_example, evaluation.examples))}
<h2>Figures</h2>
{"".join(plots)}
<div class="wide">{table}</div>
<ul>{notes}</ul>
<p>NDCG, recall, hit rate, precision and MRR say how many held-out items are in a list and how far up; 1 is perfect.
Novelty is high where a list has items that few users have. Coverage is the share of all items that are in any list.
Gini is 0 where all items are recommended equally often, and near 1 where few items fill all lists. The overlap with
MostPop is 1 where a list holds the most popular items alone.</p>
</body>
</html>
"""


def _example(example: Example) -> str:
    history = html.escape(", ".join(example.history))
    titles = {UNIVERSAL: "Recommended", POPULAR: "Most popular"}
    lists = "".join(
        f"<div>{title}<ol>{''.join(_item(*item) for item in example.lists[name])}</ol></div>"
        for name, title in titles.items()
    )
    return f"<h3>Customer {html.escape(example.user)}</h3><p>Had: {history}</p><div class='lists'>{lists}</div>\n"


def _item(item: str, hit: bool) -> str:
    return f'<li class="hit">{html.escape(item)} &#10003;</li>' if hit else f"<li>{html.escape(item)}</li>"


def _bars(evaluation: Evaluation, figure: str) -> str:
    """Horizontal bars of one figure with their intervals, the best on top."""
    values = evaluation.table[figure].sort_values(ascending=False)
    margins = evaluation.margins[figure].fillna(0.0).to_dict()
    scale = _BARS / max(1e-9, *(value + margins[name] for name, value in values.items()))
    height = _HEIGHT * len(values)
    parts = []
    for row, (name, value) in enumerate(values.items()):
        top, margin = row * _HEIGHT, margins[name]
        middle, left, right = top + 12, max(0.0, value - margin) * scale, (value + margin) * scale
        color = _BAR if name == UNIVERSAL else _OTHER_BAR
        parts.append(
            f'<text x="0" y="{top + 16}">{html.escape(str(name))}</text>'
            f'<rect x="{_NAMES}" y="{top + 3}" width="{value * scale:.1f}" height="18" fill="{color}"/>'
            f'<line x1="{_NAMES + left:.1f}" x2="{_NAMES + right:.1f}" y1="{middle}" y2="{middle}"/>'
            f'<text x="{_NAMES + right + 8:.1f}" y="{top + 16}">{value:.3f} &plusmn; {margin:.3f}</text>'
        )
    return (
        f"<h3>{html.escape(figure)}, with 95 % confidence intervals</h3>"
        f'<svg role="img" aria-label="{html.escape(figure)} of each recommender" width="100%" '
        f'style="max-width: {_NAMES + _BARS + _VALUES}px" viewBox="0 0 {_NAMES + _BARS + _VALUES} {height}">'
        f"{''.join(parts)}</svg>\n"
    )
