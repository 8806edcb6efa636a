"""Statistics of an interaction matrix and of its features, as tables; no plots.

A matrix is csr [n_users, n_items] without empty rows and columns. Tables are pandas data frames.
"""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from scipy.stats import wasserstein_distance
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from recbole_universal import arguments
from recbole_universal.features import UniversalFeatures
from recbole_universal.features.candidate_pairs import CandidatePairs
from recbole_universal.graph.clusters import cluster_nodes, node_cluster_stats
from recbole_universal.graph.interaction_graph import InteractionGraph, binary_matrix
from recbole_universal.graph.node2vec import node2vec
from recbole_universal.metrics import gini
from recbole_universal.ranking.ranker import UniversalRanker

_SAMPLE = 2000


def k_core(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The largest submatrix in which every user and every item has at least ``k`` interactions."""
    arguments.integer("k-core", "k", k, 0, below=2**31)
    matrix = binary_matrix(matrix)
    while True:
        users = np.diff(matrix.indptr) >= k
        items = np.bincount(matrix.indices, minlength=matrix.shape[1]) >= k
        if users.all() and items.all():
            return matrix
        matrix = matrix[users][:, items].tocsr()


def marginals(matrix: sp.csr_matrix) -> pd.DataFrame:
    """Distribution of the numbers of interactions of users and of items.

    The package ``powerlaw`` (Alstott et al., PLoS ONE 2014), if it is installed, adds the power law above the cut-off
    that fits best, its Kolmogorov-Smirnov distance, and the log-likelihood ratio to a log-normal with its p-value.
    """
    rows = []
    for side, degree in interaction_counts(matrix).items():
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


def interaction_counts(matrix: sp.csr_matrix) -> dict[str, np.ndarray]:
    """Number of interactions of each user and of each item."""
    return {"users": np.diff(matrix.indptr), "items": np.bincount(matrix.indices, minlength=matrix.shape[1])}


def clusters(matrix: sp.csr_matrix, seeds: range) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clusters of node2vec embeddings, one clustering per seed.

    Returns:
        Agreement of each pair of seeds (adjusted Rand index, normalised mutual information), and size and density of
        each cluster of the first seed.
    """
    graph = InteractionGraph(matrix)
    mask = graph.degree > 0
    labels = [cluster_nodes(node2vec(graph, seed=seed), mask, seed=seed) for seed in seeds]
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


def explanations(ranker: UniversalRanker, users: np.ndarray, k: int = 10) -> pd.DataFrame:
    """Attribution of the scores of the users' best ``k`` items to each scorer and family: mean and mean size."""
    attributions = [ranker.explain(int(user), k)[1] for user in users]
    rows = []
    for group in attributions[0] if attributions else ():
        shares = np.concatenate([attribution[group] for attribution in attributions])
        rows.append({"group": group, "mean share": shares.mean(), "mean size": np.abs(shares).mean()})
    return pd.DataFrame(rows).sort_values("mean size", ascending=False, ignore_index=True)


def feature_distances(features: dict[str, UniversalFeatures], seed: int) -> pd.DataFrame:
    """Distance between the features of each pair of datasets, by family.

    The distance is the mean over columns of the Wasserstein distance between the two datasets' values, in units of the
    column's standard deviation over both. It covers up to 2,000 users and items, and the candidates of 100 users.
    """
    tables = {name: _feature_rows(values, seed) for name, values in features.items()}
    rows = []
    for one, other in combinations(tables, 2):
        for family in tables[one]:
            if not all(len(table) for table in (*tables[one][family], *tables[other][family])):
                continue  # a dataset without values of this family
            sides = zip(tables[one][family], tables[other][family], strict=True)
            distances = np.concatenate([np.zeros(0), *(column_distances(left, right) for left, right in sides)])
            mean = float(distances.mean()) if len(distances) else 0.0
            rows.append({"one": one, "other": other, "family": family, "distance": mean})
    return pd.DataFrame(rows, columns=["one", "other", "family", "distance"])


def column_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Wasserstein distance between two tables by column, in units of the column's standard deviation over both.

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
        sampled = [table[generator.permutation(len(table))[:_SAMPLE]] for table in (values.user, values.item)]
        rows[family] = [table for table in sampled if table.shape[1]]
        if isinstance(values.pair, CandidatePairs):
            users = torch.from_numpy(generator.permutation(len(values.user))[:100])
            lists = values.pair.candidates(users)
            rows[family].append(lists.features[lists.mask].numpy())
    return rows
