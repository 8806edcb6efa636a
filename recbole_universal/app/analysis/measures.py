"""What is measured about an interaction matrix, as tables; no plot here.

A matrix is csr [n_users, n_items] without empty rows and columns; tables are pandas data frames.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from scipy.stats import wasserstein_distance
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from recbole_universal import arguments
from recbole_universal.checkpoint import Pretrained
from recbole_universal.features import FeaturePipeline, UniversalFeatures
from recbole_universal.features.binning import percentile
from recbole_universal.features.candidates import best_unseen
from recbole_universal.features.proximity_pairs import ProximityPairs
from recbole_universal.graph.clusters import cluster_nodes, node_cluster_stats
from recbole_universal.graph.held_out import held_out_hits, support_query_split
from recbole_universal.graph.interaction_graph import InteractionGraph, binary_matrix
from recbole_universal.graph.node2vec import node2vec
from recbole_universal.graph.scorers import SCORERS, GraphScorers
from recbole_universal.metrics import ndcg, paired_z_score
from recbole_universal.ranking.candidate_lists import CandidateLists, make_candidate_lists
from recbole_universal.ranking.network import UniversalNetwork
from recbole_universal.ranking.pretraining import Pretrainer
from recbole_universal.ranking.ranker import UniversalRanker

#: Scorers that are well-known recommenders by themselves.
PEERS = {"MostPop": "popularity", "ItemKNN": "neighbors", "EASE": "middle_regression"}
HIDDEN_SHARE = 0.2
# Fewer interactions than these lose so much by one hidden one that half of the users keep theirs.
_FEW = 5
_SAMPLE = 2000
_TRAINING_LISTS = 1000


def k_core(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The largest part of a matrix in which every user and every item has at least ``k`` interactions."""
    arguments.integer("k-core", "k", k, 0)
    matrix = binary_matrix(matrix)
    while True:
        users = np.diff(matrix.indptr) >= k
        items = np.bincount(matrix.indices, minlength=matrix.shape[1]) >= k
        if users.all() and items.all():
            return matrix
        matrix = matrix[users][:, items].tocsr()


