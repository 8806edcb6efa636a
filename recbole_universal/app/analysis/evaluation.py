"""Accuracy of recommenders on held-out interactions, as tables; no plots.

A matrix is csr [n_users, n_items] without empty rows and columns. Recommendations are int64 [n_users, k] item indices,
the best first, -1 where there is no further item.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from recbole_universal import arguments
from recbole_universal.app.analysis.statistics import interaction_counts, k_core
from recbole_universal.checkpoint import Pretrained
from recbole_universal.features import FeaturePipeline
from recbole_universal.features.binning import percentile
from recbole_universal.features.candidates import best_of_scorers
from recbole_universal.graph.held_out import held_out_hits, support_query_split
from recbole_universal.graph.interaction_graph import binary_matrix
from recbole_universal.graph.popularity import popular_lists
from recbole_universal.graph.scorer_definitions import SCORERS
from recbole_universal.graph.scorers import GraphScorers
from recbole_universal.metrics import coverage_and_gini, ndcg, overlap, paired_z_score
from recbole_universal.ranking.candidate_lists import CandidateLists, make_candidate_lists
from recbole_universal.ranking.network import UniversalNetwork
from recbole_universal.ranking.pretraining import Pretrainer
from recbole_universal.ranking.ranker import UniversalRanker

#: Well-known recommenders, and the graph scorer that each of them is.
BASELINES = {"MostPop": "popularity", "ItemKNN": "neighbors", "EASE": "regression"}
HELD_OUT_SHARE = 0.2
# A user with fewer interactions loses much by one held-out interaction, so half of such users keep all of theirs.
_FEW = 5
_TRAINING_LISTS = 1000


class RandomSplit:
    """A matrix split into training interactions, and held-out interactions of the users who are evaluated.

    Args:
        matrix: interactions.
        n_users: number of evaluated users at most. If most users have few interactions, at most half of them are
            evaluated, so that the others still relate the items.
        seed: seed of the split and of the choice of users.

    Attributes:
        train: training interactions.
        test: held-out interactions.
        users: evaluated users, int64 [n].
    """

    def __init__(self, matrix: sp.csr_matrix, n_users: int, seed: int) -> None:
        matrix = binary_matrix(matrix)
        arguments.integer("held-out part", "n_users", n_users, 1, below=2**31)
        generator = np.random.default_rng(arguments.seed("held-out part", seed))
        degree = np.diff(matrix.indptr)
        several = degree[degree >= 2]
        if len(several) and np.median(several) < _FEW:
            n_users = min(n_users, max(1, len(several) // 2))
        self.train, self.test = support_query_split(matrix, n_users, HELD_OUT_SHARE, generator)
        self.users = np.flatnonzero(np.diff(self.test.indptr))

    def ndcg(self, recommended: np.ndarray, k: int = 10) -> np.ndarray:
        """NDCG@k of recommendations [n_users, >= k] by user, float64 [n_users]."""
        return ndcg(self.hits(recommended[:, :k]), np.diff(self.test.indptr)[self.users])

    def hits(self, recommended: np.ndarray) -> np.ndarray:
        """Whether each recommended item is a held-out item of the user, bool [n_users, k]."""
        return held_out_hits(recommended, self.test[self.users])


def scorer_top_k(held_out: RandomSplit, k: int) -> dict[str, np.ndarray]:
    """The ``k`` best unseen items by each graph scorer alone, int64 [n_users, k] by its name; MostPop needs no path.

    A list ends where the scores do, as in the self-check of the family ``proximity``.
    """
    scorers = GraphScorers(held_out.train)
    lists = np.full((len(SCORERS), len(held_out.users), k), -1)
    for start in range(0, len(held_out.users), scorers.block_users):
        users = held_out.users[start : start + scorers.block_users]
        top_items = best_of_scorers(scorers, scorers.histories[users], held_out.train[users], k).numpy()
        lists[:, start : start + len(users), : top_items.shape[2]] = top_items
    by_name = dict(zip(SCORERS, lists, strict=True))
    by_name["popularity"][:] = popular_lists(scorers.item_degree, held_out.train[held_out.users], k)
    return by_name


def trained_top_k(
    held_out: RandomSplit, families: Sequence[str], k: int, seed: int, cache_dir: str | None = None
) -> np.ndarray:
    """The ``k`` best unseen items by a model of some families that is trained on this dataset, int64 [n_users, k].

    As with ``train_stage: in_domain``, the model learns to rank a held-out part of the training interactions by the
    features of the others. It then ranks with the features of all training interactions. Models of several families
    share the features in ``cache_dir``.
    """
    pipeline = FeaturePipeline(families, seed=seed, cache_dir=cache_dir)
    blocks = make_candidate_lists(held_out.train, pipeline, _TRAINING_LISTS, HELD_OUT_SHARE, seed)
    if not blocks:
        return np.full((len(held_out.users), k), -1)
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        network = UniversalNetwork(pipeline.dims, [64, 64], 64, 0.0, "concatenation")
        trainer = Pretrainer(
            network, folder, seed=seed, learning_rate=0.003, epochs=10, stopping_step=10, batch_size=64
        )
        trainer.fit(CandidateLists(blocks), {})
        schema = {"features": pipeline.schema, "network": network.arguments}
        pretrained = Pretrained(network.state_dict(), schema, {})
        ranker = UniversalRanker(held_out.train, pretrained, seed=seed, cache_dir=cache_dir)
    return ranker.top_k(held_out.users, k)[0]


def accuracy(held_out: RandomSplit, recommended: dict[str, np.ndarray]) -> pd.DataFrame:
    """NDCG@10 of each model, its standard error over users, and its ratio to MostPop."""
    ndcgs = {name: held_out.ndcg(items) for name, items in recommended.items()}
    table = pd.DataFrame(
        {
            "NDCG@10": {name: values.mean() for name, values in ndcgs.items()},
            "standard error": {name: values.std() / np.sqrt(len(values)) for name, values in ndcgs.items()},
        }
    )
    table["by MostPop's"] = table["NDCG@10"] / ndcgs["MostPop"].mean()
    return table.rename_axis("model").reset_index()


def verdict(held_out: RandomSplit, recommended: dict[str, np.ndarray]) -> str:
    """One sentence: the universal model against the best baseline, paired over the users."""
    ndcgs = {name: held_out.ndcg(recommended[name]) for name in ("universal model", *BASELINES)}
    baseline = max(BASELINES, key=lambda name: ndcgs[name].mean())
    ours, theirs = ndcgs["universal model"], ndcgs[baseline]
    z_score = paired_z_score(ours - theirs)
    if abs(z_score) <= 2:
        outcome = "the difference may be chance"
    else:
        side = "better" if z_score > 0 else "worse"
        outcome = f"{side} by more than two standard errors of the difference"
    return (
        f"The universal model reaches {ours.mean():.4f}, the best of {', '.join(BASELINES)} ({baseline}) "
        f"{theirs.mean():.4f}: {outcome}."
    )


def popularity(held_out: RandomSplit, recommended: dict[str, np.ndarray]) -> pd.DataFrame:
    """How similar the recommendations are to MostPop's: overlap, distinct lists, coverage and Gini of the items."""
    rows = []
    for name, items in recommended.items():
        row = {
            "model": name,
            f"overlap@{items.shape[1]} with MostPop": overlap(items, recommended["MostPop"]).mean(),
            "distinct lists": len(np.unique(items, axis=0)) / len(items),
        }
        figures = coverage_and_gini(items, np.unique(held_out.train.indices))
        rows.append(row | {"item coverage": figures[0], "Gini of recommended items": figures[1]})
    return pd.DataFrame(rows)


