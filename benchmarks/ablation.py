"""What the shipped model is good for: its columns, loss, size and number of sources, and which data set teaches which.

    python benchmarks/ablation.py --data-path DATA --lists OUT/lists --output OUT/ablation.jsonl
    python benchmarks/ablation.py --output OUT/ablation.jsonl --report docs/ablation.md

Models are trained as `benchmarks/pretrain.py` trains them, on its candidate lists (made if they are not there), but
with one network instead of four, and judged on lists of domains they saw nothing of: NDCG@10 of hidden training
interactions among the candidates, divided by that of the single scorer which is best on that data set's lists, a choice
that nobody could make before. One change a line; a run that is started again skips what is there. Without the columns
of a scorer its candidates are still in the lists, and it still speaks in the average of the trusted ones; fewer sources
are trained on for more epochs, so that the number of steps stays the same.
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

import recbole_universal  # noqa: F401  mends RecBole, so it comes before any import of it

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
    "trusted scorers": ["scorer averages"],
    "activity": ["activity"],
}
SIZES = {"linear": [], "one layer of 16": [16], "one layer of 64": [64], "two of 256": [256, 256]}
#: The paper's data sets: ml-1m, epinions, douban-movie, Amazon and Yelp.
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
    scorer = UniversalNetwork(
        {"proximity": {"user": 0, "item": 0, "pair": blocks[0][PAIR].shape[-1]}},
        settings["mlp_hidden_size"],
        64,
        0.0,
        "concatenation",
        settings["n_networks"],
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Pretrainer(
            scorer,
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
    """Places of the columns of a kind."""
    groups = column_groups()
    return [place for name in KINDS.get(kind or "", []) for place in groups[name]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--lists", type=Path, help="folder of candidate lists, as pretrain.py leaves them")
    parser.add_argument("--folds", nargs="*", default=["movies", "reading"], choices=list(FOLDS))
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--output", type=Path, required=True, help="file of results, one a line")
    parser.add_argument("--report", type=Path, help="write the Markdown page of what is there, run nothing")
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

    def keep(result: dict) -> None:
        results.append(result)
        add_result(arguments.output, result)

    # The first half of each source's lists teaches, the second judges, so that source and target may be one.
    judged = {name: CandidateLists(half(blocks, 1)) for name, blocks in lists.items()}
    best = {name: best_scorer(target) for name, target in judged.items()}
    columns = {name: candidate_columns(half(blocks, 1)) for name, blocks in lists.items()}
    for source in lists:
        if done(source=source, target=list(lists)[-1], seed=arguments.seed):
            continue
        trainer = trained(half(lists[source], 0), {**settings, "epochs": 8}, [], arguments.seed)
        for target in lists:
            ratio = trainer.evaluate(judged[target]) / best[target]
            distance = float(column_distances(columns[source], columns[target]).mean())
            keep({"source": source, "target": target, "seed": arguments.seed, "ratio": ratio, "distance": distance})
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
            taught = [block for source in order[: change.get("sources")] for block in lists[source]]
            trainer = trained(taught, {**settings, **change}, dropped, arguments.seed + change.get("seed", 0))
            seconds = time.perf_counter() - start
            ratios = {
                target: trainer.evaluate(WithoutColumns(lists[target], dropped)) / best[target] for target in best
            }
            size = sum(parameter.numel() for parameter in trainer.network.parameters())
            keep(
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


def half(blocks: list, number: int) -> list:
    """Every other block of lists, from the first (0) or the second (1) on."""
    return blocks[number::2]


def candidate_lists(data_path: str, folder: Path | None) -> dict[str, list]:
    """Blocks of candidate lists by data set."""
    keys = {**SETTINGS, "universal_features": ["proximity"], "data_path": data_path, "train_stage": "pretrain"}
    config = Config("UniversalMLP", "ml-100k", config_dict={**keys, "show_progress": False})
    pipeline, store = pipeline_from_config(config), list_store(folder or "lists")
    found = {}
    for source in sources([]):
        own = {key: value for key, value in source.items() if key != "dataset"}
        own_config = source_config(source["dataset"], None, {**keys, **own})
        found[source["dataset"]] = source_lists(own_config, config, pipeline, store)
    return found


def likeness(pairs: pd.DataFrame) -> list[str]:
    """Whether a source teaches better the more its candidates' columns look like the target's."""
    ratios, distances = (pairs.pivot_table(index="source", columns="target", values=v) for v in ("ratio", "distance"))
    ratios = ratios.loc[ratios.columns]
    targets = list(ratios.columns)
    quality_of, apart = ratios.to_numpy(dtype=float), distances.loc[targets, targets].to_numpy(dtype=float)
    others = ~np.eye(len(targets), dtype=bool)

    def correlations(apart: np.ndarray) -> list[float]:
        """By target, over the other sources."""
        return [spearmanr(apart[rows, k], quality_of[rows, k]).statistic for k, rows in enumerate(others.T)]

    found = correlations(apart)
    # By chance: the names of the data sets exchanged, of sources and targets alike (Mantel's test).
    generator = np.random.default_rng(0)
    orders = [generator.permutation(len(targets)) for _ in range(999)]
    chance = [np.mean(correlations(apart[np.ix_(order, order)])) for order in orders]
    p_value = (1 + sum(value <= np.mean(found) for value in chance)) / (1 + len(chance))
    place = []
    for k, rows in enumerate(others.T):
        nearest = np.argmin(apart[rows, k])
        place.append(1 + (quality_of[rows, k] > quality_of[rows, k][nearest]).sum())
    quality = ratios.mean(axis=1).sort_values()
    typical = distances.mean(axis=1)
    return [
        "",
        "### Does likeness predict transfer?",
        "",
        f"One source, one target, {len(targets)} data sets each way. How far apart two data sets are: the mean "
        "over the columns of the Wasserstein distance between the values of 2,000 candidates of each, in standard "
        "deviations.",
        "",
        f"- Rank correlation (Spearman) of distance and ratio over the other {len(targets) - 1} sources, mean over "
        f"targets: {np.mean(found):+.2f} (negative on {sum(value < 0 for value in found)} of {len(found)}); by chance, "
        "with the data sets' names exchanged (999 times), as low with probability "
        f"{p_value:.3f}.",
        f"- The nearest source is, in the mean, the {np.mean(place):.1f}th best of {len(targets) - 1} "
        f"({len(targets) / 2:.1f} by chance).",
        "- How far a source is from all others, and how well it teaches them, in the mean: rank correlation "
        f"{spearmanr(typical, ratios.mean(axis=1)).statistic:+.2f}. Worst teachers: "
        + ", ".join(f"{name} {value:.2f}" for name, value in quality.head(3).items())
        + "; best: "
        + ", ".join(f"{name} {value:.2f}" for name, value in quality[::-1].head(3).items())
        + ".",
    ]


def report(table: pd.DataFrame) -> str:
    """Markdown page."""
    lines = ["# Ablation", "", *(__doc__ or "").strip().splitlines()[5:], ""]
    pairs = table[table["source"].notna()] if "source" in table else table[:0]
    if len(pairs):
        matrix = pairs.pivot_table(index="source", columns="target", values="ratio").loc[FIVE, FIVE]
        lines += [
            "## Which data set teaches which",
            "",
            "Row: the only source (600 lists); column: judged on the other",
        ]
        lines[-1] += " half of its lists. On the diagonal both are one data set."
        lines += markdown(
            ["source", *FIVE, "mean of others"],
            [
                [name, *(f"{value:.3f}" for value in row), f"{row.drop(name).mean():.3f}"]
                for name, row in matrix.iterrows()
            ],
        )
        lines += likeness(pairs)
    changed = table[table["variant"].notna()] if "variant" in table else table[:0]
    if changed.empty:
        return "\n".join(lines) + "\n"
    folds = list(changed["fold"].unique())
    judged = {fold: sum(len(DOMAINS[domain].split()) for domain in FOLDS[fold]) for fold in folds}
    lines += ["", "## One change at a time", ""]
    lines += ["Left-out domains: " + "; ".join(f"{f} ({', '.join(FOLDS[f])}: {judged[f]} data sets)" for f in folds)]
    lines[-1] += ". Mean ratio over the data sets of each."
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
    lines += markdown(["", *folds, "against as shipped", "weights", "seconds"], rows)
    lines += ["", f"Seed {', '.join(str(int(seed)) for seed in table['seed'].unique())}. Made by `python "]
    lines[-1] += "benchmarks/ablation.py --data-path DATA --lists OUT/lists --output "
    lines[-1] += "OUT/ablation.jsonl`, then `--report docs/ablation.md`."
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