class HeldOut:
    """A matrix with a share of some users' interactions hidden, whom to rank for.

    Args:
        matrix: interactions.
        n_users: users to evaluate at most; of those with few interactions not all, or nothing would relate items.
        seed: seed of what is hidden and who is evaluated.

    Attributes:
        train: what may be seen.
        test: what is hidden.
        users: evaluated users, int64 [n].
    """

    def __init__(self, matrix: sp.csr_matrix, n_users: int, seed: int) -> None:
        matrix = binary_matrix(matrix)
        arguments.integer("held-out part", "n_users", n_users, 1)
        generator = np.random.default_rng(arguments.seed("held-out part", seed))
        degree = np.diff(matrix.indptr)
        able = degree[degree >= 2]
        if len(able) and np.median(able) < _FEW:
            n_users = min(n_users, max(1, len(able) // 2))
        self.train, self.test = support_query_split(matrix, n_users, HIDDEN_SHARE, generator)
        self.users = np.flatnonzero(np.diff(self.test.indptr))

    def gains(self, lists: np.ndarray, k: int = 10) -> np.ndarray:
        """NDCG@k of lists [n_users, >= k] by user, float64 [n_users]; -1 in a list is no item."""
        return ndcg(self.hits(lists[:, :k]), np.diff(self.test.indptr)[self.users])

    def hits(self, lists: np.ndarray) -> np.ndarray:
        """Whether each place of the lists holds a hidden item of the user, bool [n_users, k]."""
        return held_out_hits(lists, self.test[self.users])


def scorer_lists(held_out: HeldOut, k: int) -> dict[str, np.ndarray]:
    """The ``k`` best unseen items by each graph scorer alone, int64 [n_users, k]; -1 where there are no more.

    As in the self-check of the family ``proximity``, items of which a scorer knows nothing follow those that it knows.
    """
    scorers = GraphScorers(held_out.train)
    block = scorers.block_users
    parts = []
    for start in range(0, len(held_out.users), block):
        users = held_out.users[start : start + block]
        scores = scorers.scores(torch.from_numpy(users))
        # MostPop needs no path from the user to the item.
        scores[list(SCORERS).index("popularity")] = torch.from_numpy(scorers.item_degree)
        best, items = best_unseen(scores, held_out.train[users], k)
        parts.append(torch.where(best > -torch.inf, items, -1).numpy())
    return dict(zip(SCORERS, np.concatenate(parts, axis=1), strict=True))


def trained_lists(
    held_out: HeldOut, families: Sequence[str], k: int, seed: int, cache_dir: str | None = None
) -> np.ndarray:
    """The ``k`` best unseen items by a model of some families that is trained on this data set, int64 [n_users, k].

    As with ``train_stage: in_domain``, some of the interactions that may be seen are hidden, and found again from
    features of the others; lists are ranked with features of all that may be seen. Models of several families share
    what ``cache_dir`` keeps.
    """
    pipeline = FeaturePipeline(families, seed=seed, cache_dir=cache_dir)
    blocks = make_candidate_lists(held_out.train, pipeline, _TRAINING_LISTS, HIDDEN_SHARE, seed)
    if not blocks:
        return np.full((len(held_out.users), k), -1)
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        scorer = UniversalNetwork(pipeline.dims, [64, 64], 64, 0.0, "concatenation")
        trainer = Pretrainer(scorer, folder, seed=seed, learning_rate=0.003, epochs=10, stopping_step=10, batch_size=64)
        trainer.fit(CandidateLists(blocks), {})
        schema = {"features": pipeline.schema, "network": scorer.arguments}
        pretrained = Pretrained(scorer.state_dict(), schema, {})
        ranker = UniversalRanker(held_out.train, pretrained, seed=seed, cache_dir=cache_dir)
    return ranker.top_k(held_out.users, k)[0]


def marginals(matrix: sp.csr_matrix) -> pd.DataFrame:
    """Tails of the users' and items' numbers of interactions.

    With the package ``powerlaw`` (Alstott et al., PLoS ONE 2014) also the power law fitted above the cut-off that fits
    best, its Kolmogorov-Smirnov distance, and the log-likelihood ratio to a log-normal with its p-value.
    """
    rows = []
    for side, degree in sides(matrix).items():
        ordered = np.sort(degree)[::-1]
        top = max(1, len(ordered) // 100)
        row = {"side": side, "number": len(degree), "mean": degree.mean(), "median": np.median(degree)}
        row |= {
            "largest": degree.max(),
            "Gini": gini(degree),
            "share of the top 1 %": ordered[:top].sum() / degree.sum(),
        }
        rows.append(row | _tail(degree))
    return pd.DataFrame(rows)


def _tail(degree: np.ndarray) -> dict:
    try:
        import powerlaw
    except ImportError:
        return {"better fit": "not fitted: pip install powerlaw"}
    if len(np.unique(degree)) < 5:
        return {"better fit": "too few values"}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of cut-offs it tries
        fit = powerlaw.Fit(degree, discrete=True, verbose=False)
        ratio, p_value = fit.distribution_compare("power_law", "lognormal", normalized_ratio=True)
    verdict = "undecided" if not p_value < 0.1 else "power law" if ratio > 0 else "log-normal"
    exponent, distance = fit.power_law.alpha, fit.power_law.D
    row = {"power-law exponent": exponent, "from": fit.xmin, "KS distance": distance}
    return row | {"log-likelihood ratio": ratio, "p": p_value, "better fit": verdict}


def sides(matrix: sp.csr_matrix) -> dict[str, np.ndarray]:
    """Numbers of interactions of users and of items."""
    return {"users": np.diff(matrix.indptr), "items": np.bincount(matrix.indices, minlength=matrix.shape[1])}


def gini(values: np.ndarray) -> float:
    """Gini coefficient in [0, 1): 0 = all equal."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    total = ordered.sum()
    if total == 0:
        return 0.0
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))


def clusters(matrix: sp.csr_matrix, seeds: range, show_progress: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clusters of node2vec embeddings, drawn anew with each seed.

    Returns:
        Agreement of each two seeds (adjusted Rand index, normalised mutual information), and size and density of each
        cluster of the first seed.
    """
    graph = InteractionGraph(matrix)
    mask = graph.degree > 0
    labels = [cluster_nodes(node2vec(graph, seed=seed, show_progress=show_progress), mask, seed=seed) for seed in seeds]
    agreement = [
        {
            "seeds": f"{one}, {other}",
            "adjusted Rand": adjusted_rand_score(labels[one], labels[other]),
            "normalised mutual information": normalized_mutual_info_score(labels[one], labels[other]),
        }
        for one, other in combinations(range(len(labels)), 2)
    ]
    stats = node_cluster_stats(graph, labels[0])
    return pd.DataFrame(agreement), pd.DataFrame({"size": stats.size, "density": stats.density})


def accuracy(held_out: HeldOut, lists: dict[str, np.ndarray]) -> pd.DataFrame:
    """NDCG@10 of each maker of lists, its standard error over users, and its ratio to MostPop."""
    gains = {name: held_out.gains(found) for name, found in lists.items()}
    table = pd.DataFrame(
        {
            "NDCG@10": {name: values.mean() for name, values in gains.items()},
            "standard error": {name: values.std() / np.sqrt(len(values)) for name, values in gains.items()},
        }
    )
    table["by MostPop's"] = table["NDCG@10"] / gains["MostPop"].mean()
    return table.rename_axis("model").reset_index()


def verdict(held_out: HeldOut, lists: dict[str, np.ndarray]) -> str:
    """One sentence: the universal model against the best of the simple recommenders, paired over the users."""
    gains = {name: held_out.gains(lists[name]) for name in ("universal model", *PEERS)}
    peer = max(PEERS, key=lambda name: gains[name].mean())
    ours, theirs = gains["universal model"], gains[peer]
    z_score = paired_z_score(ours - theirs)
    found = (
        "no difference to tell from chance"
        if abs(z_score) <= 2
        else f"{'better' if z_score > 0 else 'worse'} by more than two standard errors of the difference"
    )
    names = ", ".join(PEERS)
    return f"The universal model reaches {ours.mean():.4f}, the best of {names} ({peer}) {theirs.mean():.4f}: {found}."


def popularity(held_out: HeldOut, lists: dict[str, np.ndarray]) -> pd.DataFrame:
    """How far the lists are MostPop's: overlap with it, distinct lists, coverage and Gini of the items shown."""
    n_items = held_out.train.shape[1]
    rows = []
    for name, found in lists.items():
        pairs = zip(found, lists["MostPop"], strict=True)
        overlap = [len((set(one) & set(other)) - {-1}) / len(one) for one, other in pairs]
        shown = np.bincount(found[found >= 0], minlength=n_items)
        row = {"model": name, f"overlap@{found.shape[1]} with MostPop": np.mean(overlap)}
        row |= {"distinct lists": len(np.unique(found, axis=0)) / len(found), "item coverage": (shown > 0).mean()}
        rows.append(row | {"Gini of items shown": gini(shown)})
    return pd.DataFrame(rows)


def deciles(held_out: HeldOut, lists: dict[str, np.ndarray]) -> pd.DataFrame:
    """NDCG@10 by tenth of user activity, and the share of hidden items found among 20 by tenth of item popularity."""
    of_users, of_items = (_tenth(degree) for degree in sides(held_out.train).values())
    hidden_users, hidden_items = held_out.test[held_out.users].nonzero()
    rows = []
    for name, found in lists.items():
        gains = held_out.gains(found)
        place, _ = (found >= 0).nonzero()
        shown = place * held_out.test.shape[1] + found[found >= 0]
        hit = np.isin(hidden_users.astype(np.int64) * held_out.test.shape[1] + hidden_items, shown)
        for tenth in range(10):
            users, items = of_users[held_out.users] == tenth, of_items[hidden_items] == tenth
            rows += [
                {"model": name, "by": "user activity", "tenth": tenth + 1, "value": _mean(gains[users])},
                {"model": name, "by": "item popularity", "tenth": tenth + 1, "value": _mean(hit[items])},
            ]
    return pd.DataFrame(rows)


def _tenth(degree: np.ndarray) -> np.ndarray:
    return np.minimum((percentile(degree) * 10).astype(np.int64), 9)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def cores(matrix: sp.csr_matrix, n_users: int, seed: int) -> pd.DataFrame:
    """Size, and NDCG@10 of three simple recommenders, of the raw data, the 5-core and the 10-core."""
    rows = []
    for name, k in (("raw", 1), ("5-core", 5), ("10-core", 10)):
        part = k_core(matrix, k)
        row = {"filter": name, "users": part.shape[0], "items": part.shape[1], "interactions": part.nnz}
        if part.nnz and min(part.shape) > 1:
            row["density"] = part.nnz / (part.shape[0] * part.shape[1])
            held_out = HeldOut(part, n_users, seed)
            if len(held_out.users):
                found = scorer_lists(held_out, 10)
                row |= {f"NDCG@10, {peer}": held_out.gains(found[scorer]).mean() for peer, scorer in PEERS.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def explanations(ranker: UniversalRanker, users: np.ndarray, k: int = 10) -> pd.DataFrame:
    """Share of each scorer and family in the scores of the users' best ``k`` items: mean, and mean size."""
    found = [ranker.explain(int(user), k)[1] for user in users]
    rows = []
    for part in found[0] if found else ():
        shares = np.concatenate([shares[part] for shares in found])
        rows.append({"part": part, "mean share": shares.mean(), "mean size": np.abs(shares).mean()})
    return pd.DataFrame(rows).sort_values("mean size", ascending=False, ignore_index=True)


def feature_distances(features: dict[str, UniversalFeatures], seed: int) -> pd.DataFrame:
    """How far the features of each two data sets are apart, by family.

    The mean over columns of the Wasserstein distance between the two data sets' values, in units of the column's
    standard deviation over both; of up to 2,000 users, items, and candidate pairs of 100 users.
    """
    tables = {name: _feature_rows(found, seed) for name, found in features.items()}
    rows = []
    for one, other in combinations(tables, 2):
        for family in tables[one]:
            if not all(len(part) for part in (*tables[one][family], *tables[other][family])):
                continue  # a data set of which this family says nothing
            parts = zip(tables[one][family], tables[other][family], strict=True)
            distances = np.concatenate([np.zeros(0), *(column_distances(left, right) for left, right in parts)])
            mean = float(distances.mean()) if len(distances) else 0.0
            rows.append({"one": one, "other": other, "family": family, "distance": mean})
    return pd.DataFrame(rows, columns=["one", "other", "family", "distance"])


def column_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Wasserstein distance of each column's values in two tables, in units of its standard deviation over both.

    Args:
        left: [n, dim].
        right: [m, dim].

    Returns:
        float64 [n_columns] of the columns that are not constant.
    """
    spread = np.concatenate([left, right]).std(axis=0)
    varying = np.flatnonzero(spread > 1e-6)
    return np.array([wasserstein_distance(left[:, k], right[:, k]) / spread[k] for k in varying])


def _feature_rows(features: UniversalFeatures, seed: int) -> dict[str, list[np.ndarray]]:
    generator = np.random.default_rng(arguments.seed("feature distances", seed))
    rows: dict[str, list[np.ndarray]] = {}
    for family, values in features.items():
        parts = [table[generator.permutation(len(table))[:_SAMPLE]] for table in (values.user, values.item)]
        rows[family] = [part for part in parts if part.shape[1]]
        if isinstance(values.pair, ProximityPairs):
            users = torch.from_numpy(generator.permutation(len(values.user))[:100])
            lists = values.pair.candidates(users)
            rows[family].append(lists.features[lists.mask].numpy())
    return rows
