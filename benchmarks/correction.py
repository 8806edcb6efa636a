"""NDCG@10 of frozen networks by the linear correction of their scores.

    make DATA=DATA OUT=OUT correction

docs/ablation.md says how the figures are made.
"""

from __future__ import annotations

import json
from unittest.mock import patch

import numpy as np
import torch
from harness import Results, Split, parse, parser_with
from report import fill, markdown
from zero_shot import weights_digest

from recbole_universal import UniversalRanker
from recbole_universal.features.self_check import SelfCheck
from recbole_universal.metrics import ndcg
from recbole_universal.ranking import correction
from recbole_universal.ranking.correction import corrected, fit_correction

PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0)
#: One in so many users of the self-check fits the correction, with the penalty of the package.
SHARES = (2, 4, 8)
ALONE = "the network alone"
_BLOCK_USERS = 200


def corrections(check: SelfCheck, scores: torch.Tensor) -> dict[str, torch.Tensor]:
    """Weights of the corrections that are compared, by name; ``scores`` are the network's in the self-check."""
    users, compared = torch.arange(len(scores)), {ALONE: torch.zeros(check.features.shape[-1])}
    for penalty in PENALTIES:
        with patch.object(correction, "CORRECTION_PENALTY", penalty):
            compared[f"penalty {penalty:.0f}"] = fit_correction(check, scores, users)
    return compared | {f"one in {share} users": fit_correction(check, scores, users[::share]) for share in SHARES}


@torch.no_grad()
def result_of(split: Split, model: str) -> dict[str, float]:
    """NDCG@10 on the test part by correction."""
    network = UniversalRanker(split.train, model, seed=split.keys["seed"]).network
    check = network.candidate_pairs.check
    compared = corrections(check, network._check_scores(check))
    by_user: dict[str, list] = {name: [] for name in compared}
    for users in np.array_split(split.test_users, np.arange(_BLOCK_USERS, len(split.test_users), _BLOCK_USERS)):
        lists, columns = network.candidate_columns(torch.from_numpy(users))
        scores, items = network(*columns), lists.items.numpy()
        held_out, seen = (part[users].toarray() > 0 for part in (split.test, split.seen["test"]))
        rows = np.arange(len(users))[:, None]
        valid = torch.from_numpy(lists.mask.numpy() & ~seen[rows, items])
        hits = held_out[rows, items] & valid.numpy()
        for name, weights in compared.items():
            values = corrected(scores, columns[2]["proximity"], weights).masked_fill(~valid, -torch.inf)
            top = values.topk(min(10, values.shape[1]), dim=1).indices.numpy()
            by_user[name].append(ndcg(np.take_along_axis(hits, top, axis=1), held_out.sum(axis=1)))
    return {name: float(np.concatenate(values).mean()) for name, values in by_user.items()}


def table_of_corrections(results: list[dict]) -> str:
    """Markdown with a row for each correction; "" with fewer than two results."""
    if len(results) < 2:
        return ""
    rows = []
    for name in results[0]["ndcg@10"]:
        ratios = np.array([result["ndcg@10"][name] / result["ndcg@10"][ALONE] for result in results])
        lowest, highest = (f"{ratios[k]:.3f} ({results[k]['dataset']})" for k in (ratios.argmin(), ratios.argmax()))
        error = ratios.std(ddof=1) / len(ratios) ** 0.5
        above = f"{(ratios > 1).sum()} of {len(ratios)}"
        rows.append([name, f"{ratios.mean():.4f}", f"{error:.4f}", above, lowest, highest])
    return markdown(["correction", "mean ratio", "standard error", "above 1", "lowest", "highest"], rows)


def main() -> None:
    shared = ("data-path", "datasets", "models", "seed", "max-users", "output", "report")
    arguments = parse(parser_with(__doc__, *shared))
    results = Results(arguments.output)
    if arguments.report:
        fill(arguments.report, {"correction": table_of_corrections(results.rows)})
        return
    models = json.loads(arguments.models.read_text())["zero-shot"]
    for name in arguments.datasets:
        setting = {"dataset": name, "seed": arguments.seed, "max_users": arguments.max_users}
        weights = weights_digest(models[name])
        results.check_weights(setting, weights)
        if not results.has(setting):
            split = Split(name, arguments.data_path, arguments.seed, arguments.max_users)
            results.add({**setting, "weights": weights, "ndcg@10": result_of(split, models[name])})


if __name__ == "__main__":
    main()
