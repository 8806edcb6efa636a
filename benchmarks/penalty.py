"""NDCG@10 of the regression by its penalty, and the penalty that a small regression chooses.

    make DATA=DATA OUT=OUT penalty

docs/ablation.md says how the figures are made.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from harness import Results, Split, parse, parser_with
from report import cell, fill, markdown

from recbole_universal.features.candidates import best_unseen
from recbole_universal.features.proximity import ProximityFeatures
from recbole_universal.features.self_check import _CHOICE_SIZE, PENALTIES, users_for_penalty
from recbole_universal.graph.held_out import held_out_hits, support_query_split
from recbole_universal.graph.regression import mean_degree, ridge_regressions
from recbole_universal.graph.scorers import PENALTY
from recbole_universal.graph.sparse_sums import UserItems
from recbole_universal.metrics import ndcg

DATASETS = (
    "filmtrust ml-100k ml-latest-small lastfm-2k amazon-digital-music book-crossing amazon-hin delicious-tags "
    "coco-mooc tenrec-article citations-a msweb citeulike-a"
).split()
MEASURED = (*PENALTIES, 30.0)
N_DRAWS = 3
CPU = torch.device("cpu")


def quality(
    support: sp.csr_matrix, query: sp.csr_matrix, users: np.ndarray, ridges: list[float], size: int
) -> list[float]:
    """NDCG@10 of regressions of at most this size on users with held-out interactions, by lambda."""
    by_ridge = []
    for regression in ridge_regressions(support, ridges, size, CPU):
        by_user = []
        for block in np.array_split(users, np.arange(100, len(users), 100)):
            scores = torch.empty(1, len(block), support.shape[1])
            regression.put_scores(scores[0], torch.from_numpy(block), UserItems.of(support[block], CPU))
            top_items = best_unseen(scores, support[block], 10)[1][0].numpy()
            by_user.append(ndcg(held_out_hits(top_items, query[block]), np.diff(query[block].indptr)))
        by_ridge.append(float(np.concatenate(by_user).mean()))
    return by_ridge


def result_of(matrix: sp.csr_matrix) -> dict:
    """NDCG@10 [n_draws][n_penalties] of the whole and of the small regression, for draws as in the self-check."""
    family = ProximityFeatures()
    n_users = min(family.n_check_users, max(20, matrix.shape[0] // 4))
    result: dict[str, list] = {"users": [], "whole": [], "small": []}
    for draw in range(N_DRAWS):
        support, query = support_query_split(matrix, n_users, family.check_share, np.random.default_rng(draw))
        ridges = [penalty * mean_degree(support, family.max_regression_size) for penalty in MEASURED]
        users = np.flatnonzero(np.diff(query.indptr))
        result["users"].append(len(users))
        result["whole"].append(quality(support, query, users, ridges, family.max_regression_size))
        result["small"].append(quality(support, query, users_for_penalty(users), ridges, _CHOICE_SIZE))
    return result


def table_of_penalties(results: list[dict]) -> str:
    """Markdown with a row for each dataset; "" without a result."""
    rows = []
    for result in results:
        whole, small = (np.array(result[name]) for name in ("whole", "small"))
        chosen, draws = small[:, : len(PENALTIES)].argmax(axis=1), np.arange(len(whole))
        losses = 1 - whole[draws, chosen] / whole[:, : len(PENALTIES)].max(axis=1)
        others = np.array([np.delete(whole, draw, axis=0).sum(axis=0) for draw in draws])
        gain = others[draws, chosen].sum() / others[:, PENALTIES.index(PENALTY)].sum() - 1
        values = (cell(value, ".3f") for value in whole.mean(axis=0))
        choices = ", ".join(f"{PENALTIES[index]:.0f}" for index in chosen)
        users = f"{np.mean(result['users']):.0f}"
        rows.append([result["dataset"], users, *values, choices, f"{losses.max():.1%}", f"{gain:+.1%}"])
    head = ["dataset", "users", *(f"{penalty:.0f}" for penalty in MEASURED), "chosen", "largest loss", "gain"]
    return markdown(head, rows) if rows else ""


def main() -> None:
    parser = parser_with(__doc__, "data-path", "datasets", "seed", "output", "report", datasets=DATASETS)
    arguments = parse(parser)
    results = Results(arguments.output)
    if arguments.report:
        fill(arguments.report, {"penalty": table_of_penalties(results.rows)})
        return
    for name in arguments.datasets:
        setting = {"dataset": name, "seed": arguments.seed}
        if not results.has(setting):
            train = Split(name, arguments.data_path, seed=arguments.seed, max_users=0).train
            users, items = (np.flatnonzero(train.getnnz(axis)) for axis in (1, 0))
            results.add({**setting, **result_of(train[users][:, items].tocsr())})


if __name__ == "__main__":
    main()
