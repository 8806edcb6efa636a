"""The analysis of one or more data sets as one HTML file that needs no network, and a CSV of every figure in it."""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from tqdm import tqdm

from recbole_universal.app.analysis import measures
from recbole_universal.checkpoint import Pretrained, load_pretrained
from recbole_universal.features import FAMILIES, FeaturePipeline
from recbole_universal.files import atomic_write
from recbole_universal.graph import binary_matrix
from recbole_universal.ranking.ranker import UniversalRanker

_COLUMNS = ["data set", "section", "table", "row", "measure", "value"]
_LISTED = 20
_EXPLAINED_USERS = 50
_STABILITY_SEEDS = range(3)
_TOGETHER = "All data sets"
_PAPER_FAMILIES = ("activity", "cooccurrence", "interaction")


@dataclass
class Section:
    """One question, its answer as tables, and how to read them.

    Attributes:
        title: the question.
        text: how to read the answer.
        tables: by caption.
        figures: plotly figures.
        plotted: tables that the page shows as plots alone.
    """

    title: str
    text: str
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: list = field(default_factory=list)
    plotted: dict[str, pd.DataFrame] = field(default_factory=dict)


def analyze(
    matrices: Mapping[str, sp.csr_matrix],
    output: str | os.PathLike[str],
    *,
    pretrained: str | os.PathLike[str] | Pretrained = "universal-base",
    n_users: int = 1000,
    in_domain: bool = False,
    seed: int = 2020,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Analyse data sets and write ``output`` (HTML) and the CSV beside it.

    Args:
        matrices: interactions by name of the data set, csr [n_users, n_items]; any value but 0 counts as one.
        output: the HTML file, which is replaced; the CSV has its name with the ending ``.csv``. A file of that name
            which is no table of this function is kept, and an error.
        pretrained: model that ranks by candidates: name of a shipped one, folder of one, or a loaded one.
        n_users: users evaluated in each data set at most.
        in_domain: whether models of each family, and of all, are trained on each data set beside the frozen ones.
        seed: seed of everything random.
        show_progress: whether to draw progress bars on stderr.

    Returns:
        What the CSV holds: ``data set``, ``section``, ``table``, ``row``, ``measure``, ``value``.

    Raises:
        ValueError: if a data set is too small (no user with two interactions) or an argument is not valid.
        OSError: if a file cannot be written.
    """
    if not matrices or _TOGETHER in matrices:
        raise ValueError(f"analyze: there is no data set, or one named [{_TOGETHER}], which is a part of the report.")
    if isinstance(n_users, bool) or not isinstance(n_users, int) or n_users < 1:
        raise ValueError(f"n_users (--users): must be a positive integer, got {n_users!r}.")
    path = Path(os.path.expanduser(output))
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"output (--output): [{path}] must end in .html.")
    if not path.parent.is_dir():
        raise ValueError(f"output (--output): there is no folder [{path.parent}].")
    table = path.with_suffix(".csv")
    if table.exists() and not _begins(table, ",".join(_COLUMNS)):
        raise ValueError(
            f"output (--output): [{table}], where the figures of [{path}] go, is there and is no table of analyze; "
            "name another file."
        )
    model = pretrained if isinstance(pretrained, Pretrained) else load_pretrained(pretrained)
    if "proximity" not in model.families:
        raise ValueError("pretrained (--pretrained): only a model with the family [proximity] can be analysed.")
    with ExitStack() as stack:
        try:  # better now than after minutes
            page_file, table_file = (stack.enter_context(atomic_write(file)) for file in (path, table))
        except OSError as error:
            raise OSError(f"output (--output): cannot write [{path}] and [{table}]: {error.strerror}.") from error
        found = _studied(matrices, model, n_users, in_domain, seed, show_progress)
        figures = _long(found)
        page_file.write(_page(found).encode())
        table_file.write(figures.to_csv(index=False).encode())
    return figures


def _studied(
    matrices: Mapping[str, sp.csr_matrix], model: Pretrained, n_users: int, in_domain: bool, seed: int, show: bool
) -> dict[str, list[Section]]:
    """The sections of each data set, and of all together."""
    found: dict[str, list[Section]] = {}
    features = {}
    for name, matrix in matrices.items():
        try:
            study = _Study(name, matrix, model, n_users, in_domain, seed, show)
        except ValueError as error:
            if len(matrices) == 1:
                raise
            found[name] = [Section("Not analysed", str(error), {})]  # what is known of the others is not lost
            continue
        found[name] = study.sections()
        features[name] = study.features
    if not features:
        raise ValueError("analyze: none of the data sets has a user with two interactions.")
    if len(features) > 1:
        found[_TOGETHER] = [_alikeness(features, seed)]
    return found


def is_report(path: Path) -> bool:
    """Whether a file is a page that :func:`analyze` wrote."""
    return _begins(path, _HEAD)


def _begins(path: Path, text: str) -> bool:
    with path.open("rb") as file:
        return file.read(len(text)) == text.encode()


class _Study:
    """All sections of one data set; what several need is computed once."""

    def __init__(
        self, name: str, matrix: sp.csr_matrix, model: Pretrained, n_users: int, in_domain: bool, seed: int, show: bool
    ) -> None:
        self.raw = measures.k_core(binary_matrix(matrix), 1)
        if not (np.diff(self.raw.indptr) > 1).any():
            raise ValueError(f"Data set [{name}]: no user has two interactions, so nothing can be held out.")
        self.held_out = measures.HeldOut(self.raw, n_users, seed)
        self.name, self.model, self.n_users, self.seed, self.show = name, model, n_users, seed, show
        self.in_domain = in_domain

    def sections(self) -> list[Section]:
        """Everything, in the order of the report."""
        steps = (
            self._tails,
            self._lists,
            self._clusters,
            self._accuracy,
            *([self._families] if self.in_domain else []),
            self._popularity,
            self._cores,
            self._reasons,
        )
        sections = []
        for step in tqdm(steps, desc=f"analysis of {self.name}", unit="part", disable=not self.show):
            made = step()
            if made:
                sections.append(made)
        return sections

    def _lists(self) -> None:
        self.ranker = UniversalRanker(self.held_out.train, self.model, seed=self.seed)
        lists = measures.scorer_lists(self.held_out, _LISTED)
        paper = UniversalRanker(self.held_out.train, "universal-paper", seed=self.seed)
        universal = {
            "universal model": self.ranker.top_k(self.held_out.users, _LISTED)[0],
            "fast lists": self.ranker.top_k(self.held_out.users, _LISTED, fast=True)[0],
            "universal-paper": paper.top_k(self.held_out.users, _LISTED)[0],
        }
        self.features = FeaturePipeline([*_PAPER_FAMILIES], seed=self.seed)(self.held_out.train)
        self.features.families["proximity"] = self.ranker.features["proximity"]
        self.peers = {peer: lists.pop(scorer) for peer, scorer in measures.PEERS.items()}
        self.main = {**self.peers, **universal}
        self.scorers = lists

    def _tails(self) -> Section:
        text = (
            "Universal statistics transfer because their distributions look alike: a few users and items have most of "
            "the interactions. A straight line in the plot is a power law."
        )
        figure = _figure("Share of users or items with at least so many interactions")
        for side, degree in measures.sides(self.raw).items():
            values, counts = np.unique(degree, return_counts=True)
            share = counts[::-1].cumsum()[::-1] / len(degree)
            figure.add_scatter(x=values, y=share, name=side, mode="lines")
        figure.update_xaxes(type="log", title="interactions")
        figure.update_yaxes(type="log", title="share")
        table = measures.marginals(self.raw).set_index("side").T.rename_axis("interactions", axis=0).reset_index()
        return Section("Are the tails heavy?", text, {"Tails": table.rename_axis(None, axis=1)}, [figure])

    def _clusters(self) -> Section:
        agreement, stats = measures.clusters(self.held_out.train, _STABILITY_SEEDS, False)
        text = (
            "The paper's co-occurrence features bin clusters of node2vec embeddings by size and density. Near 1, two "
            "random seeds find the same clusters; what differs between seeds is noise in these features."
        )
        figure = _figure("Clusters of the first seed")
        figure.add_scatter(x=stats["size"], y=stats["density"], mode="markers", name="clusters")
        figure.update_xaxes(type="log", title="users and items")
        figure.update_yaxes(title="density")
        stats.insert(0, "cluster", [str(number) for number in stats.index])
        tables = {"Agreement of two seeds": agreement}
        return Section("Are the node2vec clusters stable?", text, tables, [figure], {"Clusters": stats})

    def _accuracy(self) -> Section:
        table = measures.accuracy(self.held_out, {**self.main, **self.scorers})
        text = (
            f"{measures.verdict(self.held_out, self.main)} "
            f"NDCG@10 on {len(self.held_out.users):,} users, {measures.HIDDEN_SHARE:.0%} of whose interactions were "
            "hidden; all items are ranked, nothing is trained, no knob is chosen. The other rows are the graph scorers "
            "that the universal model weighs, each alone; MostPop, ItemKNN and EASE are three of them. A shipped "
            "model may have seen a public data set before."
        )
        for lists, fast in (("The universal model's lists", False), ("Fast lists", True)):
            reason = self.ranker.fallback_reason(fast)
            if reason:
                text += f" {lists} are the same popular items for everybody here: {reason}."
        figure = _bars(table, "NDCG@10, with standard error")
        return Section("Which recommender does best here?", text, {"Accuracy": table}, [figure])

    def _families(self) -> Section:
        """Single families against all, trained here."""
        groups = {name: [name] for name in FAMILIES}
        groups |= {"the paper's three": list(_PAPER_FAMILIES), "all": list(FAMILIES)}
        with tempfile.TemporaryDirectory() as cache:  # node2vec and proximity are in several groups
            lists = {
                f"in-domain: {name}": measures.trained_lists(self.held_out, names, _LISTED, self.seed, cache)
                for name, names in groups.items()
            }
        table = measures.accuracy(self.held_out, {**lists, **self.main})
        text = (
            "Models of single families and of several, trained on this data set: some of the interactions that may be "
            "seen are hidden and found again from the others. Beside them the frozen models and three peers, as above. "
            "One seed, fixed knobs."
        )
        figure = _bars(table, "NDCG@10, with standard error")
        return Section("What do the families say when trained here?", text, {"Families": table}, [figure])

    def _popularity(self) -> Section:
        table = measures.popularity(self.held_out, self.main)
        tenths = measures.deciles(self.held_out, self.main).dropna(subset="value")
        text = (
            "Lists that are the same for everybody overlap with MostPop's, are few, and cover few items. Tenth 1 are "
            "the least active users or least popular items; equal ones are in one tenth, and empty tenths are left out."
        )
        figures = []
        for by, title in (("user activity", "NDCG@10"), ("item popularity", "Hidden items found among 20")):
            figure = _figure(f"{title}, by {by}")
            for name, rows in tenths[tenths["by"] == by].groupby("model", sort=False):
                figure.add_scatter(x=rows["tenth"], y=rows["value"], name=name, mode="lines+markers")
            figure.update_xaxes(title="tenth")
            figures.append(figure)
        tenths = tenths.sort_values(["by", "tenth"], ascending=[False, True], kind="stable").astype({"tenth": str})
        wide = tenths.pivot_table(index=["by", "tenth"], columns="model", values="value", sort=False)
        return Section(
            "Is it just MostPop?",
            text,
            {"Lists": table, "By tenth": wide.reset_index().rename_axis(None, axis=1)},
            figures,
        )

    def _cores(self) -> Section:
        text = (
            "Papers often keep only users and items with at least five or ten interactions. This is what is left, and "
            "what simple recommenders reach there."
        )
        return Section("What does the filter do?", text, {"Cores": measures.cores(self.raw, self.n_users, self.seed)})

    def _reasons(self) -> Section:
        users = self.held_out.users[:_EXPLAINED_USERS]
        table = measures.explanations(self.ranker, users)
        text = (
            f"What each scorer adds to the scores of the ten best items of {len(users)} users, as its share of all "
            "contributions: the score that is lost when its columns become the mean over the candidates. Contributions "
            "overlap; a negative share speaks against the items."
        )
        ordered = table.iloc[::-1]
        figure = _figure("Mean share of the score")
        figure.add_bar(x=ordered["mean share"], y=ordered["part"], orientation="h")
        figure.update_layout(height=max(420, 24 * len(ordered)))
        return Section("Why these items?", text, {"Contributions": table}, [figure])


def _alikeness(features, seed: int) -> Section:
    table = measures.feature_distances(features, seed)
    text = (
        "Mean Wasserstein distance of the columns of a family, in standard deviations: 0 = the same distribution. "
        "Over 32 data sets, likeness told only a little of which source teaches which target best "
        "(docs/ablation.md of the repository)."
    )
    figure = _figure("Distance by family")
    for family, rows in table.groupby("family", sort=False):
        figure.add_bar(x=rows["one"] + " - " + rows["other"], y=rows["distance"], name=family)
    return Section("How alike are the data sets' features?", text, {"Distances": table}, [figure])


# -- The page ---------------------------------------------------------------------------------------------------------

_STYLE = """
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
_GREY = "#808790"  # can be read on white and on black, as plots do not follow the page's colours


def _bars(table: pd.DataFrame, title: str):
    """Horizontal bars of a table of :func:`measures.accuracy`, the best on top."""
    ordered = table.sort_values("NDCG@10")
    figure = _figure(title)
    error = {"type": "data", "array": 1.0 * ordered["standard error"], "color": _GREY}
    figure.add_bar(x=ordered["NDCG@10"], y=ordered["model"], error_x=error, orientation="h")
    figure.update_layout(height=max(420, 24 * len(ordered)))
    return figure


def _figure(title: str):
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


def _page(found: Mapping[str, list[Section]]) -> str:
    from plotly.offline import get_plotlyjs

    names = list(found)
    links = " ".join(f'<a href="#d{k}">{html.escape(name)}</a>' for k, name in enumerate(names))
    body = []
    for k, name in enumerate(names):
        body.append(f'<h2 id="d{k}">{html.escape(name)}</h2>')
        body += [_section_html(section) for section in found[name]]
    return f"""{_HEAD}{html.escape(", ".join(names))}</title>
<style>{_STYLE}</style>
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
        shown = table.to_html(index=False, border=0, float_format=lambda value: f"{value:.4g}", na_rep="-")
        shown = shown.replace("<thead>", f"<caption>{html.escape(caption)}</caption><thead>", 1)
        parts.append(f'<div class="wide">{shown}</div>')
    return "\n".join(parts)


def _long(found: Mapping[str, list[Section]]) -> pd.DataFrame:
    """One row a figure; a row of a table is named by the first columns of text."""
    rows = []
    for name, sections in found.items():
        for section in sections:
            for caption, table in {**section.tables, **section.plotted}.items():
                texts = [bool(table[column].map(lambda value: isinstance(value, str)).all()) for column in table]
                n_names = texts.index(False) if False in texts else 1
                for record in table.itertuples(index=False):
                    row = {"data set": name, "section": section.title, "table": caption}
                    row["row"] = ", ".join(record[:n_names])
                    values = zip(table.columns[n_names:], record[n_names:], strict=True)
                    rows += [row | {"measure": measure, "value": value} for measure, value in values]
    return pd.DataFrame(rows, columns=_COLUMNS)
