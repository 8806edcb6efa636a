"""The section on the order of the interactions: does it matter, and what would each way to split the data say?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from recbole_universal.app.analysis.page import Section, new_figure
from recbole_universal.graph.held_out import split_in_time
from recbole_universal.graph.histories import FIRST_SECONDS, Histories
from recbole_universal.graph.interaction_graph import binary_matrix
from recbole_universal.graph.popularity import popular_lists
from recbole_universal.graph.sequence_scorers import SEQUENCE_SCORERS
from recbole_universal.graph.transitions import Transitions
from recbole_universal.metrics import ndcg
from recbole_universal.ranking.order_check import WITH_ORDER, WITHOUT_ORDER, OrderCheck, check_order
from recbole_universal.ranking.ranker import UniversalRanker

TITLE = "Does the order matter?"
_CUTOFF = 10
# A pair of neighbouring items counts as frequent from this number of occurrences on.
_FREQUENT = 5
_N_SHUFFLES = 3
# Position of the split in time, as a share of the events.
_SPLIT = 0.9


def order_section(histories: Histories, n_items: int, n_users: int, seed: int) -> Section:
    """Whether the order of a dataset's interactions helps to predict the next item.

    Args:
        histories: the interactions in order.
        n_items: number of items.
        n_users: number of evaluated users of each split at most.
        seed: seed of everything random.
    """
    matrix = binary_matrix(histories.matrix(n_items))
    ranker = UniversalRanker(matrix, WITH_ORDER, histories=histories, seed=seed)
    ranker.on_fallback = None
    result = check_order(ranker, histories, WITHOUT_ORDER, seed=seed)
    shuffles = shuffle_test(histories, n_items, seed)
    weights = ranker.network.candidate_pairs.scorer_weights
    table = pd.DataFrame(
        {
            "scorer": list(SEQUENCE_SCORERS),
            "decay": [scorer.decay for scorer in SEQUENCE_SCORERS.values()],
            "NDCG@10 relative to the best scorer": weights.astype(float),
        }
    ).sort_values("NDCG@10 relative to the best scorer", ascending=False, kind="stable")
    splits = compared_splits(histories, n_items, n_users, seed)
    tables = {"Shuffle test": shuffles, "Histories": statistics_of(histories), "Scorers": table, "Splits": splits}
    figure = new_figure("Scorers of the next item; decay 1 does not know the order")
    figure.add_bar(x=table.iloc[::-1, 2], y=table["scorer"][::-1], orientation="h")
    figure.update_layout(height=24 * len(table))
    return Section(TITLE, _text(result, shuffles, table), tables, [figure])


def _text(result: OrderCheck | None, shuffles: pd.DataFrame, table: pd.DataFrame) -> str:
    verdict = "No next item could be held out, so the models cannot be compared."
    if result is not None:
        effect = "better" if result.helps else "not clearly better" if result.z_score > -1 else "worse"
        verdict = (
            f"[{WITH_ORDER}], which reads order and repeats, is {effect} than [{WITHOUT_ORDER}], which reads neither: "
            f"on {result.held_out}, NDCG@10 is {result.with_order:.4f} against {result.without_order:.4f} (difference: "
            f"{result.z_score:+.1f} standard errors)."
        )
    real, random = shuffles["frequent pairs"]
    best = str(table["scorer"].iloc[0])
    return (
        f"{verdict} {real:,.0f} directed pairs of neighbouring items occur {_FREQUENT} times or more. With each "
        f"history shuffled, {random:,.0f} do. The best single scorer is {best}. The table of splits shows "
        "what each way to hold out items would say about the same recommenders."
    )


def shuffle_test(histories: Histories, n_items: int, seed: int) -> pd.DataFrame:
    """Frequent directed pairs of neighbouring items, in the data and with each history shuffled (mean of three)."""
    generator = np.random.default_rng(seed)

    def frequent(some: Histories) -> int:
        return int((Transitions(some, n_items).matrix(lambda gap: (gap == 1) * 1.0).data >= _FREQUENT).sum())

    counts = [frequent(shuffled(histories, generator)) for _ in range(_N_SHUFFLES)]
    return pd.DataFrame(
        {"histories": ["in order", "shuffled"], "frequent pairs": [float(frequent(histories)), float(np.mean(counts))]}
    )


def shuffled(histories: Histories, generator: np.random.Generator) -> Histories:
    """The histories with their items in random order; the times stay."""
    order = np.lexsort((generator.random(len(histories.items)), histories.rows))
    return Histories(histories.items[order], histories.indptr, histories.users, histories.times, histories.now)


def statistics_of(histories: Histories) -> pd.DataFrame:
    """Lengths, repeats, and times between neighbouring events."""
    lengths = histories.lengths[histories.lengths > 0]
    n_pairs = len(np.unique(histories.rows * (int(histories.items.max()) + 1) + histories.items))
    rows = {
        "median events of a user": float(np.median(lengths)),
        "most events of a user": float(lengths.max()),
        "share of repeats": 1 - n_pairs / len(histories.items),
    }
    if histories.times is not None:
        same = np.diff(histories.rows) == 0
        gaps = np.diff(histories.times)[same]
        if len(gaps):
            rows["share of events at the time of the one before"] = float((gaps == 0).mean())
        if histories.has_clock and len(gaps) and np.median(histories.times) > FIRST_SECONDS:
            rows |= {f"days between events, {q}th percentile": np.percentile(gaps, q) / 86400 for q in (25, 50, 75)}
    return pd.DataFrame({"statistic": list(rows), "value": list(rows.values())})


def compared_splits(histories: Histories, n_items: int, n_users: int, seed: int) -> pd.DataFrame:
    """NDCG@10 of MostPop and of both shipped models where a random item, the last item, or all later ones are held out.

    Each user has one target.
    """
    generator = np.random.default_rng(seed)
    users = np.flatnonzero(histories.lengths >= 2)
    users = np.sort(generator.permutation(users)[:n_users])
    rows = []
    position = (generator.random(len(users)) * histories.lengths[users]).astype(np.int64)
    kept = np.ones(len(histories.items), dtype=bool)
    kept[histories.indptr[users] + position] = False
    targets = histories.items[histories.indptr[users] + position]
    rows.append(("a random item", *_ndcg_of(histories.where(kept), users, targets, n_items, seed)))
    last = histories.last_items()[users]
    rows.append(("the last item", *_ndcg_of(histories.without_last(users), users, last, n_items, seed)))
    if histories.has_clock and histories.times is not None:
        cut = np.quantile(histories.times, _SPLIT)
        support, query, _ = split_in_time(histories, n_items, cut)
        asked = np.flatnonzero(np.diff(query.indptr))
        asked = np.sort(generator.permutation(asked)[:n_users])
        if len(asked):
            first = query[asked].indices
            figures = _ndcg_of(support.asked_later(), asked, first, n_items, seed)
            rows.append(("the first item after one point in time", *figures))
    return pd.DataFrame(rows, columns=["held out", "users", "MostPop", WITHOUT_ORDER, WITH_ORDER])


def _ndcg_of(support: Histories, users: np.ndarray, targets: np.ndarray, n_items: int, seed: int) -> list[float]:
    """Number of users, and mean NDCG@10 of MostPop and of both shipped models."""
    matrix = binary_matrix(support.matrix(n_items))
    repeats = support.repeats(matrix)
    excluded = sp.csr_matrix((len(users), n_items)) if repeats else matrix[users]
    lists = [popular_lists(np.bincount(support.items, minlength=n_items), excluded, _CUTOFF)]
    for model in (WITHOUT_ORDER, WITH_ORDER):
        ranker = UniversalRanker(matrix, model, histories=support, seed=seed)
        ranker.on_fallback = None
        lists.append(ranker.top_k(users, _CUTOFF, not repeats)[0])
    one = np.ones(len(users), dtype=np.int64)
    return [float(len(users)), *(float(ndcg(items == targets[:, None], one).mean()) for items in lists)]
