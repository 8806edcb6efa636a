"""Columns, loss, size and number of sources of the shipped model, and transfer from dataset to dataset.

    python benchmarks/ablation.py --data-path DATA --lists OUT/lists --output OUT/ablation.jsonl
    python benchmarks/ablation.py --output OUT/ablation.jsonl --report docs/ablation.md

Models are trained on the candidate lists of ``benchmarks/pretrain.py``, which are made if they are missing. A run that
is started again skips what is there. docs/ablation.md says how the figures are measured.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

import recbole_universal  # noqa: F401  patches RecBole, so it comes before any import of RecBole

# isort: split
from harness import DOMAINS, add_result, read_results
from pretrain import FOLDS, SETTINGS, sources
from recbole.config import Config
from report import cell, fill, markdown

from recbole_universal.app.analysis.statistics import column_distances
from recbole_universal.app.pretrain import source_config, source_lists
from recbole_universal.features.candidate_columns import column_groups
from recbole_universal.features.fields import LIST_LABEL, LIST_MASK, column
from recbole_universal.graph import SCORERS
from recbole_universal.metrics import ndcg
from recbole_universal.plugin.dataset import pipeline_from_config
from recbole_universal.ranking.candidate_lists import CandidateLists, list_store
from recbole_universal.ranking.network import UniversalNetwork
from recbole_universal.ranking.pretraining import Pretrainer

#: Scorers of one kind, whose columns are left out together.
KINDS = {
    "user-user": ["user_cosine", "user_squared"],
    "neighbours": ["neighbors"],
    "paths": ["rp3", "linear_filter"],
    "filters": ["low_pass", "mid_pass", "full_pass"],
    "regression": ["regression"],
    "popularity": ["popularity"],
    "scorer averages": ["scorer averages"],
    "activity": ["activity"],
}
SIZES = {"linear": [], "one layer of 16": [16], "one layer of 64": [64], "two of 256": [256, 256]}
#: The paper's datasets: ml-1m, epinions, douban-movie, Amazon and Yelp.
FIVE = ["ml-1m", "epinions", "douban-movie", "amazon-sports", "yelp2018"]
PAIR = column("pair", "proximity")


class WithoutColumns(CandidateLists):
    """Lists in which some columns of the pairs are 0."""

    def __init__(self, blocks, dropped: list[int]) -> None:
        super().__init__(blocks)
        self.dropped = dropped

    def batch(self, indices, device="cpu"):
        """See :class:`CandidateLists`."""
        batch = super().batch(indices, device)
        batch[PAIR][..., self.dropped] = 0.0
        return batch


def trained(blocks, settings: dict, dropped: list[int], seed: int) -> Pretrainer:
    """A model trained on blocks of lists."""
    torch.manual_seed(seed)
    network = UniversalNetwork(
        {"proximity": {"user": 0, "item": 0, "pair": blocks[0][PAIR].shape[-1]}},
        settings["mlp_hidden_size"],
        64,
        0.0,
        "concatenation",
        settings["n_networks"],
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Pretrainer(
            network,
            folder,
            seed=seed,
            learning_rate=settings["learning_rate"],
            epochs=settings["epochs"],
            stopping_step=settings["epochs"],
            batch_size=settings["list_batch_size"],
            loss=settings["list_loss"],
        )
        trainer.fit(WithoutColumns(blocks, dropped), {})
    return trainer


def best_scorer(lists: CandidateLists) -> float:
    """NDCG@10 of the best single scorer on some lists."""
    gains = []
    for start in range(0, len(lists), 256):
        batch = lists.batch(range(start, min(start + 256, len(lists))))
        shares = batch[PAIR][..., : len(SCORERS)].float().permute(2, 0, 1).masked_fill(~batch[LIST_MASK], -1.0)
        top = shares.topk(min(10, shares.shape[2]), dim=2).indices
        hits = batch[LIST_LABEL].expand(len(top), -1, -1).gather(2, top)
        gains.append(ndcg(hits.numpy(), batch[LIST_LABEL].sum(dim=1).numpy()))
    return float(np.concatenate(gains, axis=1).mean(axis=1).max())


def variants(n_sources: int) -> dict[str, dict]:
    """Changes by name: settings, kinds of columns left out, number of sources."""
    changes: dict[str, dict] = {"as shipped, one network": {}, "another seed": {"seed": 1}}
    changes |= {f"without {kind}": {"without": kind} for kind in KINDS}
    changes["loss: BPR"] = {"list_loss": "BPR"}
    changes |= {f"size: {name}": {"mlp_hidden_size": hidden} for name, hidden in SIZES.items()}
    changes["size: four networks"] = {"n_networks": 4}
    for n in (1, 2, 4, 8, 16):
        if n < n_sources:
            changes[f"sources: {n}"] = {"sources": n, "epochs": round(SETTINGS["epochs"] * n_sources / n)}
    return changes


def dropped_columns(kind: str | None) -> list[int]:
    """Indices of the columns of a kind."""
    groups = column_groups()
    return [index for name in KINDS.get(kind or "", []) for index in groups[name]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--lists", type=Path, help="folder of candidate lists, as pretrain.py stores them")
    parser.add_argument("--folds", nargs="*", default=["movies", "reading"], choices=list(FOLDS))
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--output", type=Path, required=True, help="file of results, one per line")
    parser.add_argument("--report", type=Path, help="write the Markdown page from the results; run nothing")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    logging.disable(logging.WARNING)
    results = read_results(arguments.output)
    if arguments.report:
        fill(arguments.report, tables_of(pd.DataFrame(results)))
        return
    settings = {**SETTINGS, "n_networks": 1, "list_loss": "softmax"}
    lists = candidate_lists(arguments.data_path, arguments.lists)

    def done(**key) -> bool:
        return any(key.items() <= result.items() for result in results)

    def store(result: dict) -> None:
        results.append(result)
        add_result(arguments.output, result)

    # A model trains on the first half of a source's lists and is evaluated on second halves, also of the same dataset.
    evaluated = {name: CandidateLists(half(blocks, 1)) for name, blocks in lists.items()}
    best = {name: best_scorer(target) for name, target in evaluated.items()}
    columns = {name: candidate_columns(half(blocks, 1)) for name, blocks in lists.items()}
    for source in lists:
        if done(source=source, target=list(lists)[-1], seed=arguments.seed):
            continue
        trainer = trained(half(lists[source], 0), {**settings, "epochs": 8}, [], arguments.seed)
        for target in lists:
            ratio = trainer.evaluate(evaluated[target]) / best[target]
            distance = float(column_distances(columns[source], columns[target]).mean())
            store({"source": source, "target": target, "seed": arguments.seed, "ratio": ratio, "distance": distance})
    for fold in arguments.folds:
        names = [source["dataset"] for source in sources("universal-base", FOLDS[fold])]
        held_out = {name for domain in FOLDS[fold] for name in DOMAINS[domain].split()}
        order = np.random.default_rng(arguments.seed).permutation(names)
        best = {name: best_scorer(CandidateLists(lists[name])) for name in sorted(held_out)}
        for name, change in variants(len(names)).items():
            if done(fold=fold, variant=name, seed=arguments.seed):
                continue
            start = time.perf_counter()
            dropped = dropped_columns(change.get("without"))
            training_blocks = [block for source in order[: change.get("sources")] for block in lists[source]]
            trainer = trained(training_blocks, {**settings, **change}, dropped, arguments.seed + change.get("seed", 0))
            seconds = time.perf_counter() - start
            ratios = {
                target: trainer.evaluate(WithoutColumns(lists[target], dropped)) / best[target] for target in best
            }
            size = sum(parameter.numel() for parameter in trainer.network.parameters())
            store(
                {
                    "fold": fold,
                    "variant": name,
                    "seed": arguments.seed,
                    "ratio": float(np.mean(list(ratios.values()))),
                    "ratios": ratios,
                    "weights": size,
                    "seconds": seconds,
                }
            )


def candidate_columns(blocks: list) -> np.ndarray:
    """Columns of candidates drawn from lists, float32 [at most 2,000, dim]."""
    rows = torch.cat([block[PAIR][block[LIST_MASK]] for block in blocks]).float().numpy()
    return rows[np.random.default_rng(0).permutation(len(rows))[:2000]]


def half(blocks: list, first: int) -> list:
    """Every other block of lists, starting with the block of index 0 or 1."""
    return blocks[first::2]


def candidate_lists(data_path: str, folder: Path | None) -> dict[str, list]:
    """Blocks of candidate lists by dataset."""
    keys = {**SETTINGS, "universal_features": ["proximity"], "data_path": data_path, "train_stage": "pretrain"}
    config = Config("UniversalMLP", "ml-100k", config_dict={**keys, "show_progress": False})
    pipeline, store = pipeline_from_config(config), list_store(folder or "lists")
    blocks = {}
    for source in sources("universal-base", []):
        source_keys = {key: value for key, value in source.items() if key != "dataset"}
        blocks[source["dataset"]] = source_lists(
            source_config(source["dataset"], None, {**keys, **source_keys}), config, pipeline, store
        )
    return blocks


def transfer_table(pairs: pd.DataFrame) -> str:
    """The ratio of each source on each target, of the paper's five datasets."""
    matrix = pairs.pivot_table(index="source", columns="target", values="ratio").loc[FIVE, FIVE]
    rows = [
        [name, *(f"{value:.3f}" for value in row), f"{row.drop(name).mean():.3f}"] for name, row in matrix.iterrows()
    ]
    return markdown(["source", *FIVE, "mean of others"], rows)


