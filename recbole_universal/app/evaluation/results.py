"""The figures of an evaluation, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_universal import metrics
from recbole_universal.app.evaluation.recommenders import POPULAR, UNIVERSAL
from recbole_universal.app.evaluation.splits import Fold
from recbole_universal.graph.held_out import held_out_hits

#: Differences over fewer users may be chance, whatever their intervals are.
ENOUGH_USERS = 30
# Half-width of a 95 % interval, in standard errors.
_WIDTH = 1.96


@dataclass(frozen=True)
class Difference:
    """NDCG of the universal model minus that of the best baseline, paired over the users.

    Attributes:
        baseline: the baseline with the highest mean NDCG on these users.
        mean: mean difference.
        margin: half-width of its 95 % confidence interval; NaN with fewer than two users.
        z_score: mean difference in standard errors.
    """

    baseline: str
    mean: float
    margin: float
    z_score: float


@dataclass(frozen=True)
class Example:
    """One evaluated user.

    Attributes:
        user: id of the user.
        history: ids of the last items of the training part, the latest last; where the order is unknown, any.
        lists: by recommender the ids of the recommended items, each with whether it is a held-out item of the user.
        reasons: for each item of the universal model's list, ids of the user's items that speak for it most.
    """

    user: str
    history: list[str]
    lists: dict[str, list[tuple[str, bool]]]
    reasons: list[list[str]]


@dataclass(frozen=True)
class Evaluation:
    """Recommenders on held-out interactions of the same users.

    Attributes:
        answer: one sentence on whether the universal model is better than popular items.
        table: a row per recommender. ``NDCG@k``, ``recall@k``, ``hit rate@k``, ``precision@k``, ``MRR@k``, ``novelty``
            and ``overlap with MostPop`` are means over users. ``coverage`` and ``Gini`` describe all lists together.
            ``fit seconds`` and ``ranking seconds`` are sums over the folds.
        margins: half-widths of the 95 % confidence intervals of the means, in the same rows; normal approximation.
        by_user: for each recommender, the values behind the means, a row per user id.
        difference: universal model and best baseline.
        split: name of the split.
        n_users: number of evaluated users.
        top_k: length of a list.
        notes: what was held out, drawn and left out, and which model ranked.
        examples: some users, drawn at random.
    """

    answer: str
    table: pd.DataFrame
    margins: pd.DataFrame
    by_user: dict[str, pd.DataFrame]
    difference: Difference
    split: str
    n_users: int
    top_k: int
    notes: list[str]
    examples: list[Example]

    @property
    def comparison(self) -> str:
        """A sentence on the universal model and the best baseline."""
        name, baseline = f"NDCG@{self.top_k}", self.difference.baseline
        likely = "more than chance explains" if _sign(self.difference.z_score, self.n_users) else "and may be chance"
        if not self.difference.margin > 0:  # no difference at all, or one user
            likely = "which says nothing" if self.difference.mean else "for each user alike"
        values = self.table[name].to_dict()
        return (
            f"The {UNIVERSAL} has {name} {values[UNIVERSAL]:.4f}, the best baseline, {baseline}, "
            f"{values[baseline]:.4f}. The difference is {self.difference.mean:+.4f} ± "
            f"{self.difference.margin:.4f}, {likely}."
        )

    def shown(self) -> pd.DataFrame:
        """The table as text: a row per figure, a column per recommender, ± the margin."""
        figures, margins = self.table.to_dict("index"), self.margins.to_dict("index")
        return pd.DataFrame(
            {
                name: {
                    str(figure): _shown(str(figure), value, margins[name].get(figure)) for figure, value in row.items()
                }
                for name, row in figures.items()
            }
        )

    def __str__(self) -> str:
        return "\n".join([self.answer, self.comparison, "", self.shown().to_string(), "", *self.notes])


def _shown(figure: str, value: float, margin: float | None) -> str:
    if figure.endswith("seconds"):
        return f"{value:.1f}"
    return f"{value:.4f}" if margin is None else f"{value:.4f} ± {margin:.4f}"


def metrics_by_user(lists: np.ndarray, popular: np.ndarray, fold: Fold) -> pd.DataFrame:
    """The metrics of each user's list.

    Args:
        lists: item indices int64 [n_users, k] of the users of the fold, -1 is no item.
        popular: the lists of MostPop.
        fold: training part and held-out items.

    Returns:
        A column per metric, a row per user index.
    """
    k = lists.shape[1]
    test = fold.test[fold.users]
    hits, n_relevant = held_out_hits(lists, test), np.diff(test.indptr)
    share = np.bincount(fold.train.indices, minlength=test.shape[1]) / np.count_nonzero(np.diff(fold.train.indptr))
    columns = {
        f"NDCG@{k}": metrics.ndcg(hits, n_relevant),
        f"recall@{k}": metrics.recall(hits, n_relevant),
        f"hit rate@{k}": metrics.hit_rate(hits),
        f"precision@{k}": metrics.precision(hits),
        f"MRR@{k}": metrics.reciprocal_rank(hits),
        "novelty": metrics.novelty(lists, share),
        f"overlap with {POPULAR}": metrics.overlap(lists, popular),
    }
    return pd.DataFrame(columns, index=fold.users)


def metrics_of_lists(lists: np.ndarray, fold: Fold) -> dict[str, float]:
    """Coverage, the share of the items of the training part that are in a list, and Gini coefficient of these items."""
    coverage, gini = metrics.coverage_and_gini(lists, np.unique(fold.train.indices))
    return {"coverage": coverage, "Gini": gini}


def margins(values: pd.DataFrame) -> pd.Series:
    """Half-width of the 95 % confidence interval of the mean of each column; normal approximation."""
    return _WIDTH * values.std(ddof=1) / len(values) ** 0.5


def difference_to_best(by_user: dict[str, pd.DataFrame], top_k: int) -> Difference:
    """The universal model and the baseline with the highest NDCG."""
    ndcgs = {name: values[f"NDCG@{top_k}"] for name, values in by_user.items()}
    ours = ndcgs.pop(UNIVERSAL)
    baseline = max(ndcgs, key=lambda name: ndcgs[name].mean())
    difference = ours - ndcgs[baseline]
    z_score = metrics.paired_z_score(difference.to_numpy())
    (margin,) = margins(difference.to_frame())
    return Difference(baseline, float(difference.mean()), float(margin), z_score)


def answer(by_user: dict[str, pd.DataFrame], best: Difference, split: str, top_k: int) -> str:
    """Whether to use the universal model, in one sentence for people without statistics."""
    hits = {name: by_user[name][f"hit rate@{top_k}"] for name in (UNIVERSAL, POPULAR)}
    n_users = len(hits[UNIVERSAL])
    sign = _sign(metrics.paired_z_score((hits[UNIVERSAL] - hits[POPULAR]).to_numpy()), n_users)
    word, end = {1: "Yes", 0: "Not clearly", -1: "No"}[sign], "" if sign else ", and the difference may be chance"
    if (hits[UNIVERSAL] == hits[POPULAR]).all():
        end = ", for each customer alike"
    if sign > 0 and _sign(best.z_score, n_users) < 0:
        word = f"Yes, but {best.baseline} does better"
    chosen = "one of their items that was held out" if split == "random" else "one that they chose later"
    one = "the recommended item" if top_k == 1 else f"at least one of the {top_k} recommended items"
    popular = "the most popular item" if top_k == 1 else f"the {top_k} most popular items"
    ours, theirs = (_of_100(values) for values in hits.values())
    return f"{word}: for {ours} of 100 customers, {one} is {chosen}; with {popular} it is {theirs} of 100{end}."


def _sign(z_score: float, n_users: int) -> int:
    """1 or -1 for a difference that is outside of its 95 % interval around 0, otherwise 0."""
    return int(np.sign(z_score)) if abs(z_score) > _WIDTH and n_users >= ENOUGH_USERS else 0


def _of_100(hits: Sequence[float] | pd.Series) -> str:
    percent = 100 * float(np.mean(hits))
    return f"{percent:.0f}" if percent >= 1 or not percent else f"{percent:.1f}"
