"""The sections of the report on one dataset, and on several together."""

from __future__ import annotations

import tempfile

import numpy as np
import scipy.sparse as sp
from tqdm import tqdm

from recbole_universal.app.analysis import evaluation, statistics
from recbole_universal.app.analysis.order import order_section
from recbole_universal.app.analysis.page import Section, bars, new_figure
from recbole_universal.checkpoint import Pretrained
from recbole_universal.features import FAMILIES, FeaturePipeline, UniversalFeatures
from recbole_universal.graph import binary_matrix
from recbole_universal.graph.histories import Histories
from recbole_universal.ranking.ranker import UniversalRanker

_TOP_K = 20
_EXPLAINED_USERS = 50
_STABILITY_SEEDS = range(3)
_PAPER_FAMILIES = ("activity", "cooccurrence", "interaction")


class Study:
    """All sections of one dataset. Results that several sections need are computed once.

    Attributes:
        held_out: the split on which models are compared.
        features: features of the training interactions.
    """

    def __init__(
        self,
        name: str,
        matrix: sp.csr_matrix,
        model: Pretrained,
        n_users: int,
        in_domain: bool,
        seed: int,
        show: bool,
        histories: Histories | None = None,
    ) -> None:
        self.raw = statistics.k_core(binary_matrix(matrix), 1)
        if not (np.diff(self.raw.indptr) > 1).any():
            raise ValueError(f"Dataset [{name}]: no user has two interactions, so nothing can be held out.")
        self.held_out = evaluation.RandomSplit(self.raw, n_users, seed)
        self.name, self.model, self.n_users, self.seed, self.show = name, model, n_users, seed, show
        self.in_domain, self.histories, self.n_items = in_domain, histories, matrix.shape[1]

    def sections(self) -> list[Section]:
        """All sections, in the order of the report."""
        steps = (
            self._tails,
            self._recommend,
            self._clusters,
            self._accuracy,
            *([self._families] if self.in_domain else []),
            *([] if self.histories is None else [self._order]),
            self._popularity,
            self._cores,
            self._reasons,
        )
        sections = []
        for step in tqdm(steps, desc=f"analysis of {self.name}", unit="step", disable=not self.show):
            section = step()
            if section:
                sections.append(section)
        return sections

    def _recommend(self) -> None:
        self.ranker = UniversalRanker(self.held_out.train, self.model, seed=self.seed)
        by_scorer = evaluation.scorer_top_k(self.held_out, _TOP_K)
        paper = UniversalRanker(self.held_out.train, "universal-paper", seed=self.seed)
        universal = {
            "universal model": self.ranker.top_k(self.held_out.users, _TOP_K)[0],
            "universal model, fast": self.ranker.top_k(self.held_out.users, _TOP_K, fast=True)[0],
            "universal-paper": paper.top_k(self.held_out.users, _TOP_K)[0],
        }
        self.features = FeaturePipeline([*_PAPER_FAMILIES], seed=self.seed)(self.held_out.train)
        self.features.families["proximity"] = self.ranker.features["proximity"]
        baselines = {name: by_scorer.pop(scorer) for name, scorer in evaluation.BASELINES.items()}
        self.main = {**baselines, **universal}
        self.scorers = by_scorer

    def _tails(self) -> Section:
        text = (
            "Universal statistics transfer because their distributions look alike: a few users and items have most of "
            "the interactions. A straight line in the plot is a power law."
        )
        figure = new_figure("Share of users or items with at least this many interactions")
        for side, degree in statistics.interaction_counts(self.raw).items():
            values, counts = np.unique(degree, return_counts=True)
            share = counts[::-1].cumsum()[::-1] / len(degree)
            figure.add_scatter(x=values, y=share, name=side, mode="lines")
        figure.update_xaxes(type="log", title="interactions")
        figure.update_yaxes(type="log", title="share")
        table = statistics.marginals(self.raw).set_index("side").T.rename_axis("interactions", axis=0).reset_index()
        return Section("Are the tails heavy?", text, {"Tails": table.rename_axis(None, axis=1)}, [figure])

    def _clusters(self) -> Section:
        agreement, stats = statistics.clusters(self.held_out.train, _STABILITY_SEEDS)
        text = (
            "The paper's co-occurrence features bin clusters of node2vec embeddings by size and density. Near 1, two "
            "random seeds find the same clusters; the differences between seeds are noise in these features."
        )
        figure = new_figure("Clusters of the first seed")
        figure.add_scatter(x=stats["size"], y=stats["density"], mode="markers", name="clusters")
        figure.update_xaxes(type="log", title="users and items")
        figure.update_yaxes(title="density")
        stats.insert(0, "cluster", [str(index) for index in stats.index])
        tables = {"Agreement of two seeds": agreement}
        return Section("Are the node2vec clusters stable?", text, tables, [figure], {"Clusters": stats})

    def _accuracy(self) -> Section:
        table = evaluation.accuracy(self.held_out, {**self.main, **self.scorers})
        text = (
            f"{evaluation.verdict(self.held_out, self.main)} "
            f"NDCG@10 on {len(self.held_out.users):,} users, {evaluation.HELD_OUT_SHARE:.0%} of whose interactions are "
            "held out. All items are ranked, and no network is trained. The other rows are the "
            "graph scorers that the universal model weighs, each alone; MostPop, ItemKNN and EASE are three of them. A "
            "shipped model may have seen a public dataset before."
        )
        for name, fast in (("The universal model", False), ("The fast universal model", True)):
            reason = self.ranker.fallback_reason(fast)
            if reason:
                text += f" {name} recommends the same popular items to all users here: {reason}."
        figure = bars(table, "NDCG@10, with standard error")
        return Section("Which recommender does best here?", text, {"Accuracy": table}, [figure])

    def _families(self) -> Section:
        """Models of single families and of several, trained on this dataset."""
        families = [name for name, family in FAMILIES.items() if not family.needs_histories]
        groups = {name: [name] for name in families}
        groups |= {"the paper's three": list(_PAPER_FAMILIES), "all": families}
        with tempfile.TemporaryDirectory() as cache:  # node2vec and proximity are in several groups
            trained = {
                f"in-domain: {name}": evaluation.trained_top_k(self.held_out, names, _TOP_K, self.seed, cache)
                for name, names in groups.items()
            }
        table = evaluation.accuracy(self.held_out, {**trained, **self.main})
        text = (
            "Models of single families and of several, trained on this dataset to rank a held-out part of the training "
            "interactions by the features of the others. The frozen models and the three baselines are those above. "
            "One seed, fixed hyperparameters."
        )
        figure = bars(table, "NDCG@10, with standard error")
        return Section("How good is each family when trained here?", text, {"Families": table}, [figure])

    def _order(self) -> Section:
        assert self.histories is not None
        return order_section(self.histories, self.n_items, self.n_users, self.seed)

    def _popularity(self) -> Section:
        table = evaluation.popularity(self.held_out, self.main)
        deciles = evaluation.deciles(self.held_out, self.main).dropna(subset="value")
        text = (
            "Recommendations that are the same for all users overlap with MostPop's, and few items are among them. "
            "Decile 1 holds the least active users or the least popular items. Equal ones are in one decile; empty "
            "deciles are left out."
        )
        figures = []
        for by, title in (("user activity", "NDCG@10"), ("item popularity", "Recall@20")):
            figure = new_figure(f"{title}, by {by}")
            for name, rows in deciles[deciles["by"] == by].groupby("model", sort=False):
                figure.add_scatter(x=rows["decile"], y=rows["value"], name=name, mode="lines+markers")
            figure.update_xaxes(title="decile")
            figures.append(figure)
        wide = deciles.pivot_table(index=["by", "decile"], columns="model", values="value", sort=False).reset_index()
        wide = wide.sort_values(["by", "decile"], ascending=[False, True]).astype({"decile": str})
        return Section(
            "Is it just MostPop?",
            text,
            {"Similarity to MostPop": table, "By decile": wide.rename_axis(None, axis=1)},
            figures,
        )

    def _cores(self) -> Section:
        text = (
            "Papers often keep only users and items with at least five or ten interactions. The table shows the size "
            "of these cores, and the NDCG@10 of the baselines there."
        )
        return Section("What does the filter do?", text, {"Cores": evaluation.cores(self.raw, self.n_users, self.seed)})

    def _reasons(self) -> Section:
        users = self.held_out.users[:_EXPLAINED_USERS]
        table = statistics.explanations(self.ranker, users)
        text = (
            f"Attribution of the scores of the ten best items of {len(users)} users to each scorer, as a share of all "
            "contributions. A contribution is the loss of score when the scorer's columns become their mean over the "
            "candidates. Contributions overlap; a negative share counts against the items."
        )
        ordered = table.iloc[::-1]
        figure = new_figure("Mean share of the score")
        figure.add_bar(x=ordered["mean share"], y=ordered["group"], orientation="h")
        figure.update_layout(height=max(420, 24 * len(ordered)))
        return Section("Why these items?", text, {"Contributions": table}, [figure])


def similarity_of_datasets(features: dict[str, UniversalFeatures], seed: int) -> Section:
    """The section on how similar the features of several datasets are."""
    table = statistics.feature_distances(features, seed)
    text = (
        "Mean Wasserstein distance of the columns of a family, in standard deviations: 0 = the same distribution. "
        "Over 32 datasets, this similarity hardly predicted the best source for a target (docs/ablation.md of the "
        "repository)."
    )
    figure = new_figure("Distance by family")
    for family, rows in table.groupby("family", sort=False):
        figure.add_bar(x=rows["one"] + " - " + rows["other"], y=rows["distance"], name=family)
    return Section("How similar are the features of the datasets?", text, {"Distances": table}, [figure])
