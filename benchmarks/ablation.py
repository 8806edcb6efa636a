"""The effect of columns, loss, size and number of sources on a pre-trained model, and of the choice of one source.

    python benchmarks/ablation.py --data-path DATA --lists OUT/lists --output OUT/ablation.jsonl
    python benchmarks/ablation.py --output OUT/ablation.jsonl --report docs/ablation.md

Models are trained as by `benchmarks/pretrain.py`, on its candidate lists, but with one network instead of four. They
are evaluated on lists of domains that they were not trained on. The metric is the NDCG@10 of held-out training
interactions among the candidates. It is divided by the NDCG@10 of the best single scorer on the lists of the dataset,
which is known only after the evaluation.

Each line changes one thing. A model without the columns of a scorer still has the candidates of that scorer, and the
scorer is still part of the two averages. With fewer sources there are more epochs, so the number of steps is the same.

Missing candidate lists are made. A run that is started again skips the results that the output has.
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
from report import markdown_lines as markdown

from recbole_universal.app.analysis.statistics import column_distances
from recbole_universal.app.pretrain import source_config, source_lists
from recbole_universal.features.fields import LIST_LABEL, LIST_MASK, column
from recbole_universal.features.proximity_columns import column_groups
from recbole_universal.files import write_text
from recbole_universal.graph import SCORERS
from recbole_universal.metrics import ndcg
from recbole_universal.plugin.dataset import pipeline_from_config
from recbole_universal.ranking.candidate_lists import CandidateLists, list_store
from recbole_universal.ranking.network import UniversalNetwork
from recbole_universal.ranking.pretraining import Pretrainer

#: Scorers of one kind, whose columns are left out together.
KINDS = {
    "item-item paths": ["cosine", "popular_cosine", "p3", "rp3", "linear_filter", "second_hop"],
    "user-user": ["user_cosine", "user_squared"],
    "neighbours": ["neighbors"],
    "filters": ["low_pass", "mid_pass", "full_pass"],
    "regressions": ["regression", "middle_regression", "strong_regression"],
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
        write_text(arguments.report, report(pd.DataFrame(results)))
        print(arguments.report.read_text())
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
        names = [source["dataset"] for source in sources(FOLDS[fold])]
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
    for source in sources([]):
        source_keys = {key: value for key, value in source.items() if key != "dataset"}
        blocks[source["dataset"]] = source_lists(
            source_config(source["dataset"], None, {**keys, **source_keys}), config, pipeline, store
        )
    return blocks


def similarity(pairs: pd.DataFrame) -> list[str]:
    """Whether sources with columns similar to the target's give better models for the target."""
    ratios, distances = (pairs.pivot_table(index="source", columns="target", values=v) for v in ("ratio", "distance"))
    ratios = ratios.loc[ratios.columns]
    targets = list(ratios.columns)
    quality_of, apart = ratios.to_numpy(dtype=float), distances.loc[targets, targets].to_numpy(dtype=float)
    others = ~np.eye(len(targets), dtype=bool)

    def correlations(apart: np.ndarray) -> list[float]:
        """Rank correlation of distance and ratio over the other sources, by target."""
        return [spearmanr(apart[rows, k], quality_of[rows, k]).statistic for k, rows in enumerate(others.T)]

    observed = correlations(apart)
    # Mantel's test permutes the names of the datasets, the same way for sources and targets.
    generator = np.random.default_rng(0)
    orders = [generator.permutation(len(targets)) for _ in range(999)]
    chance = [np.mean(correlations(apart[np.ix_(order, order)])) for order in orders]
    p_value = (1 + sum(value <= np.mean(observed) for value in chance)) / (1 + len(chance))
    ranks = []
    for k, rows in enumerate(others.T):
        nearest = np.argmin(apart[rows, k])
        ranks.append(1 + (quality_of[rows, k] > quality_of[rows, k][nearest]).sum())
    quality = ratios.mean(axis=1).sort_values()
    typical = distances.mean(axis=1)
    return [
        "",
        "### Does similarity predict transfer?",
        "",
        f"Each model has one source and one target, of {len(targets)} datasets. The distance of two datasets is the "
        "mean over the columns of the Wasserstein distance between the values of 2,000 candidates of each, in standard "
        "deviations.",
        "",
        f"- Rank correlation (Spearman) of distance and ratio over the other {len(targets) - 1} sources, mean over "
        f"targets: {np.mean(observed):+.2f} (negative on {sum(value < 0 for value in observed)} of {len(observed)}). "
        "In 999 random permutations of the datasets' names, a correlation as low has the probability "
        f"{p_value:.3f}.",
        f"- The nearest source is on average the {np.mean(ranks):.1f}th best of {len(targets) - 1} "
        f"({len(targets) / 2:.1f} by chance).",
        "- Rank correlation of a source's mean distance to the others and its mean ratio: "
        f"{spearmanr(typical, ratios.mean(axis=1)).statistic:+.2f}. Worst sources: "
        + ", ".join(f"{name} {value:.2f}" for name, value in quality.head(3).items())
        + "; best sources: "
        + ", ".join(f"{name} {value:.2f}" for name, value in quality[::-1].head(3).items())
        + ".",
    ]


def report(table: pd.DataFrame) -> str:
    """Markdown page."""
    lines = ["# Ablation", "", *(__doc__ or "").strip().splitlines()[5:-2], ""]
    pairs = table[table["source"].notna()] if "source" in table else table[:0]
    if len(pairs):
        matrix = pairs.pivot_table(index="source", columns="target", values="ratio").loc[FIVE, FIVE]
        lines += [
            "## One source, one target",
            "",
            "A row is the only source of a model (600 lists). A column is a dataset whose other half of lists "
            "evaluates it.",
        ]
        lines += markdown(
            ["source", *FIVE, "mean of others"],
            [
                [name, *(f"{value:.3f}" for value in row), f"{row.drop(name).mean():.3f}"]
                for name, row in matrix.iterrows()
            ],
        )
        lines += similarity(pairs)
    changed = table[table["variant"].notna()] if "variant" in table else table[:0]
    if changed.empty:
        return "\n".join(lines) + "\n"
    folds = list(changed["fold"].unique())
    n_datasets = {fold: sum(len(DOMAINS[domain].split()) for domain in FOLDS[fold]) for fold in folds}
    lines += ["", "## One change at a time", ""]
    lines += ["Left-out domains: " + "; ".join(f"{f} ({', '.join(FOLDS[f])}: {n_datasets[f]} datasets)" for f in folds)]
    lines[-1] += ". The ratios are means over the datasets of a fold."
    whole = changed[changed["variant"] == "as shipped, one network"].groupby("fold")["ratio"].mean()
    rows = []
    for name, group in changed.groupby("variant", sort=False):
        ratio = group.groupby("fold")["ratio"].mean()
        rows.append(
            [
                name,
                *(f"{ratio[fold]:.3f}" if fold in ratio else "-" for fold in folds),
                f"{(ratio - whole).mean():+.3f}",
                f"{int(group['weights'].iloc[0]):,}",
                f"{group['seconds'].mean():.0f}",
            ]
        )
    lines += markdown(["", *folds, "difference to as shipped", "weights", "seconds"], rows)
    lines += ["", f"Seed {', '.join(str(int(seed)) for seed in table['seed'].unique())}. Made by `python "]
    lines[-1] += "benchmarks/ablation.py --data-path DATA --lists OUT/lists --output "
    lines[-1] += "OUT/ablation.jsonl`, then `--report docs/ablation.md`."
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
