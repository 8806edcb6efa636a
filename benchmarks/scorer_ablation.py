"""Which graph scorers the model needs: each subset of the scorers is a method of its own.

    make DATA=DATA OUT=OUT scorer-ablation

With --collect the script stores the scores of held-out users by all scorers. Then it trains and evaluates networks on
what each subset makes of the stored scores. Both skip what is there. docs/ablation.md says how the figures are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from ablation import KINDS, PAIR, trained
from harness import DOMAINS, Results, parse, parser_with, read_results
from numpy.typing import NDArray
from pretrain import FOLDS, SETTINGS
from report import cell, fill, markdown
from scorer_build import compact, interactions, remaining_share
from torch.nn.functional import pad

from recbole_universal.array_store import ArrayStore
from recbole_universal.features.candidates import CandidateGenerator, ScoredCandidates
from recbole_universal.features.fields import LIST_LABEL, LIST_MASK
from recbole_universal.features.proximity import ProximityFeatures
from recbole_universal.features.proximity_columns import ProximityColumns
from recbole_universal.features.self_check import relative_to_best
from recbole_universal.graph import SCORERS, InteractionGraph
from recbole_universal.graph.held_out import held_out_hits, support_query_split
from recbole_universal.metrics import ndcg
from recbole_universal.ranking.candidate_lists import Block, blocks_from_arrays, blocks_to_arrays
from recbole_universal.ranking.list_loss import list_scores
from recbole_universal.ranking.network import UniversalNetwork

#: Datasets whose scorers are built within a minute.
DATASETS = (
    "yahoo-music-mgcnn filmtrust amazon-instruments flixster-mgcnn msweb frappe ml-latest-small tenrec-article "
    "amazon-digital-music douban-mgcnn lastfm-2k amazon-hin kuairand book-crossing ml-1m citeulike-a"
).split()
N_USERS, N_DRAWS, SEED = 600, 2, 2020
# Fewer lists than those of the shipped model, so smaller batches and one more epoch: half of its steps.
TRAINING = {**SETTINGS, "n_networks": 1, "list_loss": "softmax", "list_batch_size": 32, "epochs": 3}


def without(*names: str, of: list[str] | None = None) -> list[str]:
    """The scorers of a set but some; all scorers by default."""
    return [name for name in of or SCORERS if name not in names]


SIX = "rp3 user_cosine neighbors full_pass middle_regression popularity".split()
EIGHT = "cosine rp3 user_cosine neighbors mid_pass regression strong_regression popularity".split()
NO_PATHS = "user_cosine user_squared neighbors low_pass mid_pass full_pass middle_regression popularity".split()
REMOVED_TOO = (
    "user_squared; user_cosine; user_cosine, user_squared; mid_pass; mid_pass, full_pass; low_pass; "
    "low_pass, mid_pass; neighbors; popularity; mid_pass, popularity; mid_pass, user_cosine; "
    "mid_pass, popularity, user_cosine; middle_regression"
).split("; ")
#: Scorers by name of the subset.
SUBSETS = {
    "all 16": without(),
    "six": SIX,
    "eight": EIGHT,
    "eight, middle_regression for two": [*without("regression", "strong_regression", of=EIGHT), "middle_regression"],
    "eight, with full_pass and low_pass": [*EIGHT, "full_pass", "low_pass"],
    "no paths": NO_PATHS,
    **{f"no paths, without {names}": without(*names.split(", "), of=NO_PATHS) for names in REMOVED_TOO},
    "no paths, with rp3": [*NO_PATHS, "rp3"],
    "no paths, rp3 for middle_regression": [*without("middle_regression", of=NO_PATHS), "rp3"],
    "no paths, three regressions": [*NO_PATHS, "regression", "strong_regression"],
    "middle_regression alone of the regressions": without("regression", "strong_regression"),
    **{f"without {kind}": without(*names) for kind, names in KINDS.items() if set(names) <= set(SCORERS)},
    "eight, candidates of all 16": EIGHT,
}
#: Subsets whose candidates are those of all scorers. Their loss is that of columns and weights.
ALL_CANDIDATES = {"eight, candidates of all 16"}


def collect(name: str, data_path: str, store: ArrayStore) -> None:
    """Store :func:`scored_users` of a dataset, one entry a draw of held-out users."""
    matrix, n_missing = interactions(name, data_path), N_USERS
    for draw in range(N_DRAWS):
        n_drawn = min(n_missing, max(20, matrix.shape[0] // 4))
        generator = np.random.default_rng([SEED, draw])
        parts = support_query_split(matrix, n_drawn, SETTINGS["query_share"], generator)
        if n_drawn:
            store.get("draw", {"dataset": name, "draw": draw}, partial(scored_users, *parts))
        n_missing -= int((np.diff(parts[1].indptr) > 0).sum())


def scored_users(support: sp.csr_matrix, held_out: sp.csr_matrix, top_k: int = 50) -> dict[str, NDArray]:
    """The support part and its scorer weights; candidates of the users with held-out interactions, in blocks.

    A block is a :class:`ScoredCandidates` with the columns "label" and "n_held_out", see ``blocks_to_arrays``.
    """
    dense, rows, columns = compact(support)
    pairs = ProximityFeatures(top_k=top_k).compute(InteractionGraph(dense), seed=SEED).pair
    generator, blocks = CandidateGenerator(pairs.scorers, top_k), []
    for users in torch.from_numpy(np.flatnonzero(np.diff(held_out.indptr))).split(pairs.scorers.block_users):
        block, relevant = generator(torch.from_numpy(np.searchsorted(rows, users))), held_out[users.numpy()]
        label = held_out_hits(torch.where(block.mask, block.items, -1).numpy(), relevant[:, columns])
        held_out_columns = {"label": label, "n_held_out": np.diff(relevant.indptr)}
        blocks.append(vars(block) | {key: torch.from_numpy(values) for key, values in held_out_columns.items()})
    matrix = pairs.scorers.matrix
    described = {"weights": pairs.scorer_weights, "indices": matrix.indices, "indptr": matrix.indptr}
    return described | blocks_to_arrays(blocks)


def lists_of(stored: Mapping[str, NDArray], names: list[str], sources: list[str]) -> list[tuple[Block, NDArray]]:
    """Lists with the columns of some scorers and the candidates of some, and the users' numbers of held-out items."""
    index, nominating = ([list(SCORERS).index(name) for name in group] for group in (names, sources))
    weights, indices, indptr = (stored[name] for name in ("weights", "indices", "indptr"))
    scorers = SimpleNamespace(
        matrix=sp.csr_matrix((np.ones(len(indices), dtype=np.float32), indices, indptr)),
        user_degree=np.diff(indptr).astype(np.float32),
        item_degree=np.bincount(indices).astype(np.float32),
        device="cpu",
    )
    generator = CandidateGenerator(scorers, 1)  # for the percentiles
    columns = ProximityColumns(scorers, relative_to_best(weights[index].astype(np.float64)), generator.item_percentile)
    lists = []
    for block in blocks_from_arrays({key: array for key, array in stored.items() if "/" in key}):
        values, top_values = block["values"], block["top_values"]
        # Items that equal a scorer's last candidate are candidates too.
        member = ((values > 0) & (values >= top_values[:, :, -1:]))[nominating].any(dim=0)
        position = member.int().argsort(dim=1, descending=True, stable=True)[:, : max(1, int(member.sum(dim=1).max()))]
        mask, label, items = (part.gather(1, position) for part in (member, block["label"], block["items"]))
        values = values[index].gather(2, position.expand(len(index), -1, -1)) * mask
        pairs = columns(ScoredCandidates(block["users"], items * mask, mask, values, top_values[index]))
        lists.append(({PAIR: pairs.half(), LIST_LABEL: label & mask, LIST_MASK: mask}, block["n_held_out"].numpy()))
    return lists


