"""The HTML page of an evaluation. It needs no network and no script."""

from __future__ import annotations

import html

from recbole_universal.app.analysis.page import STYLE
from recbole_universal.app.evaluation.recommenders import POPULAR, UNIVERSAL
from recbole_universal.app.evaluation.results import Evaluation, Example

_MORE_STYLE = """
:root { --hit: #1d7a43; --bar: #4c8dd6; --other: #808790; } body { overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { :root { --hit: #5fc78a; } }
.answer { font-size: 1.3rem; line-height: 1.4; font-weight: 600; } .quiet { color: var(--quiet); }
ul.notes { max-width: 44rem; padding-left: 1.2rem; }
.customers { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); gap: 2rem 3rem; }
.customers h3 { margin: 0; } .customers p { margin: .2rem 0 .6rem; }
.lists { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1.5rem; } .lists strong { font-weight: 600; }
.lists ol { padding-left: 1.8rem; margin: .2rem 0 0; } .hit { font-weight: 700; color: var(--hit); }
.why { display: block; font-size: .8rem; line-height: 1.3; color: var(--quiet); }
.bars { list-style: none; padding: 0; margin: .6rem 0 0; max-width: 46rem; }
.bars li { display: grid; grid-template-columns: 9rem 1fr 8.5rem; gap: .75rem; align-items: center; padding: .2rem 0; }
.track { position: relative; height: 18px; } .track i { position: absolute; }
.value { left: 0; top: 0; bottom: 0; background: var(--other); } .ours .value { background: var(--bar); }
.margin { top: 8px; height: 2px; background: var(--ink); }
.figure { font-variant-numeric: tabular-nums; font-size: .9rem; }
tbody th { position: sticky; left: 0; background: var(--paper); }
@media (max-width: 36rem) {
  .bars li { grid-template-columns: 1fr auto; gap: .1rem .75rem; padding: .4rem 0; }
  .track { grid-column: 1 / -1; grid-row: 2; }
}
"""
# The plotted figures, and what they say.
_PLOTTED = {
    "hit rate": "The share of customers whose list has at least one held-out item.",
    "NDCG": "How many held-out items are in a list, and how far up they are. 1 is perfect.",
}


def render(evaluation: Evaluation) -> str:
    """The page: the answer, lists of some users, figures and plots."""
    k = evaluation.top_k
    plots = [_bars(evaluation, f"{name}@{k}", text) for name, text in _PLOTTED.items()]
    table = evaluation.shown().to_html(border=0).replace("±", "&plusmn;")
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in evaluation.notes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Should I use these recommendations?</title>
<style>{STYLE}{_MORE_STYLE}</style>
</head>
<body>
<h1>Should I use these recommendations?</h1>
<p class="answer">{html.escape(evaluation.answer)}</p>
<p class="quiet">{html.escape(evaluation.comparison)}</p>
<h2>Recommendations of some customers</h2>
<p>{len(evaluation.examples)} customers, drawn at random. A recommended item with a check mark is a held-out item of the
customer: one that the recommender could not see. {POPULAR} lists the most popular items.
Small type names the items of the customer that speak most for the recommended one.</p>
<div class="customers">
{"".join(map(_example, evaluation.examples))}</div>
<h2>Figures</h2>
{"".join(plots)}
<h3>All figures</h3>
<div class="wide" tabindex="0" role="region" aria-label="All figures">{table}</div>
<ul class="notes">{notes}</ul>
<p>NDCG, recall, hit rate, precision and MRR say how many held-out items are in a list and how far up; 1 is perfect.
Novelty is high where a list has items that few users have. Coverage is the share of all items that are in any list.
Gini is 0 where all items are recommended equally often, and near 1 where few items fill all lists. The overlap with
MostPop is 1 where a list holds the most popular items alone.</p>
</body>
</html>
"""


def _example(example: Example) -> str:
    history = html.escape(", ".join(example.history))
    none: list[list[str]] = [[] for _ in example.lists[POPULAR]]
    reasons = {UNIVERSAL: example.reasons, POPULAR: none}
    lists = ""
    for name, of_list in reasons.items():
        rows = [_item(item, hit, why) for (item, hit), why in zip(example.lists[name], of_list, strict=True)]
        lists += f"<div><strong>{name}</strong><ol>{''.join(rows)}</ol></div>"
    return (
        f"<section><h3>Customer {html.escape(example.user)}</h3><p>Had: {history}</p>"
        f'<div class="lists">{lists}</div></section>\n'
    )


def _item(item: str, hit: bool, reasons: list[str]) -> str:
    text = f'<span class="hit">{html.escape(item)} &#10003;</span>' if hit else html.escape(item)
    why = f'<span class="why">because of {html.escape(", ".join(reasons))}</span>' if reasons else ""
    return f"<li>{text}{why}</li>"


def _bars(evaluation: Evaluation, figure: str, text: str) -> str:
    """Horizontal bars of one figure with their intervals, the best on top."""
    values = evaluation.table[figure].sort_values(ascending=False)
    margins = evaluation.margins[figure].fillna(0.0).to_dict()
    scale = 100 / max(1e-9, *(value + margins[name] for name, value in values.items()))
    rows = []
    for name, value in values.items():
        left, right = max(0.0, value - margins[name]) * scale, (value + margins[name]) * scale
        ours = ' class="ours"' if name == UNIVERSAL else ""
        rows.append(
            f"<li{ours}><span>{html.escape(str(name))}</span>"
            f'<span class="track" aria-hidden="true"><i class="value" style="width: {value * scale:.1f}%"></i>'
            f'<i class="margin" style="left: {left:.1f}%; width: {right - left:.1f}%"></i></span>'
            f'<span class="figure">{value:.3f} &plusmn; {margins[name]:.3f}</span></li>'
        )
    return (
        f"<h3>{html.escape(figure)}, with 95 % confidence intervals</h3><p>{text}</p>"
        f'<ul class="bars">{"".join(rows)}</ul>\n'
    )