def likeness_tables(pairs: pd.DataFrame) -> dict[str, str]:
    """Whether a source transfers better the more its candidates' columns look like the target's."""
    ratios, distances = (pairs.pivot_table(index="source", columns="target", values=v) for v in ("ratio", "distance"))
    targets = list(ratios.columns)
    quality, apart = ratios.loc[targets].to_numpy(dtype=float), distances.loc[targets, targets].to_numpy(dtype=float)
    others = ~np.eye(len(targets), dtype=bool)

    def correlations(apart: np.ndarray) -> list[float]:
        """By target, over the other sources."""
        return [spearmanr(apart[rows, k], quality[rows, k]).statistic for k, rows in enumerate(others.T)]

    measured = correlations(apart)
    # By chance: the names of the datasets exchanged, of sources and targets alike (Mantel's test).
    generator = np.random.default_rng(0)
    orders = [generator.permutation(len(targets)) for _ in range(999)]
    chance = [np.mean(correlations(apart[np.ix_(order, order)])) for order in orders]
    p_value = (1 + sum(value <= np.mean(measured) for value in chance)) / (1 + len(chance))
    ranks = []
    for k, rows in enumerate(others.T):
        nearest = np.argmin(apart[rows, k])
        ranks.append(1 + (quality[rows, k] > quality[rows, k][nearest]).sum())
    means = ratios.loc[targets].mean(axis=1).sort_values()
    typical = spearmanr(distances.loc[targets].mean(axis=1), ratios.loc[targets].mean(axis=1)).statistic
    negative = f"{sum(value < 0 for value in measured)} of {len(measured)}"
    likeness = {
        "rank correlation of distance and ratio, mean over targets": f"{np.mean(measured):+.2f}",
        "targets with a negative correlation": negative,
        "probability of a correlation as low by chance": f"{p_value:.3f}",
        "rank of the nearest source among the others, mean": f"{np.mean(ranks):.1f} of {len(targets) - 1}",
        "the same by chance": f"{len(targets) / 2:.1f}",
        "rank correlation of a source's mean distance and mean ratio": f"{typical:+.2f}",
    }
    worst, best = (
        ", ".join(f"{name} {value:.2f}" for name, value in order.head(3).items()) for order in (means, means[::-1])
    )
    return {
        "likeness": markdown(["", "value"], list(likeness.items())),
        "sources": markdown(["lowest mean ratio as a source", "highest"], [[worst, best]]),
    }


def change_table(changed: pd.DataFrame) -> str:
    """The ratio of each change by fold, and against the model as shipped."""
    folds = list(changed["fold"].unique())
    shipped = changed[changed["variant"] == "as shipped, one network"].groupby("fold")["ratio"].mean()
    rows = []
    for name, group in changed.groupby("variant", sort=False):
        ratio = group.groupby("fold")["ratio"].mean()
        against = f"{(ratio - shipped).mean():+.3f}"
        size, seconds = f"{group['weights'].iloc[0]:,.0f}", f"{group['seconds'].mean():.0f}"
        rows.append([name, *(cell(ratio.get(fold), ".3f") for fold in folds), against, size, seconds])
    return markdown(["", *folds, "against as shipped", "weights", "seconds"], rows)


def tables_of(table: pd.DataFrame) -> dict[str, str]:
    """Markdown by name of the table."""
    tables = {}
    pairs = table[table["source"].notna()] if "source" in table else table[:0]
    if len(pairs):
        tables |= {"transfer": transfer_table(pairs), **likeness_tables(pairs)}
    changed = table[table["variant"].notna()] if "variant" in table else table[:0]
    if len(changed):
        tables["changes"] = change_table(changed)
    return tables


if __name__ == "__main__":
    main()