@torch.no_grad()
def quality(network: UniversalNetwork, lists: list[tuple[Block, NDArray]], k: int = 10) -> dict[str, float]:
    """NDCG@10, where held-out interactions outside of the candidates are misses; recall and number of candidates."""
    by_user = []
    for block, n_held_out in lists:
        scores = list_scores(network, block).masked_fill(~block[LIST_MASK], -torch.inf)
        top = pad(scores, (0, k), value=-torch.inf).topk(k, dim=1).indices
        hits = pad(block[LIST_LABEL], (0, k)).gather(1, top).numpy()
        n_candidates, n_hits = (block[name].sum(dim=1).numpy() for name in (LIST_MASK, LIST_LABEL))
        by_user.append([ndcg(hits, n_held_out), n_hits / n_held_out, n_candidates])
    means = np.concatenate(by_user, axis=1).mean(axis=1).tolist()
    return dict(zip(("ndcg", "recall", "candidates"), means, strict=True))


def measure(draws: dict[str, list[Mapping[str, NDArray]]], subset: str, seed: int) -> Iterator[dict]:
    """Train one network a fold on the datasets of other domains; the quality on each dataset of the fold."""
    names, sources = SUBSETS[subset], without() if subset in ALL_CANDIDATES else SUBSETS[subset]
    lists = {name: [one for draw in draws[name] for one in lists_of(draw, names, sources)] for name in draws}
    for domains in FOLDS.values():
        left_out = {name for domain in domains for name in DOMAINS[domain].split()} & set(lists)
        if left_out:
            blocks = [block for name in lists if name not in left_out for block, _ in lists[name]]
            usable = [block[LIST_LABEL].any(dim=1) for block in blocks]  # a network learns nothing from other lists
            blocks = [{key: block[key][rows] for key in block} for block, rows in zip(blocks, usable, strict=True)]
            network = trained([block for block in blocks if len(block[PAIR])], TRAINING, [], seed).scorer.eval()
            for name in sorted(left_out):
                yield {"subset": subset, "seed": seed, "dataset": name, **quality(network, lists[name])}