def deciles(held_out: RandomSplit, recommended: dict[str, np.ndarray]) -> pd.DataFrame:
    """NDCG@10 by decile of user activity, and recall@20 of held-out items by decile of item popularity."""
    of_users, of_items = (_decile(degree) for degree in interaction_counts(held_out.train).values())
    rows, items = held_out.test[held_out.users].nonzero()
    n_items = held_out.test.shape[1]
    table = []
    for name, top in recommended.items():
        ndcgs = held_out.ndcg(top)
        row, _ = (top >= 0).nonzero()
        hit = np.isin(rows.astype(np.int64) * n_items + items, row * n_items + top[top >= 0])
        for decile in range(10):
            users, in_decile = of_users[held_out.users] == decile, of_items[items] == decile
            table += [
                {"model": name, "by": "user activity", "decile": decile + 1, "value": _mean(ndcgs[users])},
                {"model": name, "by": "item popularity", "decile": decile + 1, "value": _mean(hit[in_decile])},
            ]
    return pd.DataFrame(table)


def _decile(degree: np.ndarray) -> np.ndarray:
    return np.minimum((percentile(degree) * 10).astype(np.int64), 9)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def cores(matrix: sp.csr_matrix, n_users: int, seed: int) -> pd.DataFrame:
    """Size of the raw data, the 5-core and the 10-core, and NDCG@10 of the baselines there."""
    rows = []
    for filtered, k in (("raw", 1), ("5-core", 5), ("10-core", 10)):
        core = k_core(matrix, k)
        row = {"filter": filtered, "users": core.shape[0], "items": core.shape[1], "interactions": core.nnz}
        if core.nnz and min(core.shape) > 1:
            row["density"] = core.nnz / (core.shape[0] * core.shape[1])
            held_out = RandomSplit(core, n_users, seed)
            if len(held_out.users):
                top = scorer_top_k(held_out, 10)
                row |= {f"NDCG@10, {name}": held_out.ndcg(top[scorer]).mean() for name, scorer in BASELINES.items()}
        rows.append(row)
    return pd.DataFrame(rows)