def tables_of(results: pd.DataFrame, builds: list[dict]) -> dict[str, str]:
    """Markdown by name of the table; none before all scorers are measured."""
    if results.empty or "all 16" not in set(results["subset"]):
        return {"scorers": "", "seed noise": ""}
    gain = results.pivot_table(index=["subset", "seed"], columns="dataset", values="ndcg")
    ratio = gain / gain.loc["all 16"].mean()
    by_subset = ratio.groupby("subset").mean()
    parts = results.groupby("subset")[["recall", "candidates"]].mean()
    n_runs, rows = ratio.groupby("subset").size(), []
    for subset, values in by_subset.reindex([name for name in SUBSETS if name in by_subset.index]).iterrows():
        names, lowest = SUBSETS[str(subset)], f"{values.min():.3f} ({values.idxmin()})"
        recall, n_candidates = f"{parts['recall'][subset]:.3f}", f"{parts['candidates'][subset]:.0f}"
        build = f"{1 / remaining_share(names, builds):.1f}x" if builds else "-"
        counts, means = (str(len(names)), str(n_runs[subset])), (cell(values.mean()), cell(values.sem()))
        rows.append([str(subset), *counts, *means, lowest, recall, n_candidates, build])
    head = ["scorers", "number", "runs", "ratio", "standard error", "lowest", "recall", "candidates", "build"]
    means, variance = ratio.mean(axis=1), ratio.mean(axis=1).groupby("subset").var()
    pooled = cell(variance.drop("all 16").mean() ** 0.5)
    noise = [["all 16", cell(variance["all 16"] ** 0.5), ", ".join(map(cell, means["all 16"]))]]
    noise.append(["other subsets with several runs, pooled", pooled, "-"])
    noise_head = ["scorers", "standard deviation of the mean ratio", "mean ratio by seed"]
    return {"scorers": markdown(head, rows), "seed noise": markdown(noise_head, noise)}


def main() -> None:
    parser = parser_with(__doc__, "data-path", "datasets", "output", "report", datasets=DATASETS)
    parser.add_argument("--scores", type=Path, help="folder of the stored scores")
    parser.add_argument("--collect", action="store_true", help="store the scores; train nothing")
    parser.add_argument("--subsets", nargs="*", default=list(SUBSETS), choices=list(SUBSETS), metavar="NAME")
    parser.add_argument("--seeds", nargs="*", type=int, default=[SEED], help="seeds of the training")
    parser.add_argument("--builds", type=Path, default=Path(), help="results of scorer_build.py, for the report")
    arguments = parse(parser)
    results, store = Results(arguments.output), ArrayStore(arguments.scores, limit_gb=None, content="scores")
    if arguments.report:
        builds = [row for row in read_results(arguments.builds) if "dataset" in row]
        fill(arguments.report, tables_of(pd.DataFrame(results.rows), builds))
    elif arguments.collect:
        for name in arguments.datasets:
            collect(name, arguments.data_path, store)
    else:
        keys = {name: [{"dataset": name, "draw": draw} for draw in range(N_DRAWS)] for name in arguments.datasets}
        draws = {name: [draw for key in keys[name] if (draw := store.load("draw", key))] for name in sorted(keys)}
        for subset, seed in [(subset, seed) for seed in arguments.seeds for subset in arguments.subsets]:
            if not all(results.has({"subset": subset, "seed": seed, "dataset": name}) for name in draws):
                for result in measure(draws, subset, seed):
                    results.add(result)


if __name__ == "__main__":
    main()
